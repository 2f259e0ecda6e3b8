// SPDX-License-Identifier: MIT OR Apache-2.0
//! The receive ring of a net front end: buffers go in, frames come out.
//!
//! The queue owns a buffer from [`RxQueue::refill`] until it leaves in a [`Frame`] or through
//! [`RxQueue::drain`], exactly once. A response takes the slot of its own request: by that, and not by
//! the id that extra information overlays, a buffer is found.
//!
//! A frame is handed over whole. While its last slot is not in the ring, nothing of it is taken, and the
//! next [`RxQueue::receive`] reads it anew. What a back end does wrong ends in one of two ways. As long
//! as it is clear where the next frame begins, the frame is dropped and its buffers are put back into
//! the ring with their grants, as stock front ends do:
//!
//! | a slot or a frame | is dropped because |
//! |---|---|
//! | has a negative status | the back end reports an error |
//! | has no data, or data beyond its page | it makes no sense |
//! | has extra information of an unknown type, of one that is sent and not received, or twice of one | likewise |
//! | is cut in segments of no length or of an unknown protocol | likewise |
//! | is shorter than an Ethernet header | likewise |
//!
//! The device is broken where nothing that follows could be believed: wrong indexes, a wrong id, a
//! buffer that is still mapped, and more slots than a frame can have ([`Violation`]).
//!
//! Linux' back end, asked for room in front of the data for XDP, says so in extra information, leaves
//! `offset` 0 and puts the *end* of the data in `status`, in every slot of the frame. Where `offset` is
//! not 0, it and `status` mean what they always do.

mod frame;
mod receive;
mod types;

use super::host::{Buffer, Host};
use super::types::Violation;
use super::wire::{RxRequest, RxResponse, NR_SLOTS_MIN};
use crate::grant::Access;
use crate::host::{end_or_abandon, NoMemory, NO_REF};
use crate::ring::FrontRing;
use frame::Piece;

pub use frame::{Frame, RxFragment};
pub use types::{Received, RxStats};

/// The receive ring. It is made before the back end is told of it.
pub type RxRing<M> = FrontRing<M, RxRequest, RxResponse>;

/// A slot of the ring.
struct Slot<B> {
    /// Claimed for as long as the queue lives; it grants the buffer, if there is one.
    gref: u32,
    buffer: Option<B>,
}

/// The receive ring and all that belongs to it.
pub struct RxQueue<H: Host> {
    host: H,
    ring: RxRing<H::Ring>,
    slots: H::Array<Slot<H::Buffer>>,
    /// Of the frame that is being received.
    pieces: [Piece; NR_SLOTS_MIN],
    /// The last frame that is in the ring is not all there.
    partial: bool,
    closed: bool,
    broken: bool,
    stats: RxStats,
}

impl<H: Host> RxQueue<H> {
    /// Makes a queue over a new ring, which may be published already. It claims a grant reference for
    /// each entry.
    pub fn new(host: H, ring: RxRing<H::Ring>) -> Result<Self, NoMemory> {
        let entries = ring.size().min(u32::from(u16::MAX)) as usize;
        let slots = host.array(entries, |_| {
            Ok(Slot {
                gref: NO_REF,
                buffer: None,
            })
        })?;
        let mut queue = Self {
            host,
            ring,
            slots,
            pieces: [Piece::default(); NR_SLOTS_MIN],
            partial: false,
            closed: false,
            broken: false,
            stats: RxStats::default(),
        };
        // Claimed last: from here on dropping the queue releases them.
        for slot in queue.slots.iter_mut() {
            slot.gref = queue.host.claim().ok_or(NoMemory)?;
        }
        Ok(queue)
    }

    /// The counters.
    pub fn stats(&self) -> RxStats {
        self.stats
    }

    /// Buffers that can still be posted.
    #[inline]
    pub fn room(&self) -> u32 {
        self.ring.free()
    }

    /// Buffers in the ring.
    #[inline]
    pub fn posted(&self) -> u32 {
        self.ring.size().wrapping_sub(self.ring.free())
    }

    /// Whether the back end broke the protocol.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Takes no further buffer; frames may still be received.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Fills the ring with buffers from `next`, until that has none; returns how many are missing.
    /// The back end sees them after [`push`](Self::push).
    #[inline]
    pub fn refill(&mut self, mut next: impl FnMut() -> Option<H::Buffer>) -> u32 {
        if self.closed {
            return self.ring.free();
        }
        let mut draft = self.ring.draft();
        let mut posted = 0;
        loop {
            let index = draft.next_index();
            let (Some(mut entry), Some(slot)) =
                (draft.next_entry(), self.slots.get_mut(index as usize))
            else {
                break;
            };
            let Some(buffer) = next() else {
                break;
            };
            let (gref, gfn) = (slot.gref, buffer.gfn());
            let request = RxRequest {
                id: index as u16,
                pad: 0,
                gref,
            };
            entry.set(0, &request);
            slot.buffer = Some(buffer);
            self.host.grant(gref, gfn, Access::ReadWrite);
            posted += 1;
        }
        self.ring.commit(posted);
        self.stats.buffers += u64::from(posted);
        self.ring.free()
    }

    /// Publishes what was posted. `true`: notify the back end.
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

    fn violated(&mut self, violation: Violation) -> Violation {
        self.broken = true;
        self.closed = true;
        violation
    }

    /// Breaks off and hands every buffer that the queue holds to `lost`, exactly once. No grant is
    /// left: what the back end still has mapped is left to the host, which frees it later.
    pub fn drain(&mut self, mut lost: impl FnMut(H::Buffer)) {
        self.closed = true;
        self.broken = true;
        for slot in self.slots.iter_mut() {
            let gref = core::mem::replace(&mut slot.gref, NO_REF);
            match slot.buffer.take() {
                Some(buffer) => {
                    end_or_abandon(&self.host, gref, buffer.gfn());
                    lost(buffer);
                }
                None if gref != NO_REF => self.host.release(gref),
                None => {}
            }
        }
    }
}

impl<H: Host> Drop for RxQueue<H> {
    fn drop(&mut self) {
        self.drain(drop);
    }
}
