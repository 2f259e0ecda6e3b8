// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is written is read again, in whatever way it goes.

use std::vec;
use std::vec::Vec;

use super::{finished, pair, submit, SETUP};
use crate::block::{Op, Outcome, Setup};

/// Writes a pattern over `pieces`, reads it back through the same engine, and compares.
fn write_and_read(setup: Setup, keep: bool, pieces: &[(u32, u32)]) -> Vec<u8> {
    let (sim, mut queue, mut back) = pair(setup, 1);
    back.keep = keep;
    for round in 0..3u8 {
        let write = sim.io(1, Op::Write { fua: false }, 8, pieces);
        for (index, piece) in write.pieces.iter().enumerate() {
            piece.fill(&vec![index as u8 ^ round << 5; piece.len as usize]);
        }
        submit(&mut queue, write);
        assert!(queue.push() || round > 0);
        back.serve_all();
        assert!(matches!(finished(&mut queue)[..], [(_, Outcome::Done)]));

        submit(&mut queue, sim.io(2, Op::Read, 8, pieces));
        let _ = queue.push();
        back.serve_all();
        let done = finished(&mut queue);
        assert_eq!(done.len(), 1);
        for (index, piece) in done[0].0.pieces.iter().enumerate() {
            assert_eq!(
                piece.bytes(),
                vec![index as u8 ^ round << 5; piece.len as usize]
            );
        }
    }
    drop(queue);
    assert_eq!(sim.grants(), sim.abandoned(), "a grant is left");
    if !keep {
        assert_eq!(sim.claimed(), 0);
    }
    back.seen
}

#[test]
fn data_goes_both_ways() {
    let mixed = [(0, 4096), (512, 1024), (3584, 512), (0, 4096)];
    for (persistent, bounce) in [(false, false), (true, false), (false, true), (true, true)] {
        let setup = Setup {
            persistent,
            bounce,
            ..SETUP
        };
        write_and_read(setup, persistent, &mixed);
    }
}

#[test]
fn many_segments_go_indirect_or_in_parts() {
    let pieces = [(0, 4096); 64];
    for max_segments in [11, 32, 64, 256] {
        for persistent in [false, true] {
            let setup = Setup {
                max_segments,
                persistent,
                ..SETUP
            };
            let seen = write_and_read(setup, persistent, &pieces);
            assert_eq!(seen.len(), 6 * 64usize.div_ceil(max_segments.min(64)));
        }
    }
}

#[test]
fn persistent_grants_are_used_again() {
    let (sim, mut queue, mut back) = pair(
        Setup {
            persistent: true,
            ..SETUP
        },
        1,
    );
    back.keep = true;
    for _ in 0..10 {
        submit(&mut queue, sim.io(0, Op::Read, 0, &[(0, 4096)]));
        let _ = queue.push();
        back.serve_all();
        assert_eq!(finished(&mut queue).len(), 1);
    }
    assert_eq!(
        (queue.stats().grants, queue.stats().persistent_hits),
        (1, 9)
    );
    assert_eq!(queue.persistent_grants(), 1);
    assert_eq!(queue.purge(), 0, "the back end has it mapped");
    back.sim.unmap(9);
    assert_eq!(queue.purge(), 1);
}

#[test]
fn a_batch_is_one_push_and_one_notification() {
    let (sim, mut queue, mut back) = pair(SETUP, 1);
    for tag in 0..8 {
        submit(&mut queue, sim.io(tag, Op::Read, 0, &[(0, 512)]));
    }
    assert!(back.take().is_none(), "nothing is visible before the push");
    assert!(queue.push());
    assert!(!queue.push());
    back.serve_all();
    assert_eq!(finished(&mut queue).len(), 8);
    assert_eq!(
        (
            queue.stats().notifications,
            queue.stats().notifications_saved
        ),
        (1, 7)
    );
}
