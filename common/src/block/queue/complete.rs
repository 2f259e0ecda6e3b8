// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way out: a response is checked and ends a ring request.

use super::{Due, Outcome, Queue, Reaped, Violation};
use crate::block::host::{GrantRef, Host, Io, Op, Segment};
use crate::block::pool::NO_REF;
use crate::block::wire::{self, Response};

impl<H: Host> Queue<H> {
    /// Takes the responses that are there and hands each completed request to `done`; then asks the
    /// back end for a notification with the next one.
    ///
    /// It ends after at most as many responses as requests were waiting. After a violation the queue
    /// is broken, and [`drain`](Self::drain) has what is left.
    #[inline]
    pub fn reap(&mut self, mut done: impl FnMut(H::Io, Outcome)) -> Result<Reaped, Violation> {
        let mut reaped = Reaped::default();
        if self.broken {
            return Ok(reaped);
        }
        loop {
            self.take_responses(&mut reaped, &mut done)?;
            match self.ring.final_check() {
                Ok(true) => {}
                Ok(false) => return Ok(reaped),
                Err(error) => return Err(self.violated(error.into())),
            }
        }
    }

    /// Like [`reap`](Self::reap), without asking for a notification.
    #[inline]
    pub fn poll(&mut self, mut done: impl FnMut(H::Io, Outcome)) -> Result<Reaped, Violation> {
        let mut reaped = Reaped::default();
        if !self.broken {
            self.take_responses(&mut reaped, &mut done)?;
        }
        Ok(reaped)
    }

    #[cold]
    fn violated(&mut self, violation: Violation) -> Violation {
        self.shut();
        violation
    }

    #[inline]
    fn take_responses(
        &mut self,
        reaped: &mut Reaped,
        done: &mut impl FnMut(H::Io, Outcome),
    ) -> Result<(), Violation> {
        loop {
            let response = match self.ring.next_response() {
                Ok(Some(response)) => response,
                Ok(None) => break,
                Err(error) => return Err(self.violated(error.into())),
            };
            reaped.responses += 1;
            match self.answer_whole(&response) {
                Ok(Some(io)) => {
                    if let Some(io) = io {
                        done(io, Outcome::Done);
                    }
                    continue;
                }
                Ok(None) => {}
                Err(violation) => return Err(self.violated(violation)),
            }
            let Response {
                id,
                operation,
                status,
                ..
            } = response;
            match self.answer(id, operation, status) {
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

    /// The way of most responses: if this one says that a [`Due::Whole`] is done, ends its grants and
    /// returns the request; `None` for any other.
    #[inline]
    fn answer_whole(&mut self, response: &Response) -> Result<Option<Option<H::Io>>, Violation> {
        let id = response.id;
        let Some(slot) = self.slots.get_mut(usize::from(id as u16)) else {
            return Ok(None);
        };
        if slot.id != id
            || slot.due != Due::Whole
            || slot.operation != response.operation
            || response.status != wire::RSP_OKAY
        {
            return Ok(None);
        }
        let Some(used) = slot.used.get_mut(..usize::from(slot.segments)) else {
            return Ok(None);
        };
        end_all(&self.host, used).map_err(|gref| Violation::Held { id, gref })?;
        Ok(Some(slot.free(&mut self.free)))
    }

    /// Checks a response and ends its ring request; returns the request if that was its last part.
    #[inline(never)]
    fn answer(
        &mut self,
        id: u64,
        got: u8,
        status: i16,
    ) -> Result<Option<(H::Io, Outcome)>, Violation> {
        let index = id as u16;
        let slot = self.slots.get_mut(usize::from(index));
        let Some(slot) = slot.filter(|slot| slot.due != Due::Nothing && slot.id == id) else {
            return Err(Violation::Id { id });
        };
        let sent = slot.operation;
        if got != sent && !(slot.due == Due::Indirect && got == wire::OP_INDIRECT) {
            return Err(Violation::Operation { id, sent, got });
        }
        let okay = status == wire::RSP_OKAY;
        if self.pool.is_some() {
            self.end_pages(index, okay)?;
        } else {
            let used = slot.used(&mut self.rows, self.setup.max_segments);
            end_all(&self.host, used).map_err(|gref| Violation::Held { id, gref })?;
            if slot.due == Due::Indirect {
                for gref in slot.used(&mut self.rows, self.setup.max_segments) {
                    self.refs.put(&self.host, *gref);
                }
            }
        }
        let outcome = if okay {
            Outcome::Done
        } else {
            self.judge(sent, status, index)
        };
        Ok(self.end_part(index, outcome))
    }

    /// Ends a ring request; returns the request if that was its last part.
    fn end_part(&mut self, index: u16, outcome: Outcome) -> Option<(H::Io, Outcome)> {
        let mut slot = self.slots.get_mut(usize::from(index))?;
        slot.due = Due::Nothing;
        let head = slot.head;
        if index != head {
            slot.reset();
            slot.free(&mut self.free);
            slot = self.slots.get_mut(usize::from(head))?;
        }
        if outcome != Outcome::Done {
            slot.outcome = outcome;
        }
        if slot.more != 0 {
            slot.more -= 1;
            return None;
        }
        if slot.then_flush && slot.outcome == Outcome::Done {
            return self.flush_after(head);
        }
        self.finish(head)
    }

    /// Frees the slot that holds a request, which is complete.
    fn finish(&mut self, head: u16) -> Option<(H::Io, Outcome)> {
        let slot = self.slots.get_mut(usize::from(head))?;
        let outcome = slot.outcome;
        slot.reset();
        slot.free(&mut self.free).map(|io| (io, outcome))
    }

    /// Sends the flush that makes a finished write durable, or completes the write if it cannot.
    #[cold]
    fn flush_after(&mut self, head: u16) -> Option<(H::Io, Outcome)> {
        let Some(operation) = self.flush_operation() else {
            return self.finish(head);
        };
        let slot = self.slots.get_mut(usize::from(head))?;
        slot.then_flush = false;
        let sector = slot.sector;
        self.write_flush(head, operation, sector);
        self.flush_written = true;
        None
    }

    /// What a status other than `BLKIF_RSP_OKAY` means, and which feature it takes away.
    #[cold]
    fn judge(&mut self, operation: u8, status: i16, index: u16) -> Outcome {
        self.stats.failed += 1;
        let slot = self.slots.get(usize::from(index));
        let has_data = slot.is_some_and(|slot| slot.segments != 0);
        // A back end that cannot do a barrier without data may call that an error.
        let empty = operation == wire::OP_WRITE_BARRIER && !has_data;
        if status != wire::RSP_EOPNOTSUPP && !(empty && status == wire::RSP_ERROR) {
            return Outcome::Failed;
        }
        let features = &mut self.setup.features;
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

    /// Ends the grants of an answered ring request whose data went through pages of the pool, and copies
    /// what was read to where it belongs.
    fn end_pages(&mut self, index: u16, okay: bool) -> Result<(), Violation> {
        let Self {
            host,
            slots,
            rows,
            refs,
            pool: Some(pool),
            setup,
            stats,
            ..
        } = self
        else {
            return Ok(());
        };
        let Some(slot) = slots.get_mut(usize::from(index)) else {
            return Ok(());
        };
        let id = slot.id;
        if !setup.persistent {
            for &mut page in slot.used(rows, setup.max_segments) {
                pool.end(host, refs, page)
                    .map_err(|gref| Violation::Held { id, gref })?;
            }
        }
        if okay && slot.operation == wire::OP_READ {
            let head = usize::from(slot.head);
            let io = slots.get_mut(head).and_then(|head| head.io.take());
            if let (Some(io), Some(slot)) = (&io, slots.get_mut(usize::from(index))) {
                let segments = io.segments().skip(slot.first as usize);
                let used = slot.used(rows, setup.max_segments);
                for (segment, &mut page) in segments.zip(used) {
                    if let Some(page) = pool.page(page) {
                        segment.copy_from(page);
                        stats.bounces += 1;
                    }
                }
            }
            if let Some(head) = slots.get_mut(head) {
                head.io = io;
            }
        }
        // The first page goes on top again, so that the next small request finds it warm.
        if let Some(slot) = slots.get_mut(usize::from(index)) {
            for &mut page in slot.used(rows, setup.max_segments).iter_mut().rev() {
                pool.put(page);
            }
        }
        Ok(())
    }
}

/// Ends what all the references grant. The one that could not be ended comes back as an error; those
/// before it are released and [`NO_REF`] then.
#[inline]
fn end_all<H: Host>(host: &H, grefs: &mut [GrantRef]) -> Result<(), GrantRef> {
    for (index, &gref) in grefs.iter().enumerate() {
        if !host.end(gref) {
            return Err(held(host, grefs, index));
        }
    }
    Ok(())
}

#[cold]
fn held<H: Host>(host: &H, grefs: &mut [GrantRef], ended: usize) -> GrantRef {
    for gref in grefs.iter_mut().take(ended) {
        host.release(core::mem::replace(gref, NO_REF));
    }
    grefs.get(ended).map_or(NO_REF, |gref| *gref)
}
