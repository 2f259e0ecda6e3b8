// SPDX-License-Identifier: GPL-2.0-only

//! What a transmit ring holds.

use core::slice;
use kernel::prelude::*;
use portico_bindings as bindings;
use portico_core::net::{Fragment, Packet};

use super::{
    skb::{Pieces, SkBuff},
    xdp::XdpFrame,
};
use crate::piece::PAGE_SIZE;

/// A packet on its way to the device.
pub enum Outgoing {
    /// As it came.
    Skb(SkBuff),
    /// Copied into pages that hold nothing else.
    Copied(KBox<Copied>),
    /// From an XDP program.
    Xdp(XdpFrame),
}

impl Outgoing {
    /// The packet of the stack behind it, if there is one, to be given back.
    #[inline]
    pub fn into_skb(self) -> Option<SkBuff> {
        match self {
            Self::Skb(skb) => Some(skb),
            Self::Copied(copied) => {
                let Copied { skb, .. } = KBox::into_inner(copied);
                Some(skb)
            }
            Self::Xdp(_) => None,
        }
    }

    /// A further reference to the packet of the stack, if it is its memory that is sent.
    pub(crate) fn share_skb(&self) -> Option<SkBuff> {
        match self {
            Self::Skb(skb) => Some(skb.share()),
            Self::Copied(_) | Self::Xdp(_) => None,
        }
    }

    #[inline]
    fn pieces(&self) -> Pieces<'_> {
        match self {
            Self::Skb(skb) => skb.pieces(),
            Self::Copied(copied) => copied.pages.pieces(),
            Self::Xdp(frame) => Pieces::of_frame(frame),
        }
    }
}

impl Packet for Outgoing {
    #[inline]
    fn len(&self) -> u32 {
        match self {
            Self::Skb(skb) => skb.len(),
            Self::Copied(copied) => copied.skb.len(),
            Self::Xdp(frame) => frame.len(),
        }
    }

    #[inline]
    fn fragments(&self) -> impl Iterator<Item = Fragment> {
        self.pieces().map(|piece| Fragment {
            gfn: piece.gfn(),
            offset: piece.offset(),
            len: piece.len(),
        })
    }
}

/// A packet and its copy.
pub struct Copied {
    pages: Pages,
    skb: SkBuff,
}

impl Copied {
    /// Copies a packet into zeroed pages: the other end sees nothing but the packet, in as few pieces as
    /// can be. Does not sleep.
    ///
    /// # Errors
    ///
    /// The packet, if there is no memory.
    pub fn new(skb: SkBuff) -> Result<KBox<Self>, SkBuff> {
        match Self::copy(&skb) {
            Ok((copied, pages)) => Ok(KBox::write(copied, Self { pages, skb })),
            Err(_) => Err(skb),
        }
    }

    fn copy(skb: &SkBuff) -> Result<(KBox<core::mem::MaybeUninit<Self>>, Pages)> {
        let copied = KBox::new_uninit(GFP_ATOMIC)?;
        let mut pages = Pages(KVec::new());
        let mut at = 0;
        while at < skb.len() {
            let len = PAGE_SIZE.min(skb.len() - at);
            // SAFETY: allocation does not sleep.
            let addr = unsafe { bindings::get_zeroed_page_noprof(bindings::GFP_ATOMIC) };
            if addr == 0 {
                return Err(ENOMEM);
            }
            let piece = pages.add(addr, len)?;
            skb.copy_to(at, piece)?;
            at += len;
        }
        Ok((copied, pages))
    }
}

/// Pages, as fragments of a packet.
///
/// # Invariants
///
/// Each fragment starts a page of its own, which is owned.
struct Pages(KVec<bindings::skb_frag_t>);

// SAFETY: pages may be freed by any thread.
unsafe impl Send for Pages {}
// SAFETY: through `&Pages` they are only read.
unsafe impl Sync for Pages {}

impl Pages {
    /// Takes over the page at `addr`; its first `len` bytes are the next fragment.
    fn add(&mut self, addr: usize, len: u32) -> Result<&mut [u8]> {
        let ptr: *mut u8 = core::ptr::with_exposed_provenance_mut(addr);
        // SAFETY: `len` bytes of a page that is ours.
        let piece = unsafe { crate::piece::Piece::at(ptr, len) };
        let frag = bindings::skb_frag_t {
            netmem: piece.page as bindings::netmem_ref,
            len,
            offset: 0,
        };
        if self.0.push(frag, GFP_ATOMIC).is_err() {
            // SAFETY: the page is ours, and nowhere else yet.
            unsafe { bindings::free_pages(addr, 0) };
            return Err(ENOMEM);
        }
        // SAFETY: as above; nobody else refers to the page.
        Ok(unsafe { slice::from_raw_parts_mut(ptr, len as usize) })
    }

    #[inline]
    fn pieces(&self) -> Pieces<'_> {
        Pieces::of_frags(&self.0)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        for frag in self.0.iter() {
            // SAFETY: the page is owned. An abandoned grant of it holds a reference.
            unsafe { bindings::__free_pages(frag.netmem as *mut bindings::page, 0) };
        }
    }
}
