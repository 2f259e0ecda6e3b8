// SPDX-License-Identifier: MIT OR Apache-2.0
//! The back end by itself: what it answers to requests that are right, and to those that are not.

use crate::machine::Machine;
use hostile_back::memory::{Guest, Pages};
use hostile_back::sim::{Mapped, Ring, SimGuest};
use hostile_blkback::disk::Disk;
use hostile_blkback::options::Options;
use hostile_blkback::queue::Queue;
use hostile_blkback::script::{Event, Fault, Injector, Rule};
use portico_core::block::sim::Sim;
use portico_core::block::wire::*;
use portico_core::block::Access;
use portico_core::host::Platform;
use portico_core::ring::FrontRing;
use std::cell::Cell;
use std::rc::Rc;
use zerocopy::IntoBytes;

struct Bed {
    sim: Sim,
    front: FrontRing<Ring, Request, Response>,
    back: Queue<SimGuest>,
    disk: Disk,
    options: Options,
    injector: Injector,
    notified: Rc<Cell<u64>>,
}

impl Bed {
    fn new(options: Options, rules: Vec<Rule>) -> Self {
        let sim = Sim::default();
        let ring = Ring::new(1);
        let front = FrontRing::new(ring.clone()).expect("a page makes a ring");
        let notified = Rc::new(Cell::new(0));
        let guest = SimGuest {
            sim: sim.clone(),
            notified: notified.clone(),
        };
        let back = Queue::new(guest, ring, options.persistent).expect("a new ring");
        Bed {
            disk: Disk::memory(options.sectors),
            injector: Injector::new(rules),
            sim,
            front,
            back,
            options,
            notified,
        }
    }

    /// Grants a page whose bytes are all `byte`.
    fn page(&self, byte: u8, access: Access) -> (u32, u64) {
        let host = Machine(self.sim.clone());
        let gfn = self.sim.frame();
        self.sim.with_frame(gfn, |frame| frame.fill(byte));
        let gref = host.claim().expect("references enough");
        host.grant(gref, gfn, access);
        (gref, gfn)
    }

    fn put(&mut self, entry: &[u8]) {
        let mut request = Request::default();
        request.as_mut_bytes()[..entry.len()].copy_from_slice(entry);
        self.front.next_entry().expect("room").set(0, &request);
    }

    fn serve(&mut self, now: u64) -> Vec<Fault> {
        let _ = self.front.push();
        let served = self
            .back
            .serve(now, &mut self.disk, &self.options, &mut self.injector);
        served.expect("an honest ring")
    }

    fn take(&mut self) -> Option<Response> {
        self.front.next_response().expect("an honest ring")
    }

    /// Sends one request and gives back the status of its answer.
    fn ask(&mut self, entry: &[u8]) -> i16 {
        self.put(entry);
        assert_eq!(self.serve(0), []);
        let answer = self.take().expect("an answer");
        assert_eq!(answer.id, 5);
        answer.status
    }
}

fn rw(operation: u8, sector: u64, segments: &[(u32, u8, u8)]) -> Request {
    let mut request = Request::default();
    request.head.operation = operation;
    request.head.nr_segments = segments.len() as u8;
    request.head.id = 5;
    request.head.sector_number = sector;
    for (to, &(gref, first_sect, last_sect)) in request.seg.iter_mut().zip(segments) {
        *to = WireSegment {
            gref,
            first_sect,
            last_sect,
            pad: 0,
        };
    }
    request
}

fn discard(sector: u64, sectors: u64, flag: u8) -> RequestDiscard {
    RequestDiscard {
        operation: OP_DISCARD,
        flag,
        id: 5,
        sector_number: sector,
        nr_sectors: sectors,
        ..RequestDiscard::default()
    }
}

#[test]
fn what_is_written_is_read() {
    let mut bed = Bed::new(Options::default(), Vec::new());
    let (from, _) = bed.page(7, Access::ReadOnly);
    assert_eq!(
        bed.ask(rw(OP_WRITE, 10, &[(from, 2, 4)]).as_bytes()),
        RSP_OKAY
    );
    let (to, gfn) = bed.page(1, Access::ReadWrite);
    assert_eq!(bed.ask(rw(OP_READ, 9, &[(to, 0, 4)]).as_bytes()), RSP_OKAY);
    let got = bed.sim.with_frame(gfn, |frame| *frame);
    assert_eq!(got[..512], [0; 512]);
    assert_eq!(got[512..2048], [7; 1536]);
    assert_eq!(got[2048..2560], [0; 512]);
    assert_eq!(got[2560..], [1; 4096 - 2560]);
    let stats = &bed.back.stats;
    assert_eq!((stats.reads, stats.writes, stats.errors), (1, 1, 0));
    assert_eq!((stats.sectors_read, stats.sectors_written), (5, 3));
}

#[test]
fn what_is_wrong_is_answered_with_an_error() {
    let mut bed = Bed::new(Options::default(), Vec::new());
    let end = bed.options.sectors;
    let (writable, _) = bed.page(0, Access::ReadWrite);
    let (readable, _) = bed.page(0, Access::ReadOnly);
    for (wrong, request) in [
        ("no segment", rw(OP_READ, 0, &[])),
        ("last before first", rw(OP_READ, 0, &[(writable, 3, 2)])),
        ("beyond the page", rw(OP_READ, 0, &[(writable, 0, 8)])),
        ("beyond the disk", rw(OP_READ, end - 1, &[(writable, 0, 1)])),
        (
            "beyond all numbers",
            rw(OP_WRITE, u64::MAX, &[(writable, 0, 0)]),
        ),
        (
            "not granted",
            rw(OP_READ, 0, &[(writable, 0, 0), (4711, 0, 0)]),
        ),
        ("granted for reading", rw(OP_READ, 0, &[(readable, 0, 0)])),
    ] {
        assert_eq!(bed.ask(request.as_bytes()), RSP_ERROR, "{wrong}");
    }
    let mut many = rw(OP_WRITE, 0, &[]);
    many.head.nr_segments = 12;
    assert_eq!(bed.ask(many.as_bytes()), RSP_ERROR);
    for unknown in [4, 7, 255] {
        let request = rw(unknown, 0, &[(writable, 0, 0)]);
        assert_eq!(bed.ask(request.as_bytes()), RSP_EOPNOTSUPP);
    }
    assert_eq!(bed.back.stats.errors, 11);
}

#[test]
fn what_is_not_offered_is_not_supported() {
    let bare = Options {
        flush_cache: None,
        ..Options::default()
    };
    let mut bed = Bed::new(bare, Vec::new());
    let (page, _) = bed.page(0, Access::ReadOnly);
    assert_eq!(
        bed.ask(rw(OP_FLUSH_DISKCACHE, 0, &[]).as_bytes()),
        RSP_EOPNOTSUPP
    );
    let barrier = rw(OP_WRITE_BARRIER, 0, &[(page, 0, 0)]);
    assert_eq!(bed.ask(barrier.as_bytes()), RSP_EOPNOTSUPP);
    assert_eq!(bed.ask(discard(0, 8, 0).as_bytes()), RSP_EOPNOTSUPP);

    let all = Options {
        barrier: Some(true),
        discard: true,
        discard_secure: true,
        ..Options::default()
    };
    let mut bed = Bed::new(all, Vec::new());
    let (page, _) = bed.page(9, Access::ReadOnly);
    assert_eq!(bed.ask(rw(OP_FLUSH_DISKCACHE, 0, &[]).as_bytes()), RSP_OKAY);
    let barrier = rw(OP_WRITE_BARRIER, 0, &[(page, 0, 0)]);
    assert_eq!(bed.ask(barrier.as_bytes()), RSP_OKAY);
    assert_eq!(bed.ask(discard(0, 8, DISCARD_SECURE).as_bytes()), RSP_OKAY);
    assert_eq!(bed.ask(discard(u64::MAX, 8, 0).as_bytes()), RSP_ERROR);
    let mut sector = [1; 512];
    bed.disk.read(0, &mut sector).expect("on the disk");
    assert_eq!(sector, [0; 512]);
    let stats = &bed.back.stats;
    assert_eq!((stats.barriers, stats.flushes), (1, 1));
    assert_eq!((stats.discards, stats.secure_discards), (2, 1));
}

#[test]
fn a_disk_of_large_sectors_takes_whole_ones_and_a_read_only_one_no_write() {
    let large = Options {
        sector_size: 4096,
        ..Options::default()
    };
    let mut bed = Bed::new(large, Vec::new());
    let (page, _) = bed.page(0, Access::ReadWrite);
    assert_eq!(
        bed.ask(rw(OP_WRITE, 8, &[(page, 0, 7)]).as_bytes()),
        RSP_OKAY
    );
    assert_eq!(
        bed.ask(rw(OP_WRITE, 8, &[(page, 0, 0)]).as_bytes()),
        RSP_ERROR
    );
    assert_eq!(
        bed.ask(rw(OP_READ, 4, &[(page, 0, 7)]).as_bytes()),
        RSP_ERROR
    );

    let read_only = Options {
        read_only: true,
        ..Options::default()
    };
    let mut bed = Bed::new(read_only, Vec::new());
    let (page, _) = bed.page(0, Access::ReadWrite);
    assert_eq!(
        bed.ask(rw(OP_READ, 8, &[(page, 0, 7)]).as_bytes()),
        RSP_OKAY
    );
    assert_eq!(
        bed.ask(rw(OP_WRITE, 8, &[(page, 0, 7)]).as_bytes()),
        RSP_ERROR
    );
}

#[test]
fn indirect_segments_are_read_from_their_pages() {
    let mut bed = Bed::new(Options::default(), Vec::new());
    let (list, list_gfn) = bed.page(0, Access::ReadOnly);
    for i in 0..20u8 {
        let (gref, _) = bed.page(i + 1, Access::ReadOnly);
        let segment = WireSegment {
            gref,
            first_sect: 0,
            last_sect: 0,
            pad: 0,
        };
        bed.sim.with_frame(list_gfn, |frame| {
            frame[usize::from(i) * 8..][..8].copy_from_slice(segment.as_bytes());
        });
    }
    let mut request = RequestIndirect {
        operation: OP_INDIRECT,
        indirect_op: OP_WRITE,
        nr_segments: 20,
        id: 5,
        ..RequestIndirect::default()
    };
    request.indirect_grefs[0] = list;
    bed.put(request.as_bytes());
    bed.serve(0);
    let answer = bed.take().expect("an answer");
    assert_eq!((answer.status, answer.operation), (RSP_OKAY, OP_WRITE));
    for i in 0..20u8 {
        let mut sector = [0; 512];
        bed.disk
            .read(u64::from(i) * 512, &mut sector)
            .expect("on the disk");
        assert_eq!(sector, [i + 1; 512]);
    }
    request.nr_segments = bed.options.max_indirect_segments + 1;
    assert_eq!(bed.ask(request.as_bytes()), RSP_ERROR);
    request.nr_segments = 20;
    request.indirect_op = OP_FLUSH_DISKCACHE;
    assert_eq!(bed.ask(request.as_bytes()), RSP_EOPNOTSUPP);
    assert_eq!(
        (bed.back.stats.indirect, bed.back.stats.max_segments),
        (2, 20)
    );
}

#[test]
fn persistent_grants_are_mapped_once() {
    let persistent = Options {
        persistent: true,
        ..Options::default()
    };
    let mut bed = Bed::new(persistent, Vec::new());
    let (page, _) = bed.page(0, Access::ReadWrite);
    for sector in 0..5 {
        assert_eq!(
            bed.ask(rw(OP_WRITE, sector, &[(page, 0, 0)]).as_bytes()),
            RSP_OKAY
        );
    }
    let stats = &bed.back.stats;
    assert_eq!(
        (stats.mapped, stats.persistent_hits, stats.persistent),
        (1, 4, 1)
    );
    assert!(!Machine(bed.sim.clone()).end(page));
    drop(bed.back);
    assert!(Machine(bed.sim.clone()).end(page));
}

#[test]
fn faults_do_what_they_say() {
    let at = |n, fault| Rule {
        at: Event::Request(n),
        fault,
    };
    let rules = vec![
        at(0, Fault::Late(30)),
        at(1, Fault::Status(77)),
        at(2, Fault::Never),
        at(3, Fault::KeepGrants(Some(10))),
        at(4, Fault::Silence(None)),
        at(5, Fault::DuplicateId),
    ];
    let mut bed = Bed::new(Options::default(), rules);
    let (page, _) = bed.page(0, Access::ReadWrite);
    let read = rw(OP_READ, 0, &[(page, 0, 0)]);
    bed.put(read.as_bytes());
    bed.serve(0);
    assert!(bed.take().is_none());
    assert_eq!(bed.back.next_due(), Some(30));
    assert_eq!(bed.ask(read.as_bytes()), 77);
    bed.put(read.as_bytes());
    bed.serve(1);
    assert!(bed.take().is_none());
    assert_eq!(bed.ask(read.as_bytes()), RSP_OKAY);
    assert!(bed.back.guest().sim.map(page, true).is_some());
    bed.sim.unmap(page);
    assert!(!Machine(bed.sim.clone()).end(page), "the fault keeps it");
    bed.serve(10);
    let before = bed.notified.get();
    assert_eq!(bed.ask(read.as_bytes()), RSP_OKAY);
    assert_eq!(bed.notified.get(), before);
    bed.serve(30);
    assert_eq!(bed.take().map(|late| late.status), Some(RSP_OKAY));
    assert_eq!(bed.ask(read.as_bytes()), RSP_OKAY);
    assert!(bed.take().is_some(), "once more");
    assert!(Machine(bed.sim.clone()).end(page));
}

#[test]
fn mapped_pages_lie_one_after_another() {
    let bed = Bed::new(Options::default(), Vec::new());
    let (first, _) = bed.page(1, Access::ReadWrite);
    let (second, gfn) = bed.page(2, Access::ReadWrite);
    let mapped: Mapped = bed
        .back
        .guest()
        .map(&[first, second], true)
        .expect("granted");
    mapped.write(4090, &[9; 12]);
    let mut got = [0; 14];
    mapped.read(4089, &mut got);
    assert_eq!(got, [1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 2]);
    assert_eq!(
        bed.sim.with_frame(gfn, |frame| frame[..7].to_vec()),
        [9, 9, 9, 9, 9, 9, 2]
    );
    assert!(bed.back.guest().map(&[first, 4711], false).is_none());
}
