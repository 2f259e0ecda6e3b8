// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way in: a request becomes one or more ring requests.

use super::{collect, Busy, Due, Queue};
use crate::block::host::{Host, Io, Op};
use crate::block::wire::{self, RequestDiscard, RequestHead};

/// The ring requests of one request so far.
#[derive(Default)]
struct Written {
    /// The slot of the first.
    head: u16,
    /// The slot of the last.
    last: u16,
    parts: u16,
    /// How many of them are indirect.
    indirect: u16,
}

impl<H: Host> Queue<H> {
    /// Writes a request into the ring. The back end sees it after [`push`](Self::push).
    ///
    /// A request that is not taken comes back with the reason, and nothing has changed.
    #[inline]
    pub fn submit(&mut self, io: H::Io) -> Result<(), (H::Io, Busy)> {
        if self.closed {
            return Err((io, Busy::Closed));
        }
        let done = match io.op() {
            op @ (Op::Read | Op::Write { fua: false }) => self.transfer(io, op == Op::Read),
            Op::Write { fua: true } => self.transfer_counted(io),
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

    /// Reads or writes: the way of most requests. What is not one direct ring request of as many segments
    /// as expected, with a grant for each and nothing after it, goes [another
    /// way](Self::transfer_counted).
    #[inline]
    fn transfer(&mut self, io: H::Io, read: bool) -> Result<(), (H::Io, Busy)> {
        let operation = if read { wire::OP_READ } else { wire::OP_WRITE };
        let count = io.expected_segments();
        if !(1..=wire::MAX_SEGMENTS).contains(&count) || self.pool.is_some() {
            return self.transfer_counted(io);
        }
        let Some((slot, mut writer)) = self.writer() else {
            return Err((io, Busy::Ring));
        };
        let (sector, mut segments) = (io.sector(), io.segments());
        let written =
            writer.write_direct(slot, Due::Whole, operation, sector, &mut segments, count);
        let whole = written.is_ok() && segments.next().is_none();
        drop(segments);
        if whole {
            slot.io = Some(io);
            self.stats.requests += 1;
            self.stats.segments += count as u64;
            self.stats.grants += count as u64;
            return Ok(());
        }
        let index = slot.index();
        self.take_back(&io, index, 1);
        self.transfer_counted(io)
    }

    /// Reads or writes in as many ring requests as it takes, and makes durable what has to be.
    #[inline(never)]
    fn transfer_counted(&mut self, io: H::Io) -> Result<(), (H::Io, Busy)> {
        let count = io.segments().count();
        let parts = count.div_ceil(self.setup.max_segments.max(1));
        if count == 0 || parts > self.slots.len() {
            return Err((io, Busy::Malformed));
        }
        if !self.has_free(parts) {
            return Err((io, Busy::Ring));
        }
        if self
            .pool
            .as_ref()
            .is_some_and(|pool| pool.available() < count)
        {
            return Err((io, Busy::Pages));
        }
        if self.pool.is_none() && !self.refs.reserve(&self.host, count) {
            collect(&self.host, &mut self.slots, &mut self.refs);
            if !self.refs.reserve(&self.host, count) {
                return Err((io, Busy::Grants));
            }
        }

        // A barrier orders its data, but a back end with a cache (Linux' flushes it *before* the data)
        // may answer while the data is still in it: where it can flush, that follows the write. A
        // barrier carries its data directly; what does not fit is written, then flushed, too.
        let features = self.setup.features;
        let fua = io.op() == Op::Write { fua: true };
        let barrier = fua && features.barrier && !features.flush && count <= wire::MAX_SEGMENTS;
        let operation = if barrier {
            wire::OP_WRITE_BARRIER
        } else if io.op() == Op::Read {
            wire::OP_READ
        } else {
            wire::OP_WRITE
        };
        let then_flush = fua && !barrier && (features.flush || features.barrier);

        let mut written = Written::default();
        if let Err(busy) = self.write_parts(operation, &io, count, &mut written) {
            self.take_back(&io, written.last, written.parts);
            return Err((io, busy));
        }
        if let Some(slot) = self.slots.get_mut(usize::from(written.head)) {
            slot.more = written.parts.saturating_sub(1);
            slot.then_flush = then_flush;
            slot.io = Some(io);
        }
        self.stats.requests += u64::from(written.parts);
        self.stats.indirect += u64::from(written.indirect);
        self.stats.segments += count as u64;
        if self.pool.is_none() {
            self.stats.grants += count as u64;
        }
        self.stats.flushes += u64::from(barrier);
        Ok(())
    }

    /// Writes a request of `count` segments as one ring request or several.
    fn write_parts(
        &mut self,
        operation: u8,
        io: &H::Io,
        count: usize,
        written: &mut Written,
    ) -> Result<(), Busy> {
        let max = self.setup.max_segments.max(1);
        let (mut sector, mut segments) = (io.sector(), io.segments());
        for first in (0..count).step_by(max) {
            let (slot, mut writer) = self.writer().ok_or(Busy::Ring)?;
            let index = slot.index();
            if written.parts == 0 {
                written.head = index;
            }
            slot.head = written.head;
            slot.first = first as u32;
            slot.next = written.last;
            written.last = index;
            written.parts += 1;
            let part = max.min(count - first);
            written.indirect += u16::from(part > wire::MAX_SEGMENTS);
            let sectors = writer.write(slot, operation, sector, &mut segments, part)?;
            sector = sector.wrapping_add(sectors);
        }
        Ok(())
    }

    /// Whether so many slots are free.
    fn has_free(&self, count: usize) -> bool {
        let mut index = self.free;
        (0..count).all(|_| match self.slots.get(usize::from(index)) {
            Some(slot) => {
                index = slot.next;
                true
            }
            None => false,
        })
    }

    fn flush(&mut self, io: H::Io) -> Result<(), (H::Io, Busy)> {
        let Some(operation) = self.flush_operation() else {
            return Err((io, Busy::Unsupported));
        };
        let index = self.free;
        let Some(slot) = self.slots.get_mut(usize::from(index)) else {
            return Err((io, Busy::Ring));
        };
        self.free = slot.next;
        let sector = io.sector();
        slot.io = Some(io);
        self.write_flush(index, operation, sector);
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

    pub(super) fn write_flush(&mut self, index: u16, operation: u8, sector: u64) {
        let (Some(slot), Some(mut entry)) = (
            self.slots.get_mut(usize::from(index)),
            self.ring.next_entry(),
        ) else {
            return;
        };
        let id = slot.start(Due::Direct, operation, sector, 0);
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
        let Some(slot) = self.slots.get_mut(usize::from(self.free)) else {
            return Err((io, Busy::Ring));
        };
        let Some(mut entry) = self.ring.next_entry() else {
            return Err((io, Busy::Ring));
        };
        self.free = slot.next;
        let request = RequestDiscard {
            operation: wire::OP_DISCARD,
            flag: if secure { wire::DISCARD_SECURE } else { 0 },
            handle: self.setup.handle,
            pad: 0,
            id: slot.start(Due::Direct, wire::OP_DISCARD, io.sector(), 0),
            sector_number: io.sector(),
            nr_sectors: io.sectors(),
        };
        entry.set(0, &request);
        slot.io = Some(io);
        self.stats.requests += 1;
        self.stats.discards += 1;
        Ok(())
    }
}
