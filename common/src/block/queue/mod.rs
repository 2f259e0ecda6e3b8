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
use super::pool::{end_or_abandon, Pool, Refs, NO_REF};
use super::wire::{self, Request, Response};
use crate::ring::FrontRing;

pub use types::{Busy, Features, Outcome, Pending, Reaped, Setup, Stats, Violation};

/// One ring request, or the place for one.
///
/// INVARIANT: in a free slot, what only a request of several ring requests needs, or one that a flush
/// follows, is as for any other: [`Slot::new`] says how.
struct Slot<I> {
    /// In the head: the request.
    io: Option<I>,
    /// The id of its ring request: the slot's index, and the generation in the high half.
    id: u64,
    sector: u64,
    /// Grants or pool pages of a direct one. The first `kept` are references of the slot's own, which it
    /// keeps while it is free.
    used: [u32; wire::MAX_SEGMENTS],
    /// Index of the first segment in the request.
    first: u32,
    /// Number of grants or pool pages.
    segments: u16,
    /// Number of the slot's own references.
    kept: u16,
    /// In a free slot: the next free one. In a part of a request: the part before it.
    next: u16,
    /// The slot that holds the request; its own index if it is this one.
    head: u16,
    /// In the head: ring requests not yet answered, without the last of them.
    more: u16,
    due: Due,
    /// `BLKIF_OP_*`, for an indirect request that of its data.
    operation: u8,
    /// In the head: send a flush before the request is complete.
    then_flush: bool,
    /// In the head: the worst outcome so far.
    outcome: Outcome,
}

/// Which response a slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// None.
    Nothing,
    /// To a direct ring request that is all of its request: its segments were granted, and nothing
    /// follows it.
    Whole,
    /// To any other direct one.
    Direct,
    /// To an indirect one: what it uses is in the queue's row for the slot.
    Indirect,
}

/// No slot, as it is beyond all of them.
const NO_SLOT: u16 = u16::MAX;

impl<I> Slot<I> {
    fn new(index: u16, next: u16) -> Self {
        Self {
            io: None,
            id: u64::from(index),
            sector: 0,
            used: [NO_REF; wire::MAX_SEGMENTS],
            first: 0,
            segments: 0,
            kept: 0,
            next,
            head: index,
            more: 0,
            due: Due::Nothing,
            operation: 0,
            then_flush: false,
            outcome: Outcome::Done,
        }
    }

    /// Makes it wait for a new ring request of `segments` segments; its id.
    #[inline]
    fn start(&mut self, due: Due, operation: u8, sector: u64, segments: usize) -> u64 {
        self.id = self.id.wrapping_add(1 << 32);
        self.due = due;
        self.operation = operation;
        self.sector = sector;
        self.segments = segments as u16;
        self.id
    }

    /// Its index among the slots.
    #[inline]
    fn index(&self) -> u16 {
        self.id as u16
    }

    /// Its grants or pool pages, given the queue's rows of `row` elements.
    fn used<'a>(&'a mut self, rows: &'a mut [u32], row: usize) -> &'a mut [u32] {
        let used = if self.due == Due::Indirect {
            let start = usize::from(self.index()) * row;
            rows.get_mut(start..).unwrap_or_default()
        } else {
            &mut self.used
        };
        let segments = usize::from(self.segments);
        used.get_mut(..segments).unwrap_or_default()
    }

    /// Gives away the references that it keeps, but for those that are [`NO_REF`].
    fn give(&mut self, mut to: impl FnMut(GrantRef)) {
        let kept = core::mem::take(&mut self.kept);
        for &gref in self.used.iter().take(usize::from(kept)) {
            if gref != NO_REF {
                to(gref);
            }
        }
    }

    /// Frees it; `free` is the first free slot before and after.
    #[inline]
    fn free(&mut self, free: &mut u16) -> Option<I> {
        self.due = Due::Nothing;
        self.next = core::mem::replace(free, self.index());
        self.io.take()
    }

    /// Keeps the type's invariant when a slot is freed that did not wait for [`Due::Whole`].
    fn reset(&mut self) {
        self.first = 0;
        self.head = self.index();
        self.more = 0;
        self.then_flush = false;
        self.outcome = Outcome::Done;
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
    /// The first free slot, or [`NO_SLOT`]. A slot is in use at least as long as its ring entry, so there
    /// are never more free slots than free entries.
    free: u16,
    /// A row of `max_segments` for each slot, if that is more than a slot has room for.
    rows: H::Array<u32>,
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
    /// No response is believed any more either. INVARIANT: then `closed`, too.
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
            let next = if index + 1 < entries {
                index + 1
            } else {
                NO_SLOT.into()
            };
            Ok(Slot::new(index as u16, next as u16))
        })?;
        let rows = if setup.max_segments > wire::MAX_SEGMENTS {
            entries * setup.max_segments
        } else {
            0
        };
        let rows = host.array(rows, |_| Ok(NO_REF))?;
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
            free: 0,
            rows,
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

    /// Takes no further request and believes no further response.
    fn shut(&mut self) {
        self.closed = true;
        self.broken = true;
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
            .filter(|slot| slot.due != Due::Nothing)
            .map(|slot| Pending {
                id: slot.id,
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
            slots,
            pool,
            refs,
            setup,
            ..
        } = self;
        refs.trim(host, |refs| collect(host, slots, refs));
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
        self.shut();
        let Self {
            host,
            slots,
            rows,
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
            if slot.due == Due::Nothing {
                continue;
            }
            if pool.is_some() {
                slot.due = Due::Nothing;
                continue;
            }
            let head = usize::from(slot.head);
            let io = slots.get_mut(head).and_then(|head| head.io.take());
            if let (Some(io), Some(slot)) = (&io, slots.get_mut(index)) {
                let segments = io.segments().skip(slot.first as usize);
                let used = slot.used(rows, setup.max_segments);
                for (segment, used) in segments.zip(used) {
                    end_or_abandon(host, *used, segment.gfn());
                    *used = NO_REF;
                }
                slot.due = Due::Nothing;
            }
            if let Some(head) = slots.get_mut(head) {
                head.io = io;
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
            slot.give(|gref| host.release(gref));
            if let Some(io) = slot.io.take() {
                lost(io);
            }
        }
    }
}

/// Takes the references that free slots keep.
fn collect<H: Host>(host: &H, slots: &mut [Slot<H::Io>], refs: &mut Refs<H>) {
    for slot in slots.iter_mut().filter(|slot| slot.due == Due::Nothing) {
        slot.give(|gref| refs.put(host, gref));
    }
}

impl<H: Host> Drop for Queue<H> {
    fn drop(&mut self) {
        self.drain(drop);
    }
}
