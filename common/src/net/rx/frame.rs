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
        let buffer = self.slots.get_mut(usize::from(piece.id))?.buffer.take()?;
        Some(RxFragment {
            buffer,
            offset: u32::from(piece.offset),
            len: piece.status as u32,
        })
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pieces.size_hint()
    }
}

impl<H: Host> ExactSizeIterator for Frame<'_, H> {}

/// Where a piece of a frame lies: a response that was checked. Its id is the index of its slot, and its
/// status the length of the data.
pub(super) type Piece = RxResponse;

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// The back end reported an error.
    Failed,
    /// It makes no sense.
    Malformed,
}

impl Verdict {
    /// Of a slot that has no data.
    #[cold]
    pub(super) fn without_data(response: &RxResponse) -> Self {
        if response.status < 0 {
            Self::Failed
        } else {
            Self::Malformed
        }
    }
}

/// Whether there is data, within its page.
#[inline(always)]
pub(super) fn has_data(response: &RxResponse) -> bool {
    let end = u32::from(response.offset).wrapping_add(response.status as u32);
    response.status > 0 && end <= PAGE_SIZE as u32
}

/// What a first slot says of the checksum.
#[inline]
pub(super) fn checksum(flags: u16) -> Checksum {
    if flags & wire::NETRXF_CSUM_BLANK != 0 {
        Checksum::Blank
    } else if flags & wire::NETRXF_DATA_VALIDATED != 0 {
        Checksum::Validated
    } else {
        Checksum::Unknown
    }
}

/// A frame of several slots as it is read.
pub(super) struct Chain {
    /// How many data slots it has.
    pub(super) count: usize,
    /// Of the data slots.
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
    /// Begins with the flags of a first slot.
    #[inline]
    pub(super) fn new(flags: u16) -> Self {
        Self {
            count: 0,
            verdict: Verdict::Good,
            bad_extra: false,
            meta: Meta {
                checksum: checksum(flags),
                gso: None,
                hash: None,
            },
            len: 0,
            extras: 0,
            seen: 0,
            headroom: None,
        }
    }

    /// Takes over a data slot; `false`: there is no room for it.
    #[inline(always)]
    pub(super) fn data(
        &mut self,
        pieces: &mut [Piece; NR_SLOTS_MIN],
        response: &RxResponse,
    ) -> bool {
        let Some(place) = pieces.get_mut(self.count) else {
            return false;
        };
        self.count += 1;
        *place = *response;
        self.len = self.len.wrapping_add(response.status as u32);
        if !has_data(response) {
            self.verdict = Verdict::without_data(response);
        }
        true
    }

    /// Takes over extra information; `false`: there are more than there are types.
    #[inline]
    pub(super) fn extra(&mut self, extra: &ExtraInfo) -> bool {
        self.extras = self.extras.wrapping_add(1);
        if self.extras >= u32::from(wire::EXTRA_TYPE_MAX) {
            return false;
        }
        let (bit, known) = match extra.kind {
            wire::EXTRA_TYPE_GSO => {
                self.meta.gso = Gso::from_wire(extra.gso());
                (1 << wire::EXTRA_TYPE_GSO, self.meta.gso.is_some())
            }
            // A hash of an unknown kind is of no use, and of no harm.
            wire::EXTRA_TYPE_HASH => {
                self.meta.hash = Hash::from_wire(extra.hash());
                (1 << wire::EXTRA_TYPE_HASH, true)
            }
            wire::EXTRA_TYPE_XDP => {
                self.headroom = Some(extra.xdp());
                (1 << wire::EXTRA_TYPE_XDP, true)
            }
            _ => (0, false),
        };
        self.bad_extra |= !known || self.seen & bit != 0;
        self.seen |= bit;
        true
    }

    /// Puts the pieces right where the responses do not say where the data begins, but the extra
    /// information does: there, `status` is where it ends.
    #[inline]
    pub(super) fn shift(&mut self, pieces: &mut [Piece; NR_SLOTS_MIN]) {
        if let Some(headroom) = self.headroom {
            let pieces = pieces.get_mut(..self.count).unwrap_or_default();
            let (len, empty) = shift(headroom, pieces);
            self.len = len;
            self.bad_extra |= empty;
        }
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

/// Moves the data behind the headroom; the bytes that there are, and whether a piece has none.
#[cold]
#[inline(never)]
fn shift(headroom: u16, pieces: &mut [Piece]) -> (u32, bool) {
    let (mut len, mut empty) = (0, false);
    for piece in pieces {
        if piece.offset == 0 {
            piece.offset = headroom;
            piece.status = piece.status.saturating_sub_unsigned(headroom);
            empty |= piece.status <= 0;
        }
        len = u32::wrapping_add(len, piece.status as u32);
    }
    (len, empty)
}
