// SPDX-License-Identifier: GPL-2.0-only

//! Frames as XDP programs see them, in one page or more.
//!
//! C header: [`include/net/xdp.h`](srctree/include/net/xdp.h)

use core::{marker::PhantomData, mem, ptr::NonNull};
use portico_bindings as bindings;

use super::{
    napi::Poll,
    new_skb::NewSkb,
    operations::Operations,
    page_pool::PoolPage,
    queue::BhOff,
    xdp::{XdpFrame, XDP_HEADROOM},
};
use crate::piece::PAGE_SIZE;

/// A frame that a program is run on.
///
/// # Invariants
///
/// `buff` describes bytes of a page of the pool that its `rxq` names, with room for a
/// `struct skb_shared_info` at the end of the page, and the pages that are named there. All of these are
/// owned. `'a` is within a poll of that pool's consumer.
pub struct XdpBuff<'a> {
    buff: bindings::xdp_buff,
    page: NonNull<bindings::page>,
    _poll: PhantomData<&'a ()>,
}

impl<'a> XdpBuff<'a> {
    /// A frame that begins with `len` bytes from `offset` of a page, in front of which there is
    /// [`XDP_HEADROOM`]. `None`: it is not so, or they are more than
    /// [`XDP_MAX_LEN`](super::XDP_MAX_LEN), or less than an Ethernet header, which the stack takes off without
    /// a look when a frame is redirected.
    #[inline]
    pub fn new<T: Operations>(
        poll: &Poll<'a, T>,
        page: PoolPage,
        offset: u32,
        len: u32,
    ) -> Option<Self> {
        let fits = offset >= XDP_HEADROOM && len <= PAGE_SIZE && offset + len <= NewSkb::LINEAR_END;
        if !fits || len < bindings::ETH_HLEN {
            return None;
        }
        let start: *mut u8 = page.addr();
        let mut buff = bindings::xdp_buff::default();
        // SAFETY: all of it lies in the page.
        unsafe {
            buff.data_hard_start = start.cast();
            buff.data = start.add(offset as usize).cast();
            buff.data_meta = buff.data;
            buff.data_end = start.add((offset + len) as usize).cast();
            buff.rxq = poll.queue().pool.rxq();
            buff.__bindgen_anon_1.__bindgen_anon_1.as_mut().frame_sz = PAGE_SIZE;
        }
        let page = NonNull::new(page.into_raw())?;
        // INVARIANT: as was checked. The page is ours alone, and came from the pool of this queue.
        Some(Self {
            buff,
            page,
            _poll: PhantomData,
        })
    }

    /// Adds `len` bytes from `offset` of a page. `false`: they are not in the page, or the frame has as many
    /// pages as it can have.
    #[inline]
    pub fn add_page(&mut self, page: PoolPage, offset: u32, len: u32) -> bool {
        if offset > PAGE_SIZE || len > PAGE_SIZE - offset {
            return false;
        }
        let raw = page.into_raw();
        // SAFETY: by the invariants; the reference goes to the frame if that has room for it.
        unsafe {
            let added = bindings::portico_xdp_add_page(&mut self.buff, raw, offset, len);
            if !added {
                drop(PoolPage::from_raw(raw));
            }
            added
        }
    }

    #[inline]
    pub(super) fn as_raw(&mut self) -> *mut bindings::xdp_buff {
        &mut self.buff
    }

    /// The pages are somebody else's now.
    #[inline]
    pub(super) fn forget(self) {
        mem::forget(self);
    }

    /// As a frame to be sent. `None`: a program has left too little room in front of it.
    #[inline]
    pub(super) fn into_frame(mut self) -> Option<XdpFrame> {
        // SAFETY: by the invariants.
        let frame = NonNull::new(unsafe { bindings::portico_xdp_to_frame(&mut self.buff) })?;
        self.forget();
        // SAFETY: made just now, with all pages.
        Some(unsafe { XdpFrame::from_raw(frame) })
    }

    /// As a packet for the stack. `None`: there is no memory.
    #[inline]
    pub fn into_skb(self, bh: BhOff<'_>) -> Option<NewSkb> {
        let start = self.buff.data_hard_start as usize;
        let data = self.buff.data as usize;
        let offset = data.wrapping_sub(start) as u32;
        let len = (self.buff.data_end as usize).wrapping_sub(data) as u32;
        // SAFETY: by the invariants. What becomes a packet's linear part loses its list of pages, but the
        // packet takes them over below.
        unsafe {
            let more = bindings::portico_xdp_more(&self.buff);
            match NewSkb::build(PoolPage::from_raw(self.page.as_ptr()), offset, len, bh) {
                Ok(mut skb) => {
                    self.forget();
                    if more.pages != 0 {
                        skb.adopt(more);
                    }
                    Some(skb)
                }
                Err(page) => {
                    let _ = page.into_raw();
                    None
                }
            }
        }
    }
}

impl Drop for XdpBuff<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the invariants, in a poll of the pool's consumer.
        unsafe { bindings::xdp_return_buff(&mut self.buff) };
    }
}
