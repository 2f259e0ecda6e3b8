// SPDX-License-Identifier: GPL-2.0-only

//! Linux as the core's engines see it.

use core::marker::PhantomData;
use kernel::{
    alloc::{flags::*, KVVec},
    device::Core,
};
use portico_bindings as bindings;
use portico_core::{
    block::{self, Io},
    grant::{Access, GrantRef},
    host::{NoMemory, Platform},
    net,
};

use crate::{
    grant::{self, Page, RingPages},
    memory::NoIo,
    net::{held, Outgoing, PoolPage},
    xenbus::Device,
};

/// Grants memory to the other end of one device, for the engine of the core.
///
/// `I` is the request that the engine gets from the driver.
pub struct Host<I> {
    domain: bindings::domid_t,
    _io: PhantomData<fn(I)>,
}

impl<I> Host<I> {
    /// For the other end that the device has now.
    pub fn new(dev: &Device<Core<'_>>) -> Self {
        Self {
            domain: dev.otherend_id(),
            _io: PhantomData,
        }
    }
}

impl<I: Io<Page>> block::Host for Host<I> {
    type Io = I;
}

impl net::Host for Host<Outgoing> {
    type Packet = Outgoing;
    type Buffer = PoolPage;

    fn abandon_piece(&self, gref: GrantRef, _gfn: u64, packet: &Outgoing) {
        match packet.share_skb() {
            // SAFETY: the engine abandons what it granted for a piece of the packet, and forgets the
            // reference.
            Some(skb) => unsafe { held::hold(gref, skb) },
            // SAFETY: as above, and the packet lies in pages that have a reference count.
            None => unsafe { grant::abandon(gref) },
        }
    }
}

impl<I> Platform for Host<I> {
    type Page = Page;
    type Ring = RingPages;
    type Array<T> = KVVec<T>;

    fn array<T>(
        &self,
        len: usize,
        mut make: impl FnMut(usize) -> Result<T, NoMemory>,
    ) -> Result<KVVec<T>, NoMemory> {
        let _no_io = NoIo::enter();
        let mut array = KVVec::with_capacity(len, GFP_KERNEL).map_err(|_| NoMemory)?;
        for index in 0..len {
            array.push(make(index)?, GFP_KERNEL).map_err(|_| NoMemory)?;
        }
        Ok(array)
    }

    fn page(&self) -> Result<Page, NoMemory> {
        Page::new().map_err(|_| NoMemory)
    }

    fn claim(&self) -> Option<GrantRef> {
        grant::claim()
    }

    fn release(&self, gref: GrantRef) {
        // SAFETY: the engine releases what it claimed from this host, once, after it was ended.
        unsafe { grant::release(gref) };
    }

    #[inline]
    fn grant(&self, gref: GrantRef, gfn: u64, access: Access) {
        // SAFETY: the engine grants with references that it claimed from this host, either a page of
        // this host that it owns or a segment of a request, which it holds until the grant has ended or
        // was abandoned.
        unsafe { grant::grant(gref, self.domain, gfn, access) };
    }

    #[inline]
    fn end(&self, gref: GrantRef) -> bool {
        // SAFETY: the engine ends what it granted with a reference that it claimed.
        unsafe { grant::end(gref) }
    }

    fn try_release(&self, gref: GrantRef) -> bool {
        // SAFETY: the engine releases what it claimed from this host, once.
        unsafe { grant::try_release(gref) }
    }

    fn abandon(&self, gref: GrantRef, _gfn: u64) {
        // SAFETY: the engine abandons what it granted and forgets the reference; the page is that of
        // the page or the request, which it has not given back yet.
        unsafe { grant::abandon(gref) };
    }
}
