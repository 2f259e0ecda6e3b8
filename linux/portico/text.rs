// SPDX-License-Identifier: GPL-2.0-only

//! What is read from a file of sysfs.

use core::ptr;
use kernel::{ffi::c_char, fmt};
use portico_bindings as bindings;

/// The text of an attribute. What does not fit in a page is an error.
///
/// # Invariants
///
/// `buf` is a page, of which `len <= PAGE_SIZE` bytes are written.
pub struct AttributeText {
    buf: *mut u8,
    len: usize,
}

impl AttributeText {
    /// # Safety
    ///
    /// `buf` is a page that is the caller's for as long as the value lives.
    pub(crate) unsafe fn new(buf: *mut c_char) -> Self {
        // INVARIANT: by the caller's promise; nothing is written yet.
        Self { buf, len: 0 }
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl fmt::Write for AttributeText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let len = self.len.saturating_add(text.len());
        if len > bindings::PAGE_SIZE {
            return Err(fmt::Error);
        }
        // SAFETY: within the page by the invariants and the check; it is nobody else's.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr(), self.buf.add(self.len), text.len()) };
        // INVARIANT: checked above.
        self.len = len;
        Ok(())
    }
}
