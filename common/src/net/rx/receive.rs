// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way out: responses are checked and become frames.

use super::frame::{checksum, has_data, Chain, Piece, Verdict};
use super::{Frame, Received, RxQueue, RxStats, Slot};
use crate::host::NO_REF;
use crate::net::host::Host;
use crate::net::types::{Meta, Violation};
use crate::net::wire::{self, ExtraInfo, RxRequest, RxResponse, NR_SLOTS_MIN};
use crate::ring::Seen;
use crate::shared::SharedMemory;

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
        if self.broken {
            return Ok(received);
        }
        self.partial = false;
        let mut looked = false;
        while received.frames < budget {
            if !self.ring.has_seen() {
                // What comes meanwhile is found by `arm`.
                if looked || !self.look()? {
                    break;
                }
                looked = true;
            }
            match self.next_frame(&mut received, &mut sink) {
                Ok(true) => {}
                Ok(false) => break,
                Err(violation) => return Err(self.violated(violation)),
            }
        }
        Ok(received)
    }

    #[inline]
    fn look(&mut self) -> Result<bool, Violation> {
        self.ring
            .look()
            .map_err(|error| self.violated(error.into()))
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
    #[inline(always)]
    fn next_frame(
        &mut self,
        received: &mut Received,
        sink: &mut impl FnMut(&mut Frame<'_, H>),
    ) -> Result<bool, Violation> {
        let Some((index, first)) = self.ring.seen(0).read::<RxResponse>() else {
            return Ok(false);
        };
        if u32::from(first.id) != index {
            return Err(Violation::Id { id: first.id });
        }
        if first.flags & GOES_ON != 0 {
            return self.chained(index, &first, received, sink);
        }
        received.responses = received.responses.wrapping_add(1);
        if !has_data(&first) {
            self.drop_frame(Verdict::without_data(&first), 1);
            return Ok(true);
        }
        let len = first.status as u32;
        if len < wire::ETH_HLEN {
            self.drop_frame(Verdict::Malformed, 1);
            return Ok(true);
        }
        end(&self.host, &self.slots, &first)?;
        self.ring.take_responses(1);
        received.frames = received.frames.wrapping_add(1);
        let frame = Frame {
            meta: Meta {
                checksum: checksum(first.flags),
                gso: None,
                hash: None,
            },
            len,
            pieces: core::slice::from_ref(&first).iter(),
            slots: &mut self.slots,
        };
        hand_over(frame, &mut self.stats, sink);
        Ok(true)
    }

    /// Handles a frame that goes on behind its first slot; `false`: not all of it is there.
    #[inline]
    fn chained(
        &mut self,
        index: u32,
        first: &RxResponse,
        received: &mut Received,
        sink: &mut impl FnMut(&mut Frame<'_, H>),
    ) -> Result<bool, Violation> {
        let mut chain = loop {
            let mut chain = Chain::new(first.flags);
            let first = (index, *first);
            if read(&mut chain, &mut self.pieces, first, self.ring.seen(1))? {
                break chain;
            }
            if !self.ring.see_more()? {
                self.partial = true;
                return Ok(false);
            }
        };
        chain.shift(&mut self.pieces);
        let taken = chain.extras.wrapping_add(chain.count as u32);
        received.responses = received.responses.wrapping_add(taken);
        let verdict = chain.verdict();
        if verdict != Verdict::Good {
            self.drop_frame(verdict, taken);
            return Ok(true);
        }
        let pieces = self.pieces.get(..chain.count).unwrap_or_default();
        for piece in pieces {
            if let Err(violation) = end(&self.host, &self.slots, piece) {
                forget_before(&self.host, &mut self.slots, pieces, piece);
                return Err(violation);
            }
        }
        let first_extra = self.ring.response_index(1);
        self.ring.take_responses(taken);
        received.frames = received.frames.wrapping_add(1);
        let frame = Frame {
            meta: chain.meta,
            len: chain.len,
            pieces: pieces.iter(),
            slots: &mut self.slots,
        };
        hand_over(frame, &mut self.stats, sink);
        // Behind the sink: the ring may have no slot free but those of the frame's buffers.
        for extra in 0..chain.extras {
            self.repost(first_extra.wrapping_add(extra));
        }
        Ok(true)
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
        let count = self.slots.len();
        if from >= count || to >= count {
            return;
        }
        // In a full ring the two are one.
        self.slots.swap(from, to);
        let gref = self.slots.get(to).map_or(NO_REF, |slot| slot.gref);
        let request = RxRequest {
            id: index as u16,
            pad: 0,
            gref,
        };
        entry.set(0, &request);
        self.stats.reposted += 1;
    }
}

/// Reads the slots of a frame behind its first one, which is `first`; `false`: not all of them are there.
#[inline(always)]
fn read<M: SharedMemory>(
    chain: &mut Chain,
    pieces: &mut [Piece; NR_SLOTS_MIN],
    first: (u32, RxResponse),
    mut seen: Seen<'_, M, RxRequest, RxResponse>,
) -> Result<bool, Violation> {
    let (mut index, mut response) = first;
    if response.flags & wire::NETRXF_EXTRA_INFO != 0 {
        loop {
            let Some((_, extra)) = seen.read::<ExtraInfo>() else {
                return Ok(false);
            };
            if !chain.extra(&extra) {
                return Err(Violation::TooLong);
            }
            if !extra.more() {
                break;
            }
        }
    }
    loop {
        if u32::from(response.id) != index {
            return Err(Violation::Id { id: response.id });
        }
        if !chain.data(pieces, &response) {
            return Err(Violation::TooLong);
        }
        if response.flags & wire::NETRXF_MORE_DATA == 0 {
            return Ok(true);
        }
        (index, response) = match seen.read() {
            Some(next) => next,
            None => return Ok(false),
        };
    }
}

/// Ends the grant of a piece's buffer.
#[inline(always)]
fn end<H: Host>(host: &H, slots: &[Slot<H::Buffer>], piece: &Piece) -> Result<(), Violation> {
    match slots.get(usize::from(piece.id)) {
        Some(slot) if !host.end(slot.gref) => Err(Violation::Held {
            id: piece.id,
            gref: slot.gref,
        }),
        _ => Ok(()),
    }
}

/// Lets go of the references of buffers whose grants have ended: those in front of `held`.
#[cold]
fn forget_before<H: Host>(host: &H, slots: &mut [Slot<H::Buffer>], pieces: &[Piece], held: &Piece) {
    for piece in pieces.iter().take_while(|piece| piece.id != held.id) {
        if let Some(slot) = slots.get_mut(usize::from(piece.id)) {
            host.release(core::mem::replace(&mut slot.gref, NO_REF));
        }
    }
}

/// Hands a frame to `sink`, whose grants have ended and whose slots are taken from the ring.
#[inline(always)]
fn hand_over<H: Host>(
    mut frame: Frame<'_, H>,
    stats: &mut RxStats,
    sink: &mut impl FnMut(&mut Frame<'_, H>),
) {
    stats.frames += 1;
    stats.fragments += frame.pieces.len() as u64;
    stats.bytes += u64::from(frame.len);
    stats.gso += u64::from(frame.meta.gso.is_some());
    sink(&mut frame);
    frame.for_each(drop);
}
