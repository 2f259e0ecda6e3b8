// SPDX-License-Identifier: MIT OR Apache-2.0
//! A back end that breaks the protocol breaks the queue, and nothing else.

use std::vec::Vec;

use super::{finished, pair, submit, Back, SETUP};
use crate::block::wire::{Request, Response};
use crate::block::{Busy, Op, Violation};
use crate::ring::RingError;

/// Answers one of two reads wrongly, and expects the queue to break and give both back.
fn broken_by(wrong: impl FnOnce(&mut Back, [Request; 2])) -> Violation {
    let (sim, mut queue, mut back) = pair(SETUP, 1);
    submit(&mut queue, sim.io(0, Op::Read, 0, &[(0, 4096)]));
    submit(&mut queue, sim.io(1, Op::Read, 0, &[(0, 4096)]));
    let _ = queue.push();
    let requests = [back.take().unwrap(), back.take().unwrap()];
    wrong(&mut back, requests);
    let mut tags = Vec::new();
    let violation = queue
        .reap(|io, _| tags.push(io.tag))
        .expect_err("a violation");
    assert!(queue.is_broken());
    assert_eq!(
        queue.submit(sim.io(2, Op::Flush, 0, &[])).unwrap_err().1,
        Busy::Closed
    );
    queue.drain(|io| tags.push(io.tag));
    tags.sort();
    assert_eq!(tags, [0, 1]);
    assert_eq!(sim.grants(), sim.abandoned());
    violation
}

#[test]
fn a_wrong_answer_breaks_the_queue() {
    let ok = |request: &Request| Response {
        id: request.head.id,
        ..Response::default()
    };
    let id = broken_by(|back, [request, _]| {
        back.ring.put_response(&Response {
            id: request.head.id ^ 1 << 40,
            ..ok(&request)
        });
        let _ = back.ring.push();
    });
    assert!(matches!(id, Violation::Id { .. }));

    let twice = broken_by(|back, [request, _]| {
        back.ring.put_response(&ok(&request));
        back.ring.put_response(&ok(&request));
        let _ = back.ring.push();
    });
    assert!(matches!(twice, Violation::Id { .. }));

    let operation = broken_by(|back, [request, _]| {
        back.ring.put_response(&Response {
            operation: 9,
            ..ok(&request)
        });
        let _ = back.ring.push();
    });
    assert!(matches!(
        operation,
        Violation::Operation {
            sent: 0,
            got: 9,
            ..
        }
    ));

    for prod in [3, 1 << 31, u32::MAX] {
        let far = broken_by(|back, _| back.ring.set_rsp_prod(prod));
        assert!(
            matches!(far, Violation::Ring(RingError::Producer { .. })),
            "{prod}"
        );
    }

    let held = broken_by(|back, [request, _]| {
        back.sim.map(request.seg[0].gref, false);
        back.ring.put_response(&ok(&request));
        let _ = back.ring.push();
    });
    assert!(matches!(held, Violation::Held { .. }));
}

#[test]
fn draining_gives_back_what_was_in_flight_in_parts() {
    let (sim, mut queue, mut back) = pair(SETUP, 1);
    submit(&mut queue, sim.io(5, Op::Read, 0, &[(0, 4096); 30]));
    let _ = queue.push();
    let request = back.take().unwrap();
    let response = back.serve(&request);
    back.ring.put_response(&response);
    let _ = back.ring.push();
    assert!(finished(&mut queue).is_empty());
    assert_eq!(queue.pending().count(), 2);
    let mut tags = Vec::new();
    queue.drain(|io| tags.push(io.tag));
    assert_eq!(tags, [5]);
    assert_eq!((sim.grants(), queue.pending().count()), (0, 0));
}
