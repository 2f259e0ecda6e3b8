// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that two sides of a test share.

use core::ptr::NonNull;
use std::sync::Arc;
use std::vec::Vec;

use crate::shared::{SharedMemory, Word, PAGE_SIZE};

const WORDS: usize = PAGE_SIZE / 4;

#[repr(C, align(4096))]
struct Page([Word; WORDS]);

/// Zeroed pages; clones lead to the same ones.
#[derive(Clone)]
pub(crate) struct TestMemory(Arc<Vec<Page>>);

impl TestMemory {
    pub(crate) fn new(pages: usize) -> Self {
        let page = || Page([const { Word::new(0) }; WORDS]);
        Self(Arc::new((0..pages).map(|_| page()).collect()))
    }

    /// The word at byte offset `at`, for the peer of the code under test.
    pub(crate) fn word(&self, at: usize) -> &Word {
        &self.0[at / PAGE_SIZE].0[at % PAGE_SIZE / 4]
    }
}

// SAFETY: the vector is never changed, so its pages stay where they are while a clone exists; a page
// is aligned to 4096 and is made of atomics, which may be written through a shared reference.
unsafe impl SharedMemory for TestMemory {
    fn as_ptr(&self) -> NonNull<u8> {
        NonNull::from(self.0.as_slice()).cast()
    }

    fn len(&self) -> usize {
        self.0.len() * PAGE_SIZE
    }
}
