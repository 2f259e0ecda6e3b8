// SPDX-License-Identifier: GPL-2.0-only

//! The memory of a ring.

use core::ptr::{null_mut, NonNull};
use kernel::{device::Core, error::to_result, ffi::c_void, prelude::*};
use portico_bindings as bindings;
use portico_core::{
    block::GrantRef,
    shared::{SharedMemory, PAGE_SIZE},
};

use crate::{memory::NoIo, xenbus::Device};

/// The most pages that a ring can have.
pub const MAX_RING_PAGES: usize = bindings::XENBUS_MAX_RING_GRANTS as usize;

/// Zeroed pages, contiguous for this domain, granted to the other end of a device.
///
/// Dropping it ends the grants. A page that the other end keeps mapped is freed once it lets go.
///
/// # Invariants
///
/// `addr` and the first `pages` of `grefs` were filled by `xenbus_setup_ring`.
pub struct RingPages {
    addr: NonNull<u8>,
    pages: usize,
    grefs: [GrantRef; MAX_RING_PAGES],
}

impl RingPages {
    /// Takes `pages` pages, 1 to [`MAX_RING_PAGES`], and grants them. Sleeps, but does not wait for I/O.
    pub fn new(dev: &Device<Core<'_>>, pages: usize) -> Result<Self> {
        if pages == 0 || pages > MAX_RING_PAGES {
            return Err(EINVAL);
        }
        let _no_io = NoIo::enter();
        let mut addr: *mut c_void = null_mut();
        let mut grefs = [0; MAX_RING_PAGES];
        // SAFETY: the device is valid, `addr` may be written, and so may `pages` of `grefs`.
        to_result(unsafe {
            bindings::xenbus_setup_ring(
                dev.as_raw(),
                bindings::GFP_KERNEL,
                &mut addr,
                pages as u32,
                grefs.as_mut_ptr(),
            )
        })?;
        let addr = NonNull::new(addr.cast()).ok_or(ENOMEM)?;
        // INVARIANT: filled just now.
        Ok(Self { addr, pages, grefs })
    }

    /// The reference of each page, in order.
    pub fn grefs(&self) -> &[GrantRef] {
        self.grefs.get(..self.pages).unwrap_or_default()
    }
}

// SAFETY: page-aligned memory of the direct map, kept until the value is dropped, which only the
// functions of the core access.
unsafe impl SharedMemory for RingPages {
    fn as_ptr(&self) -> NonNull<u8> {
        self.addr
    }

    fn len(&self) -> usize {
        self.pages * PAGE_SIZE
    }
}

impl Drop for RingPages {
    fn drop(&mut self) {
        let mut addr = self.addr.as_ptr().cast();
        // SAFETY: undoes `xenbus_setup_ring`, by the invariants. Where the other domain holds a page,
        // the kernel takes a reference to it before this one is given up.
        unsafe {
            bindings::xenbus_teardown_ring(&mut addr, self.pages as u32, self.grefs.as_mut_ptr())
        };
    }
}

// SAFETY: `RingPages` owns plain memory, and grants can be ended from any thread.
unsafe impl Send for RingPages {}
// SAFETY: a shared `RingPages` only tells where the memory is.
unsafe impl Sync for RingPages {}
