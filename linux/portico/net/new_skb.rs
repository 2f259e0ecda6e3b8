// SPDX-License-Identifier: GPL-2.0-only

//! Packets that are received.
//!
//! C headers: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h),
//! [`include/linux/etherdevice.h`](srctree/include/linux/etherdevice.h)

use core::{mem, ptr::NonNull};
use kernel::prelude::*;
use portico_bindings as bindings;
use portico_core::net::{Checksum, Gso, GsoType};

use super::{page_pool::PoolPage, skb::Raw};
use crate::piece::PAGE_SIZE;

/// The most fragments that a packet can have.
const MAX_FRAGS: usize = bindings::MAX_SKB_FRAGS as usize;

/// A packet that is being put together, to be passed up by [`Poll::receive`](super::Poll::receive).
///
/// # Invariants
///
/// `skb` is valid, and nobody else has it. Its pages come from page pools.
#[must_use = "a packet that is dropped is lost"]
pub struct NewSkb {
    skb: NonNull<bindings::sk_buff>,
}

// SAFETY: a packet may be freed by any thread.
unsafe impl Send for NewSkb {}

impl NewSkb {
    /// # Safety
    ///
    /// `skb` is as the type's invariants say.
    #[inline]
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: by the caller's promise.
        Self { skb }
    }

    /// Makes a packet whose linear part is `page`, with the bytes from `offset` to `offset + len` in it.
    /// Fails, without memory too, if there is no room for what the stack keeps at the end of a page
    /// ([`LINEAR_END`](Self::LINEAR_END)).
    #[inline]
    pub fn build(
        page: PoolPage,
        offset: u32,
        len: u32,
        _bh: super::BhOff<'_>,
    ) -> Result<Self, PoolPage> {
        if offset > PAGE_SIZE || len > PAGE_SIZE || offset + len > Self::LINEAR_END {
            return Err(page);
        }
        // SAFETY: the page is ours alone, and the stack's part lies at its end, beyond the data.
        let skb = unsafe { bindings::napi_build_skb(page.addr().cast(), PAGE_SIZE) };
        let Some(skb) = NonNull::new(skb) else {
            return Err(page);
        };
        mem::forget(page);
        // INVARIANT: just made, of a page of a pool.
        let skb = Self { skb };
        // SAFETY: `offset + len` lies before the end of the linear part, which is empty yet.
        unsafe {
            let raw = skb.skb.as_ptr();
            (*raw).data = (*raw).data.add(offset as usize);
            (*raw).tail = offset.wrapping_add(len);
            (*raw).len = len;
        }
        skb.recycle();
        Ok(skb)
    }

    /// Where the linear part of a packet that is built around a page ends.
    pub const LINEAR_END: u32 = {
        let info = size_of::<bindings::skb_shared_info>() as u32;
        PAGE_SIZE - info.next_multiple_of(64)
    };

    /// The pages of the packet go back to their pool.
    #[inline]
    fn recycle(&self) {
        // SAFETY: nobody else has the packet.
        unsafe { (*self.skb.as_ptr()).set_pp_recycle(1) };
    }

    /// Copies `len` bytes from `offset` of a page to the end of the linear part. `false`: they do not
    /// fit, or there is no linear end any more.
    #[inline]
    pub fn append(&mut self, page: &PoolPage, offset: u32, len: u32) -> bool {
        let skb = self.skb.as_ptr();
        // SAFETY: nobody else has the packet; between `tail` and `end` it has room.
        unsafe {
            let room = (*skb).end.wrapping_sub((*skb).tail);
            if (*skb).data_len != 0 || len > room || offset > PAGE_SIZE || len > PAGE_SIZE - offset
            {
                return false;
            }
            bindings::portico_copy_shared(
                (*skb).head.add((*skb).tail as usize).cast(),
                page.addr().add(offset as usize).cast(),
                len as usize,
            );
            (*skb).tail += len;
            (*skb).len += len;
        }
        true
    }

    /// Adds `len` bytes from `offset` of a page to the packet.
    ///
    /// # Errors
    ///
    /// The page, if the packet has as many fragments as it can have, or the bytes are not in the page.
    #[inline]
    pub fn add_page(&mut self, page: PoolPage, offset: u32, len: u32) -> Result<(), PoolPage> {
        let skb = self.skb.as_ptr();
        if offset > PAGE_SIZE || len > PAGE_SIZE - offset || self.frags() >= MAX_FRAGS {
            return Err(page);
        }
        // SAFETY: nobody else has the packet, and it has room for one more; the reference to the page
        // goes to it.
        unsafe { bindings::portico_skb_add_frag(skb, page.into_raw(), offset, len, PAGE_SIZE) };
        self.recycle();
        Ok(())
    }

    /// Takes over the further pages of a frame that an XDP program has passed.
    ///
    /// # Safety
    ///
    /// The linear part was the frame's first page, and has the list of these pages still.
    #[inline]
    pub(super) unsafe fn adopt(&mut self, more: bindings::portico_xdp_more) {
        // SAFETY: by the caller's promise.
        unsafe { bindings::portico_skb_adopt(self.skb.as_ptr(), more) };
    }

    /// Number of fragments.
    #[inline]
    pub fn frags(&self) -> usize {
        // SAFETY: by the invariants.
        usize::from(unsafe { (*Raw(self.skb.as_ptr()).shared_info()).nr_frags })
    }

    /// Length in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "what is received is not empty")]
    pub fn len(&self) -> u32 {
        // SAFETY: by the invariants.
        unsafe { (*self.skb.as_ptr()).len }
    }

    /// Says what is known of the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: Checksum) {
        let raw = match checksum {
            Checksum::Unknown => bindings::CHECKSUM_NONE,
            Checksum::Validated => bindings::CHECKSUM_UNNECESSARY,
            Checksum::Blank => bindings::CHECKSUM_PARTIAL,
        };
        // SAFETY: nobody else has the packet.
        unsafe { Raw(self.skb.as_ptr()).headers().set_ip_summed(raw as u8) };
    }

    /// Says what hash of the packet's flow the other side has calculated; `l4`: over its ports, too.
    #[inline]
    pub fn set_hash(&mut self, hash: u32, l4: bool) {
        // SAFETY: nobody else has the packet.
        unsafe {
            let headers = Raw(self.skb.as_ptr()).headers();
            headers.hash = hash;
            headers.set_l4_hash(l4.into());
            headers.set_sw_hash(0);
        }
    }

    /// Says that the packet is of many segments. The stack checks that before it believes it.
    #[inline]
    pub fn set_gso(&mut self, gso: Gso) {
        let kind = match gso.kind {
            GsoType::TcpV4 => bindings::SKB_GSO_TCPV4,
            GsoType::TcpV6 => bindings::SKB_GSO_TCPV6,
        };
        // SAFETY: nobody else has the packet.
        unsafe {
            let shared = Raw(self.skb.as_ptr()).shared_info();
            (*shared).gso_size = gso.size;
            (*shared).gso_type = (kind | bindings::SKB_GSO_DODGY) as u32;
            (*shared).gso_segs = 0;
        }
    }

    /// Copies the start of the packet into its linear part, up to `len` bytes of it. `false`: without
    /// memory, or the packet is shorter.
    #[inline]
    pub fn pull(&mut self, len: u32) -> bool {
        // SAFETY: nobody else has the packet.
        unsafe { bindings::portico_skb_may_pull(self.skb.as_ptr(), len) }
    }

    /// Takes the Ethernet header off. Fails for one that has none.
    #[inline]
    pub(super) fn finish(
        mut self,
        dev: *mut bindings::net_device,
    ) -> Result<NonNull<bindings::sk_buff>> {
        let linear = {
            // SAFETY: by the invariants.
            let skb = unsafe { self.skb.as_ref() };
            skb.len.wrapping_sub(skb.data_len)
        };
        if linear < bindings::ETH_HLEN && !self.pull(bindings::ETH_HLEN) {
            return Err(EINVAL);
        }
        let skb = self.skb;
        mem::forget(self);
        // SAFETY: nobody else has the packet, which has an Ethernet header in its linear part; on 64-bit
        // machines a header is an offset.
        unsafe {
            let raw = skb.as_ptr();
            let protocol = bindings::eth_type_trans(raw, dev);
            let headers = Raw(raw).headers();
            headers.protocol = protocol;
            headers.network_header = (*raw).data.offset_from((*raw).head) as u16;
        }
        Ok(skb)
    }

    /// Throws it away.
    pub(super) fn discard(self) {
        drop(self);
    }
}

impl Drop for NewSkb {
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
