// SPDX-License-Identifier: MIT OR Apache-2.0
//! The engine against a back end that does what the protocol says, and one step beside it.

use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

use super::sim::{Sim, SimIo, SimRing};
use super::wire::{self, Request, RequestDiscard, RequestIndirect, Response};
use super::{Busy, Features, Op, Outcome, Queue, Ring, Setup, Violation};
use crate::ring::{BackRing, RingError};
use zerocopy::{FromBytes, IntoBytes};

const ALL: Features = Features {
    flush: true,
    barrier: true,
    discard: true,
    secure: true,
};
const SETUP: Setup = Setup {
    handle: 7,
    max_segments: 11,
    persistent: false,
    bounce: false,
    pool_pages: 64,
    features: ALL,
};

/// A back end with a disk in memory.
struct Back {
    sim: Sim,
    ring: BackRing<SimRing, Request, Response>,
    disk: Vec<u8>,
    /// Keeps mappings, as a back end with persistent grants does.
    keep: bool,
    kept: HashMap<u32, u64>,
    seen: Vec<u8>,
}

impl Back {
    fn take(&mut self) -> Option<Request> {
        self.ring.next_request().expect("an honest front end")
    }

    fn segments(&self, request: &Request) -> (u8, Vec<wire::WireSegment>) {
        if request.head.operation == wire::OP_DISCARD {
            return (wire::OP_DISCARD, Vec::new());
        }
        if request.head.operation != wire::OP_INDIRECT {
            let count = usize::from(request.head.nr_segments);
            return (request.head.operation, request.seg[..count].to_vec());
        }
        let indirect = RequestIndirect::read_from_prefix(request.as_bytes())
            .unwrap()
            .0;
        let mut segments = Vec::new();
        for index in 0..usize::from(indirect.nr_segments) {
            let gref = indirect.indirect_grefs[index / wire::SEGMENTS_PER_PAGE];
            let at = index % wire::SEGMENTS_PER_PAGE * 8;
            let gfn = self
                .sim
                .map(gref, false)
                .expect("an indirect page that is granted");
            segments.push(self.sim.with_frame(gfn, |frame| {
                wire::WireSegment::read_from_bytes(&frame[at..at + 8]).unwrap()
            }));
            self.sim.unmap(gref);
        }
        (indirect.indirect_op, segments)
    }

    fn serve(&mut self, request: &Request) -> Response {
        let (operation, segments) = self.segments(request);
        self.seen.push(operation);
        let mut at = request.head.sector_number as usize * 512;
        if operation == wire::OP_DISCARD {
            let discard = RequestDiscard::read_from_prefix(request.as_bytes())
                .unwrap()
                .0;
            self.disk[at..at + discard.nr_sectors as usize * 512].fill(0);
        }
        for segment in segments {
            let read = operation == wire::OP_READ;
            let gfn = match self.kept.get(&segment.gref) {
                Some(gfn) => *gfn,
                None => self
                    .sim
                    .map(segment.gref, read)
                    .expect("a segment that is granted"),
            };
            let range =
                usize::from(segment.first_sect) * 512..(usize::from(segment.last_sect) + 1) * 512;
            let disk = &mut self.disk[at..at + range.len()];
            at += range.len();
            self.sim.with_frame(gfn, |frame| {
                if read {
                    frame[range].copy_from_slice(disk);
                } else {
                    disk.copy_from_slice(&frame[range]);
                }
            });
            if self.keep {
                self.kept.insert(segment.gref, gfn);
            } else {
                self.sim.unmap(segment.gref);
            }
        }
        Response {
            id: request.head.id,
            operation,
            status: wire::RSP_OKAY,
            ..Response::default()
        }
    }

    fn serve_all(&mut self) {
        while let Some(request) = self.take() {
            let response = self.serve(&request);
            assert!(self.ring.put_response(&response));
        }
        let _ = self.ring.push();
        assert_eq!(self.ring.final_check(), Ok(false));
    }
}

fn pair(setup: Setup, pages: usize) -> (Sim, Queue<Sim>, Back) {
    let sim = Sim::default();
    let ring = SimRing::new(pages);
    let queue =
        Queue::new(sim.clone(), Ring::new(ring.clone()).unwrap(), setup).expect("memory enough");
    let ring = BackRing::attach(ring).expect("a new ring");
    let back = Back {
        sim: sim.clone(),
        ring,
        disk: vec![0; 4 << 20],
        keep: false,
        kept: HashMap::new(),
        seen: Vec::new(),
    };
    (sim, queue, back)
}

fn finished(queue: &mut Queue<Sim>) -> Vec<(SimIo, Outcome)> {
    let mut done = Vec::new();
    queue
        .reap(|io, outcome| done.push((io, outcome)))
        .expect("an honest back end");
    done
}

fn submit(queue: &mut Queue<Sim>, io: SimIo) {
    queue
        .submit(io)
        .map_err(|(_, busy)| busy)
        .expect("room for it");
}

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
