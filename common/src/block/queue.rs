// SPDX-License-Identifier: MIT OR Apache-2.0
//! One ring of a block front end: requests go in, completions come out.
//!
//! The queue owns a request from [`Queue::submit`] until it hands it to the closure of
//! [`Queue::reap`] or [`Queue::drain`], exactly once. A request with more segments than the back end
//! takes in one goes as several; it completes when all of them are answered. So a device may come
//! back from a resume with a back end that offers less, and the request still fits.
//!
//! Each ring request has an id of slot and generation. A response is believed only if its slot is
//! waiting, the generation is the current one and the operation is the request's.

use core::fmt;
use core::mem::size_of;

use zerocopy::IntoBytes;

use super::host::{Access, GrantRef, Host, Io, NoMemory, Op, Segment, SharedPage};
use super::pool::{end_or_abandon, Granted, Pool, Refs, Stack, NO_REF};
use super::wire::{
    self, Request, RequestDiscard, RequestHead, RequestIndirect, Response, WireSegment,
};
use crate::ring::{FrontRing, RingError};
use crate::shared::PAGE_SIZE;

/// What the back end takes now. Features are lost at run time when it answers `BLKIF_RSP_EOPNOTSUPP`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `feature-flush-cache`.
    pub flush: bool,
    /// `feature-barrier`.
    pub barrier: bool,
    /// `feature-discard`.
    pub discard: bool,
    /// `discard-secure`.
    pub secure: bool,
}

/// How a queue is made.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The device's number in the store, low 16 bits.
    pub handle: u16,
    /// Segments in one ring request: [`wire::MAX_SEGMENTS`], or more with indirect segments.
    pub max_segments: usize,
    /// Pages are granted once and data is copied through them.
    pub persistent: bool,
    /// Data is copied through own pages, so that the back end sees the request's bytes alone.
    pub bounce: bool,
    /// Pages to copy through, if either of the two is set; at least `max_segments` are taken.
    pub pool_pages: usize,
    /// What the back end offers.
    pub features: Features,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The ring has no room; a completion makes some.
    Ring,
    /// No page to copy through; a completion frees some.
    Pages,
    /// The host has no grant reference; a completion, or another device, frees some.
    Grants,
    /// The back end does not offer the operation.
    Unsupported,
    /// A segment is not made of whole sectors within one page, or the request has none.
    Malformed,
    /// The queue broke.
    Broken,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// The back end reported an error.
    Failed,
    /// The back end does not know the operation; the feature is off from now on.
    Unsupported,
    /// The back end does not know the operation, but the request can be sent in another way: submit
    /// it again.
    Retry,
}

/// What a back end did against the protocol. The queue is broken after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The ring's indexes are wrong.
    Ring(RingError),
    /// The response's id is not of a waiting request.
    Id {
        /// What the response said.
        id: u64,
    },
    /// The response's operation is not the request's.
    Operation {
        /// The request.
        id: u64,
        /// What was asked.
        sent: u8,
        /// What was answered.
        got: u8,
    },
    /// The request is answered, but its memory is still mapped.
    Held {
        /// The request.
        id: u64,
        /// One of its grants.
        gref: GrantRef,
    },
}

impl From<RingError> for Violation {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(error) => write!(f, "{error}"),
            Self::Id { id } => write!(f, "response id {id:#x} is of no waiting request"),
            Self::Operation { id, sent, got } => {
                write!(
                    f,
                    "response to request {id:#x} has operation {got}, not {sent}"
                )
            }
            Self::Held { id, gref } => {
                write!(
                    f,
                    "request {id:#x} is answered, but grant {gref} is still in use"
                )
            }
        }
    }
}

/// Why a queue cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// The host has not enough memory or grant references.
    NoMemory,
    /// The ring's memory does not make a ring.
    Ring(RingError),
}

impl From<NoMemory> for SetupError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<RingError> for SetupError {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

/// Counters since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Ring requests written.
    pub requests: u64,
    /// Segments in them.
    pub segments: u64,
    /// Ring requests with indirect segments.
    pub indirect: u64,
    /// Submissions refused for want of a ring entry, a page or a grant.
    pub ring_full: u64,
    /// Notifications that the back end asked for.
    pub notifications: u64,
    /// Ring requests that were published without one of their own.
    pub notifications_saved: u64,
    /// Pages used again with their grant.
    pub persistent_hits: u64,
    /// Grants made for data.
    pub grants: u64,
    /// Segments copied.
    pub bounces: u64,
    /// Flushes and barriers written.
    pub flushes: u64,
    /// Discards written.
    pub discards: u64,
    /// Responses with another status than `BLKIF_RSP_OKAY`.
    pub failed: u64,
}

/// What [`Queue::reap`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Responses taken.
    pub responses: u32,
    /// A flush that follows a write was published, and the back end waits for a notification.
    pub notify: bool,
}

/// A ring request that waits for its response.
#[derive(Clone, Copy, Debug)]
pub struct Pending<'a, I> {
    /// The id on the wire.
    pub id: u64,
    /// `BLKIF_OP_*`, for an indirect request that of its data.
    pub operation: u8,
    /// Start on the disk, in sectors of 512 bytes.
    pub sector: u64,
    /// The request that it is part of.
    pub io: Option<&'a I>,
}

struct Slot<I> {
    /// High half of the id.
    generation: u32,
    /// Whether a response is due.
    waiting: bool,
    /// `BLKIF_OP_*`, for an indirect request that of its data.
    operation: u8,
    indirect: bool,
    /// Number of grants or pool pages in the queue's `used` row of this slot.
    segments: u16,
    /// The slot that holds the request; its own index if it is this one.
    head: u16,
    /// In the head: ring requests not yet answered.
    parts: u16,
    /// In the head: send a flush before the request is complete.
    then_flush: bool,
    /// In the head: the worst outcome so far.
    outcome: Outcome,
    /// Index of the first segment in the request.
    first: u32,
    sector: u64,
    /// In the head: the request.
    io: Option<I>,
}

impl<I> Slot<I> {
    fn id(&self, index: u16) -> u64 {
        u64::from(self.generation) << 32 | u64::from(index)
    }
}

struct IndirectPage<P> {
    page: P,
    gref: GrantRef,
}

/// One ring and all that belongs to it.
pub struct Queue<H: Host> {
    host: H,
    ring: FrontRing<H::Ring, Request, Response>,
    slots: H::Array<Slot<H::Io>>,
    free: Stack<H, u16>,
    /// A row of `max_segments` for each slot: grants, or pool pages when data is copied.
    used: H::Array<u32>,
    refs: Refs<H>,
    pool: Option<Pool<H>>,
    /// `indirect_pages` for each slot, granted for as long as the queue lives.
    indirect: H::Array<IndirectPage<H::Page>>,
    indirect_pages: usize,
    setup: Setup,
    /// A flush that follows a write is in the ring and not yet pushed.
    flush_written: bool,
    broken: bool,
    stats: Stats,
}

/// References that a queue keeps at hand beyond those of one request.
const SPARE_REFS: usize = 1024;

impl<H: Host> Queue<H> {
    /// Makes a queue over the empty ring in `ring`.
    pub fn new(host: H, ring: H::Ring, mut setup: Setup) -> Result<Self, SetupError> {
        let ring = FrontRing::new(ring)?;
        let entries = ring.size().min(u32::from(u16::MAX)) as usize;
        let limit = wire::MAX_INDIRECT_PAGES * wire::SEGMENTS_PER_PAGE;
        setup.max_segments = setup.max_segments.clamp(wire::MAX_SEGMENTS, limit);
        let slots = host.array(entries, |index| {
            Ok(Slot {
                generation: 0,
                waiting: false,
                operation: 0,
                indirect: false,
                segments: 0,
                head: index as u16,
                parts: 0,
                then_flush: false,
                outcome: Outcome::Done,
                first: 0,
                sector: 0,
                io: None,
            })
        })?;
        let mut free = Stack::new(&host, entries, 0)?;
        for index in (0..entries).rev() {
            free.push(index as u16);
        }
        let used = host.array(entries * setup.max_segments, |_| Ok(NO_REF))?;
        let refs = Refs::new(&host, SPARE_REFS.max(entries * wire::MAX_SEGMENTS))?;
        let pool = if setup.persistent || setup.bounce {
            Some(Pool::new(&host, setup.pool_pages.max(setup.max_segments))?)
        } else {
            None
        };
        let indirect_pages = if setup.max_segments > wire::MAX_SEGMENTS {
            setup.max_segments.div_ceil(wire::SEGMENTS_PER_PAGE)
        } else {
            0
        };
        let indirect = host.array(0, |_| Err(NoMemory))?;
        let mut queue = Self {
            host,
            ring,
            slots,
            free,
            used,
            refs,
            pool,
            indirect,
            indirect_pages,
            setup,
            flush_written: false,
            broken: false,
            stats: Stats::default(),
        };
        // Granted last: from here on dropping the queue ends them.
        let host = &queue.host;
        queue.indirect = host.array(entries * indirect_pages, |_| {
            Ok(IndirectPage {
                page: host.page()?,
                gref: NO_REF,
            })
        })?;
        for indirect in queue.indirect.iter_mut() {
            let gref = host.claim().ok_or(NoMemory)?;
            host.grant(gref, indirect.page.gfn(), Access::ReadOnly);
            indirect.gref = gref;
        }
        Ok(queue)
    }

    /// What the back end takes now.
    pub fn features(&self) -> Features {
        self.setup.features
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Number of entries in the ring.
    pub fn entries(&self) -> u32 {
        self.ring.size()
    }

    /// Whether the back end broke the protocol.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Takes no request and believes no response from now on.
    pub fn break_off(&mut self) {
        self.broken = true;
    }

    /// Whether a response seems to be there.
    #[inline]
    pub fn has_response(&self) -> bool {
        self.ring.has_response()
    }

    /// Whether requests were submitted and not yet pushed.
    #[inline]
    pub fn has_unpushed(&self) -> bool {
        self.ring.unpushed() != 0
    }

    /// The ring requests that wait for a response.
    pub fn pending(&self) -> impl Iterator<Item = Pending<'_, H::Io>> {
        self.slots
            .iter()
            .zip(0u16..)
            .filter(|(slot, _)| slot.waiting)
            .map(|(slot, index)| Pending {
                id: slot.id(index),
                operation: slot.operation,
                sector: slot.sector,
                io: self
                    .slots
                    .get(usize::from(slot.head))
                    .and_then(|head| head.io.as_ref()),
            })
    }

    /// Writes a request into the ring. The back end sees it after [`push`](Self::push).
    ///
    /// A request that is not taken comes back with the reason, and nothing has changed.
    #[inline]
    pub fn submit(&mut self, io: H::Io) -> Result<(), (H::Io, Busy)> {
        if self.broken {
            return Err((io, Busy::Broken));
        }
        let done = match io.op() {
            Op::Read => self.transfer(io, wire::OP_READ, false),
            Op::Write { fua } => self.transfer(io, wire::OP_WRITE, fua),
            Op::Flush => self.flush(io),
            Op::Discard { secure } => self.discard(io, secure),
        };
        if let Err((_, Busy::Ring | Busy::Pages | Busy::Grants)) = &done {
            self.stats.ring_full += 1;
        }
        done
    }

    /// Publishes what was submitted. `true`: notify the back end.
    #[inline]
    #[must_use = "the back end may sleep until it is notified"]
    pub fn push(&mut self) -> bool {
        let pushed = u64::from(self.ring.unpushed());
        if pushed == 0 || self.broken {
            return false;
        }
        let notify = self.ring.push();
        self.stats.notifications += u64::from(notify);
        self.stats.notifications_saved += pushed - u64::from(notify);
        notify
    }

    fn transfer(&mut self, io: H::Io, operation: u8, fua: bool) -> Result<(), (H::Io, Busy)> {
        let Some(total) = count_whole(&io) else {
            return Err((io, Busy::Malformed));
        };
        let (parts, per_part) = if total <= self.setup.max_segments {
            (1, total)
        } else {
            (
                total.div_ceil(self.setup.max_segments),
                self.setup.max_segments,
            )
        };
        if total == 0 || parts > self.slots.len() {
            return Err((io, Busy::Malformed));
        }
        if parts > self.free.len() || parts > self.ring.free() as usize {
            return Err((io, Busy::Ring));
        }
        if self
            .pool
            .as_ref()
            .is_some_and(|pool| pool.available() < total)
        {
            return Err((io, Busy::Pages));
        }
        if !self.refs.reserve(&self.host, total) {
            return Err((io, Busy::Grants));
        }

        // A barrier carries its data directly. What does not fit is written, then flushed.
        let features = self.setup.features;
        let barrier = fua && features.barrier && total <= wire::MAX_SEGMENTS;
        let operation = if barrier {
            wire::OP_WRITE_BARRIER
        } else {
            operation
        };
        let then_flush = fua && !barrier && (features.flush || features.barrier);
        self.stats.flushes += u64::from(barrier);

        let mut sector = io.sector();
        let mut segments = io.segments();
        let mut head = None;
        let mut first = 0;
        for _ in 0..parts {
            let Some(index) = self.free.pop() else { break };
            let head_index = *head.get_or_insert(index);
            let count = per_part.min(total - first);
            let sectors = self.write_part(index, operation, sector, &mut segments, count);
            if let Some(slot) = self.slots.get_mut(usize::from(index)) {
                slot.head = head_index;
                slot.first = first as u32;
                slot.sector = sector;
            }
            sector = sector.wrapping_add(sectors);
            first += count;
        }
        drop(segments);
        if let Some(slot) = head.and_then(|head| self.slots.get_mut(usize::from(head))) {
            slot.parts = parts as u16;
            slot.then_flush = then_flush;
            slot.outcome = Outcome::Done;
            slot.io = Some(io);
        }
        Ok(())
    }

    /// Grants the segments and writes one ring request for them; returns its length in sectors.
    ///
    /// The caller has reserved all that is taken here.
    #[inline]
    fn write_part<S: Segment<H::Page>>(
        &mut self,
        index: u16,
        operation: u8,
        sector: u64,
        segments: &mut impl Iterator<Item = S>,
        count: usize,
    ) -> u64 {
        let Self {
            host,
            ring,
            slots,
            used,
            refs,
            pool,
            indirect,
            setup,
            stats,
            ..
        } = self;
        let (Some(slot), Some(mut entry)) = (slots.get_mut(usize::from(index)), ring.next_entry())
        else {
            return 0;
        };
        let is_indirect = count > wire::MAX_SEGMENTS;
        slot.generation = slot.generation.wrapping_add(1);
        slot.waiting = true;
        slot.operation = operation;
        slot.indirect = is_indirect;
        slot.segments = count as u16;
        let id = slot.id(index);

        let row = usize::from(index) * setup.max_segments;
        let used = used.get_mut(row..).unwrap_or_default();
        let pages = self.indirect_pages;
        let indirect = indirect
            .get(usize::from(index) * pages..)
            .unwrap_or_default();

        let writes = operation != wire::OP_READ;
        let access = if setup.persistent || !writes {
            Access::ReadWrite
        } else {
            Access::ReadOnly
        };
        let mut sectors = 0;
        for ((segment, used), at) in segments.take(count).zip(used).zip(0usize..) {
            let gref = match pool {
                None => {
                    let gref = refs.take().unwrap_or(NO_REF);
                    host.grant(gref, segment.gfn(), access);
                    stats.grants += 1;
                    *used = gref;
                    gref
                }
                Some(pool) => {
                    let page = pool.take().unwrap_or(u32::MAX);
                    let granted = pool.grant(host, refs, page, access);
                    match granted {
                        Some(Granted::Already(_)) => stats.persistent_hits += 1,
                        _ => stats.grants += 1,
                    }
                    if let (true, Some(page)) = (writes, pool.page(page)) {
                        segment.copy_to(page);
                        stats.bounces += 1;
                    }
                    *used = page;
                    granted.map_or(NO_REF, Granted::gref)
                }
            };
            let first = segment.offset() / wire::SECTOR_SIZE;
            let length = segment.len() / wire::SECTOR_SIZE;
            sectors += u64::from(length);
            let wire_segment = WireSegment {
                gref,
                first_sect: first as u8,
                last_sect: (first + length).wrapping_sub(1) as u8,
                pad: 0,
            };
            if !is_indirect {
                entry.set(
                    size_of::<RequestHead>() + at * size_of::<WireSegment>(),
                    &wire_segment,
                );
            } else if let Some(indirect) = indirect.get(at / wire::SEGMENTS_PER_PAGE) {
                let at = at % wire::SEGMENTS_PER_PAGE * size_of::<WireSegment>();
                indirect.page.write(at, wire_segment.as_bytes());
            }
        }

        if is_indirect {
            let mut request = RequestIndirect {
                operation: wire::OP_INDIRECT,
                indirect_op: operation,
                nr_segments: count as u16,
                id,
                sector_number: sector,
                handle: setup.handle,
                ..RequestIndirect::default()
            };
            let needed = count.div_ceil(wire::SEGMENTS_PER_PAGE);
            for (gref, page) in request.indirect_grefs.iter_mut().zip(indirect).take(needed) {
                *gref = page.gref;
            }
            entry.set(0, &request);
            stats.indirect += 1;
        } else {
            let head = RequestHead {
                operation,
                nr_segments: count as u8,
                handle: setup.handle,
                pad: 0,
                id,
                sector_number: sector,
            };
            entry.set(0, &head);
        }
        stats.requests += 1;
        stats.segments += count as u64;
        sectors
    }

    fn flush(&mut self, io: H::Io) -> Result<(), (H::Io, Busy)> {
        let Some(operation) = self.flush_operation() else {
            return Err((io, Busy::Unsupported));
        };
        let Some(index) = self.take_slot() else {
            return Err((io, Busy::Ring));
        };
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            slot.sector = io.sector();
            slot.io = Some(io);
        }
        self.write_flush(index, operation);
        Ok(())
    }

    fn flush_operation(&self) -> Option<u8> {
        let features = self.setup.features;
        match (features.flush, features.barrier) {
            (true, _) => Some(wire::OP_FLUSH_DISKCACHE),
            (false, true) => Some(wire::OP_WRITE_BARRIER),
            (false, false) => None,
        }
    }

    /// Takes a slot for a request that is one ring request without segments.
    fn take_slot(&mut self) -> Option<u16> {
        if self.ring.free() == 0 {
            return None;
        }
        let index = self.free.pop()?;
        let slot = self.slots.get_mut(usize::from(index))?;
        slot.head = index;
        slot.parts = 1;
        slot.first = 0;
        slot.then_flush = false;
        slot.outcome = Outcome::Done;
        Some(index)
    }

    /// Marks the slot as waiting for an operation without segments and returns its id.
    fn start(slot: &mut Slot<H::Io>, index: u16, operation: u8) -> u64 {
        slot.generation = slot.generation.wrapping_add(1);
        slot.waiting = true;
        slot.operation = operation;
        slot.indirect = false;
        slot.segments = 0;
        slot.id(index)
    }

    fn write_flush(&mut self, index: u16, operation: u8) {
        let (Some(slot), Some(mut entry)) = (
            self.slots.get_mut(usize::from(index)),
            self.ring.next_entry(),
        ) else {
            return;
        };
        let id = Self::start(slot, index, operation);
        let handle = self.setup.handle;
        entry.set(
            0,
            &RequestHead {
                operation,
                handle,
                id,
                ..RequestHead::default()
            },
        );
        self.stats.requests += 1;
        self.stats.flushes += 1;
    }

    fn discard(&mut self, io: H::Io, secure: bool) -> Result<(), (H::Io, Busy)> {
        let features = self.setup.features;
        if !features.discard || secure && !features.secure {
            return Err((io, Busy::Unsupported));
        }
        let Some(index) = self.take_slot() else {
            return Err((io, Busy::Ring));
        };
        let (Some(slot), Some(mut entry)) = (
            self.slots.get_mut(usize::from(index)),
            self.ring.next_entry(),
        ) else {
            return Err((io, Busy::Ring));
        };
        let request = RequestDiscard {
            operation: wire::OP_DISCARD,
            flag: if secure { wire::DISCARD_SECURE } else { 0 },
            handle: self.setup.handle,
            pad: 0,
            id: Self::start(slot, index, wire::OP_DISCARD),
            sector_number: io.sector(),
            nr_sectors: io.sectors(),
        };
        entry.set(0, &request);
        slot.sector = io.sector();
        slot.io = Some(io);
        self.stats.requests += 1;
        self.stats.discards += 1;
        Ok(())
    }

    /// Takes the responses that are there and hands each completed request to `done`; then asks the
    /// back end for a notification with the next one.
    ///
    /// It ends after at most as many responses as requests were waiting. After a violation the queue
    /// is broken, and [`drain`](Self::drain) has what is left.
    #[inline]
    pub fn reap(&mut self, mut done: impl FnMut(H::Io, Outcome)) -> Result<Reaped, Violation> {
        let mut reaped = Reaped::default();
        loop {
            self.take_responses(&mut reaped, &mut done)?;
            if self.broken
                || !self
                    .ring
                    .final_check()
                    .map_err(|error| self.violated(error.into()))?
            {
                return Ok(reaped);
            }
        }
    }

    /// Like [`reap`](Self::reap), without asking for a notification.
    #[inline]
    pub fn poll(&mut self, mut done: impl FnMut(H::Io, Outcome)) -> Result<Reaped, Violation> {
        let mut reaped = Reaped::default();
        self.take_responses(&mut reaped, &mut done)?;
        Ok(reaped)
    }

    fn violated(&mut self, violation: Violation) -> Violation {
        self.broken = true;
        violation
    }

    #[inline]
    fn take_responses(
        &mut self,
        reaped: &mut Reaped,
        done: &mut impl FnMut(H::Io, Outcome),
    ) -> Result<(), Violation> {
        while !self.broken {
            let response = match self.ring.next_response() {
                Ok(Some(response)) => response,
                Ok(None) => break,
                Err(error) => return Err(self.violated(error.into())),
            };
            reaped.responses += 1;
            match self.answer(response) {
                Ok(Some((io, outcome))) => done(io, outcome),
                Ok(None) => {}
                Err(violation) => return Err(self.violated(violation)),
            }
        }
        if core::mem::take(&mut self.flush_written) {
            reaped.notify |= self.push();
        }
        Ok(())
    }

    /// Checks a response and ends its ring request; returns the request if that was its last part.
    #[inline]
    fn answer(&mut self, response: Response) -> Result<Option<(H::Io, Outcome)>, Violation> {
        let id = response.id;
        let index = id as u16;
        let Some(slot) = self.slots.get_mut(usize::from(index)) else {
            return Err(Violation::Id { id });
        };
        if !slot.waiting || slot.id(index) != id {
            return Err(Violation::Id { id });
        }
        let sent = slot.operation;
        let got = response.operation;
        if got != sent && !(slot.indirect && got == wire::OP_INDIRECT) {
            return Err(Violation::Operation { id, sent, got });
        }
        let head = slot.head;
        self.end_segments(index, response.status == wire::RSP_OKAY)?;

        let outcome = self.judge(sent, response.status, index);
        let Some(slot) = self.slots.get_mut(usize::from(index)) else {
            return Ok(None);
        };
        slot.waiting = false;
        if index != head {
            self.free.push(index);
        }
        let Some(slot) = self.slots.get_mut(usize::from(head)) else {
            return Ok(None);
        };
        slot.parts = slot.parts.saturating_sub(1);
        if outcome != Outcome::Done {
            slot.outcome = outcome;
        }
        if slot.parts != 0 {
            return Ok(None);
        }
        if slot.then_flush && slot.outcome == Outcome::Done {
            slot.then_flush = false;
            if let Some(operation) = self.flush_operation() {
                if let Some(slot) = self.slots.get_mut(usize::from(head)) {
                    slot.parts = 1;
                }
                self.write_flush(head, operation);
                self.flush_written = true;
                return Ok(None);
            }
        }
        let Some(slot) = self.slots.get_mut(usize::from(head)) else {
            return Ok(None);
        };
        let finished = slot.io.take().map(|io| (io, slot.outcome));
        self.free.push(head);
        Ok(finished)
    }

    /// What a status means, and which feature it takes away.
    #[inline]
    fn judge(&mut self, operation: u8, status: i16, index: u16) -> Outcome {
        if status == wire::RSP_OKAY {
            return Outcome::Done;
        }
        self.stats.failed += 1;
        if status != wire::RSP_EOPNOTSUPP {
            return Outcome::Failed;
        }
        let features = &mut self.setup.features;
        let slot = self.slots.get(usize::from(index));
        let has_data = slot.is_some_and(|slot| slot.segments != 0);
        // A flush that was to follow a write: the data is written, so sending all again in another
        // way loses nothing.
        let follows = slot
            .and_then(|slot| slot.io.as_ref())
            .is_some_and(|io| io.op() != Op::Flush);
        match operation {
            wire::OP_WRITE_BARRIER => {
                features.barrier = false;
                if has_data || follows {
                    Outcome::Retry
                } else {
                    Outcome::Unsupported
                }
            }
            wire::OP_FLUSH_DISKCACHE => {
                features.flush = false;
                if follows || features.barrier {
                    Outcome::Retry
                } else {
                    Outcome::Unsupported
                }
            }
            wire::OP_DISCARD => {
                features.discard = false;
                features.secure = false;
                Outcome::Unsupported
            }
            _ => Outcome::Failed,
        }
    }

    /// Ends the grants of an answered ring request, and copies what was read to where it belongs.
    #[inline]
    fn end_segments(&mut self, index: u16, okay: bool) -> Result<(), Violation> {
        let Self {
            host,
            slots,
            used,
            refs,
            pool,
            setup,
            stats,
            ..
        } = self;
        let Some(slot) = slots.get(usize::from(index)) else {
            return Ok(());
        };
        let id = slot.id(index);
        let row = usize::from(index) * setup.max_segments;
        let used = used.get_mut(row..).unwrap_or_default();
        let used = used
            .get_mut(..usize::from(slot.segments))
            .unwrap_or_default();
        let Some(pool) = pool else {
            for used in used {
                if !host.end(*used) {
                    return Err(Violation::Held { id, gref: *used });
                }
                refs.put(host, *used);
                *used = NO_REF;
            }
            return Ok(());
        };
        if !setup.persistent {
            for &page in used.iter() {
                pool.end(host, refs, page)
                    .map_err(|gref| Violation::Held { id, gref })?;
            }
        }
        if okay && slot.operation == wire::OP_READ {
            let head = slots
                .get(usize::from(slot.head))
                .and_then(|head| head.io.as_ref());
            if let Some(io) = head {
                let segments = io.segments().skip(slot.first as usize);
                for (segment, &page) in segments.zip(used.iter()) {
                    if let Some(page) = pool.page(page) {
                        segment.copy_from(page);
                        stats.bounces += 1;
                    }
                }
            }
        }
        // The first page goes on top again, so that the next small request finds it warm.
        for &page in used.iter().rev() {
            pool.put(page);
        }
        Ok(())
    }

    /// Ends persistent grants that are not in use here and that the back end has let go; returns how
    /// many. To be called now and then.
    pub fn purge(&mut self) -> usize {
        let Self {
            host, pool, setup, ..
        } = self;
        match pool {
            Some(pool) if setup.persistent => pool.purge(host),
            _ => 0,
        }
    }

    /// Number of pages that are granted persistently.
    pub fn persistent_grants(&self) -> usize {
        self.pool.as_ref().map_or(0, Pool::granted)
    }

    /// Breaks off and hands every request that the queue holds to `lost`, exactly once. No grant is
    /// left: what the back end still has mapped is left to the host, which frees it later.
    pub fn drain(&mut self, mut lost: impl FnMut(H::Io)) {
        self.broken = true;
        let Self {
            host,
            slots,
            used,
            pool,
            refs,
            indirect,
            setup,
            ..
        } = self;
        for index in 0..slots.len() {
            let Some(slot) = slots.get_mut(index) else {
                continue;
            };
            if !core::mem::take(&mut slot.waiting) || pool.is_some() {
                continue;
            }
            let (head, first, count) = (slot.head, slot.first, slot.segments);
            let row = index * setup.max_segments;
            let used = used.get_mut(row..).unwrap_or_default();
            let head = slots
                .get(usize::from(head))
                .and_then(|head| head.io.as_ref());
            if let Some(io) = head {
                let segments = io.segments().skip(first as usize).take(usize::from(count));
                for (segment, used) in segments.zip(used) {
                    end_or_abandon(host, *used, segment.gfn());
                    *used = NO_REF;
                }
            }
        }
        if let Some(pool) = pool {
            pool.revoke(host);
        }
        for page in indirect.iter_mut() {
            end_or_abandon(host, page.gref, page.page.gfn());
            page.gref = NO_REF;
        }
        refs.clear(host);
        for slot in slots.iter_mut() {
            if let Some(io) = slot.io.take() {
                lost(io);
            }
        }
    }
}

/// The number of segments, if each is made of whole sectors within one page.
#[inline]
fn count_whole<P>(io: &impl Io<P>) -> Option<usize> {
    io.segments().try_fold(0usize, |count, segment| {
        let (offset, len) = (segment.offset(), segment.len());
        let whole = (offset | len) % wire::SECTOR_SIZE == 0 && len != 0;
        let within = u64::from(offset) + u64::from(len) <= PAGE_SIZE as u64;
        (whole && within).then_some(count + 1)
    })
}

impl<H: Host> Drop for Queue<H> {
    fn drop(&mut self) {
        self.drain(drop);
    }
}
