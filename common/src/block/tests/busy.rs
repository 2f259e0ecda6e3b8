// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is not taken comes back, and what it takes is given back.

use std::vec;

use super::{finished, pair, submit, SETUP};
use crate::block::sim::{Sim, SimRing};
use crate::block::{Busy, Op, Queue, Ring};

#[test]
fn a_full_ring_gives_the_request_back() {
    let (sim, mut queue, mut back) = pair(SETUP, 1);
    for tag in 0..32 {
        submit(&mut queue, sim.io(tag, Op::Read, 0, &[(0, 512)]));
    }
    let (io, busy) = queue
        .submit(sim.io(99, Op::Read, 0, &[(0, 512)]))
        .unwrap_err();
    assert_eq!((io.tag, busy), (99, Busy::Ring));
    let _ = queue.push();
    back.serve_all();
    assert_eq!(finished(&mut queue).len(), 32);
    submit(&mut queue, io);
}

#[test]
fn no_grant_reference_is_busy_and_nothing_is_lost() {
    let sim = Sim::with_refs(3);
    let mut queue = Queue::new(sim.clone(), Ring::new(SimRing::new(1)).unwrap(), SETUP).unwrap();
    let (_, busy) = queue
        .submit(sim.io(0, Op::Read, 0, &[(0, 512); 4]))
        .unwrap_err();
    assert_eq!(busy, Busy::Grants);
    submit(&mut queue, sim.io(0, Op::Read, 0, &[(0, 512); 3]));
    drop(queue);
    assert_eq!((sim.grants(), sim.claimed()), (0, 0));
}

#[test]
fn references_that_are_not_needed_go_back() {
    let (sim, mut queue, mut back) = pair(SETUP, 1);
    let mut exchange = |queue: &mut Queue<Sim>, segments: usize| {
        submit(queue, sim.io(0, Op::Read, 0, &vec![(0, 4096); segments]));
        let _ = queue.push();
        back.serve_all();
        assert_eq!(finished(queue).len(), 1);
    };
    exchange(&mut queue, 11);
    queue.purge();
    assert_eq!(sim.claimed(), 11, "just used");
    exchange(&mut queue, 4);
    queue.purge();
    assert_eq!(sim.claimed(), 4);
    exchange(&mut queue, 11);
    queue.purge();
    queue.purge();
    assert_eq!(sim.claimed(), 0);
    exchange(&mut queue, 11);
}

#[test]
fn malformed_segments_are_refused() {
    let (sim, mut queue, _) = pair(SETUP, 1);
    for pieces in [&[][..], &[(0, 0)], &[(1, 512)], &[(0, 100)], &[(512, 4096)]] {
        let (_, busy) = queue.submit(sim.io(0, Op::Read, 0, pieces)).unwrap_err();
        assert_eq!(busy, Busy::Malformed, "{pieces:?}");
    }
}
