// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way in: a request becomes one or more ring requests.

use super::{Busy, Outcome, Queue};
use crate::block::host::{Host, Io, Op, Segment};
use crate::block::wire::{self, RequestDiscard, RequestHead};
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
        let data = match io.op() {
            Op::Read => Ok((wire::OP_READ, false)),
            Op::Write { fua } => Ok((wire::OP_WRITE, fua)),
            Op::Flush => Err(None),
            Op::Discard { secure } => Err(Some(secure)),
        };
        let done = match data {
            Ok((operation, fua)) => self.transfer(io, operation, fua),
            Err(None) => self.flush(io),
            Err(Some(secure)) => self.discard(io, secure),
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

    #[inline]
    fn transfer(&mut self, io: H::Io, operation: u8, fua: bool) -> Result<(), (H::Io, Busy)> {
        let Some(total) = count_whole(&io) else {
            return Err((io, Busy::Malformed));
        };
        let max = self.setup.max_segments;
        let parts = if total <= max {
            1
        } else {
            total.div_ceil(max.max(1))
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

        let head = if parts == 1 {
            let written = self.write_part(operation, io.sector(), &mut io.segments(), total);
            written.map(|(slot, _)| slot)
        } else {
            let head = self.write_parts(operation, &io, total);
            head.and_then(|head| self.slots.get_mut(usize::from(head)))
        };
        if let Some(slot) = head {
            slot.parts = parts as u16;
            slot.then_flush = then_flush;
            slot.io = Some(io);
        }
        Ok(())
    }

    /// Writes several ring requests; returns the slot of the first.
    #[inline(never)]
    fn write_parts(&mut self, operation: u8, io: &H::Io, total: usize) -> Option<u16> {
        let mut sector = io.sector();
        let mut segments = io.segments();
        let (mut head, mut first) = (None, 0);
        while first < total {
            let count = self.setup.max_segments.min(total - first);
            let (slot, sectors) = self.write_part(operation, sector, &mut segments, count)?;
            slot.head = *head.get_or_insert(slot.head);
            slot.first = first as u32;
            sector = sector.wrapping_add(sectors);
            first += count;
        }
        head
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

    pub(super) fn write_flush(&mut self, index: u16, operation: u8) {
        let (Some(slot), Some(mut entry)) = (
            self.slots.get_mut(usize::from(index)),
            self.ring.next_entry(),
        ) else {
            return;
        };
        let id = slot.start(index, operation, 0);
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
            id: slot.start(index, wire::OP_DISCARD, 0),
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
