// SPDX-License-Identifier: GPL-2.0-only

//! Pages that go round between a queue and the stack.
//!
//! C header: [`include/net/page_pool/helpers.h`](srctree/include/net/page_pool/helpers.h)

use core::{mem, ptr::NonNull};
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
    types::Opaque,
};
use portico_bindings as bindings;
use portico_core::net::Buffer;

use crate::piece::{Piece, PAGE_SIZE};

/// The pool of a queue (`struct page_pool`), whose consumer is the NAPI context of that.
///
/// Pages that are out outlive it: each goes back, and the last one frees what C keeps of it.
///
/// # Invariants
///
/// `pool` was made by `page_pool_create` and not destroyed.
pub(super) struct PagePool {
    pool: NonNull<bindings::page_pool>,
    /// Registered, with the pool.
    rxq: KBox<Opaque<bindings::xdp_rxq_info>>,
}

// SAFETY: a pool may be destroyed by any thread.
unsafe impl Send for PagePool {}
// SAFETY: what is done through `&PagePool` is unsafe, and its callers' care.
unsafe impl Sync for PagePool {}

impl PagePool {
    /// Makes a pool that keeps about `size` pages. Sleeps.
    ///
    /// # Safety
    ///
    /// `dev` is a valid device, which outlives the pool.
    pub(super) unsafe fn new(
        dev: *mut bindings::net_device,
        index: u16,
        size: u32,
    ) -> Result<Self> {
        // SAFETY: by the caller's promise.
        let pool = from_err_ptr(unsafe {
            bindings::portico_page_pool_create(dev, u32::from(index), size)
        })?;
        let pool = NonNull::new(pool).ok_or(ENOMEM)?;
        let made = (|| {
            let rxq = KBox::new(Opaque::new(pin_init::zeroed()), GFP_KERNEL)?;
            // SAFETY: the device and the pool are valid; `rxq` does not move and is not in use yet.
            to_result(unsafe {
                bindings::portico_xdp_rxq_reg(rxq.get(), dev, u32::from(index), pool.as_ptr())
            })?;
            Ok(rxq)
        })();
        match made {
            // INVARIANT: made and registered just now.
            Ok(rxq) => Ok(Self { pool, rxq }),
            Err(error) => {
                // SAFETY: made above, and not in use.
                unsafe { bindings::page_pool_destroy(pool.as_ptr()) };
                Err(error)
            }
        }
    }

    /// Lets pages that the poll function of `napi` gives back go the short way; or, with null, no longer.
    ///
    /// # Safety
    ///
    /// `napi` is the one consumer, and disabled now, or null.
    pub(super) unsafe fn set_consumer(&self, napi: *mut bindings::napi_struct) {
        // SAFETY: by the caller's promise.
        unsafe {
            if napi.is_null() {
                bindings::page_pool_disable_direct_recycling(self.as_raw());
            } else {
                bindings::page_pool_enable_direct_recycling(self.as_raw(), napi);
            }
        }
    }

    /// What an XDP program is told of where a frame comes from.
    #[inline]
    pub(super) fn rxq(&self) -> *mut bindings::xdp_rxq_info {
        self.rxq.get()
    }

    pub(super) fn as_raw(&self) -> *mut bindings::page_pool {
        self.pool.as_ptr()
    }

    /// Takes a page: one that came back, as it is, or a new one, zeroed. Does not sleep.
    ///
    /// # Safety
    ///
    /// Only the poll function of the consumer calls this.
    #[inline]
    pub(super) unsafe fn alloc(&self) -> Option<PoolPage> {
        const FLAGS: bindings::gfp_t =
            bindings::GFP_ATOMIC | bindings::__GFP_NOWARN | bindings::__GFP_ZERO;
        // SAFETY: by the invariants, and the caller's promise.
        let page = unsafe { bindings::page_pool_alloc_pages(self.as_raw(), FLAGS) };
        // INVARIANT: just allocated.
        NonNull::new(page).map(|page| PoolPage { page })
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        // SAFETY: by the invariants, once.
        unsafe {
            bindings::xdp_rxq_info_unreg(self.rxq.get());
            bindings::page_pool_destroy(self.as_raw());
        }
    }
}

/// A page of a pool. It goes back when dropped.
///
/// # Invariants
///
/// `page` is a page of a pool, and a reference to it owned. Its contents may be changed by another domain
/// as long as that has a grant for it.
pub struct PoolPage {
    page: NonNull<bindings::page>,
}

// SAFETY: a page may go back in any thread.
unsafe impl Send for PoolPage {}
// SAFETY: through `&PoolPage` the memory is only copied, by functions that stand concurrent changes.
unsafe impl Sync for PoolPage {}

impl PoolPage {
    /// # Safety
    ///
    /// `page` is a page of a pool, and not null; the reference to it is handed over.
    #[inline]
    pub(super) unsafe fn from_raw(page: *mut bindings::page) -> Self {
        // INVARIANT: by the caller's promise.
        Self {
            // SAFETY: as above.
            page: unsafe { NonNull::new_unchecked(page) },
        }
    }

    /// Gives up the reference.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::page {
        let page = self.page.as_ptr();
        mem::forget(self);
        page
    }

    /// All of the page.
    #[inline]
    pub fn piece(&self) -> Piece<'_> {
        Piece {
            page: self.page.as_ptr(),
            offset: 0,
            len: PAGE_SIZE,
            _owner: core::marker::PhantomData,
        }
    }

    /// Copies `len` bytes from `offset` of the page to `to` of another. Beyond a page, nothing is.
    pub fn copy_to(&self, offset: u32, len: u32, other: &mut PoolPage, to: u32) {
        let fits = |at: u32| at <= PAGE_SIZE && len <= PAGE_SIZE - at;
        if !fits(offset) || !fits(to) {
            return;
        }
        // SAFETY: both are within their pages, which are not the same.
        unsafe {
            bindings::portico_copy_shared(
                other.addr().add(to as usize).cast(),
                self.addr().add(offset as usize).cast(),
                len as usize,
            )
        };
    }

    /// Clears the page of what it was used for before. It must not be granted.
    pub fn clear(&mut self) {
        // SAFETY: the page is owned, and nobody else's while it is not granted.
        unsafe { self.addr().write_bytes(0, PAGE_SIZE as usize) };
    }

    /// The frame number, to grant.
    #[inline]
    pub fn gfn(&self) -> u64 {
        self.piece().gfn()
    }

    /// The address of the page.
    #[inline]
    pub(super) fn addr(&self) -> *mut u8 {
        self.piece().as_ptr()
    }
}

impl Drop for PoolPage {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the reference goes back to the pool, which lives while a page is out.
        unsafe { bindings::portico_page_pool_put(self.page.as_ptr()) };
    }
}

impl Buffer for PoolPage {
    #[inline]
    fn gfn(&self) -> u64 {
        PoolPage::gfn(self)
    }
}
