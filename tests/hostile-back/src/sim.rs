// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's simulated machine as the guest that a back end serves, for tests on the host.

use crate::memory::{Guest, Pages, RingPages, PAGE};
use portico_core::shared::{Ordering, SharedMemory, Word};
use portico_core::sim::{Frame, Sim};
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

/// The pages of a ring, which both ends and a fault's thread hold.
#[derive(Clone)]
pub struct Ring(Arc<Shared>);

struct Shared(Vec<UnsafeCell<Frame>>);

// SAFETY: the bytes are only reached by atomic accesses (`SharedMemory`, `Ring::word`).
unsafe impl Sync for Shared {}

impl Ring {
    /// `pages` pages of zeros.
    pub fn new(pages: usize) -> Self {
        let page = || UnsafeCell::new(Frame([0; PAGE]));
        Ring(Arc::new(Shared((0..pages).map(|_| page()).collect())))
    }

    fn word(&self, at: usize) -> &Word {
        assert!(at % 4 == 0 && at + 4 <= self.len());
        // SAFETY: within the pages, which are one allocation, aligned, and live as long as `self`. All
        // access is atomic.
        unsafe { self.as_ptr().add(at).cast::<Word>().as_ref() }
    }
}

// SAFETY: the pages are one aligned allocation that lives as long as any clone, and that is only
// reached by atomic accesses.
unsafe impl SharedMemory for Ring {
    fn as_ptr(&self) -> NonNull<u8> {
        NonNull::new(self.0 .0.as_ptr().cast_mut().cast()).expect("a vector's pointer is not null")
    }

    fn len(&self) -> usize {
        self.0 .0.len() * PAGE
    }
}

impl RingPages for Ring {
    fn load(&self, at: usize) -> u32 {
        self.word(at).load(Ordering::Acquire)
    }

    fn store(&self, at: usize, value: u32) {
        self.word(at).store(value, Ordering::Relaxed);
    }
}

/// The machine as the guest of the back end.
pub struct SimGuest {
    /// The machine.
    pub sim: Sim,
    /// Notifications that came.
    pub notified: Rc<Cell<u64>>,
}

impl Guest for SimGuest {
    type Pages = Mapped;
    type Ring = Ring;

    fn map(&self, refs: &[u32], writable: bool) -> Option<Mapped> {
        let mut mapped = Mapped {
            sim: self.sim.clone(),
            pages: Vec::new(),
        };
        for gref in refs {
            // What is mapped so far is unmapped with `mapped`.
            let gfn = self.sim.map(*gref, writable)?;
            mapped.pages.push((*gref, gfn));
        }
        Some(mapped)
    }

    fn notify(&self) {
        self.notified.set(self.notified.get() + 1);
    }
}

/// Pages of the machine that the back end has mapped.
pub struct Mapped {
    sim: Sim,
    pages: Vec<(u32, u64)>,
}

impl Mapped {
    /// Calls `part` with each page's frame, offset and length that a range is made of.
    fn parts(&self, at: usize, len: usize, mut part: impl FnMut(u64, usize, usize)) {
        let mut done = 0;
        while done < len {
            let (_, gfn) = self.pages[(at + done) / PAGE];
            let offset = (at + done) % PAGE;
            let piece = (len - done).min(PAGE - offset);
            part(gfn, offset, piece);
            done += piece;
        }
    }
}

impl Pages for Mapped {
    fn read(&self, at: usize, to: &mut [u8]) {
        let mut done = 0;
        self.parts(at, to.len(), |gfn, offset, len| {
            self.sim.with_frame(gfn, |frame| {
                to[done..done + len].copy_from_slice(&frame[offset..offset + len]);
            });
            done += len;
        });
    }

    fn write(&self, at: usize, from: &[u8]) {
        let mut done = 0;
        self.parts(at, from.len(), |gfn, offset, len| {
            self.sim.with_frame(gfn, |frame| {
                frame[offset..offset + len].copy_from_slice(&from[done..done + len]);
            });
            done += len;
        });
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        for (gref, _) in &self.pages {
            self.sim.unmap(*gref);
        }
    }
}
