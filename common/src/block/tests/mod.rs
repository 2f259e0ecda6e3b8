// SPDX-License-Identifier: MIT OR Apache-2.0
//! The engine against a back end that does what the protocol says, and one step beside it.

mod busy;
mod data;
mod features;
mod taken_back;
mod violations;

use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

use super::sim::{Sim, SimIo, SimRing};
use super::wire::{self, Request, RequestDiscard, RequestIndirect, Response};
use super::{Features, Outcome, Queue, Ring, Setup};
use crate::ring::BackRing;
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
