// SPDX-License-Identifier: GPL-2.0-only

//! One page to share.

use core::ptr::NonNull;
use kernel::prelude::*;
use portico_bindings as bindings;
use portico_core::{block::SharedPage, shared::PAGE_SIZE};

use crate::memory::NoIo;

/// A page of this domain that another one may get access to. All zero when made.
///
/// Its contents are only copied, never referred to, as the other side may change them at any time.
///
/// # Invariants
///
/// `addr` is an allocated page of the direct map, owned but for the grants of it.
pub struct Page {
    addr: NonNull<u8>,
}

impl Page {
    /// Takes a page. Sleeps, but does not wait for I/O.
    pub fn new() -> Result<Self> {
        let _no_io = NoIo::enter();
        // SAFETY: allocation has no precondition but a context that may sleep.
        let addr = unsafe { bindings::get_zeroed_page_noprof(bindings::GFP_KERNEL) };
        // INVARIANT: just allocated.
        NonNull::new(addr as *mut u8)
            .map(|addr| Self { addr })
            .ok_or(ENOMEM)
    }

    /// The first byte, for copies in this crate that keep to `PAGE_SIZE` bytes: by `portico_copy_shared`, or by
    /// another function in C if the other side can only read.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.addr.as_ptr()
    }
}

impl SharedPage for Page {
    fn gfn(&self) -> u64 {
        // Not kept from one time to the next: a PV domain has other frames after a migration.
        // SAFETY: the address is one of the direct map, by the invariants.
        unsafe { bindings::portico_virt_to_gfn(self.addr.as_ptr().cast()) as u64 }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        let Some(room) = PAGE_SIZE.checked_sub(at) else {
            return;
        };
        let len = bytes.len().min(room);
        // SAFETY: `at + len` is within the page, and `len` within `bytes`.
        unsafe {
            bindings::portico_copy_shared(
                self.addr.add(at).as_ptr().cast(),
                bytes.as_ptr().cast(),
                len,
            )
        };
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the page is owned by the invariants. An abandoned grant of it holds a reference.
        unsafe { bindings::free_pages(self.addr.as_ptr() as usize, 0) };
    }
}

// SAFETY: `Page` owns plain memory.
unsafe impl Send for Page {}
// SAFETY: the memory is only copied, by functions that stand concurrent changes.
unsafe impl Sync for Page {}
