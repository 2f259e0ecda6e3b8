// SPDX-License-Identifier: MIT OR Apache-2.0
//! One ring, served.

use crate::disk::Disk;
use crate::execute::{execute, op, operation, Context, Persistent};
use crate::options::Options;
use crate::script::{Fault, Injector};
use crate::stats::Stats;
use hostile_back::memory::{Guest, RingPages};
use hostile_back::script::Fault as _;
use portico_core::block::wire::{Request, Response};
use portico_core::ring::{BackRing, RingError};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Bytes in front of a ring's first entry, and in an entry (`ring.h`, `blkif.h`).
const HEADER: usize = 64;
const ENTRY: usize = size_of::<Request>();
/// Where `rsp_prod` lies.
const RSP_PROD: usize = 8;
/// How long answers that are to be reordered wait for more, in milliseconds.
const REORDER_WAIT: u64 = 20;
/// The most mappings that a fault keeps beyond their requests.
const KEEP_MAX: usize = 1024;

/// An answer that is held back.
struct Held {
    /// When it is given; `None`: never.
    due: Option<u64>,
    response: Response,
}

/// The back end of one ring.
pub struct Queue<G: Guest> {
    guest: G,
    ring: BackRing<G::Ring, Request, Response>,
    persistent: Option<Persistent<G::Pages>>,
    held: Vec<Held>,
    /// Answers to reorder, and how many at a time.
    reorder: Option<usize>,
    group: Vec<Response>,
    group_due: u64,
    /// Mappings that a fault keeps, and until when.
    kept: Vec<(Option<u64>, G::Pages)>,
    /// Answers that were put and not yet published.
    unpublished: u64,
    /// What is added to the producer index that the front end sees.
    shift: u32,
    /// Publications without notification: how many more, or for ever.
    silence: Option<Option<u32>>,
    last_id: u64,
    /// Counts since the start.
    pub stats: Stats,
}

impl<G: Guest> Queue<G> {
    /// Attaches to a ring. `persistent`: grants stay valid, and mapped, from request to request.
    pub fn new(guest: G, ring: G::Ring, persistent: bool) -> Result<Self, RingError> {
        Ok(Queue {
            guest,
            ring: BackRing::attach(ring)?,
            persistent: persistent.then(Persistent::default),
            held: Vec::new(),
            reorder: None,
            group: Vec::new(),
            group_due: 0,
            kept: Vec::new(),
            unpublished: 0,
            shift: 0,
            silence: None,
            last_id: 0,
            stats: Stats::default(),
        })
    }

    /// The guest's end.
    pub fn guest(&self) -> &G {
        &self.guest
    }

    /// Takes and answers all requests, until the ring is empty. `now` is a time in milliseconds. The
    /// faults that are the device's are given back. An error means that the guest broke the ring.
    pub fn serve(
        &mut self,
        now: u64,
        disk: &mut Disk,
        options: &Options,
        injector: &mut Injector,
    ) -> Result<Vec<Fault>, RingError> {
        let mut device = Vec::new();
        self.release(now);
        loop {
            while let Some(request) = self.ring.next_request()? {
                let mut cx = Context {
                    guest: &self.guest,
                    disk,
                    options,
                    persistent: self.persistent.as_mut(),
                    stats: &mut self.stats,
                };
                let done = execute(&request, &mut cx);
                let response = Response {
                    id: request.head.id,
                    operation: operation(&request),
                    status: done.status,
                    ..Response::default()
                };
                let faults = injector.request(op(&request));
                self.answer(now, response, done.pages, &faults);
                device.extend(faults.into_iter().filter(Fault::is_device));
                if !device.is_empty() {
                    self.publish();
                    return Ok(device);
                }
            }
            self.publish();
            if !self.ring.final_check()? {
                return Ok(device);
            }
        }
    }

    /// When something is due that [`Self::serve`] must do though no notification comes.
    pub fn next_due(&self) -> Option<u64> {
        let held = self.held.iter().filter_map(|held| held.due);
        let kept = self.kept.iter().filter_map(|(until, _)| *until);
        let group = (!self.group.is_empty()).then_some(self.group_due);
        held.chain(kept).chain(group).min()
    }

    /// Applies faults that need no request.
    pub fn fault(&mut self, faults: &[Fault]) {
        for fault in faults {
            match *fault {
                Fault::ProducerAhead(by) => self.shift_producer(by),
                Fault::ProducerBack(by) => self.shift_producer(by.wrapping_neg()),
                Fault::Storm(times) => {
                    for _ in 0..times {
                        self.guest.notify();
                    }
                    self.stats.notifies += u64::from(times);
                }
                Fault::Silence(publications) => self.silence = Some(publications),
                Fault::Reorder(window) => self.reorder = Some(window.max(2)),
                _ => {}
            }
        }
    }

    /// Answers one request, with what its faults make of the answer.
    fn answer(&mut self, now: u64, right: Response, pages: Vec<G::Pages>, faults: &[Fault]) {
        let mut response = right;
        let (mut copies, mut due, mut flip) = (1, Some(now), None);
        for fault in faults {
            match *fault {
                Fault::WrongId(add) => response.id = response.id.wrapping_add(add),
                Fault::OldId => response.id = self.last_id,
                Fault::DuplicateId => copies += 1,
                Fault::Never => due = None,
                Fault::Late(ms) => due = Some(now.saturating_add(ms)),
                Fault::WrongOperation(operation) => response.operation = operation,
                Fault::Status(status) => response.status = status,
                Fault::Flip(ms) => flip = Some(ms),
                _ => {}
            }
        }
        let keep = faults.iter().find_map(|fault| match fault {
            Fault::KeepGrants(ms) => Some(ms.map(|ms| now.saturating_add(ms))),
            _ => None,
        });
        if let Some(until) = keep {
            let room = KEEP_MAX.saturating_sub(self.kept.len());
            self.kept
                .extend(pages.into_iter().take(room).map(|pages| (until, pages)));
        } else {
            drop(pages);
        }
        self.last_id = right.id;
        if flip.is_some() {
            self.publish();
        }
        for _ in 0..copies {
            if due == Some(now) && self.reorder.is_none() {
                self.put(response);
            } else if due == Some(now) {
                self.group_due = now.saturating_add(REORDER_WAIT);
                self.group.push(response);
            } else {
                self.held.push(Held { due, response });
            }
        }
        if self
            .reorder
            .is_some_and(|window| self.group.len() >= window)
        {
            self.release_group();
        }
        if let Some(ms) = flip {
            if self.unpublished > 0 {
                self.flip(right, Duration::from_millis(ms));
            }
            self.publish();
        }
        self.fault(faults);
    }

    /// Gives the answers, and ends the mappings, whose time has come.
    fn release(&mut self, now: u64) {
        let held = std::mem::take(&mut self.held);
        for held in held {
            if held.due.is_some_and(|due| due <= now) {
                self.put(held.response);
            } else {
                self.held.push(held);
            }
        }
        if !self.group.is_empty() && self.group_due <= now {
            self.release_group();
        }
        self.kept
            .retain(|(until, _)| until.is_none_or(|until| until > now));
    }

    fn release_group(&mut self) {
        for response in std::mem::take(&mut self.group).into_iter().rev() {
            self.put(response);
        }
    }

    fn put(&mut self, response: Response) {
        self.stats.responses += 1;
        self.unpublished += 1;
        self.ring.put_response_unchecked(&response);
    }

    /// Publishes what was put, and notifies if the front end wants it and no fault forbids it.
    fn publish(&mut self) {
        if std::mem::take(&mut self.unpublished) == 0 {
            return;
        }
        let wanted = self.ring.push();
        if self.shift != 0 {
            let right = self.ring.memory().load(RSP_PROD);
            self.ring.set_rsp_prod(right.wrapping_add(self.shift));
        }
        if let Some(left) = &mut self.silence {
            match left {
                None => return,
                Some(0) => self.silence = None,
                Some(n) => {
                    *n -= 1;
                    return;
                }
            }
        }
        if wanted {
            self.stats.notifies += 1;
            self.guest.notify();
        } else {
            self.stats.notifies_saved += 1;
        }
    }

    /// Shows the front end a producer index that is off by `by`, now and from now on, and tells it so.
    fn shift_producer(&mut self, by: u32) {
        self.publish();
        self.shift = self.shift.wrapping_add(by);
        let shown = self.ring.memory().load(RSP_PROD);
        self.ring.set_rsp_prod(shown.wrapping_add(by));
        self.stats.notifies += 1;
        self.guest.notify();
    }

    /// Rewrites the slot of the answer that is published next, from another thread, which has begun when
    /// this returns.
    fn flip(&self, right: Response, time: Duration) {
        let ring = self.ring.memory().clone();
        let index = ring.load(RSP_PROD).wrapping_sub(self.shift) & self.ring.size().wrapping_sub(1);
        let slot = HEADER + index as usize * ENTRY;
        let (begun, wait) = mpsc::channel();
        std::thread::spawn(move || {
            let id = [right.id as u32, (right.id >> 32) as u32];
            let rest = u32::from(right.operation) | u32::from(right.status as u16) << 16;
            let end = Instant::now() + time;
            let mut wrong = 1u32;
            drop(begun);
            while Instant::now() < end {
                for _ in 0..64 {
                    ring.store(slot, id[0] ^ wrong);
                    ring.store(slot + 8, rest ^ wrong << 16);
                    ring.store(slot, id[0]);
                    ring.store(slot + 4, id[1] ^ wrong);
                    ring.store(slot + 4, id[1]);
                    ring.store(slot + 8, rest);
                    wrong = wrong.rotate_left(1);
                }
            }
        });
        // The other end is dropped when the thread begins.
        let _: Result<(), _> = wait.recv();
    }
}
