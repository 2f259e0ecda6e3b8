// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every engine asks of an operating system.
//!
//! The trait is implemented once per platform and monomorphised: no call here is dynamic. An engine
//! adds what it alone needs: [`crate::block::Host`], [`crate::net::Host`].

use core::ops::DerefMut;

use crate::grant::{Access, GrantRef};
use crate::shared::SharedMemory;

/// No reference. The first eight entries of a grant table are reserved, so 0 is never handed out.
pub const NO_REF: GrantRef = 0;

/// There was no memory, or no grant reference, at set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// A page of this side that is shared with the back end: data is copied through it, or it holds
/// a table that a request names. All zero when made.
pub trait SharedPage {
    /// The frame number to grant.
    fn gfn(&self) -> u64;
    /// Copies `bytes` to offset `at`; what would not fit is left out.
    fn write(&self, at: usize, bytes: &[u8]);
}

/// The operating system beneath one device. Grants are for the back end's domain.
pub trait Platform {
    /// The memory of a ring, granted by whoever made it.
    type Ring: SharedMemory;
    /// A page of this side.
    type Page: SharedPage;
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

/// Ends a grant and releases the reference; what the back end still holds is left to the host.
pub(crate) fn end_or_abandon<H: Platform>(host: &H, gref: GrantRef, gfn: u64) {
    if gref != NO_REF && !host.try_release(gref) {
        host.abandon(gref, gfn);
    }
}
