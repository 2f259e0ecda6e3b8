// SPDX-License-Identifier: GPL-2.0-only

//! Bios taken from requests, to be submitted again.
//!
//! C header: [`include/linux/bio.h`](srctree/include/linux/bio.h)

use super::status::Status;
use portico_bindings as bindings;

/// A list of bios that no request holds. What is left in it when it is dropped fails with
/// [`Status::IO_ERROR`].
///
/// # Invariants
///
/// The list is well-formed, and its bios are owned by it: they were submitted to the block layer and
/// are neither completed nor part of a request.
pub struct Bios(bindings::bio_list);

// SAFETY: the bios are owned, and may be submitted or ended by any thread.
unsafe impl Send for Bios {}

impl Bios {
    /// An empty list.
    pub const fn new() -> Self {
        // INVARIANT: nothing is in it.
        Self(bindings::bio_list {
            head: core::ptr::null_mut(),
            tail: core::ptr::null_mut(),
        })
    }

    /// Whether there is no bio in it.
    pub fn is_empty(&self) -> bool {
        self.0.head.is_null()
    }

    /// The C list, for a function that appends bios with their ownership.
    pub(super) fn as_raw(&mut self) -> *mut bindings::bio_list {
        &raw mut self.0
    }

    fn pop(&mut self) -> Option<*mut bindings::bio> {
        let bio = self.0.head;
        if bio.is_null() {
            return None;
        }
        // SAFETY: by the invariants; the bio is taken out of the list.
        unsafe {
            self.0.head = (*bio).bi_next;
            (*bio).bi_next = core::ptr::null_mut();
        }
        if self.0.head.is_null() {
            self.0.tail = core::ptr::null_mut();
        }
        Some(bio)
    }

    /// Submits the bios, in order. They are split anew where the limits of their disk say so. Sleeps
    /// until there are free requests for them, so the disk must be running.
    pub fn submit(&mut self) {
        while let Some(bio) = self.pop() {
            // SAFETY: the bio was submitted before and is not completed, so it is complete itself.
            unsafe { bindings::submit_bio_noacct(bio) };
        }
    }
}

impl Default for Bios {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Bios {
    fn drop(&mut self) {
        while let Some(bio) = self.pop() {
            // SAFETY: the bio is ours, and is ended once.
            unsafe {
                (*bio).bi_status = Status::IO_ERROR.raw();
                bindings::bio_endio(bio);
            }
        }
    }
}
