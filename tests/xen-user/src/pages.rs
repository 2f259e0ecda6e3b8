// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that another domain can write at any time.

use crate::sys::{Mapped, PAGE};
use portico_core::shared::{Ordering, Word};
use std::ptr::NonNull;

/// Whole pages that are shared with another domain.
///
/// No reference into them is ever made: the peer may change any byte at any time. Copies in and out are
/// volatile, and a range that does not lie inside is an error of the caller that panics, as for a slice.
#[derive(Debug)]
pub struct SharedPages {
    map: Mapped,
    writable: bool,
}

impl SharedPages {
    pub(crate) fn new(map: Mapped, writable: bool) -> Self {
        SharedPages { map, writable }
    }

    /// Bytes in the pages.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// The number of pages.
    pub fn pages(&self) -> usize {
        self.map.len() / PAGE
    }

    /// The address of the first byte, page aligned and valid for `len()` bytes as long as `self` lives.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.map.at()
    }

    fn range(&self, at: usize, len: usize) -> *mut u8 {
        assert!(
            at.checked_add(len).is_some_and(|end| end <= self.len()),
            "{len} bytes at {at} are beyond {} shared bytes",
            self.len()
        );
        // SAFETY: `at` is within the mapped range, by the assertion.
        unsafe { self.map.at().as_ptr().add(at) }
    }

    /// Copies `to.len()` bytes from byte `at` on.
    pub fn read(&self, at: usize, to: &mut [u8]) {
        let from = self.range(at, to.len());
        let words = if at % 8 == 0 { to.len() / 8 } else { 0 };
        let (whole, rest) = to.split_at_mut(words * 8);
        for (i, word) in whole.chunks_exact_mut(8).enumerate() {
            // SAFETY: `range` checked that the bytes lie in the mapping, which is readable and begins
            // at a page, so that a multiple of 8 is aligned.
            let value = unsafe { from.cast::<u64>().add(i).read_volatile() };
            word.copy_from_slice(&value.to_ne_bytes());
        }
        for (i, byte) in rest.iter_mut().enumerate() {
            // SAFETY: as above; single bytes need no alignment.
            *byte = unsafe { from.add(words * 8 + i).read_volatile() };
        }
    }

    /// Copies `from` to byte `at` on. The pages must have been mapped for writing.
    pub fn write(&self, at: usize, from: &[u8]) {
        assert!(self.writable, "pages that were mapped read-only");
        let to = self.range(at, from.len());
        let words = if at % 8 == 0 { from.len() / 8 } else { 0 };
        let (whole, rest) = from.split_at(words * 8);
        for (i, word) in whole.chunks_exact(8).enumerate() {
            let mut value = [0; 8];
            value.copy_from_slice(word);
            // SAFETY: `range` checked that the bytes lie in the mapping, which is writable and begins
            // at a page, so that a multiple of 8 is aligned.
            unsafe {
                to.cast::<u64>()
                    .add(i)
                    .write_volatile(u64::from_ne_bytes(value))
            };
        }
        for (i, byte) in rest.iter().enumerate() {
            // SAFETY: as above; single bytes need no alignment.
            unsafe { to.add(words * 8 + i).write_volatile(*byte) };
        }
    }

    /// Loads the word at byte `at`, a multiple of 4, at once and as a whole.
    pub fn load(&self, at: usize) -> u32 {
        self.word(at).load(Ordering::Relaxed)
    }

    /// Stores a word at byte `at`, a multiple of 4, at once and as a whole.
    pub fn store(&self, at: usize, value: u32) {
        assert!(self.writable, "pages that were mapped read-only");
        self.word(at).store(value, Ordering::Relaxed);
    }

    fn word(&self, at: usize) -> &Word {
        assert!(at % 4 == 0, "a word at byte {at}");
        let word = self.range(at, 4).cast::<Word>();
        // SAFETY: `range` checked that the word lies in the mapping, which begins at a page, so that a
        // multiple of 4 is aligned, and which lives as long as `self`. All access is atomic.
        unsafe { &*word }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::open;

    fn pages(pages: usize, writable: bool) -> SharedPages {
        let zeros = open("/dev/zero", 0).unwrap();
        SharedPages::new(Mapped::new(&zeros, pages, 0, writable).unwrap(), writable)
    }

    #[test]
    fn copies_keep_to_their_bytes_wherever_they_begin() {
        let pages = pages(2, true);
        assert_eq!((pages.len(), pages.pages()), (2 * PAGE, 2));
        let bytes: Vec<u8> = (1..=40).collect();
        for at in [0, 8, 3, PAGE - 5, 2 * PAGE - 40] {
            pages.write(at, &bytes);
            let mut got = vec![0; 40];
            pages.read(at, &mut got);
            assert_eq!(got, bytes, "at {at}");
        }
        let mut before = [9; 1];
        pages.read(PAGE - 6, &mut before);
        assert_eq!(before, [0]);
        pages.store(16, 0x0403_0201);
        assert_eq!(pages.load(16), 0x0403_0201);
        let mut word = [0; 4];
        pages.read(16, &mut word);
        assert_eq!(word, [1, 2, 3, 4]);
    }

    #[test]
    #[should_panic(expected = "beyond")]
    fn a_copy_beyond_the_pages_is_refused() {
        pages(1, true).read(PAGE - 3, &mut [0; 4]);
    }

    #[test]
    #[should_panic(expected = "beyond")]
    fn a_copy_whose_end_wraps_is_refused() {
        pages(1, true).write(usize::MAX, &[0; 4]);
    }

    #[test]
    #[should_panic(expected = "read-only")]
    fn pages_for_reading_are_not_written() {
        pages(1, false).write(0, &[1]);
    }
}
