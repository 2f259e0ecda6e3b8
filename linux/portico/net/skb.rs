// SPDX-License-Identifier: GPL-2.0-only

//! Packets that are sent.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use core::{marker::PhantomData, mem, ptr::NonNull};
use kernel::prelude::*;
use portico_bindings as bindings;
use portico_core::net::{Checksum, Gso, GsoType, Meta};

use super::xdp::XdpFrame;
use crate::{
    grant::Page,
    piece::{Piece, PAGE_SHIFT, PAGE_SIZE},
};

/// Access to the parts of a packet of which C makes bit fields and overlays.
pub(super) struct Raw(pub(super) *mut bindings::sk_buff);

impl Raw {
    /// # Safety
    ///
    /// The packet is valid, and nobody else writes to these fields during `'a`.
    #[inline]
    pub(super) unsafe fn headers<'a>(
        &self,
    ) -> &'a mut bindings::sk_buff__bindgen_ty_4__bindgen_ty_2 {
        // SAFETY: by the caller's promise; the overlay only groups the fields.
        unsafe { (*self.0).__bindgen_anon_4.headers.as_mut() }
    }

    /// # Safety
    ///
    /// The packet is valid.
    #[inline]
    pub(super) unsafe fn shared_info(&self) -> *mut bindings::skb_shared_info {
        // SAFETY: by the caller's promise; on 64-bit machines `end` is an offset.
        unsafe { (*self.0).head.add((*self.0).end as usize).cast() }
    }
}

/// A packet that the driver owns.
///
/// Ownership starts when the stack hands it to
/// [`Operations::start_xmit`](super::Operations::start_xmit) and ends with
/// [`consume`](Self::consume) for one that was sent. One that is dropped counts as lost with the tools
/// that watch for that.
///
/// # Invariants
///
/// `skb` is valid, and a reference to it owned. Nobody changes its length, data and fragments meanwhile.
#[must_use = "a packet that is dropped is lost"]
pub struct SkBuff {
    skb: NonNull<bindings::sk_buff>,
}

// SAFETY: a packet may be freed by any thread and in any context.
unsafe impl Send for SkBuff {}
// SAFETY: through `&SkBuff` it is only read.
unsafe impl Sync for SkBuff {}

impl SkBuff {
    /// # Safety
    ///
    /// `skb` is as the type's invariants say.
    #[inline]
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: by the caller's promise.
        Self { skb }
    }

    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        let skb = self.skb.as_ptr();
        mem::forget(self);
        skb
    }

    #[inline]
    fn raw(&self) -> Raw {
        Raw(self.skb.as_ptr())
    }

    /// Length in bytes, with the Ethernet header.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a packet has a header")]
    pub fn len(&self) -> u32 {
        // SAFETY: by the invariants.
        unsafe { (*self.skb.as_ptr()).len }
    }

    /// Bytes that lie in one row at the start.
    #[inline]
    pub fn linear_len(&self) -> u32 {
        // SAFETY: by the invariants; `len >= data_len` in any packet.
        unsafe { (*self.skb.as_ptr()).len - (*self.skb.as_ptr()).data_len }
    }

    /// What is known of the packet beside its bytes. `None`: it is to be cut in a way that the core has no
    /// name for.
    #[inline]
    pub fn meta(&self) -> Option<Meta> {
        // SAFETY: by the invariants.
        let (checksum, size, kind) = unsafe {
            let shared = self.raw().shared_info();
            (
                self.raw().headers().ip_summed(),
                (*shared).gso_size,
                (*shared).gso_type,
            )
        };
        let checksum = match u32::from(checksum) {
            bindings::CHECKSUM_PARTIAL => Checksum::Blank,
            bindings::CHECKSUM_UNNECESSARY => Checksum::Validated,
            _ => Checksum::Unknown,
        };
        let gso = if size == 0 {
            None
        } else if kind & bindings::SKB_GSO_TCPV4 as u32 != 0 {
            Some(GsoType::TcpV4)
        } else if kind & bindings::SKB_GSO_TCPV6 as u32 != 0 {
            Some(GsoType::TcpV6)
        } else {
            return None;
        };
        Some(Meta {
            checksum,
            gso: gso.map(|kind| Gso { kind, size }),
            hash: None,
        })
    }

    /// The memory of the packet, in order.
    #[inline]
    pub fn pieces(&self) -> Pieces<'_> {
        let skb = self.skb.as_ptr();
        // INVARIANT: all of it belongs to the packet.
        // SAFETY: by the invariants.
        unsafe {
            let shared = self.raw().shared_info();
            Pieces {
                linear: (*skb).data,
                left: self.linear_len(),
                frag: (&raw const (*shared).frags).cast(),
                frags: u32::from((*shared).nr_frags),
                done: 0,
                _owner: PhantomData,
            }
        }
    }

    /// Copies the bytes from `at` on.
    pub fn copy_to(&self, at: u32, bytes: &mut [u8]) -> Result {
        let (at, len) = (c_int::try_from(at)?, c_int::try_from(bytes.len())?);
        // SAFETY: the slice is as long; what is beyond the packet is refused.
        match unsafe {
            bindings::skb_copy_bits(self.skb.as_ptr(), at, bytes.as_mut_ptr().cast(), len)
        } {
            0 => Ok(()),
            _ => Err(EINVAL),
        }
    }

    /// Copies all of the packet to offset `at` of a page. `false`: it does not fit, or cannot be read.
    #[inline]
    pub fn copy_to_page(&self, page: &Page, at: usize) -> bool {
        let len = self.len();
        let fits = at <= PAGE_SIZE as usize && len as usize <= PAGE_SIZE as usize - at;
        // SAFETY: there are `len` bytes from `at` on in the page, which is only ever copied from and to: at worst
        // bytes get mixed up.
        fits && unsafe {
            let to = page.as_ptr().add(at);
            bindings::skb_copy_bits(self.skb.as_ptr(), 0, to.cast(), len as c_int)
        } == 0
    }

    /// Takes the time for who has asked for it. Called when the packet goes to the device, before it is
    /// told.
    #[inline]
    pub fn tx_timestamp(&self) {
        const ASKED: u32 = bindings::SKBTX_SW_TSTAMP | bindings::SKBTX_BPF;
        // SAFETY: by the invariants.
        let flags = unsafe { (*self.raw().shared_info()).tx_flags };
        if u32::from(flags) & ASKED != 0 {
            // SAFETY: by the invariants.
            unsafe { bindings::portico_skb_tx_timestamp(self.skb.as_ptr()) };
        }
    }

    /// A further reference to the packet, whose memory then outlives the other one. It does not count against
    /// its sender's limits any more.
    #[cold]
    pub(crate) fn share(&self) -> Self {
        // SAFETY: by the invariants.
        unsafe { bindings::portico_skb_share(self.skb.as_ptr()) };
        // INVARIANT: the reference is new; the packet is that of `self`.
        Self { skb: self.skb }
    }

    /// Gives the packet back: it was sent. Not in a hard interrupt.
    #[inline]
    pub fn consume(self) {
        // SAFETY: ownership goes back. Without a budget, any context but a hard interrupt will do.
        unsafe { bindings::napi_consume_skb(self.into_raw(), 0) };
    }

    /// As [`consume`](Self::consume), faster, in a poll function.
    #[inline]
    pub fn consume_bh(self, _in: super::BhOff<'_>) {
        // SAFETY: ownership goes back, and no softirq of this CPU is in between.
        unsafe { bindings::napi_consume_skb(self.into_raw(), 1) };
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: ownership goes back; any context will do.
        unsafe {
            bindings::dev_kfree_skb_any_reason(
                self.skb.as_ptr(),
                bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED,
            )
        };
    }
}

/// The memory of a packet in pieces that each lie in one page, in order.
///
/// # Invariants
///
/// `left` bytes from `linear` on, and `frags` fragments from `frag` on but for the first `done` bytes,
/// belong to a packet that stays as it is during `'a`.
#[derive(Clone)]
pub struct Pieces<'a> {
    linear: *const u8,
    left: u32,
    frag: *const bindings::skb_frag_t,
    frags: u32,
    done: u32,
    _owner: PhantomData<&'a SkBuff>,
}

impl<'a> Pieces<'a> {
    /// What a frame has.
    #[inline]
    pub(super) fn of_frame(frame: &'a XdpFrame) -> Self {
        let frags = frame.frags();
        // INVARIANT: the frame owns its memory.
        Self {
            linear: frame.data(),
            left: frame.first_len(),
            frag: frags.as_ptr(),
            frags: frags.len() as u32,
            done: 0,
            _owner: PhantomData,
        }
    }

    /// Fragments without anything in front of them.
    #[inline]
    pub(super) fn of_frags(frags: &'a [bindings::skb_frag_t]) -> Self {
        // INVARIANT: whoever has the fragments owns what they name.
        Self {
            linear: core::ptr::null(),
            left: 0,
            frag: frags.as_ptr(),
            frags: frags.len() as u32,
            done: 0,
            _owner: PhantomData,
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    #[inline]
    fn next(&mut self) -> Option<Piece<'a>> {
        if self.left != 0 {
            // SAFETY: by the invariants.
            let piece = unsafe { Piece::at(self.linear, self.left) };
            self.linear = self.linear.wrapping_add(piece.len as usize);
            self.left = self.left.wrapping_sub(piece.len);
            return Some(piece);
        }
        while self.frags != 0 {
            // SAFETY: by the invariants there is a fragment.
            let frag = unsafe { *self.frag };
            let start = frag.offset.wrapping_add(self.done);
            let offset = start % PAGE_SIZE;
            let rest = frag.len.wrapping_sub(self.done);
            let len = rest.min(PAGE_SIZE - offset);
            self.done = self.done.wrapping_add(len);
            if len == rest {
                self.frag = self.frag.wrapping_add(1);
                self.frags -= 1;
                self.done = 0;
            }
            if len != 0 {
                let first = frag.netmem as *mut bindings::page;
                // INVARIANT: the pages of a fragment are consecutive, also in the array of `struct page`.
                // The stack gives memory that is no page only to devices that say they take it.
                return Some(Piece {
                    page: first.wrapping_add((start >> PAGE_SHIFT) as usize),
                    offset,
                    len,
                    _owner: PhantomData,
                });
            }
        }
        None
    }
}
