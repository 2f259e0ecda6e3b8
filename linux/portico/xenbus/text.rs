// SPDX-License-Identifier: GPL-2.0-only

//! Short C strings on the stack.

use core::fmt::{self, Write};
use kernel::prelude::*;

/// Longest key below a device's node, in bytes with the closing NUL.
pub(super) const KEY_SIZE: usize = 128;

/// A NUL-terminated string of at most `N` bytes.
///
/// # Invariants
///
/// `len < N`, the first `len` bytes hold no NUL, and all later ones are NUL.
pub(super) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// Formats `value`.
    ///
    /// Fails with `EINVAL` on a NUL in it and `ENAMETOOLONG` when it is too long.
    pub(super) fn new(value: impl fmt::Display) -> Result<Self> {
        // INVARIANT: there is no byte yet.
        let mut text = Self {
            bytes: [0; N],
            len: 0,
        };
        write!(text, "{value}").map_err(|_| ENAMETOOLONG)?;
        if text
            .bytes
            .get(..text.len)
            .is_some_and(|used| used.contains(&0))
        {
            return Err(EINVAL);
        }
        Ok(text)
    }

    /// The string for C.
    pub(super) fn as_char_ptr(&self) -> *const kernel::ffi::c_char {
        self.bytes.as_ptr().cast()
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let end = self
            .len
            .checked_add(piece.len())
            .filter(|end| *end < N)
            .ok_or(fmt::Error)?;
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        // Of one length; `copy_from_slice` would hold a panic for the case that they are not.
        for (to, from) in room.iter_mut().zip(piece.as_bytes()) {
            *to = *from;
        }
        self.len = end;
        Ok(())
    }
}
