// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::host::SharedPage;
use crate::net::tx::COPY_MAX;
use crate::net::Violation;

fn new(features: TxFeatures) -> (Sim, TxQueue<Sim>, TxBack) {
    let (sim, mut queue, back) = super::new(features);
    queue.allow_copies().unwrap();
    queue.allow_copies().unwrap();
    assert_eq!((sim.claimed(), sim.grants()), (256 + 16, 16));
    (sim, queue, back)
}

fn copy(queue: &mut TxQueue<Sim>, tag: u64, len: u32, meta: &Meta) -> Result<(), Busy> {
    queue.submit_copy(len, meta, |page, at| {
        page.write(at, &payload(tag, len));
        true
    })
}

/// Takes one packet and answers it; whether the front end is to be notified.
fn serve_one(back: &mut TxBack) -> bool {
    let sent = back.take().unwrap();
    back.answer_all(&sent, wire::RSP_OKAY);
    back.push()
}

#[test]
fn copies_arrive_and_nobody_is_told_of_their_end() {
    let (sim, mut queue, mut back) = new(ALL);
    // More than there are slots, so each place is used again.
    for tag in 0..600 {
        let len = 14 + tag as u32 % (COPY_MAX - 13);
        copy(&mut queue, tag, len, &PLAIN).unwrap();
        let _ = queue.push();
        let sent = back.take().unwrap();
        assert_eq!(sent.bytes, payload(tag, len));
        back.answer_all(&sent, wire::RSP_OKAY);
        // A new ring asks for the first response.
        assert_eq!(back.push(), tag == 0);
        assert_eq!(reap(&mut queue), []);
    }
    let stats = queue.stats();
    assert_eq!((stats.packets, stats.copied, stats.failed), (600, 600, 0));
    assert_eq!((queue.room(), sim.grants()), (256, 16));
    clean(&sim, queue);
}

#[test]
fn several_copies_do_not_share_a_place() {
    let (sim, mut queue, mut back) = new(ALL);
    for tag in 0..256 {
        copy(&mut queue, tag, COPY_MAX, &PLAIN).unwrap();
    }
    assert_eq!(copy(&mut queue, 0, COPY_MAX, &PLAIN), Err(Busy::Ring));
    assert_eq!(queue.stats().ring_full, 1);
    let _ = queue.push();
    for tag in 0..256 {
        assert_eq!(back.take().unwrap().bytes, payload(tag, COPY_MAX));
    }
    clean(&sim, queue);
}

#[test]
fn a_packet_that_is_waited_for_asks_for_its_answer() {
    for coalesce in [1, 32] {
        let (sim, mut queue, mut back) = new(ALL);
        queue.set_coalesce(coalesce);
        copy(&mut queue, 0, 60, &PLAIN).unwrap();
        let _ = queue.push();
        serve_one(&mut back);
        assert_eq!(reap(&mut queue), []);
        // These are answered, and nobody has looked.
        for tag in 1..20 {
            copy(&mut queue, tag, 60, &PLAIN).unwrap();
            let _ = queue.push();
            assert!(!serve_one(&mut back));
        }
        let meta = Meta {
            gso: Some(GSO),
            ..PLAIN
        };
        queue
            .submit(sim.packet(20, &[(0, 4096), (0, 500)]), &meta)
            .unwrap();
        assert!(queue.must_reap());
        let _ = queue.push();
        assert_eq!(reap(&mut queue), []);
        assert!(!queue.must_reap() && serve_one(&mut back));
        assert_eq!(reap(&mut queue), [(20, Outcome::Sent)]);
        copy(&mut queue, 21, 60, &PLAIN).unwrap();
        let _ = queue.push();
        assert!(!serve_one(&mut back));
        assert_eq!(queue.poll(|_, _| ()).unwrap().responses, 1);
        clean(&sim, queue);
    }
}

#[test]
fn copies_that_stay_unanswered_do_not_delay_the_news() {
    for unanswered in [0, 1, 100] {
        let (sim, mut queue, mut back) = new(ALL);
        copy(&mut queue, 0, 60, &PLAIN).unwrap();
        let _ = queue.push();
        serve_one(&mut back);
        assert_eq!(reap(&mut queue), []);
        for tag in 0..unanswered {
            copy(&mut queue, tag, 200, &PLAIN).unwrap();
            let _ = queue.push();
            assert!(back.take().is_some());
        }
        queue.submit(sim.packet(7, &[(0, 1500)]), &PLAIN).unwrap();
        let _ = queue.push();
        assert!(queue.must_reap());
        assert_eq!(reap(&mut queue), []);
        assert!(serve_one(&mut back));
        assert_eq!(reap(&mut queue), [(7, Outcome::Sent)]);
        clean(&sim, queue);
    }
}

#[test]
fn copies_are_waited_for_where_the_ring_is_full() {
    let (sim, mut queue, mut back) = new(ALL);
    queue.set_coalesce(3);
    for tag in 0..256 {
        copy(&mut queue, tag, 60, &PLAIN).unwrap();
    }
    let _ = queue.push();
    queue.reap(true, |_, _| ()).unwrap();
    let told: Vec<bool> = (0..4).map(|_| serve_one(&mut back)).collect();
    assert_eq!(told, [false, false, true, false]);
    clean(&sim, queue);
}

#[test]
fn extra_information_follows_a_copy() {
    let (sim, mut queue, mut back) = new(ALL);
    let meta = Meta {
        checksum: Checksum::Blank,
        gso: Some(GSO),
        hash: Some(HASH),
    };
    copy(&mut queue, 7, 200, &meta).unwrap();
    let _ = queue.push();
    let sent = back.take().unwrap();
    assert_eq!(sent.bytes, payload(7, 200));
    assert_eq!(
        sent.extra(EXTRA_TYPE_GSO).map(|extra| extra.gso()),
        Some(GSO.to_wire())
    );
    assert_eq!(
        sent.extra(EXTRA_TYPE_HASH).map(|extra| extra.hash()),
        Some(HASH.to_wire())
    );
    back.answer_all(&sent, wire::RSP_OKAY);
    let _ = back.push();
    assert_eq!(reap(&mut queue), []);
    assert_eq!((queue.room(), queue.stats().gso), (256, 1));
    clean(&sim, queue);
}

#[test]
fn a_copy_that_is_refused_leaves_nothing_behind() {
    let (sim, mut queue, _) = super::new(TxFeatures::default());
    assert_eq!(copy(&mut queue, 0, 60, &PLAIN), Err(Busy::Unsupported));
    queue.allow_copies().unwrap();
    let gso = Meta {
        gso: Some(GSO),
        ..PLAIN
    };
    assert_eq!(copy(&mut queue, 0, 13, &PLAIN), Err(Busy::Malformed));
    let long = COPY_MAX + 1;
    assert_eq!(copy(&mut queue, 0, long, &PLAIN), Err(Busy::TooLong));
    assert_eq!(copy(&mut queue, 0, 60, &gso), Err(Busy::Unsupported));
    let failed = queue.submit_copy(60, &PLAIN, |_, _| false);
    assert_eq!(failed, Err(Busy::Malformed));
    assert_eq!((queue.room(), queue.has_unpushed()), (256, false));
    queue.close();
    assert_eq!(copy(&mut queue, 0, 60, &PLAIN), Err(Busy::Closed));
    clean(&sim, queue);
}

#[test]
fn errors_of_copies_are_counted() {
    let (sim, mut queue, mut back) = new(ALL);
    let statuses = [wire::RSP_OKAY, wire::RSP_ERROR, wire::RSP_DROPPED, 77];
    for (tag, status) in (0..).zip(statuses) {
        copy(&mut queue, tag, 60, &PLAIN).unwrap();
        let _ = queue.push();
        let sent = back.take().unwrap();
        back.answer_all(&sent, status);
    }
    let _ = back.push();
    let reaped = queue.reap(false, |_, _| ()).unwrap();
    assert_eq!((reaped.responses, reaped.copies_failed), (4, 2));
    assert_eq!(queue.stats().failed, 3);
    clean(&sim, queue);
}

#[test]
fn a_copy_is_answered_once() {
    let (sim, mut queue, mut back) = new(ALL);
    copy(&mut queue, 0, 60, &PLAIN).unwrap();
    copy(&mut queue, 1, 60, &PLAIN).unwrap();
    let _ = queue.push();
    let id = back.take().unwrap().slots[0].id;
    let _ = back.take();
    back.answer(id, wire::RSP_OKAY);
    back.answer(id, wire::RSP_OKAY);
    let _ = back.push();
    let violation = queue.reap(false, |_, _| ()).unwrap_err();
    assert_eq!(violation, Violation::Id { id });
    clean(&sim, queue);
}

#[test]
fn pages_that_stay_mapped_are_left_to_the_host() {
    let (sim, mut queue, mut back) = new(ALL);
    copy(&mut queue, 0, 60, &PLAIN).unwrap();
    let _ = queue.push();
    let gref = back.take().unwrap().slots[0].gref;
    assert!(sim.map(gref, false).is_some());
    drop(queue);
    assert_eq!((sim.grants(), sim.abandoned()), (1, 1));
    sim.unmap(gref);
    assert_eq!((sim.grants(), sim.claimed()), (0, 0));
}

#[test]
fn too_few_references_for_copies_are_found_at_set_up() {
    let sim = Sim::with_refs(260);
    let (mut queue, _) = tx(&sim, ALL, 0);
    assert!(queue.allow_copies().is_err());
    clean(&sim, queue);
}
