// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ring request that carries data: its memory is granted, and it is written.

use core::mem::size_of;

use zerocopy::IntoBytes;

use super::{IndirectPage, Outcome, Queue, Slot, Stats};
use crate::block::host::{Access, GrantRef, Host, Segment, SharedPage};
use crate::block::pool::{Granted, Pool, Refs, NO_REF};
use crate::block::wire::{self, RequestHead, RequestIndirect, WireSegment};

impl<H: Host> Queue<H> {
    /// Writes a ring request for the next `count` segments, as a request of its own; returns its slot
    /// and its length in sectors.
    ///
    /// The caller has seen that there is all that is taken here.
    #[inline(always)]
    pub(super) fn write_part<S: Segment<H::Page>>(
        &mut self,
        operation: u8,
        sector: u64,
        segments: &mut impl Iterator<Item = S>,
        count: usize,
    ) -> Option<(&mut Slot<H::Io>, u64)> {
        let index = self.free.pop()?;
        let slot = self.slots.get_mut(usize::from(index))?;
        let mut entry = self.ring.next_entry()?;
        let id = slot.start(index, operation, count);
        slot.head = index;
        slot.outcome = Outcome::Done;
        slot.first = 0;
        slot.sector = sector;
        let row = usize::from(index) * self.setup.max_segments;
        let used = self.used.get_mut(row..)?.get_mut(..count)?;
        self.stats.requests += 1;
        self.stats.segments += count as u64;
        let handle = self.setup.handle;
        let mut memory = Memory {
            host: &self.host,
            refs: &mut self.refs,
            stats: &mut self.stats,
            persistent: self.setup.persistent,
            writes: operation != wire::OP_READ,
        };

        if count > wire::MAX_SEGMENTS {
            let row = usize::from(index) * self.indirect_pages;
            let pages = self.indirect.get(row..).unwrap_or_default();
            let mut request = RequestIndirect {
                operation: wire::OP_INDIRECT,
                indirect_op: operation,
                nr_segments: count as u16,
                id,
                sector_number: sector,
                handle,
                ..RequestIndirect::default()
            };
            let sectors =
                memory.describe_indirect(&mut self.pool, segments, used, pages, &mut request);
            entry.set(0, &request);
            return Some((slot, sectors));
        }
        let head = RequestHead {
            operation,
            nr_segments: count as u8,
            handle,
            pad: 0,
            id,
            sector_number: sector,
        };
        entry.set(0, &head);
        let mut at = size_of::<RequestHead>();
        let sectors = memory.describe(&mut self.pool, segments, used, |segment| {
            entry.set(at, &segment);
            at += size_of::<WireSegment>();
        });
        Some((slot, sectors))
    }
}

/// The parts of a queue that the memory of a request needs.
struct Memory<'a, H: Host> {
    host: &'a H,
    refs: &'a mut Refs<H>,
    stats: &'a mut Stats,
    persistent: bool,
    writes: bool,
}

impl<H: Host> Memory<'_, H> {
    /// Grants a segment for each place in `used`, keeps there what was taken for it, and hands its
    /// description to `put`. Returns the length of all in sectors.
    #[inline(always)]
    fn describe<S: Segment<H::Page>>(
        &mut self,
        pool: &mut Option<Pool<H>>,
        segments: &mut impl Iterator<Item = S>,
        used: &mut [u32],
        mut put: impl FnMut(WireSegment),
    ) -> u64 {
        let access = if self.persistent || !self.writes {
            Access::ReadWrite
        } else {
            Access::ReadOnly
        };
        let mut sectors = 0;
        if let Some(pool) = pool {
            for used in used {
                let Some(segment) = segments.next() else {
                    break;
                };
                let gref = self.copy(pool, &segment, used, access);
                put(describe(&segment, gref, &mut sectors));
            }
            return sectors;
        }
        self.stats.grants += used.len() as u64;
        let refs = self.refs.take_many(used.len());
        for (used, &gref) in used.iter_mut().zip(refs) {
            let Some(segment) = segments.next() else {
                break;
            };
            *used = gref;
            put(describe(&segment, gref, &mut sectors));
            // The call last: nothing of the segment has to be kept across it.
            self.host.grant(gref, segment.gfn(), access);
        }
        sectors
    }

    /// Takes a page of the pool for `segment`, copies to it what is written, and returns the reference
    /// that grants it.
    #[inline(always)]
    fn copy<S: Segment<H::Page>>(
        &mut self,
        pool: &mut Pool<H>,
        segment: &S,
        used: &mut u32,
        access: Access,
    ) -> GrantRef {
        let index = pool.take().unwrap_or(u32::MAX);
        *used = index;
        let granted = pool.grant(self.host, self.refs, index, access);
        match granted {
            Some(Granted::Already(_)) => self.stats.persistent_hits += 1,
            _ => self.stats.grants += 1,
        }
        if let (true, Some(page)) = (self.writes, pool.page(index)) {
            segment.copy_to(page);
            self.stats.bounces += 1;
        }
        granted.map_or(NO_REF, Granted::gref)
    }

    /// Like [`describe`](Self::describe), into indirect pages, which it names in the request.
    #[inline(never)]
    fn describe_indirect<S: Segment<H::Page>>(
        mut self,
        pool: &mut Option<Pool<H>>,
        segments: &mut impl Iterator<Item = S>,
        used: &mut [u32],
        pages: &[IndirectPage<H::Page>],
        request: &mut RequestIndirect,
    ) -> u64 {
        self.stats.indirect += 1;
        let needed = used.len().div_ceil(wire::SEGMENTS_PER_PAGE);
        for (gref, page) in request.indirect_grefs.iter_mut().zip(pages).take(needed) {
            *gref = page.gref;
        }
        let mut at = 0;
        self.describe(pool, segments, used, |segment| {
            if let Some(indirect) = pages.get(at / wire::SEGMENTS_PER_PAGE) {
                let at = at % wire::SEGMENTS_PER_PAGE * size_of::<WireSegment>();
                indirect.page.write(at, segment.as_bytes());
            }
            at += 1;
        })
    }
}

/// A segment as the back end gets it; its length is added to `sectors`.
#[inline(always)]
fn describe<P>(segment: &impl Segment<P>, gref: GrantRef, sectors: &mut u64) -> WireSegment {
    let first = segment.offset() / wire::SECTOR_SIZE;
    let length = segment.len() / wire::SECTOR_SIZE;
    *sectors += u64::from(length);
    WireSegment {
        gref,
        first_sect: first as u8,
        last_sect: (first + length).wrapping_sub(1) as u8,
        pad: 0,
    }
}
