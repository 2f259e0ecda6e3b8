// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that two sides share.

use std::ptr::NonNull;
use std::sync::Arc;

use portico_core::shared::{SharedMemory, Word, PAGE_SIZE};

const WORDS: usize = PAGE_SIZE / 4;

#[repr(C, align(4096))]
struct Page([Word; WORDS]);

/// Zeroed pages. Clones lead to the same ones.
#[derive(Clone)]
pub struct Memory(Arc<Vec<Page>>);

impl Memory {
    /// Takes `pages` pages.
    pub fn new(pages: usize) -> Self {
        let page = || Page(std::array::from_fn(|_| Word::new(0)));
        Self(Arc::new((0..pages).map(|_| page()).collect()))
    }

    /// The word at byte offset `at`, as a peer sees it that uses none of the core's code.
    pub fn word(&self, at: usize) -> &Word {
        &self.0[at / PAGE_SIZE].0[at % PAGE_SIZE / 4]
    }
}

// SAFETY: the vector is never changed, so its pages stay where they are while a clone exists. They are
// made of `Word`s, which may be written through a shared reference, and aligned to 4096. Without loom
// a `Word` is four bytes, so the pages are `len` bytes without gaps; under loom a test uses one page,
// so that `PAGE_SIZE / 4` words follow each other.
unsafe impl SharedMemory for Memory {
    fn as_ptr(&self) -> NonNull<u8> {
        NonNull::from(self.0.as_slice()).cast()
    }

    fn len(&self) -> usize {
        self.0.len() * PAGE_SIZE
    }
}
