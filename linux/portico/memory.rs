// SPDX-License-Identifier: GPL-2.0-only

//! Allocation on the way to the disk.

use kernel::{ffi::c_uint, types::NotThreadSafe};
use portico_bindings as bindings;

/// While it lives, what this thread allocates does not wait for I/O.
///
/// For whatever brings a disk up or back: memory that is freed by writing to that disk would be waited
/// for forever. The kernel's scope replaces `GFP_NOIO` at each call, which the kernel's containers
/// could not take.
pub struct NoIo {
    before: c_uint,
    _thread: NotThreadSafe,
}

impl NoIo {
    /// Begins the scope. Scopes may be nested.
    #[must_use = "the scope ends when the value is dropped"]
    pub fn enter() -> Self {
        Self {
            // SAFETY: changes a flag of the current thread, which `drop` puts back.
            before: unsafe { bindings::portico_memalloc_noio_save() },
            _thread: NotThreadSafe,
        }
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: `before` is from the matching call, made by this thread.
        unsafe { bindings::portico_memalloc_noio_restore(self.before) };
    }
}
