// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way out: a response is checked and ends a ring request.

use super::{Outcome, Queue, Reaped, Violation};
use crate::block::host::{Host, Io, Op, Segment};
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
        let okay = response.status == wire::RSP_OKAY;
        self.end_segments(index, okay)?;
        let outcome = if okay {
            Outcome::Done
        } else {
            self.judge(sent, response.status, index)
        };
        let Some(mut slot) = self.slots.get_mut(usize::from(index)) else {
            return Ok(None);
        };
        slot.waiting = false;
        let head = slot.head;
        if index != head {
            self.free.push(index);
            let Some(of_request) = self.slots.get_mut(usize::from(head)) else {
                return Ok(None);
            };
            slot = of_request;
        }
        slot.parts = slot.parts.saturating_sub(1);
        if outcome != Outcome::Done {
            slot.outcome = outcome;
        }
        if slot.parts != 0 {
            return Ok(None);
        }
        if slot.then_flush && slot.outcome == Outcome::Done {
            return Ok(self.flush_after(head));
        }
        let finished = slot.io.take().map(|io| (io, slot.outcome));
        self.free.push(head);
        Ok(finished)
    }

    /// Sends the flush that makes a finished write durable, or completes the write if it cannot.
    #[cold]
    fn flush_after(&mut self, head: u16) -> Option<(H::Io, Outcome)> {
        let operation = self.flush_operation();
        let slot = self.slots.get_mut(usize::from(head))?;
        slot.then_flush = false;
        let Some(operation) = operation else {
            let finished = slot.io.take().map(|io| (io, slot.outcome));
            self.free.push(head);
            return finished;
        };
        slot.parts = 1;
        self.write_flush(head, operation);
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

    /// Ends the grants of an answered ring request, and copies what was read to where it belongs.
    #[inline]
    fn end_segments(&mut self, index: u16, okay: bool) -> Result<(), Violation> {
        if self.pool.is_some() {
            return self.end_pages(index, okay);
        }
        let Some(slot) = self.slots.get(usize::from(index)) else {
            return Ok(());
        };
        let row = usize::from(index) * self.setup.max_segments;
        let used = self.used.get_mut(row..).unwrap_or_default();
        let used = used.get_mut(..usize::from(slot.segments));
        for used in used.unwrap_or_default() {
            if !self.host.end(*used) {
                return Err(Violation::Held {
                    id: slot.id(index),
                    gref: *used,
                });
            }
            self.refs.put(&self.host, *used);
            *used = NO_REF;
        }
        Ok(())
    }

    /// The same with pages that data is copied through.
    fn end_pages(&mut self, index: u16, okay: bool) -> Result<(), Violation> {
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
        let (Some(slot), Some(pool)) = (slots.get(usize::from(index)), pool) else {
            return Ok(());
        };
        let id = slot.id(index);
        let row = usize::from(index) * setup.max_segments;
        let used = used.get_mut(row..).unwrap_or_default();
        let used = used
            .get_mut(..usize::from(slot.segments))
            .unwrap_or_default();
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
}
