// SPDX-License-Identifier: GPL-2.0-only

//! Device numbers of old.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use kernel::{error::to_result, prelude::*};
use portico_bindings as bindings;

/// A major number taken for block devices. It is given back on drop.
///
/// # Invariants
///
/// `number` is registered under `name`.
pub struct Major {
    number: u32,
    name: &'static CStr,
}

impl Major {
    /// Takes major number `number`, at least 1.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another driver has it, `EINVAL` if it is too large.
    pub fn register(number: u32, name: &'static CStr) -> Result<Self> {
        if number == 0 {
            return Err(EINVAL);
        }
        // SAFETY: `name` is a C string, which is copied.
        to_result(unsafe { bindings::__register_blkdev(number, name.as_ptr().cast(), None) })?;
        // INVARIANT: registered just now.
        Ok(Self { number, name })
    }

    /// The number.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Drop for Major {
    fn drop(&mut self) {
        // SAFETY: by the invariants.
        unsafe { bindings::unregister_blkdev(self.number, self.name.as_ptr().cast()) };
    }
}
