// SPDX-License-Identifier: MIT OR Apache-2.0
//! A simulated machine under an engine: frames and a grant table, for tests.
//!
//! It checks what real hardware would not tell: that a granted reference is claimed, that a frame is
//! mapped only with a grant, and that nothing is granted twice. What a block or a net engine moves
//! over it stands in `block::sim` and `net::sim`.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::vec::Vec;

use core::ptr::NonNull;

use crate::grant::{Access, GrantRef};
use crate::host::{NoMemory, Platform, SharedPage};
use crate::shared::{SharedMemory, PAGE_SIZE};

/// A page-aligned frame.
#[derive(Clone)]
#[repr(align(4096))]
pub struct Frame(pub [u8; PAGE_SIZE]);

#[derive(Clone, Copy, Debug)]
struct Grant {
    gfn: u64,
    access: Access,
    /// Mappings that the back end holds.
    mapped: u32,
}

#[derive(Default)]
struct Machine {
    frames: HashMap<u64, Box<Frame>>,
    next_gfn: u64,
    claimed: HashSet<GrantRef>,
    grants: HashMap<GrantRef, Grant>,
    abandoned: HashSet<GrantRef>,
    next_ref: GrantRef,
    /// References that may be claimed at once.
    max_refs: usize,
    /// Whether the back end maps a frame as soon as it is granted.
    maps_at_once: bool,
}

/// The machine, shared between the front end, the requests and a back end.
#[derive(Clone)]
pub struct Sim(Rc<RefCell<Machine>>);

impl Default for Sim {
    fn default() -> Self {
        Self::with_refs(usize::MAX)
    }
}

impl Sim {
    /// A machine that has only so many grant references.
    pub fn with_refs(max_refs: usize) -> Self {
        Self(Rc::new(RefCell::new(Machine {
            next_ref: 8,
            max_refs,
            ..Machine::default()
        })))
    }

    /// From now on, the back end maps each frame as soon as it is granted, and keeps it.
    pub fn map_at_once(&self) {
        self.0.borrow_mut().maps_at_once = true;
    }

    /// A new zeroed frame.
    pub fn frame(&self) -> u64 {
        let mut machine = self.0.borrow_mut();
        machine.next_gfn += 1;
        let gfn = machine.next_gfn;
        machine.frames.insert(gfn, Box::new(Frame([0; PAGE_SIZE])));
        gfn
    }

    /// Changes the bytes of a frame.
    pub fn with_frame<R>(&self, gfn: u64, f: impl FnOnce(&mut [u8; PAGE_SIZE]) -> R) -> R {
        f(&mut self
            .0
            .borrow_mut()
            .frames
            .get_mut(&gfn)
            .expect("a frame that exists")
            .0)
    }

    /// References that grant something, those left to the host included.
    pub fn grants(&self) -> usize {
        self.0.borrow().grants.len()
    }

    /// What the reference grants, and how often it is mapped.
    pub fn granted(&self, gref: GrantRef) -> Option<(u64, Access, u32)> {
        let machine = self.0.borrow();
        let grant = machine.grants.get(&gref)?;
        Some((grant.gfn, grant.access, grant.mapped))
    }

    /// The frames that are granted, once for each grant.
    pub fn granted_frames(&self) -> Vec<u64> {
        let machine = self.0.borrow();
        machine.grants.values().map(|grant| grant.gfn).collect()
    }

    /// References that the front end left to the host.
    pub fn abandoned(&self) -> usize {
        self.0.borrow().abandoned.len()
    }

    /// References that are claimed.
    pub fn claimed(&self) -> usize {
        self.0.borrow().claimed.len()
    }

    /// The back end maps a grant: its frame, or `None` if that is not granted.
    pub fn map(&self, gref: GrantRef, write: bool) -> Option<u64> {
        let mut machine = self.0.borrow_mut();
        let grant = machine.grants.get_mut(&gref)?;
        if write && grant.access == Access::ReadOnly {
            return None;
        }
        grant.mapped += 1;
        Some(grant.gfn)
    }

    /// The back end unmaps a grant.
    pub fn unmap(&self, gref: GrantRef) {
        let mut machine = self.0.borrow_mut();
        if let Some(grant) = machine.grants.get_mut(&gref) {
            grant.mapped = grant.mapped.saturating_sub(1);
            if grant.mapped == 0 && machine.abandoned.remove(&gref) {
                machine.grants.remove(&gref);
                machine.claimed.remove(&gref);
            }
        }
    }
}

/// A frame of the front end.
pub struct SimPage {
    sim: Sim,
    gfn: u64,
}

impl SharedPage for SimPage {
    fn gfn(&self) -> u64 {
        self.gfn
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.sim.with_frame(self.gfn, |frame| {
            frame[at..at + bytes.len()].copy_from_slice(bytes)
        });
    }
}

/// Pages of a ring, which both sides of a test hold.
#[derive(Clone)]
pub struct SimRing(Rc<Vec<core::cell::UnsafeCell<Frame>>>);

impl SimRing {
    /// `pages` zeroed pages.
    pub fn new(pages: usize) -> Self {
        let pages = (0..pages).map(|_| core::cell::UnsafeCell::new(Frame([0; PAGE_SIZE])));
        Self(Rc::new(pages.collect()))
    }
}

// SAFETY: the frames are one aligned allocation that lives as long as any clone, and nobody looks at
// them but through this trait's pointer.
unsafe impl SharedMemory for SimRing {
    fn as_ptr(&self) -> NonNull<u8> {
        NonNull::new(self.0.as_ptr().cast_mut().cast()).expect("a vector's pointer is not null")
    }

    fn len(&self) -> usize {
        self.0.len() * PAGE_SIZE
    }
}

impl Platform for Sim {
    type Page = SimPage;
    type Ring = SimRing;
    type Array<T> = Vec<T>;

    fn array<T>(
        &self,
        len: usize,
        make: impl FnMut(usize) -> Result<T, NoMemory>,
    ) -> Result<Vec<T>, NoMemory> {
        (0..len).map(make).collect()
    }

    fn page(&self) -> Result<SimPage, NoMemory> {
        Ok(SimPage {
            sim: self.clone(),
            gfn: self.frame(),
        })
    }

    fn claim(&self) -> Option<GrantRef> {
        let mut machine = self.0.borrow_mut();
        if machine.claimed.len() >= machine.max_refs {
            return None;
        }
        machine.next_ref += 1;
        let gref = machine.next_ref;
        machine.claimed.insert(gref);
        Some(gref)
    }

    fn release(&self, gref: GrantRef) {
        let mut machine = self.0.borrow_mut();
        assert!(
            !machine.grants.contains_key(&gref),
            "reference {gref} released while granted"
        );
        assert!(
            machine.claimed.remove(&gref),
            "reference {gref} released without a claim"
        );
    }

    fn grant(&self, gref: GrantRef, gfn: u64, access: Access) {
        let mut machine = self.0.borrow_mut();
        assert!(
            machine.claimed.contains(&gref),
            "reference {gref} granted without a claim"
        );
        assert!(
            machine.frames.contains_key(&gfn),
            "frame {gfn} does not exist"
        );
        let mapped = machine.maps_at_once.into();
        let old = machine.grants.insert(
            gref,
            Grant {
                gfn,
                access,
                mapped,
            },
        );
        assert!(old.is_none(), "reference {gref} granted twice");
    }

    fn end(&self, gref: GrantRef) -> bool {
        let mut machine = self.0.borrow_mut();
        let grant = machine
            .grants
            .get(&gref)
            .expect("only what is granted is ended");
        if grant.mapped > 0 {
            return false;
        }
        machine.grants.remove(&gref);
        true
    }

    fn try_release(&self, gref: GrantRef) -> bool {
        let ended = self.end(gref);
        if ended {
            self.release(gref);
        }
        ended
    }

    fn abandon(&self, gref: GrantRef, gfn: u64) {
        let mut machine = self.0.borrow_mut();
        assert_eq!(machine.grants.get(&gref).map(|grant| grant.gfn), Some(gfn));
        assert!(
            machine.abandoned.insert(gref),
            "reference {gref} abandoned twice"
        );
    }
}
