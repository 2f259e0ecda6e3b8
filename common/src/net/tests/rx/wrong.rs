// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames that make no sense, and back ends that break the protocol.

use super::{response, Front, EXTRA, MORE, PLAIN};
use crate::net::sim::{payload, RxBack, Sim};
use crate::net::wire::{self, ExtraGso, ExtraHash, ExtraInfo};
use crate::net::{Received, Violation};
use crate::ring::RingError;

/// A frame of these slots is dropped, and the next one arrives.
fn dropped(slots: &[Slot], failed: bool) {
    for posted in [256, slots.len() as u32 + 1] {
        let (mut front, mut back) = Front::new(u32::MAX - 2);
        front.refill(posted);
        for slot in slots {
            let request = back.request().unwrap();
            match *slot {
                Slot::Data(flags, offset, status) => {
                    back.put(response(request.id, flags, offset, status));
                }
                Slot::Extra(extra, more) => back.put_extra(ExtraInfo {
                    flags: u8::from(more),
                    ..extra
                }),
            }
        }
        back.give(&payload(1, 100), &PLAIN);
        let _ = back.push();
        let received = front.receive(64).unwrap();
        assert_eq!(received.responses as usize, slots.len() + 1, "{slots:?}");
        assert_eq!(front.frames, [(payload(1, 100), PLAIN)], "{slots:?}");
        let stats = front.queue.stats();
        assert_eq!(stats.failed, u64::from(failed), "{slots:?}");
        assert_eq!(stats.malformed, u64::from(!failed), "{slots:?}");
        // The buffers of the frame are in the ring again, with their grants.
        assert_eq!(stats.reposted as usize, slots.len());
        assert_eq!(front.sim.grants() as u32, posted - 1);
        let notify = front.queue.push();
        assert!(!notify || posted < 256);
        for _ in 1..posted {
            let request = back.request().unwrap();
            back.copy(&request, 0, &[1; 14]);
            back.put(response(request.id, 0, 0, 14));
        }
        let _ = back.push();
        assert_eq!(front.receive(256).unwrap().frames, posted - 1);
        front.clean();
    }
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Data(u16, u16, i16),
    Extra(ExtraInfo, bool),
}
use Slot::{Data, Extra};

#[test]
fn frames_that_make_no_sense_are_dropped() {
    for status in [-1, -2, -77, i16::MIN] {
        dropped(&[Data(0, 0, status)], true);
        dropped(
            &[Data(MORE, 0, 100), Data(MORE, 0, status), Data(0, 0, 100)],
            true,
        );
    }
    for (offset, status) in [
        (0, 0),
        (0, 13),
        (0, 4097),
        (4083, 14),
        (4096, 14),
        (u16::MAX, i16::MAX),
    ] {
        dropped(&[Data(0, offset, status)], false);
    }
    dropped(&[Data(MORE, 0, 100), Data(0, 0, 0)], false);
    dropped(
        &[Data(MORE, 0, 100), Data(MORE, 4000, 97), Data(0, 0, 100)],
        false,
    );
    let gso = |size, kind| {
        let gso = ExtraGso {
            size,
            kind,
            features: 0,
        };
        ExtraInfo::of_gso(gso)
    };
    let first = Data(EXTRA, 0, 100);
    for extra in [
        gso(0, 1),
        gso(1448, 0),
        gso(1448, 3),
        ExtraInfo::default(),
        ExtraInfo::of_mcast(wire::EXTRA_TYPE_MCAST_ADD, [1; 6]),
        ExtraInfo::of_mcast(wire::EXTRA_TYPE_MCAST_DEL, [1; 6]),
    ] {
        dropped(&[first, Extra(extra, false)], false);
        dropped(
            &[
                first,
                Extra(extra, true),
                Extra(ExtraInfo::of_xdp(0), false),
            ],
            false,
        );
        dropped(
            &[
                Data(EXTRA | MORE, 0, 100),
                Extra(extra, false),
                Data(0, 0, 100),
            ],
            false,
        );
    }
    for kind in [6, 7, 8, 9, 255] {
        let extra = ExtraInfo {
            kind,
            ..ExtraInfo::default()
        };
        dropped(&[first, Extra(extra, false)], false);
    }
    let fine = gso(1448, 1);
    dropped(&[first, Extra(fine, true), Extra(fine, false)], false);
}

#[test]
fn a_hash_of_an_unknown_kind_is_left_out() {
    let (mut front, mut back) = Front::full(0);
    for (kind, algorithm) in [(4, 1), (0, 0), (1, 2)] {
        let request = back.request().unwrap();
        back.copy(&request, 0, &payload(1, 100));
        back.put(response(request.id, EXTRA, 0, 100));
        back.request().unwrap();
        back.put_extra(ExtraInfo::of_hash(ExtraHash {
            kind,
            algorithm,
            value: 7,
        }));
        let _ = back.push();
        assert_eq!(front.receive(64).unwrap().frames, 1);
        assert_eq!(front.frames.pop(), Some((payload(1, 100), PLAIN)));
    }
    front.clean();
}

/// What `wrong` does breaks the queue with the violation, and every buffer comes out.
fn breaks(wrong: impl FnOnce(&Sim, &mut RxBack), violation: Violation) {
    let (mut front, mut back) = Front::full(0);
    wrong(&front.sim, &mut back);
    let _ = back.push();
    assert_eq!(front.receive(64).unwrap_err(), violation);
    assert!(front.queue.is_broken());
    assert_eq!(front.receive(64).unwrap(), Received::default());
    assert!(!front.queue.arm().unwrap());
    assert_eq!(front.refill(1), front.queue.room());
    front.clean();
}

#[test]
fn what_cannot_be_believed_breaks_the_queue() {
    for id in [1, 256, u16::MAX] {
        breaks(
            |_, back| {
                back.request();
                back.put(response(id, 0, 0, 100));
            },
            Violation::Id { id },
        );
    }
    breaks(
        |_, back| {
            (0..2).for_each(|_| _ = back.request());
            back.put(response(0, MORE, 0, 100));
            back.put(response(0, 0, 0, 100));
        },
        Violation::Id { id: 0 },
    );
    let long = |back: &mut RxBack, count: u16, end: bool| {
        for nth in 0..count {
            back.request();
            let more = if nth + 1 < count || !end { MORE } else { 0 };
            back.put(response(nth, more, 0, 100));
        }
    };
    breaks(|_, back| long(back, 19, true), Violation::TooLong);
    breaks(|_, back| long(back, 200, false), Violation::TooLong);
    breaks(
        |_, back| {
            (0..7).for_each(|_| _ = back.request());
            back.put(response(0, EXTRA, 0, 100));
            for kind in [1, 4, 5, 1, 4, 5] {
                back.put_extra(ExtraInfo {
                    kind,
                    flags: 1,
                    u: [0; 6],
                });
            }
        },
        Violation::TooLong,
    );
    for held in [0, 2] {
        breaks(
            |sim, back| {
                for nth in 0..3 {
                    let request = back.request().unwrap();
                    if nth == held {
                        sim.map(request.gref, true).unwrap();
                    }
                    back.put(response(nth, if nth < 2 { MORE } else { 0 }, 0, 100));
                }
            },
            Violation::Held {
                id: held,
                gref: 9 + u32::from(held),
            },
        );
    }
    breaks(
        |_, back| back.ring.set_rsp_prod(257),
        Violation::Ring(RingError::Producer {
            prod: 257,
            cons: 0,
            limit: 256,
        }),
    );
}
