// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flush, barrier and discard: what is sent, and what a refusal takes away.

use std::vec;
use std::vec::Vec;

use super::{finished, pair, submit, ALL, SETUP};
use crate::block::wire::{self, Response};
use crate::block::{Features, Op, Outcome, Setup};

#[test]
fn fua_is_a_flush_after_the_write_or_else_a_barrier() {
    let fua = Op::Write { fua: true };
    let barrier = Features {
        flush: false,
        ..ALL
    };
    let flush = Features {
        barrier: false,
        ..ALL
    };
    let neither = Features {
        flush: false,
        barrier: false,
        ..ALL
    };
    let big = [(0, 4096); 12];
    let small = [(0, 4096)];
    let (w, b, f) = (
        wire::OP_WRITE,
        wire::OP_WRITE_BARRIER,
        wire::OP_FLUSH_DISKCACHE,
    );
    for (features, pieces, seen) in [
        (ALL, &small[..], vec![w, f]),
        (barrier, &small, vec![b]),
        (flush, &small, vec![w, f]),
        (neither, &small, vec![w]),
        (ALL, &big, vec![w, w, f]),
        (barrier, &big, vec![w, w, b]),
    ] {
        let (sim, mut queue, mut back) = pair(Setup { features, ..SETUP }, 1);
        submit(&mut queue, sim.io(0, fua, 0, pieces));
        let _ = queue.push();
        back.serve_all();
        let mut done = Vec::new();
        while done.is_empty() {
            let reaped = queue
                .reap(|io, outcome| done.push((io.tag, outcome)))
                .unwrap();
            if done.is_empty() {
                assert!(reaped.notify, "the back end sleeps");
                back.serve_all();
            }
        }
        assert_eq!(done, [(0, Outcome::Done)]);
        assert_eq!(back.seen, seen);
    }
}

/// Sends one request and answers it with `status`.
fn answered(setup: Setup, op: Op, status: i16) -> (Outcome, Features) {
    let (sim, mut queue, mut back) = pair(setup, 1);
    let pieces: &[_] = if matches!(op, Op::Read | Op::Write { .. }) {
        &[(0, 512)]
    } else {
        &[]
    };
    submit(&mut queue, sim.io(0, op, 0, pieces));
    let _ = queue.push();
    let request = back.take().unwrap();
    let response = Response {
        status,
        ..back.serve(&request)
    };
    back.ring.put_response(&response);
    let _ = back.ring.push();
    (finished(&mut queue)[0].1, queue.features())
}

#[test]
fn eopnotsupp_takes_the_feature_away_and_loses_no_write() {
    let no = wire::RSP_EOPNOTSUPP;
    let flush_only = Setup {
        features: Features {
            barrier: false,
            ..ALL
        },
        ..SETUP
    };
    let barrier_only = Setup {
        features: Features {
            flush: false,
            ..ALL
        },
        ..SETUP
    };
    let (outcome, features) = answered(barrier_only, Op::Write { fua: true }, no);
    assert_eq!((outcome, features.barrier), (Outcome::Retry, false));
    for status in [no, wire::RSP_ERROR] {
        let (outcome, features) = answered(barrier_only, Op::Flush, status);
        assert_eq!((outcome, features.barrier), (Outcome::Unsupported, false));
    }
    let failed = answered(barrier_only, Op::Write { fua: true }, wire::RSP_ERROR);
    assert_eq!(failed, (Outcome::Failed, barrier_only.features));
    let failed = answered(flush_only, Op::Flush, wire::RSP_ERROR);
    assert_eq!(failed, (Outcome::Failed, flush_only.features));
    assert_eq!(answered(SETUP, Op::Flush, no).0, Outcome::Retry);
    let (outcome, features) = answered(flush_only, Op::Flush, no);
    assert_eq!((outcome, features.flush), (Outcome::Unsupported, false));
    let (outcome, features) = answered(SETUP, Op::Discard { secure: true }, no);
    assert_eq!(
        (outcome, features.discard, features.secure),
        (Outcome::Unsupported, false, false)
    );
    assert_eq!(answered(SETUP, Op::Read, no).0, Outcome::Failed);
    assert_eq!(answered(SETUP, Op::Read, -77).0, Outcome::Failed);
}
