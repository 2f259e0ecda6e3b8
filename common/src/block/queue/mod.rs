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

mod complete;
mod part;
mod submit;
mod types;

use super::host::{Access, GrantRef, Host, Io, NoMemory, Segment, SharedPage};
use super::pool::{end_or_abandon, Pool, Refs, Stack, NO_REF};
use super::wire::{self, Request, Response};
use crate::ring::FrontRing;

pub use types::{Busy, Features, Outcome, Pending, Reaped, Setup, Stats, Violation};

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
    /// Marks the slot as waiting for a new ring request of `segments` segments; its id.
    #[inline]
    fn start(&mut self, index: u16, operation: u8, segments: usize) -> u64 {
        self.generation = self.generation.wrapping_add(1);
        self.waiting = true;
        self.operation = operation;
        self.indirect = segments > wire::MAX_SEGMENTS;
        self.segments = segments as u16;
        self.id(index)
    }

    #[inline]
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
    ring: Ring<H::Ring>,
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
    /// No request is taken any more.
    closed: bool,
    /// No response is believed any more either.
    broken: bool,
    stats: Stats,
}

/// The ring of a block front end. It is made before the back end is told of it, the queue when the
/// back end has said what it can do.
pub type Ring<M> = FrontRing<M, Request, Response>;

/// References that a queue keeps at hand beyond those of one request.
const SPARE_REFS: usize = 1024;

impl<H: Host> Queue<H> {
    /// Makes a queue over a new ring, which may be published already.
    pub fn new(host: H, ring: Ring<H::Ring>, mut setup: Setup) -> Result<Self, NoMemory> {
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
            closed: false,
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
        // With persistent grants, a back end maps whatever it is given for reading and writing.
        let access = if setup.persistent {
            Access::ReadWrite
        } else {
            Access::ReadOnly
        };
        for indirect in queue.indirect.iter_mut() {
            let gref = host.claim().ok_or(NoMemory)?;
            host.grant(gref, indirect.page.gfn(), access);
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

    /// Takes no further request; those inside may be completed.
    pub fn close(&mut self) {
        self.closed = true;
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

    /// Ends persistent grants that are not in use here and that the back end has let go; returns how
    /// many. Gives references back to the host that were not needed since the last call. To be called
    /// now and then.
    pub fn purge(&mut self) -> usize {
        let Self {
            host,
            pool,
            refs,
            setup,
            ..
        } = self;
        refs.trim(host);
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

impl<H: Host> Drop for Queue<H> {
    fn drop(&mut self) {
        self.drain(drop);
    }
}
