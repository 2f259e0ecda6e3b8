// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way in: a request becomes one or more ring requests.

use core::mem::size_of;

use zerocopy::IntoBytes;

use super::{Busy, Outcome, Queue, Slot};
use crate::block::host::{Access, Host, Io, Op, Segment, SharedPage};
use crate::block::pool::{Granted, NO_REF};
use crate::block::wire::{self, RequestDiscard, RequestHead, RequestIndirect, WireSegment};
use crate::shared::PAGE_SIZE;

impl<H: Host> Queue<H> {
    /// Writes a request into the ring. The back end sees it after [`push`](Self::push).
    ///
    /// A request that is not taken comes back with the reason, and nothing has changed.
    #[inline]
    pub fn submit(&mut self, io: H::Io) -> Result<(), (H::Io, Busy)> {
        if self.closed || self.broken {
            return Err((io, Busy::Closed));
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
        let per_part = total.min(self.setup.max_segments).max(1);
        let parts = total.div_ceil(per_part);
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

        // A barrier orders its data, but a back end with a cache (Linux' flushes it *before* the data)
        // may answer while the data is still in it: where it can flush, that follows the write. A
        // barrier carries its data directly; what does not fit is written, then flushed, too.
        let features = self.setup.features;
        let barrier = fua && features.barrier && !features.flush && total <= wire::MAX_SEGMENTS;
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

    pub(super) fn flush_operation(&self) -> Option<u8> {
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

    pub(super) fn write_flush(&mut self, index: u16, operation: u8) {
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
