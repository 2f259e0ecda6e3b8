// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's simulated machine, seen from both ends: as the engine's host, and as the guest that the
//! back end serves.

use hostile_back::memory::{Guest, Pages, RingPages, PAGE};
use portico_core::block::sim::{Frame, Sim, SimIo, SimPage};
use portico_core::block::{Access, GrantRef, Host, NoMemory};
use portico_core::host::Platform;
use portico_core::shared::{Ordering, SharedMemory, Word};
use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

/// The pages of a ring, which both ends and a fault's thread hold.
#[derive(Clone)]
pub(crate) struct Ring(Arc<Shared>);

struct Shared(Vec<UnsafeCell<Frame>>);

// SAFETY: the bytes are only reached by atomic accesses (`SharedMemory`, `Ring::word`).
unsafe impl Sync for Shared {}

impl Ring {
    /// `pages` pages of zeros.
    pub(crate) fn new(pages: usize) -> Self {
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

/// The machine as the engine's host.
#[derive(Clone)]
pub(crate) struct Machine(pub(crate) Sim);

impl Host for Machine {
    type Io = SimIo;
}

impl Platform for Machine {
    type Page = SimPage;
    type Ring = Ring;
    type Array<T> = Vec<T>;

    fn array<T>(
        &self,
        len: usize,
        make: impl FnMut(usize) -> Result<T, NoMemory>,
    ) -> Result<Vec<T>, NoMemory> {
        self.0.array(len, make)
    }

    fn page(&self) -> Result<SimPage, NoMemory> {
        self.0.page()
    }

    fn claim(&self) -> Option<GrantRef> {
        self.0.claim()
    }

    fn release(&self, gref: GrantRef) {
        self.0.release(gref);
    }

    fn grant(&self, gref: GrantRef, gfn: u64, access: Access) {
        self.0.grant(gref, gfn, access);
    }

    fn end(&self, gref: GrantRef) -> bool {
        self.0.end(gref)
    }

    fn try_release(&self, gref: GrantRef) -> bool {
        self.0.try_release(gref)
    }

    fn abandon(&self, gref: GrantRef, gfn: u64) {
        self.0.abandon(gref, gfn);
    }
}

/// The machine as the guest of the back end.
pub(crate) struct SimGuest {
    /// The machine.
    pub(crate) sim: Sim,
    /// Notifications that came.
    pub(crate) notified: Rc<Cell<u64>>,
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
pub(crate) struct Mapped {
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
