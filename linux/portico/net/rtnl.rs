// SPDX-License-Identifier: GPL-2.0-only

//! The lock of the network configuration.
//!
//! C header: [`include/linux/rtnetlink.h`](srctree/include/linux/rtnetlink.h)

use core::mem::ManuallyDrop;
use kernel::types::NotThreadSafe;
use portico_bindings as bindings;

/// The RTNL is held while this lives.
///
/// The stack holds it for the callbacks of a driver that say so; these must not take it again.
pub struct Rtnl {
    _thread: NotThreadSafe,
}

impl Rtnl {
    /// Takes it. Sleeps.
    #[must_use = "it is released when the value is dropped"]
    pub fn lock() -> Self {
        // SAFETY: a mutex; the caller may sleep.
        unsafe { bindings::rtnl_lock() };
        Self {
            _thread: NotThreadSafe,
        }
    }
}

impl Rtnl {
    /// Stands for an RTNL that somebody else releases.
    ///
    /// # Safety
    ///
    /// It is held as long as the value lives.
    pub(super) unsafe fn held() -> ManuallyDrop<Self> {
        ManuallyDrop::new(Self {
            _thread: NotThreadSafe,
        })
    }
}

impl Drop for Rtnl {
    fn drop(&mut self) {
        // SAFETY: taken by this thread.
        unsafe { bindings::rtnl_unlock() };
    }
}
