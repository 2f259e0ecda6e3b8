// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the block engine asks of an operating system.
//!
//! The traits are implemented once per platform and monomorphised: no call here is dynamic.

use core::ops::DerefMut;

use crate::shared::SharedMemory;

pub use crate::grant::{Access, GrantRef};

/// There was no memory, or no grant reference, at set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read into the segments.
    Read,
    /// Write from the segments; `fua`: durable when complete.
    Write {
        /// Forced unit access.
        fua: bool,
    },
    /// Make all completed writes durable.
    Flush,
    /// Free the range; `secure`: leave no copy of it.
    Discard {
        /// Secure erase.
        secure: bool,
    },
}

/// A page of this side that is shared with the back end: data is copied through it, or it holds
/// indirect segments. All zero when made.
pub trait SharedPage {
    /// The frame number to grant.
    fn gfn(&self) -> u64;
    /// Copies `bytes` to offset `at`; what would not fit is left out.
    fn write(&self, at: usize, bytes: &[u8]);
}

/// A piece of a request's memory that lies in one page.
pub trait Segment<P> {
    /// The frame number to grant.
    fn gfn(&self) -> u64;
    /// Offset in the page, in bytes: a multiple of 512.
    fn offset(&self) -> u32;
    /// Length in bytes: a multiple of 512, not zero, not beyond the page.
    fn len(&self) -> u32;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Copies the piece to the same offset of `page`.
    fn copy_to(&self, page: &P);
    /// Fills the piece from the same offset of `page`.
    fn copy_from(&self, page: &P);
}

/// A request of the operating system. The engine owns it from submission to completion.
pub trait Io<P> {
    /// A piece of its memory. It borrows the request: once that is given back to the operating
    /// system, its memory is no longer ours to touch.
    type Segment<'a>: Segment<P>
    where
        Self: 'a;
    /// What it wants.
    fn op(&self) -> Op;
    /// Start on the disk, in sectors of 512 bytes.
    fn sector(&self) -> u64;
    /// Length on the disk, in sectors of 512 bytes.
    fn sectors(&self) -> u64;
    /// Its memory, in order. Empty for a flush or a discard.
    fn segments(&self) -> impl Iterator<Item = Self::Segment<'_>>;
}

/// The operating system beneath one ring. Grants are for the back end's domain.
pub trait Host {
    /// A request.
    type Io: Io<Self::Page>;
    /// A page of this side.
    type Page: SharedPage;
    /// The memory of the ring, granted by whoever made it.
    type Ring: SharedMemory;
    /// A fixed array, taken at set-up.
    type Array<T>: DerefMut<Target = [T]>;

    /// Makes an array of `len` elements.
    fn array<T>(
        &self,
        len: usize,
        make: impl FnMut(usize) -> Result<T, NoMemory>,
    ) -> Result<Self::Array<T>, NoMemory>;
    /// Takes a page.
    fn page(&self) -> Result<Self::Page, NoMemory>;
    /// Takes a free grant reference, if there is one.
    fn claim(&self) -> Option<GrantRef>;
    /// Gives back a claimed reference that grants nothing.
    fn release(&self, gref: GrantRef);
    /// Lets a claimed reference grant the frame `gfn`.
    fn grant(&self, gref: GrantRef, gfn: u64, access: Access);
    /// Ends what the reference grants; it stays claimed. `false`: the back end still has the frame
    /// mapped, and nothing changed.
    fn end(&self, gref: GrantRef) -> bool;
    /// Ends what the reference grants and gives it back. `false`: the back end still has the frame
    /// mapped, which is no fault here, and nothing changed.
    fn try_release(&self, gref: GrantRef) -> bool;
    /// Leaves a reference to a frame that the back end has still mapped to the host, which keeps the
    /// frame from being freed until the back end lets go, and then releases the reference.
    fn abandon(&self, gref: GrantRef, gfn: u64);
}
