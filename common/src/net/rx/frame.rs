// SPDX-License-Identifier: MIT OR Apache-2.0
//! A frame that was received, and how it is read from the ring.

use core::slice;

use super::Slot;
use crate::net::host::Host;
use crate::net::types::{Checksum, Gso, Hash, Meta};
use crate::net::wire::{self, ExtraInfo, RxResponse, NR_SLOTS_MIN};
use crate::shared::PAGE_SIZE;

/// A piece of a frame: `len` bytes from `offset` of the buffer's page.
#[derive(Debug)]
pub struct RxFragment<B> {
    /// The buffer. It is the caller's, and the back end has no access any more.
    pub buffer: B,
    /// Offset in the page, in bytes.
    pub offset: u32,
    /// Length in bytes, not zero, not beyond the page.
    pub len: u32,
}

/// A whole frame: an iterator over its fragments, in order. What is not taken out of it is dropped.
pub struct Frame<'a, H: Host> {
    pub(super) meta: Meta,
    pub(super) len: u32,
    pub(super) pieces: slice::Iter<'a, Piece>,
    pub(super) slots: &'a mut [Slot<H::Buffer>],
}

impl<H: Host> Frame<'_, H> {
    /// What is known of it beside its bytes.
    #[inline]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Length in bytes, at least that of an Ethernet header.
    #[inline]
    pub fn bytes(&self) -> u32 {
        self.len
    }
}

impl<H: Host> Iterator for Frame<'_, H> {
    type Item = RxFragment<H::Buffer>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.pieces.next()?;
        let buffer = self.slots.get_mut(usize::from(piece.slot))?.buffer.take()?;
        Some(RxFragment {
            buffer,
            offset: u32::from(piece.offset),
            len: u32::from(piece.len),
        })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pieces.size_hint()
    }
}

impl<H: Host> ExactSizeIterator for Frame<'_, H> {}

/// Where a piece of a frame lies.
#[derive(Clone, Copy, Default)]
pub(super) struct Piece {
    /// Index of the slot.
    pub(super) slot: u16,
    pub(super) offset: u16,
    pub(super) len: u16,
}

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// The back end reported an error.
    Failed,
    /// It makes no sense.
    Malformed,
}

/// A frame as it is read.
pub(super) struct Chain {
    pub(super) pieces: [Piece; NR_SLOTS_MIN],
    /// How many of them are valid.
    pub(super) count: usize,
    /// Of the pieces.
    verdict: Verdict,
    /// Extra information makes no sense.
    bad_extra: bool,
    pub(super) meta: Meta,
    /// Bytes.
    pub(super) len: u32,
    /// Slots of extra information.
    pub(super) extras: u32,
    /// Types of extra information that were seen, a bit each.
    seen: u8,
    /// Where the data begins in each buffer, if XDP is to find room in front of it.
    headroom: Option<u16>,
}

impl Chain {
    pub(super) const fn new() -> Self {
        Self {
            pieces: [Piece {
                slot: 0,
                offset: 0,
                len: 0,
            }; NR_SLOTS_MIN],
            count: 0,
            verdict: Verdict::Good,
            bad_extra: false,
            meta: Meta {
                checksum: Checksum::Unknown,
                gso: None,
                hash: None,
            },
            len: 0,
            extras: 0,
            seen: 0,
            headroom: None,
        }
    }

    /// Begins with the response of a first slot.
    #[inline]
    pub(super) fn start(&mut self, flags: u16) {
        self.count = 0;
        self.verdict = Verdict::Good;
        self.bad_extra = false;
        self.len = 0;
        self.extras = 0;
        self.seen = 0;
        self.headroom = None;
        self.meta = Meta {
            checksum: if flags & wire::NETRXF_CSUM_BLANK != 0 {
                Checksum::Blank
            } else if flags & wire::NETRXF_DATA_VALIDATED != 0 {
                Checksum::Validated
            } else {
                Checksum::Unknown
            },
            gso: None,
            hash: None,
        };
    }

    /// Takes over a piece; `false`: there is no room for it.
    #[inline(always)]
    pub(super) fn push(&mut self, slot: u32, response: &RxResponse) -> bool {
        let Some(piece) = self.pieces.get_mut(self.count) else {
            return false;
        };
        self.count += 1;
        let mut offset = u32::from(response.offset);
        // Negative ones become large.
        let mut len = response.status as u32;
        if let (Some(headroom), 0) = (self.headroom, offset) {
            offset = u32::from(headroom);
            len = len.wrapping_sub(offset);
        }
        let page = PAGE_SIZE as u32;
        if len.wrapping_sub(1) >= page || offset > page - len {
            self.verdict = if response.status < 0 {
                Verdict::Failed
            } else {
                Verdict::Malformed
            };
            return true;
        }
        *piece = Piece {
            slot: slot as u16,
            offset: offset as u16,
            len: len as u16,
        };
        self.len = self.len.wrapping_add(len);
        true
    }

    /// Takes over extra information, `first` being the response in front of it; `false`: there are more
    /// than there are types.
    #[inline]
    pub(super) fn extra(&mut self, slot: u32, first: &RxResponse, extra: &ExtraInfo) -> bool {
        self.extras = self.extras.wrapping_add(1);
        if self.extras >= u32::from(wire::EXTRA_TYPE_MAX) {
            return false;
        }
        let bit = 1u8.checked_shl(u32::from(extra.kind)).unwrap_or(0);
        let known = match extra.kind {
            _ if self.seen & bit != 0 => false,
            wire::EXTRA_TYPE_GSO => {
                self.meta.gso = Gso::from_wire(extra.gso());
                self.meta.gso.is_some()
            }
            // A hash of an unknown kind is of no use, and of no harm.
            wire::EXTRA_TYPE_HASH => {
                self.meta.hash = Hash::from_wire(extra.hash());
                true
            }
            wire::EXTRA_TYPE_XDP => {
                self.headroom = Some(extra.xdp());
                self.verdict = Verdict::Good;
                self.count = 0;
                self.len = 0;
                self.push(slot, first)
            }
            _ => false,
        };
        self.seen |= bit;
        self.bad_extra |= !known;
        true
    }

    /// What becomes of the frame, now that all of it is read.
    #[inline]
    pub(super) fn verdict(&self) -> Verdict {
        match self.verdict {
            Verdict::Good if self.bad_extra || self.len < wire::ETH_HLEN => Verdict::Malformed,
            verdict => verdict,
        }
    }
}
