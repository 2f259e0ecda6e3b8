// SPDX-License-Identifier: MIT OR Apache-2.0

mod copy;
mod wrong;

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use crate::net::sim::{payload, tx, Sim, SimPacket, TxBack};
use crate::net::tx::MAX_SLOTS;
use crate::net::wire::{self, EXTRA_TYPE_GSO, EXTRA_TYPE_HASH};
use crate::net::{
    Busy, Checksum, Gso, GsoType, Hash, HashType, Meta, Outcome, TxFeatures, TxQueue,
};

const ALL: TxFeatures = TxFeatures {
    sg: true,
    gso_tcpv4: true,
    gso_tcpv6: true,
    hash: true,
    multicast: true,
};
const PLAIN: Meta = Meta {
    checksum: Checksum::Unknown,
    gso: None,
    hash: None,
};
const GSO: Gso = Gso {
    kind: GsoType::TcpV4,
    size: 1448,
};
const HASH: Hash = Hash {
    kind: HashType::Ipv6Tcp,
    value: 0x1234_5678,
};

fn new(features: TxFeatures) -> (Sim, TxQueue<Sim>, TxBack) {
    let sim = Sim::default();
    let (queue, back) = tx(&sim, features, 0);
    (sim, queue, back)
}

fn reap(queue: &mut TxQueue<Sim>) -> Vec<(u64, Outcome)> {
    let mut done = Vec::new();
    let reaped = queue
        .reap(false, |packet, outcome| done.push((packet.tag, outcome)))
        .unwrap();
    assert_eq!(reaped.packets as usize, done.len());
    done
}

/// Nothing is granted and every reference is back.
fn clean(sim: &Sim, queue: TxQueue<Sim>) {
    drop(queue);
    assert_eq!((sim.grants(), sim.claimed()), (0, 0));
}

#[test]
fn packets_arrive_and_come_back() {
    let (sim, mut queue, mut back) = new(ALL);
    assert_eq!((sim.claimed(), queue.room()), (256, 256));
    let one = sim.packet(1, &[(4000, 96)]);
    let many = sim.packet(2, &[(100, 200), (0, 4096), (1, 1)]);
    let meta = Meta {
        checksum: Checksum::Validated,
        ..PLAIN
    };
    queue.submit(one, &meta).unwrap();
    let meta = Meta {
        checksum: Checksum::Blank,
        ..PLAIN
    };
    queue.submit(many, &meta).unwrap();
    assert_eq!(sim.grants(), 4);
    assert!(back.take().is_none(), "nothing is there before the push");
    assert!(queue.has_unpushed() && queue.push() && !queue.push());
    let first = back.take().unwrap();
    assert_eq!(first.bytes, payload(1, 96));
    assert_eq!(first.slots[0].flags, wire::NETTXF_DATA_VALIDATED);
    let second = back.take().unwrap();
    assert_eq!(second.bytes, payload(2, 4297));
    let flags: Vec<_> = second.slots.iter().map(|slot| slot.flags).collect();
    assert_eq!(
        flags,
        [
            wire::NETTXF_CSUM_BLANK | wire::NETTXF_DATA_VALIDATED | wire::NETTXF_MORE_DATA,
            wire::NETTXF_MORE_DATA,
            0
        ]
    );
    // Not in order, and the packet of three slots is not complete before its last.
    back.answer(second.slots[0].id, wire::RSP_OKAY);
    back.answer(second.slots[2].id, wire::RSP_OKAY);
    assert!(back.push());
    assert_eq!(reap(&mut queue), []);
    assert_eq!(sim.grants(), 2);
    back.answer(first.slots[0].id, wire::RSP_OKAY);
    back.answer(second.slots[1].id, wire::RSP_OKAY);
    assert!(back.push());
    assert_eq!(reap(&mut queue), [(1, Outcome::Sent), (2, Outcome::Sent)]);
    let stats = queue.stats();
    assert_eq!((stats.packets, stats.slots, stats.failed), (2, 4, 0));
    assert_eq!((stats.notifications, stats.notifications_saved), (1, 3));
    assert_eq!((sim.grants(), queue.room()), (0, 256));
    clean(&sim, queue);
}

#[test]
fn extra_information_follows_the_first_slot() {
    let (sim, mut queue, mut back) = new(ALL);
    for (gso, hash) in [(true, true), (true, false), (false, true)] {
        let meta = Meta {
            checksum: Checksum::Blank,
            gso: gso.then_some(GSO),
            hash: hash.then_some(HASH),
        };
        let packet = sim.packet(3, &[(0, 4096), (0, 4096)]);
        queue.submit(packet, &meta).unwrap();
        let _ = queue.push();
        let sent = back.take().unwrap();
        assert_eq!(sent.bytes, payload(3, 8192));
        assert_eq!(sent.extras.len(), usize::from(gso) + usize::from(hash));
        assert_ne!(sent.slots[0].flags & wire::NETTXF_EXTRA_INFO, 0);
        let found = sent.extra(EXTRA_TYPE_GSO).map(|extra| extra.gso());
        assert_eq!(found, gso.then_some(GSO.to_wire()));
        let found = sent.extra(EXTRA_TYPE_HASH).map(|extra| extra.hash());
        assert_eq!(found, hash.then_some(HASH.to_wire()));
        back.answer_all(&sent, wire::RSP_OKAY);
        let _ = back.push();
        assert_eq!(reap(&mut queue), [(3, Outcome::Sent)]);
        assert_eq!(queue.room(), 256);
    }
    assert_eq!((queue.stats().gso, queue.stats().slots), (2, 10));
    clean(&sim, queue);
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let (sim, mut queue, mut back) = new(ALL);
    let refused = |queue: &mut TxQueue<Sim>, packet: SimPacket, meta: &Meta| {
        let (returned, busy) = queue.submit(packet.clone(), meta).unwrap_err();
        assert_eq!(returned, packet);
        assert_eq!((sim.grants(), queue.room()), (0, 256));
        assert!(!queue.push());
        busy
    };
    let gso = Meta {
        gso: Some(GSO),
        hash: Some(HASH),
        ..PLAIN
    };
    for pieces in [
        &[][..],
        &[(0, 13)],
        &[(0, 13), (0, 4096)],
        &[(0, 14), (0, 0)],
        &[(4090, 14)],
        &[(0, 4096), (0, 4096), (1, 4096)],
        &[(u32::MAX, 14)],
        &[(0, u32::MAX)],
    ] {
        // The frames' bytes do not matter, and some of these have none.
        let mut packet = sim.packet(1, &vec![(0, 14); pieces.len()]);
        for (piece, &(offset, len)) in packet.pieces.iter_mut().zip(pieces) {
            (piece.offset, piece.len) = (offset, len);
        }
        packet.len = pieces
            .iter()
            .fold(0, |sum, piece| piece.1.wrapping_add(sum));
        assert_eq!(
            refused(&mut queue, packet, &gso),
            Busy::Malformed,
            "{pieces:?}"
        );
    }
    for len in [13, 99, 101, 0x1_0000, u32::MAX] {
        let mut packet = sim.packet(1, &[(0, 50), (0, 50)]);
        packet.len = len;
        assert_eq!(refused(&mut queue, packet, &gso), Busy::Malformed, "{len}");
    }
    let no_size = Meta {
        gso: Some(Gso { size: 0, ..GSO }),
        ..PLAIN
    };
    let packet = sim.packet(1, &[(0, 100)]);
    assert_eq!(refused(&mut queue, packet, &no_size), Busy::Malformed);
    let long = sim.packet(1, &[(0, 100); 19]);
    assert_eq!(refused(&mut queue, long, &gso), Busy::TooLong);
    let longest = sim.packet(9, &[(0, 100); 18]);
    queue.submit(longest, &gso).unwrap();
    let _ = queue.push();
    assert_eq!(back.take().unwrap().responses(), 20);
    queue.drain(drop);
    clean(&sim, queue);
}

#[test]
fn what_is_not_offered_is_not_sent() {
    let sim = Sim::default();
    let (mut queue, _) = tx(&sim, TxFeatures::default(), 0);
    let two = sim.packet(1, &[(0, 100), (0, 100)]);
    assert_eq!(queue.submit(two, &PLAIN).unwrap_err().1, Busy::Unsupported);
    for kind in [GsoType::TcpV4, GsoType::TcpV6] {
        let meta = Meta {
            gso: Some(Gso { kind, ..GSO }),
            ..PLAIN
        };
        let one = sim.packet(1, &[(0, 100)]);
        assert_eq!(queue.submit(one, &meta).unwrap_err().1, Busy::Unsupported);
    }
    assert_eq!(queue.multicast([1; 6], true), Err(Busy::Unsupported));
    // A hash is no more than a hint.
    let meta = Meta {
        hash: Some(HASH),
        ..PLAIN
    };
    queue.submit(sim.packet(1, &[(0, 100)]), &meta).unwrap();
    assert_eq!(queue.room(), 255);
    clean(&sim, queue);
}

#[test]
fn a_full_ring_takes_nothing_by_halves() {
    let (sim, mut queue, mut back) = new(ALL);
    let mut packets = 0;
    while queue.has_room() {
        queue
            .submit(sim.packet(packets, &[(0, 100); 3]), &PLAIN)
            .unwrap();
        packets += 1;
    }
    queue
        .submit(sim.packet(packets, &[(0, 100)]), &PLAIN)
        .unwrap();
    packets += 1;
    let room = queue.room();
    assert_eq!(room, 18);
    let gso = Meta {
        gso: Some(GSO),
        ..PLAIN
    };
    let packet = sim.packet(99, &vec![(0, 100); room as usize]);
    let grants = sim.grants();
    let (_, busy) = queue.submit(packet, &gso).unwrap_err();
    assert_eq!(
        (busy, queue.room(), sim.grants()),
        (Busy::Ring, room, grants)
    );
    assert_eq!(queue.stats().ring_full, 1);
    let packet = sim.packet(99, &vec![(0, 100); room as usize - 1]);
    queue.submit(packet, &gso).unwrap();
    assert_eq!(queue.room(), 0);
    let (_, busy) = queue
        .submit(sim.packet(100, &[(0, 100)]), &PLAIN)
        .unwrap_err();
    assert_eq!(busy, Busy::Ring);
    assert_eq!(queue.multicast([1; 6], true), Err(Busy::Ring));
    let _ = queue.push();
    assert_eq!(back.serve() as u64, packets + 1);
    let _ = back.push();
    assert_eq!(reap(&mut queue).len() as u64, packets + 1);
    clean(&sim, queue);
}

#[test]
fn packets_of_which_only_the_beginning_is_answered_need_their_ids() {
    let (sim, mut queue, mut back) = new(ALL);
    let mut packets = 0;
    while queue.has_room() {
        let packet = sim.packet(packets, &[(0, 100); 2]);
        queue.submit(packet, &PLAIN).unwrap();
        let _ = queue.push();
        let sent = back.take().unwrap();
        back.answer(sent.slots[0].id, wire::RSP_OKAY);
        let _ = back.push();
        assert!(reap(&mut queue).is_empty());
        packets += 1;
    }
    // Each has one entry of the ring and two ids.
    assert_eq!(packets, 256 / 2 - u64::from(MAX_SLOTS) / 2 + 1);
    let longest = sim.packet(packets, &[(0, 100); 18]);
    queue.submit(longest, &PLAIN).unwrap();
    assert_eq!(queue.room(), 0);
    let (_, busy) = queue
        .submit(sim.packet(100, &[(0, 100)]), &PLAIN)
        .unwrap_err();
    assert_eq!(busy, Busy::Ring);
    clean(&sim, queue);
}

#[test]
fn the_worst_status_of_a_packet_counts() {
    let (sim, mut queue, mut back) = new(ALL);
    for (statuses, outcome) in [
        ([0, 0, 0], Outcome::Sent),
        ([0, wire::RSP_DROPPED, 0], Outcome::Dropped),
        ([wire::RSP_ERROR, 0, wire::RSP_DROPPED], Outcome::Failed),
        ([wire::RSP_DROPPED, wire::RSP_DROPPED, 0], Outcome::Dropped),
        ([0, wire::RSP_DROPPED, wire::RSP_ERROR], Outcome::Failed),
        ([0, 7, 0], Outcome::Failed),
    ] {
        queue.submit(sim.packet(5, &[(0, 100); 3]), &PLAIN).unwrap();
        let _ = queue.push();
        let sent = back.take().unwrap();
        for (slot, status) in sent.slots.iter().zip(statuses) {
            back.answer(slot.id, status);
        }
        let _ = back.push();
        assert_eq!(reap(&mut queue), [(5, outcome)]);
    }
    assert_eq!(queue.stats().failed, 5);
    clean(&sim, queue);
}

#[test]
fn multicast_addresses_are_told() {
    let (sim, mut queue, mut back) = new(ALL);
    let addr = [1, 0, 0x5e, 1, 2, 3];
    queue.multicast(addr, true).unwrap();
    queue.multicast(addr, false).unwrap();
    assert!(queue.push() && queue.multicast_waits());
    let added = back.take().unwrap();
    assert_eq!(added.extras[0].kind, wire::EXTRA_TYPE_MCAST_ADD);
    assert_eq!(added.extras[0].mcast(), addr);
    let removed = back.take().unwrap();
    assert_eq!(removed.extras[0].kind, wire::EXTRA_TYPE_MCAST_DEL);
    back.answer_all(&added, wire::RSP_ERROR);
    let _ = back.push();
    assert_eq!(reap(&mut queue), []);
    assert!(queue.multicast_waits());
    back.answer_all(&removed, wire::RSP_OKAY);
    let _ = back.push();
    assert_eq!(reap(&mut queue), []);
    assert!(!queue.multicast_waits());
    assert_eq!((queue.stats().multicast_failed, queue.room()), (1, 256));
    queue.multicast(addr, true).unwrap();
    clean(&sim, queue);
}

#[test]
fn notifications_can_wait_for_a_batch() {
    let (sim, mut queue, mut back) = new(ALL);
    queue.set_coalesce(3);
    let send = |queue: &mut TxQueue<Sim>, count| {
        for tag in 0..count {
            queue.submit(sim.packet(tag, &[(0, 60)]), &PLAIN).unwrap();
        }
        let _ = queue.push();
    };
    send(&mut queue, 4);
    assert_eq!(reap(&mut queue), []);
    let mut told = Vec::new();
    for _ in 0..4 {
        let sent = back.take().unwrap();
        back.answer_all(&sent, wire::RSP_OKAY);
        told.push(back.push());
    }
    assert_eq!(told, [false, false, true, false]);
    assert_eq!(reap(&mut queue).len(), 4);
    // What is due is less than a batch: the last of it notifies.
    send(&mut queue, 2);
    assert_eq!(reap(&mut queue), []);
    let sent = back.take().unwrap();
    back.answer_all(&sent, wire::RSP_OKAY);
    assert!(!back.push());
    let sent = back.take().unwrap();
    back.answer_all(&sent, wire::RSP_OKAY);
    assert!(back.push());
    assert_eq!(reap(&mut queue).len(), 2);
    clean(&sim, queue);
}

#[test]
fn who_waits_for_several_answers_is_known() {
    let (sim, mut queue, mut back) = new(ALL);
    queue.set_coalesce(3);
    assert!(!queue.is_coalescing());
    for tag in 0..2 {
        queue.submit(sim.packet(tag, &[(0, 100)]), &PLAIN).unwrap();
    }
    let _ = queue.push();
    assert!(reap(&mut queue).is_empty());
    // Both answers are due before it is told of the first.
    assert!(queue.is_coalescing());
    let first = back.take().unwrap().slots[0].id;
    back.answer(first, wire::RSP_OKAY);
    assert!(!back.push());
    assert_eq!(reap(&mut queue).len(), 1);
    // Of the last one it is told at once.
    assert!(!queue.is_coalescing());
    clean(&sim, queue);
}

#[test]
fn too_few_references_are_found_at_set_up() {
    let sim = Sim::with_refs(100);
    let memory = crate::sim::SimRing::new(1);
    let ring = crate::net::TxRing::new(memory).unwrap();
    assert!(TxQueue::new(sim.clone(), ring, ALL).is_err());
    assert_eq!(sim.claimed(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever packets go in, in whatever order they are answered, across the wrap of the indexes: all
    /// arrive, and all come back once.
    #[test]
    fn every_packet_arrives_and_comes_back_once(
        start in prop_oneof![Just(0u32), Just(u32::MAX - 300), any::<u32>()],
        rounds in prop::collection::vec(
            (
                prop::collection::vec(
                    (prop::collection::vec((0u32..2000, 14u32..2000), 1..19), any::<[bool; 3]>()),
                    0..14,
                ),
                any::<u64>(),
            ),
            1..12,
        ),
    ) {
        let sim = Sim::default();
        let (mut queue, mut back) = tx(&sim, ALL, start);
        let mut waiting = Vec::new();
        let mut answers: Vec<(u16, i16)> = Vec::new();
        let (mut tag, mut returned) = (0, Vec::new());
        for (packets, mut order) in rounds {
            for (pieces, [gso, hash, push]) in packets {
                let meta = Meta {
                    checksum: Checksum::Unknown,
                    gso: gso.then_some(GSO),
                    hash: hash.then_some(HASH),
                };
                let room = queue.room() as usize;
                let needed = pieces.len() + usize::from(gso) + usize::from(hash);
                let packet = sim.packet(tag, &pieces);
                let len = packet.len;
                match queue.submit(packet, &meta) {
                    Ok(()) => {
                        prop_assert!(needed <= room);
                        waiting.push((tag, len));
                        tag += 1;
                    }
                    Err((_, busy)) => {
                        prop_assert_eq!(busy, Busy::Ring);
                        prop_assert!(needed > room);
                    }
                }
                if push {
                    let _ = queue.push();
                }
            }
            let _ = queue.push();
            while let Some(sent) = back.take() {
                let (tag, len) = waiting.remove(0);
                prop_assert_eq!(&sent.bytes, &payload(tag, len));
                answers.extend(sent.slots.iter().map(|slot| (slot.id, wire::RSP_OKAY)));
                answers.extend(sent.extras.iter().map(|_| (0, wire::RSP_NULL)));
            }
            // Some of the answers, from anywhere.
            for _ in 0..answers.len() * 3 / 4 {
                order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (id, status) = answers.swap_remove((order >> 33) as usize % answers.len());
                back.answer(id, status);
            }
            let _ = back.push();
            queue.reap(false, |packet, _| returned.push(packet.tag)).unwrap();
        }
        for (id, status) in answers {
            back.answer(id, status);
        }
        let _ = back.push();
        queue.reap(false, |packet, _| returned.push(packet.tag)).unwrap();
        returned.sort_unstable();
        prop_assert_eq!(returned, (0..tag).collect::<Vec<_>>());
        prop_assert_eq!((sim.grants(), queue.room()), (0, 256));
    }
}
