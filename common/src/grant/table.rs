// SPDX-License-Identifier: MIT OR Apache-2.0
//! Granting access and ending it.
//!
//! An entry belongs to this domain while its flags are zero. A grant writes the frame, then flags and
//! domain in one store. From then on the peer may use the page at any moment, and access ends only
//! when Xen can no longer take the entry and nobody has it:
//!
//! - version 1: Xen marks the entry itself, so one compare-and-swap takes the flags to zero and fails
//!   if a mark appeared;
//! - version 2: Xen marks a status word of its own, so the flags are cleared first, then, after a full
//!   barrier, the status is read. Xen marks first and looks at the flags again after a barrier: one
//!   of the two sides always sees the other.

use core::fmt;

use super::wire::{GrantEntryHeader, GrantEntryV1, GrantEntryV2FullPage, GrantStatus, Gtf};
use super::{Access, GrantRef};
use crate::shared::{mb, Ordering, Shared, SharedMemory, Word};

/// Why access was not granted. The entry is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// The table has no such entry.
    NoEntry(GrantRef),
    /// The entry grants something already, or a peer still uses what it granted.
    InUse(GrantRef),
    /// A version 1 entry cannot hold this frame number.
    Frame(u64),
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEntry(gref) => write!(f, "grant {gref} is beyond the table"),
            Self::InUse(gref) => write!(f, "grant {gref} is still in use"),
            Self::Frame(gfn) => {
                write!(f, "frame {gfn:#x} needs a grant table of version 2")
            }
        }
    }
}

/// Why access has not ended. The page must stay as it is, and the entry must not be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndError {
    /// The table has no such entry.
    NoEntry(GrantRef),
    /// The peer uses the page now: try again later. In a table of version 2 it cannot map it anew.
    InUse(GrantRef),
}

impl fmt::Display for EndError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEntry(gref) => write!(f, "grant {gref} is beyond the table"),
            Self::InUse(gref) => write!(f, "the peer still uses grant {gref}"),
        }
    }
}

/// A table of either version.
///
/// All operations may run at once on different entries. The owner of an entry, which has claimed its
/// reference, does not grant and end it at the same time.
pub trait GrantTable {
    /// Number of entries.
    fn entries(&self) -> u32;

    /// Lets `domid` use the page with frame number `gfn`.
    fn grant(
        &self,
        gref: GrantRef,
        domid: u16,
        gfn: u64,
        access: Access,
    ) -> Result<(), GrantError> {
        let entry = self.entry(gref).ok_or(GrantError::NoEntry(gref))?;
        if !flags(entry.head.load(Ordering::Relaxed)).is_empty() || entry.in_use() {
            return Err(GrantError::InUse(gref));
        }
        let frame: [u32; 2] = zerocopy::transmute!(gfn);
        for (word, value) in entry.frame.into_iter().zip(frame) {
            word.store(value, Ordering::Relaxed);
        }
        // Xen reads the frame once it sees the flags.
        entry.head.store(header(domid, access), Ordering::Release);
        Ok(())
    }

    fn end(&self, gref: GrantRef) -> Result<(), EndError> {
        let entry = self.entry(gref).ok_or(EndError::NoEntry(gref))?;
        // Nobody else writes the header of a version 2 entry.
        let invalid = invalid(entry.head.load(Ordering::Relaxed));
        entry.head.store(invalid, Ordering::Relaxed);
        mb();
        if entry.in_use() {
            return Err(EndError::InUse(gref));
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
