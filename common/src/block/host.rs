// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the block engine asks of an operating system.
//!
//! The traits are implemented once per platform and monomorphised: no call here is dynamic. What all
//! engines ask for stands in [`crate::host`].

use crate::host::Platform;

pub use crate::grant::{Access, GrantRef};
pub use crate::host::{NoMemory, SharedPage};

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
    /// How many segments it should have. The engine plans by it: where it is wrong, the request is
    /// counted, and taken all the same.
    fn expected_segments(&self) -> usize;
    /// Its memory, in order. Empty for a flush or a discard.
    fn segments(&self) -> impl Iterator<Item = Self::Segment<'_>>;
}

/// The operating system beneath one ring. Grants are for the back end's domain.
pub trait Host: Platform {
    /// A request.
    type Io: Io<Self::Page>;
}
