// SPDX-License-Identifier: MIT OR Apache-2.0

mod wrong;

use std::vec::Vec;

use proptest::prelude::*;

use crate::net::sim::{payload, rx, RxBack, Sim};
use crate::net::wire::{self, ExtraInfo, RxResponse};
use crate::net::{Checksum, Gso, GsoType, Hash, HashType, Meta, Received, RxQueue, Violation};

const PLAIN: Meta = Meta {
    checksum: Checksum::Unknown,
    gso: None,
    hash: None,
};
const FULL: Meta = Meta {
    checksum: Checksum::Blank,
    gso: Some(Gso {
        kind: GsoType::TcpV6,
        size: 1440,
    }),
    hash: Some(Hash {
        kind: HashType::Ipv4Tcp,
        value: 0xdead_beef,
    }),
};
const MORE: u16 = wire::NETRXF_MORE_DATA;
const EXTRA: u16 = wire::NETRXF_EXTRA_INFO;

/// A queue over the machine, and what came out of it.
struct Front {
    sim: Sim,
    queue: RxQueue<Sim>,
    next: u64,
    frames: Vec<(Vec<u8>, Meta)>,
    /// Buffers that came out, by tag.
    out: Vec<u64>,
}

impl Front {
    fn new(index: u32) -> (Self, RxBack) {
        let sim = Sim::default();
        let (queue, back) = rx(&sim, index);
        let front = Self {
            sim,
            queue,
            next: 0,
            frames: Vec::new(),
            out: Vec::new(),
        };
        (front, back)
    }

    /// A full ring.
    fn full(index: u32) -> (Self, RxBack) {
        let (mut front, back) = Self::new(index);
        assert_eq!(front.refill(256), 0);
        (front, back)
    }

    /// Posts up to `count` buffers.
    fn refill(&mut self, mut count: u32) -> u32 {
        let Self {
            sim, queue, next, ..
        } = self;
        let missing = queue.refill(|| {
            count = count.checked_sub(1)?;
            *next += 1;
            Some(sim.buffer(*next))
        });
        let _ = queue.push();
        missing
    }

    fn receive(&mut self, budget: u32) -> Result<Received, Violation> {
        let Self {
            sim,
            queue,
            frames,
            out,
            ..
        } = self;
        queue.receive(budget, |frame| {
            let (meta, len) = (*frame.meta(), frame.bytes());
            let mut bytes = Vec::new();
            let count = frame.len();
            for (nth, piece) in frame.enumerate() {
                assert!(nth < count);
                bytes.extend(sim.bytes(piece.buffer.gfn, piece.offset, piece.len));
                out.push(piece.buffer.tag);
            }
            assert_eq!(bytes.len(), len as usize);
            frames.push((bytes, meta));
        })
    }

    /// Every buffer came out once, or comes now, and no grant stays.
    fn clean(mut self) {
        let out = &mut self.out;
        self.queue.drain(|buffer| out.push(buffer.tag));
        self.queue.drain(|_| panic!("nothing is left"));
        out.sort_unstable();
        assert_eq!(*out, (1..=self.next).collect::<Vec<_>>());
        assert_eq!(self.sim.grants(), self.sim.abandoned());
        assert_eq!(self.sim.claimed(), self.sim.abandoned());
    }
}

fn response(id: u16, flags: u16, offset: u16, status: i16) -> RxResponse {
    RxResponse {
        id,
        offset,
        flags,
        status,
    }
}

#[test]
fn frames_arrive() {
    let (mut front, mut back) = Front::full(0);
    assert_eq!((front.queue.room(), front.queue.posted()), (0, 256));
    let validated = Meta {
        checksum: Checksum::Validated,
        ..PLAIN
    };
    assert_eq!(back.give(&payload(1, 60), &PLAIN), 1);
    assert_eq!(back.give(&payload(2, 4096), &validated), 1);
    assert_eq!(back.give(&payload(3, 65549), &FULL), 19);
    assert!(back.push());
    let received = front.receive(64).unwrap();
    assert_eq!((received.frames, received.responses), (3, 21));
    assert_eq!(front.frames[0], (payload(1, 60), PLAIN));
    assert_eq!(front.frames[1], (payload(2, 4096), validated));
    assert_eq!(front.frames[2], (payload(3, 65549), FULL));
    assert!(!front.queue.arm().unwrap());
    // The two slots of extra information went back in.
    assert_eq!((front.queue.room(), front.queue.stats().reposted), (19, 2));
    assert_eq!(front.sim.grants(), 237);
    assert_eq!(front.refill(10), 9);
    let stats = front.queue.stats();
    assert_eq!((stats.frames, stats.fragments, stats.gso), (3, 19, 1));
    assert_eq!(stats.bytes, 60 + 4096 + 65549);
    front.clean();
}

#[test]
fn a_budget_is_kept() {
    let (mut front, mut back) = Front::full(0);
    for tag in 0..10 {
        back.give(&payload(tag, 100), &PLAIN);
    }
    let _ = back.push();
    assert_eq!(front.receive(0).unwrap().frames, 0);
    assert_eq!(front.receive(4).unwrap().frames, 4);
    assert!(front.queue.arm().unwrap(), "there is more");
    assert_eq!(front.receive(64).unwrap().frames, 6);
    assert!(!front.queue.arm().unwrap());
    front.clean();
}

#[test]
fn what_the_sink_leaves_is_dropped() {
    let (mut front, mut back) = Front::full(0);
    back.give(&payload(1, 9000), &PLAIN);
    back.give(&payload(2, 100), &PLAIN);
    let _ = back.push();
    let mut left = 2;
    let received = front.queue.receive(64, |frame| {
        left -= 1;
        let _ = frame.next().map(|piece| front.out.push(piece.buffer.tag));
    });
    assert_eq!(received.unwrap().frames, 2);
    assert_eq!((front.queue.room(), front.sim.grants()), (4, 252));
    front.out.extend([2, 3]);
    front.clean();
}

#[test]
fn extra_slots_find_room_in_a_full_ring() {
    for start in [0, 255, u32::MAX] {
        let (mut front, mut back) = Front::full(start);
        for round in 0..600 {
            back.give(&payload(round, 100 + round as u32 * 20), &FULL);
            let _ = back.push();
            assert_eq!(front.receive(64).unwrap().frames, 1);
            front.refill(256);
        }
        for (round, (bytes, meta)) in front.frames.iter().enumerate() {
            assert_eq!(*bytes, payload(round as u64, 100 + round as u32 * 20));
            assert_eq!(*meta, FULL);
        }
        front.clean();
    }
}

#[test]
fn a_frame_that_is_not_all_there_waits() {
    let (mut front, mut back) = Front::new(0);
    front.refill(3);
    let bytes = payload(7, 2 * 4096 + 500);
    let one = back.request().unwrap();
    back.copy(&one, 0, &bytes[..4096]);
    back.put(response(one.id, MORE | EXTRA, 0, 4096));
    assert!(back.push());
    assert_eq!(front.receive(64).unwrap(), Received::default());
    assert!(!front.queue.arm().unwrap());
    back.request().unwrap();
    back.put_extra(ExtraInfo::of_gso(FULL.gso.unwrap().to_wire()));
    assert!(back.push(), "the front end waits beyond what it has seen");
    assert_eq!(front.receive(64).unwrap(), Received::default());
    // It comes between the look and the wait.
    let two = back.request().unwrap();
    back.copy(&two, 0, &bytes[4096..8192]);
    back.put(response(two.id, MORE, 0, 4096));
    assert!(!back.push());
    assert!(front.queue.arm().unwrap());
    assert_eq!(front.receive(64).unwrap(), Received::default());
    assert!(!front.queue.arm().unwrap());
    // The ring must be filled up meanwhile: the frame needs more than was posted.
    assert!(back.request().is_none());
    front.refill(1);
    let three = back.request().unwrap();
    back.copy(&three, 0, &bytes[8192..]);
    back.put(response(three.id, 0, 0, 500));
    assert!(back.push());
    assert_eq!(front.receive(64).unwrap().frames, 1);
    assert_eq!(front.frames[0].0, bytes);
    assert_eq!(front.frames[0].1.gso, FULL.gso);
    front.clean();
}

#[test]
fn data_begins_behind_the_headroom() {
    let (mut front, mut back) = Front::full(0);
    back.headroom = 256;
    for (tag, len) in [(1, 60), (2, 3840), (3, 3841), (4, 65549)] {
        back.give(&payload(tag, len), &FULL);
        let _ = back.push();
        assert_eq!(front.receive(64).unwrap().frames, 1);
        assert_eq!(front.frames.pop(), Some((payload(tag, len), FULL)));
        front.refill(256);
    }
    // A back end that says the offset itself: then `status` is the length.
    let request = back.request().unwrap();
    back.copy(&request, 300, &payload(5, 100));
    back.put(response(request.id, EXTRA, 300, 100));
    back.request().unwrap();
    back.put_extra(ExtraInfo::of_xdp(300));
    let _ = back.push();
    assert_eq!(front.receive(64).unwrap().frames, 1);
    assert_eq!(front.frames.pop(), Some((payload(5, 100), PLAIN)));
    // Nothing behind the headroom, and a headroom beyond the page.
    for headroom in [100, 101, 4097, u16::MAX] {
        let request = back.request().unwrap();
        back.put(response(request.id, EXTRA, 0, 100));
        back.request().unwrap();
        back.put_extra(ExtraInfo::of_xdp(headroom));
        let _ = back.push();
        assert_eq!(front.receive(64).unwrap().frames, 0);
    }
    assert_eq!(front.queue.stats().malformed, 4);
    front.clean();
}

#[test]
fn the_longest_frame_has_eighteen_data_slots() {
    let (mut front, mut back) = Front::full(0);
    for nth in 0..18 {
        let request = back.request().unwrap();
        back.copy(&request, 0, &payload(nth, 4096));
        back.put(response(
            request.id,
            if nth < 17 { MORE } else { 0 },
            0,
            4096,
        ));
    }
    let _ = back.push();
    assert_eq!(front.receive(1).unwrap().responses, 18);
    assert_eq!(front.frames[0].0.len(), 18 * 4096);
    front.clean();
}

#[test]
fn a_drained_queue_is_closed() {
    let (mut front, _back) = Front::full(0);
    front.queue.close();
    front.queue.drain(|buffer| front.out.push(buffer.tag));
    assert_eq!((front.sim.grants(), front.sim.claimed()), (0, 0));
    front.refill(1);
    assert!(!front.queue.push());
    front.clean();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever frames come, whenever buffers are there, across the wrap of the indexes: all arrive
    /// whole and in order, and every buffer comes out once.
    #[test]
    fn every_frame_arrives_whole_and_in_order(
        start in prop_oneof![Just(0u32), Just(u32::MAX - 300), any::<u32>()],
        headroom in prop_oneof![Just(0u16), Just(256)],
        rounds in prop::collection::vec(
            (prop::collection::vec((14u32..66_000, any::<bool>()), 0..6), 0u32..257, 1u32..80),
            1..20,
        ),
    ) {
        let (mut front, mut back) = Front::new(start);
        back.headroom = headroom;
        let mut given = Vec::new();
        for (frames, buffers, budget) in rounds {
            front.refill(buffers);
            for (len, full) in frames {
                let needed = len.div_ceil(4096 - u32::from(headroom)) + 3;
                if back.ring.unconsumed().unwrap() < needed {
                    break;
                }
                let meta = if full { FULL } else { PLAIN };
                back.give(&payload(given.len() as u64, len), &meta);
                given.push((len, meta));
                let _ = back.push();
            }
            let budget_left = front.receive(budget).unwrap().frames < budget;
            if budget_left {
                prop_assert!(!front.queue.arm().unwrap());
            }
            let _ = front.queue.push();
        }
        front.receive(u32::MAX).unwrap();
        prop_assert_eq!(front.frames.len(), given.len());
        for (tag, ((bytes, meta), (len, sent))) in front.frames.iter().zip(given).enumerate() {
            prop_assert_eq!(bytes, &payload(tag as u64, len));
            prop_assert_eq!(*meta, sent);
        }
        front.clean();
    }
}
