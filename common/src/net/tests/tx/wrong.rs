// SPDX-License-Identifier: MIT OR Apache-2.0
//! Back ends that break the protocol.

use std::vec::Vec;

use super::{clean, new, ALL, GSO, PLAIN};
use crate::net::sim::{Sim, TxBack};
use crate::net::tx::Reaped;
use crate::net::{wire, Busy, Meta, Violation};
use crate::ring::RingError;

/// Three packets of two slots and extra information; then `wrong` does what it likes and the queue
/// breaks with the violation. Every packet is still there to be drained, and no grant stays.
fn breaks(wrong: impl FnOnce(&Sim, &mut TxBack, &[u16]), violation: Violation) {
    let (sim, mut queue, mut back) = new(ALL);
    let meta = Meta {
        gso: Some(GSO),
        ..PLAIN
    };
    for tag in 0..3 {
        queue
            .submit(sim.packet(tag, &[(0, 60), (8, 70)]), &meta)
            .unwrap();
    }
    let _ = queue.push();
    let mut ids = Vec::new();
    while let Some(sent) = back.take() {
        ids.extend(sent.slots.iter().map(|slot| slot.id));
    }
    wrong(&sim, &mut back, &ids);
    let _ = back.push();
    let mut tags = Vec::new();
    let error = queue
        .reap(false, |packet, _| tags.push(packet.tag))
        .unwrap_err();
    assert_eq!(error, violation);
    assert!(queue.is_broken());
    let (_, busy) = queue.submit(sim.packet(9, &[(0, 60)]), &PLAIN).unwrap_err();
    assert_eq!(busy, Busy::Closed);
    assert_eq!(queue.multicast([1; 6], true), Err(Busy::Closed));
    queue.drain(|packet| tags.push(packet.tag));
    tags.sort_unstable();
    assert_eq!(tags, [0, 1, 2]);
    assert_eq!(sim.grants(), sim.abandoned());
    assert_eq!(sim.claimed(), sim.abandoned());
    queue.drain(|_| panic!("nothing is left"));
}

#[test]
fn wrong_answers_break_the_queue() {
    breaks(|_, back, _| back.answer(6, 0), Violation::Id { id: 6 });
    breaks(|_, back, _| back.answer(256, 0), Violation::Id { id: 256 });
    breaks(
        |_, back, _| back.answer(u16::MAX, -1),
        Violation::Id { id: u16::MAX },
    );
    breaks(
        |_, back, ids| {
            back.answer(ids[1], 0);
            back.answer(ids[1], 0);
        },
        Violation::Id { id: 1 },
    );
    breaks(
        |_, back, ids| {
            back.answer(ids[0], 0);
            back.answer(ids[1], 0);
            back.answer(ids[0], 0);
        },
        Violation::Id { id: 0 },
    );
    breaks(
        |_, back, _| (0..4).for_each(|_| back.answer(0, wire::RSP_NULL)),
        Violation::Null,
    );
    breaks(
        |sim, back, ids| {
            // The first reference that the queue claimed is that of the first slot.
            assert!(sim.map(9, false).is_some());
            back.answer(ids[2], 0);
            back.answer(ids[0], 0);
        },
        Violation::Held { id: 0, gref: 9 },
    );
    breaks(
        |_, back, _| back.ring.set_rsp_prod(10),
        Violation::Ring(RingError::Producer {
            prod: 10,
            cons: 0,
            limit: 9,
        }),
    );
}

#[test]
fn what_is_still_mapped_is_left_to_the_host() {
    let (sim, mut queue, mut back) = new(ALL);
    queue
        .submit(sim.packet(1, &[(0, 60), (0, 60)]), &PLAIN)
        .unwrap();
    let _ = queue.push();
    let gref = back.take().unwrap().slots[1].gref;
    sim.map(gref, false).unwrap();
    queue.close();
    assert_eq!(
        queue
            .submit(sim.packet(2, &[(0, 60)]), &PLAIN)
            .unwrap_err()
            .1,
        Busy::Closed
    );
    let mut lost = Vec::new();
    queue.drain(|packet| lost.push(packet.tag));
    assert_eq!(lost, [1]);
    assert_eq!((sim.grants(), sim.abandoned(), sim.claimed()), (1, 1, 1));
    sim.unmap(gref);
    clean(&sim, queue);
}

#[test]
fn a_grant_that_is_used_before_it_is_told_breaks_the_queue() {
    let (sim, mut queue, _back) = new(ALL);
    sim.map_at_once();
    let (_, busy) = queue
        .submit(sim.packet(1, &[(0, 60), (0, 5000)]), &PLAIN)
        .unwrap_err();
    assert_eq!(busy, Busy::Malformed);
    assert!(queue.is_broken());
    let violation = queue.reap(false, |_, _| unreachable!()).unwrap_err();
    assert!(matches!(violation, Violation::Held { .. }), "{violation}");
    assert_eq!(
        queue.reap(false, |_, _| unreachable!()),
        Ok(Reaped::default())
    );
    assert_eq!((sim.grants(), sim.abandoned()), (1, 1));
}
