// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ring request that carries data: its memory is granted, and it is written.

use core::mem::size_of;

use zerocopy::IntoBytes;

use super::{Busy, Due, IndirectPage, Queue, Ring, Setup, Slot, Stats};
use crate::block::host::{Access, GrantRef, Host, Io, Segment, SharedPage};
use crate::block::pool::{Granted, Pool, Refs, NO_REF};
use crate::block::wire::{self, RequestHead, RequestIndirect, WireSegment};
use crate::shared::PAGE_SIZE;

/// What a queue writes ring requests with: all but its slots.
pub(super) struct Writer<'a, H: Host> {
    ring: &'a mut Ring<H::Ring>,
    rows: &'a mut [u32],
    indirect: &'a [IndirectPage<H::Page>],
    indirect_pages: usize,
    setup: &'a Setup,
    memory: Memory<'a, H>,
}

/// What a queue shows a request's memory to the back end with.
struct Memory<'a, H: Host> {
    host: &'a H,
    refs: &'a mut Refs<H>,
    pool: &'a mut Option<Pool<H>>,
    stats: &'a mut Stats,
}

impl<H: Host> Queue<H> {
    /// Takes a free slot, to write a ring request with.
    #[inline(always)]
    pub(super) fn writer(&mut self) -> Option<(&mut Slot<H::Io>, Writer<'_, H>)> {
        let slot = self.slots.get_mut(usize::from(self.free))?;
        self.free = slot.next;
        let writer = Writer {
            ring: &mut self.ring,
            rows: &mut self.rows,
            indirect: &self.indirect,
            indirect_pages: self.indirect_pages,
            setup: &self.setup,
            memory: Memory {
                host: &self.host,
                refs: &mut self.refs,
                pool: &mut self.pool,
                stats: &mut self.stats,
            },
        };
        Some((slot, writer))
    }

    /// Undoes what was written of a request in `parts` slots, of which `last` is the newest, and frees
    /// them. What the back end has mapped in that short time is left to the host.
    #[cold]
    pub(super) fn take_back(&mut self, io: &H::Io, last: u16, parts: u16) {
        let mut index = last;
        for _ in 0..parts {
            let Some(slot) = self.slots.get_mut(usize::from(index)) else {
                return;
            };
            if slot.due != Due::Nothing {
                self.ring.unwrite(1);
                let segments = io.segments().skip(slot.first as usize);
                let used = slot.used(&mut self.rows, self.setup.max_segments);
                for (segment, used) in segments.zip(used) {
                    let used = core::mem::replace(used, NO_REF);
                    if let Some(pool) = &mut self.pool {
                        // A page that is still mapped stays out of use, until the pool is revoked.
                        if self.setup.persistent
                            || pool.end(&self.host, &mut self.refs, used).is_ok()
                        {
                            pool.put(used);
                        }
                    } else if self.host.end(used) {
                        self.refs.put(&self.host, used);
                    } else {
                        self.host.abandon(used, segment.gfn());
                    }
                }
                slot.give(|gref| self.refs.put(&self.host, gref));
            }
            index = slot.next;
            slot.reset();
            slot.free(&mut self.free);
        }
    }
}

impl<H: Host> Writer<'_, H> {
    /// Writes a ring request for the next `count` segments, at most [`wire::MAX_SEGMENTS`], with the
    /// references that the slot keeps; returns its length in sectors. What is written when it fails can
    /// be taken back.
    #[inline(always)]
    pub(super) fn write_direct<S: Segment<H::Page>>(
        &mut self,
        slot: &mut Slot<H::Io>,
        due: Due,
        operation: u8,
        sector: u64,
        segments: &mut impl Iterator<Item = S>,
        count: usize,
    ) -> Result<u64, Busy> {
        if usize::from(slot.kept) < count {
            return Err(Busy::Grants);
        }
        let mut entry = self.ring.next_entry().ok_or(Busy::Ring)?;
        let head = RequestHead {
            operation,
            nr_segments: count as u8,
            handle: self.setup.handle,
            pad: 0,
            id: slot.start(due, operation, sector, count),
            sector_number: sector,
        };
        entry.set(0, &head);
        let access = match operation {
            wire::OP_READ => Access::ReadWrite,
            _ => Access::ReadOnly,
        };
        let (mut described, mut sectors) = (0, 0);
        for &gref in slot.used.get(..count).unwrap_or_default() {
            let Some((segment, wire)) = segments.next().and_then(describe) else {
                break;
            };
            let wire = WireSegment { gref, ..wire };
            entry.set_nth(size_of::<RequestHead>(), described, &wire);
            described += 1;
            sectors += length(wire);
            // The call last: nothing of the segment has to be kept across it.
            self.memory.host.grant(gref, segment.gfn(), access);
        }
        if described != count {
            slot.segments = described as u16;
            return Err(Busy::Malformed);
        }
        Ok(sectors)
    }

    /// Writes a ring request for the next `count` segments in whatever way they need; else like
    /// [`write_direct`](Self::write_direct).
    pub(super) fn write<S: Segment<H::Page>>(
        &mut self,
        slot: &mut Slot<H::Io>,
        operation: u8,
        sector: u64,
        segments: &mut impl Iterator<Item = S>,
        count: usize,
    ) -> Result<u64, Busy> {
        if self.memory.pool.is_none() && count <= wire::MAX_SEGMENTS {
            let kept = usize::from(slot.kept);
            for place in slot.used.iter_mut().take(count).skip(kept) {
                *place = self
                    .memory
                    .refs
                    .take(self.memory.host)
                    .ok_or(Busy::Grants)?;
                slot.kept += 1;
            }
            return self.write_direct(slot, Due::Direct, operation, sector, segments, count);
        }
        let (due, indirect) = match count {
            0..=wire::MAX_SEGMENTS => (Due::Direct, 0),
            _ => (Due::Indirect, count.div_ceil(wire::SEGMENTS_PER_PAGE)),
        };
        let mut entry = self.ring.next_entry().ok_or(Busy::Ring)?;
        let id = slot.start(due, operation, sector, count);
        let row = usize::from(slot.index()) * self.indirect_pages;
        let pages = self.indirect.get(row..).unwrap_or_default();
        let used = slot.used(self.rows, self.setup.max_segments);
        let (mut described, mut sectors, mut busy) = (0, 0, Busy::Malformed);
        for used in used {
            let Some((segment, wire)) = segments.next().and_then(describe) else {
                break;
            };
            let Some((taken, gref)) = self.memory.show(&segment, operation, self.setup.persistent)
            else {
                busy = Busy::Grants;
                break;
            };
            *used = taken;
            let wire = WireSegment { gref, ..wire };
            if indirect == 0 {
                entry.set_nth(size_of::<RequestHead>(), described, &wire);
            } else if let Some(indirect) = pages.get(described / wire::SEGMENTS_PER_PAGE) {
                let at = described % wire::SEGMENTS_PER_PAGE * size_of::<WireSegment>();
                indirect.page.write(at, wire.as_bytes());
            }
            described += 1;
            sectors += length(wire);
        }
        if described != count {
            slot.segments = described as u16;
            return Err(busy);
        }
        let handle = self.setup.handle;
        if indirect == 0 {
            let head = RequestHead {
                operation,
                nr_segments: count as u8,
                handle,
                pad: 0,
                id,
                sector_number: sector,
            };
            entry.set(0, &head);
            return Ok(sectors);
        }
        let mut request = RequestIndirect {
            operation: wire::OP_INDIRECT,
            indirect_op: operation,
            nr_segments: count as u16,
            id,
            sector_number: sector,
            handle,
            ..RequestIndirect::default()
        };
        let grefs = request.indirect_grefs.iter_mut().zip(pages);
        for (gref, page) in grefs.take(indirect) {
            *gref = page.gref;
        }
        entry.set(0, &request);
        Ok(sectors)
    }
}

impl<H: Host> Memory<'_, H> {
    /// Shows a segment to the back end: what is to be kept in the slot for it, and its grant. `None`:
    /// there is no page or no reference.
    fn show<S: Segment<H::Page>>(
        &mut self,
        segment: &S,
        operation: u8,
        persistent: bool,
    ) -> Option<(u32, GrantRef)> {
        // With persistent grants, a back end maps whatever it is given for reading and writing.
        let access = if persistent || operation == wire::OP_READ {
            Access::ReadWrite
        } else {
            Access::ReadOnly
        };
        let Some(pool) = self.pool else {
            let gref = self.refs.take(self.host)?;
            self.host.grant(gref, segment.gfn(), access);
            return Some((gref, gref));
        };
        let index = pool.take()?;
        let Some(granted) = pool.grant(self.host, self.refs, index, access) else {
            pool.put(index);
            return None;
        };
        match granted {
            Granted::Already(_) => self.stats.persistent_hits += 1,
            Granted::Now(_) => self.stats.grants += 1,
        }
        if let (true, Some(page)) = (operation != wire::OP_READ, pool.page(index)) {
            segment.copy_to(page);
            self.stats.bounces += 1;
        }
        Some((index, granted.gref()))
    }
}

/// A segment as the back end gets it, but for its grant; `None` if it is not made of whole sectors
/// within one page.
#[inline(always)]
fn describe<P, S: Segment<P>>(segment: S) -> Option<(S, WireSegment)> {
    let (offset, len) = (segment.offset(), segment.len());
    let end = u64::from(offset) + u64::from(len);
    if (offset | len) % wire::SECTOR_SIZE != 0 || len == 0 || end > PAGE_SIZE as u64 {
        return None;
    }
    let wire = WireSegment {
        gref: NO_REF,
        first_sect: (offset / wire::SECTOR_SIZE) as u8,
        last_sect: (end / u64::from(wire::SECTOR_SIZE)).wrapping_sub(1) as u8,
        pad: 0,
    };
    Some((segment, wire))
}

/// Its length in sectors.
#[inline(always)]
fn length(segment: WireSegment) -> u64 {
    u64::from(segment.last_sect) + 1 - u64::from(segment.first_sect)
}
