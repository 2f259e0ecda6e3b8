// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way out: responses are checked and become frames.

use super::frame::Verdict;
use super::{Frame, Received, RxQueue, Slot};
use crate::host::NO_REF;
use crate::net::host::Host;
use crate::net::types::Violation;
use crate::net::wire::{self, ExtraInfo, RxRequest, RxResponse};

/// A frame goes on behind its first slot.
const GOES_ON: u16 = wire::NETRXF_MORE_DATA | wire::NETRXF_EXTRA_INFO;

impl<H: Host> RxQueue<H> {
    /// Takes up to `budget` whole frames from the ring and hands each to `sink`.
    ///
    /// When fewer came, [`arm`](Self::arm) asks for a notification. It ends after at most as many
    /// responses as buffers were in the ring. After a violation the queue is broken, and
    /// [`drain`](Self::drain) has what is left.
    #[inline]
    pub fn receive(
        &mut self,
        budget: u32,
        mut sink: impl FnMut(&mut Frame<'_, H>),
    ) -> Result<Received, Violation> {
        let mut received = Received::default();
        while received.frames < budget && !self.broken {
            match self.next_frame(&mut received, &mut sink) {
                Ok(true) => {}
                Ok(false) => break,
                Err(violation) => return Err(self.violated(violation)),
            }
        }
        Ok(received)
    }

    /// Asks for a notification with the next response. `true`: one is there already, so the caller must
    /// go on receiving.
    #[inline]
    pub fn arm(&mut self) -> Result<bool, Violation> {
        if self.broken {
            return Ok(false);
        }
        let there = if self.partial {
            self.ring.final_check_beyond()
        } else {
            self.ring.final_check()
        };
        there.map_err(|error| self.violated(error.into()))
    }

    /// Handles the next frame; `false`: there is none, or not all of it.
    #[inline]
    fn next_frame(
        &mut self,
        received: &mut Received,
        sink: &mut impl FnMut(&mut Frame<'_, H>),
    ) -> Result<bool, Violation> {
        self.partial = false;
        let Some(first) = self.ring.peek_response::<RxResponse>(0)? else {
            return Ok(false);
        };
        self.chain.start(first.flags);
        self.piece(0, &first)?;
        let taken = if first.flags & GOES_ON == 0 {
            1
        } else {
            match self.rest(&first)? {
                Some(taken) => taken,
                None => {
                    self.partial = true;
                    return Ok(false);
                }
            }
        };
        received.responses += taken;
        let verdict = self.chain.verdict();
        if verdict != Verdict::Good {
            self.drop_frame(verdict, taken);
            return Ok(true);
        }
        self.end_pieces()?;
        let first_extra = self.ring.response_index(1);
        self.ring.take_responses(taken);
        let chain = &self.chain;
        self.stats.frames += 1;
        self.stats.fragments += chain.count as u64;
        self.stats.bytes += u64::from(chain.len);
        self.stats.gso += u64::from(chain.meta.gso.is_some());
        received.frames += 1;
        let mut frame = Frame {
            meta: chain.meta,
            len: chain.len,
            pieces: chain.pieces.get(..chain.count).unwrap_or_default().iter(),
            slots: &mut self.slots,
        };
        sink(&mut frame);
        frame.for_each(drop);
        // Behind the sink: the ring may have no slot free but those of the frame's buffers.
        for extra in 0..self.chain.extras {
            self.repost(first_extra.wrapping_add(extra));
        }
        Ok(true)
    }

    /// Reads a data slot, `ahead` of the next response.
    #[inline(always)]
    fn piece(&mut self, ahead: u32, response: &RxResponse) -> Result<(), Violation> {
        let index = self.ring.response_index(ahead);
        if u32::from(response.id) != index {
            return Err(Violation::Id { id: response.id });
        }
        if self.chain.push(index, response) {
            Ok(())
        } else {
            Err(Violation::TooLong)
        }
    }

    /// Reads what follows the first slot of a frame; returns how many slots it has, or `None` when not
    /// all of them are there.
    #[inline]
    fn rest(&mut self, first: &RxResponse) -> Result<Option<u32>, Violation> {
        let mut ahead = 1;
        let mut extra = first.flags & wire::NETRXF_EXTRA_INFO != 0;
        while extra {
            let Some(info) = self.ring.peek_response::<ExtraInfo>(ahead)? else {
                return Ok(None);
            };
            let slot = self.ring.response_index(0);
            if !self.chain.extra(slot, first, &info) {
                return Err(Violation::TooLong);
            }
            ahead += 1;
            extra = info.more();
        }
        let mut more = first.flags & wire::NETRXF_MORE_DATA != 0;
        while more {
            let Some(response) = self.ring.peek_response::<RxResponse>(ahead)? else {
                return Ok(None);
            };
            self.piece(ahead, &response)?;
            ahead += 1;
            more = response.flags & wire::NETRXF_MORE_DATA != 0;
        }
        Ok(Some(ahead))
    }

    /// Ends the grants of the frame's buffers.
    #[inline]
    fn end_pieces(&mut self) -> Result<(), Violation> {
        let pieces = self
            .chain
            .pieces
            .get(..self.chain.count)
            .unwrap_or_default();
        for (nth, piece) in pieces.iter().enumerate() {
            let Some(slot) = self.slots.get(usize::from(piece.slot)) else {
                continue;
            };
            if !self.host.end(slot.gref) {
                let (id, gref) = (piece.slot, slot.gref);
                self.forget_ended(nth);
                return Err(Violation::Held { id, gref });
            }
        }
        Ok(())
    }

    /// Lets go of the references of the frame's first `count` buffers, whose grants have ended.
    #[cold]
    fn forget_ended(&mut self, count: usize) {
        for piece in self.chain.pieces.get(..count).unwrap_or_default() {
            if let Some(slot) = self.slots.get_mut(usize::from(piece.slot)) {
                self.host.release(slot.gref);
                slot.gref = NO_REF;
            }
        }
    }

    /// Takes the `taken` slots of a frame from the ring and posts their buffers again.
    #[cold]
    fn drop_frame(&mut self, verdict: Verdict, taken: u32) {
        if verdict == Verdict::Failed {
            self.stats.failed += 1;
        } else {
            self.stats.malformed += 1;
        }
        let first = self.ring.response_index(0);
        self.ring.take_responses(taken);
        for slot in 0..taken {
            self.repost(first.wrapping_add(slot));
        }
    }

    /// Posts the buffer of slot `from` again, which was taken from the ring, with its grant.
    fn repost(&mut self, from: u32) {
        let from = (from & self.ring.size().wrapping_sub(1)) as usize;
        let index = self.ring.next_index();
        let to = index as usize;
        let Some(mut entry) = self.ring.next_entry() else {
            return;
        };
        let nothing = Slot {
            gref: NO_REF,
            buffer: None,
        };
        let Some(slot) = self.slots.get_mut(from) else {
            return;
        };
        let posted = core::mem::replace(slot, nothing);
        let gref = posted.gref;
        let Some(slot) = self.slots.get_mut(to) else {
            return;
        };
        let free = core::mem::replace(slot, posted);
        // In a full ring the two are one.
        if from != to {
            if let Some(slot) = self.slots.get_mut(from) {
                *slot = free;
            }
        }
        let request = RxRequest {
            id: index as u16,
            pad: 0,
            gref,
        };
        entry.set(0, &request);
        self.stats.reposted += 1;
    }
}
