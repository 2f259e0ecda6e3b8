// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request that turns out wrong while it is written leaves nothing behind.

use std::vec;
use std::vec::Vec;

use super::{finished, pair, submit, SETUP};
use crate::block::sim::{Sim, SimRing};
use crate::block::{Busy, Op, Outcome, Queue, Ring, Setup};

/// Every way that data goes, and a number of segments that goes so.
fn ways() -> Vec<(Setup, usize)> {
    let mut ways = Vec::new();
    for (max_segments, segments) in [(11, 11), (32, 32), (11, 30), (32, 60)] {
        for (persistent, bounce) in [(false, false), (true, false), (false, true)] {
            let setup = Setup {
                max_segments,
                persistent,
                bounce,
                ..SETUP
            };
            ways.push((setup, segments));
        }
    }
    ways
}

#[test]
fn a_malformed_segment_in_the_middle_leaves_nothing() {
    for (setup, segments) in ways() {
        for wrong in [0, segments / 2, segments - 1] {
            let (sim, mut queue, mut back) = pair(setup, 1);
            let granted = sim.grants();
            submit(&mut queue, sim.io(1, Op::Read, 8, &[(0, 512)]));
            let mut pieces = vec![(0, 4096); segments];
            pieces[wrong] = (1, 512);
            let bad = sim.io(2, Op::Write { fua: false }, 8, &pieces);
            let (io, busy) = queue.submit(bad).unwrap_err();
            assert_eq!((io.tag, busy), (2, Busy::Malformed));
            let held = if setup.persistent {
                queue.persistent_grants()
            } else {
                1
            };
            assert_eq!(sim.grants(), granted + held, "{setup:?}, {wrong}");
            assert_eq!(queue.pending().count(), 1);

            // What was written before it is sent, and what comes after it, and nothing else.
            submit(&mut queue, sim.io(3, Op::Read, 16, &[(0, 512)]));
            let _ = queue.push();
            let sectors = [back.take(), back.take()].map(|request| {
                let request = request.expect("two requests");
                let response = back.serve(&request);
                back.ring.put_response(&response);
                request.head.sector_number
            });
            assert_eq!(sectors, [8, 16]);
            assert!(back.take().is_none());
            let _ = back.ring.push();
            assert_eq!(finished(&mut queue).len(), 2);
            assert_eq!(queue.stats().requests, 2);

            // No slot is lost.
            for tag in 0..32 {
                submit(&mut queue, sim.io(tag, Op::Flush, 0, &[]));
            }
            drop(queue);
            assert_eq!((sim.grants(), sim.claimed()), (0, 0));
        }
    }
}

#[test]
fn grants_that_run_out_midway_leave_nothing() {
    for persistent in [false, true] {
        let sim = Sim::with_refs(3);
        let setup = Setup {
            persistent,
            bounce: true,
            ..SETUP
        };
        let ring = Ring::new(SimRing::new(1)).unwrap();
        let mut queue = Queue::new(sim.clone(), ring, setup).unwrap();
        let (io, busy) = queue
            .submit(sim.io(4, Op::Read, 0, &[(0, 512); 4]))
            .unwrap_err();
        assert_eq!((io.tag, busy), (4, Busy::Grants));
        assert!(!queue.has_unpushed());
        // Persistent grants are kept for the next.
        assert_eq!(sim.grants(), if persistent { 3 } else { 0 });
        submit(&mut queue, sim.io(0, Op::Read, 0, &[(0, 512); 3]));
        drop(queue);
        assert_eq!((sim.grants(), sim.claimed()), (0, 0));
    }
}

#[test]
fn references_that_free_slots_keep_are_there_for_others() {
    let (_, mut queue, mut back) = pair(SETUP, 1);
    let sim = Sim::with_refs(4);
    let ring = SimRing::new(1);
    queue.close();
    queue = Queue::new(sim.clone(), Ring::new(ring.clone()).unwrap(), SETUP).unwrap();
    back.sim = sim.clone();
    back.ring = crate::ring::BackRing::attach(ring).unwrap();
    for tag in 0..2 {
        submit(&mut queue, sim.io(tag, Op::Read, 0, &[(0, 512); 2]));
    }
    let _ = queue.push();
    back.serve_all();
    assert_eq!(finished(&mut queue).len(), 2);
    submit(&mut queue, sim.io(2, Op::Read, 0, &[(0, 512); 4]));
    drop(queue);
    assert_eq!((sim.grants(), sim.claimed()), (0, 0));
}

#[test]
fn a_wrong_expectation_costs_no_request() {
    for (setup, segments) in ways() {
        for expected in [0, 1, segments - 1, segments + 1, 1000] {
            let (sim, mut queue, mut back) = pair(setup, 1);
            back.keep = setup.persistent;
            for op in [Op::Write { fua: false }, Op::Read] {
                let mut io = sim.io(0, op, 8, &vec![(0, 4096); segments]);
                io.expected = expected;
                if op != Op::Read {
                    for (index, piece) in io.pieces.iter().enumerate() {
                        piece.fill(&[index as u8 + 1; 4096]);
                    }
                }
                submit(&mut queue, io);
                let _ = queue.push();
                back.serve_all();
                let done = finished(&mut queue);
                assert!(matches!(done[..], [(_, Outcome::Done)]));
                for (index, piece) in done[0].0.pieces.iter().enumerate() {
                    assert_eq!(piece.bytes(), [index as u8 + 1; 4096]);
                }
            }
        }
    }
}

#[test]
fn what_is_mapped_before_it_is_sent_is_left_to_the_host() {
    for (setup, segments) in ways() {
        let (sim, mut queue, _) = pair(setup, 1);
        sim.map_at_once();
        let mut pieces = vec![(0, 4096); segments];
        pieces[segments / 2] = (0, 0);
        let io = sim.io(9, Op::Read, 0, &pieces);
        let (io, busy) = queue.submit(io).unwrap_err();
        assert_eq!((io.tag, busy), (9, Busy::Malformed));
        assert_eq!(queue.pending().count(), 0);
        drop(queue);
        assert_eq!(sim.grants(), sim.abandoned());
        assert_eq!(sim.claimed(), sim.abandoned());
    }
}
