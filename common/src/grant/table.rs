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
    fn grant(&self, gref: GrantRef, domid: u16, gfn: u64, access: Access)
        -> Result<(), GrantError>;

    /// Ends access: after `Ok` the peer neither uses the page nor can do so, and all that it wrote is
    /// visible. An entry that grants nothing has ended already.
    fn end(&self, gref: GrantRef) -> Result<(), EndError>;
}

/// The first word of an entry: flags and domain change together.
fn header(domid: u16, access: Access) -> u32 {
    let readonly = match access {
        Access::ReadOnly => Gtf::READONLY,
        Access::ReadWrite => Gtf::empty(),
    };
    let flags = (Gtf::PERMIT_ACCESS | readonly).bits();
    zerocopy::transmute!(GrantEntryHeader { flags, domid })
}

fn flags(header: u32) -> Gtf {
    let header: GrantEntryHeader = zerocopy::transmute!(header);
    Gtf::from_bits_retain(header.flags)
}

/// `header` with the flags taken to `GTF_invalid`.
fn invalid(header: u32) -> u32 {
    let header: GrantEntryHeader = zerocopy::transmute!(header);
    zerocopy::transmute!(GrantEntryHeader { flags: 0, ..header })
}

/// Number of whole entries of `entry` bytes.
fn count(len: usize, entry: usize) -> u32 {
    u32::try_from(len.checked_div(entry).unwrap_or(0)).unwrap_or(u32::MAX)
}

/// A table of 8-byte entries.
pub struct TableV1<M> {
    entries: Shared<M>,
}

impl<M: SharedMemory> TableV1<M> {
    /// Takes the frames that Xen mapped as the table.
    pub fn new(memory: M) -> Self {
        Self {
            entries: Shared::new(memory),
        }
    }

    /// Header word and frame word of an entry.
    fn entry(&self, gref: GrantRef) -> Option<(&Word, &Word)> {
        let at = usize::try_from(gref)
            .ok()?
            .checked_mul(size_of::<GrantEntryV1>())?;
        Some((self.entries.get(at)?, self.entries.get(at.checked_add(4)?)?))
    }
}

impl<M: SharedMemory> GrantTable for TableV1<M> {
    fn entries(&self) -> u32 {
        count(self.entries.len(), size_of::<GrantEntryV1>())
    }

    fn grant(
        &self,
        gref: GrantRef,
        domid: u16,
        gfn: u64,
        access: Access,
    ) -> Result<(), GrantError> {
        let (head, frame) = self.entry(gref).ok_or(GrantError::NoEntry(gref))?;
        let gfn = u32::try_from(gfn).map_err(|_| GrantError::Frame(gfn))?;
        if !flags(head.load(Ordering::Relaxed)).is_empty() {
            return Err(GrantError::InUse(gref));
        }
        frame.store(gfn, Ordering::Relaxed);
        // Xen reads the frame once it sees the flags.
        head.store(header(domid, access), Ordering::Release);
        Ok(())
    }

    fn end(&self, gref: GrantRef) -> Result<(), EndError> {
        let (head, _) = self.entry(gref).ok_or(EndError::NoEntry(gref))?;
        let mut seen = head.load(Ordering::Relaxed);
        loop {
            if flags(seen).intersects(Gtf::IN_USE) {
                return Err(EndError::InUse(gref));
            }
            // Xen changes nothing but its marks, each at most once per map and unmap, so this ends
            // unless the peer maps and unmaps without rest; then `IN_USE` is seen sooner or later.
            match head.compare_exchange(seen, invalid(seen), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }
}

/// A table of 16-byte entries with its status frames.
pub struct TableV2<M, S> {
    entries: Shared<M>,
    status: Shared<S>,
}

impl<M: SharedMemory, S: SharedMemory> TableV2<M, S> {
    /// Takes the frames that Xen mapped as the table, and its status frames. The shorter of the two
    /// limits the number of entries.
    pub fn new(entries: M, status: S) -> Self {
        Self {
            entries: Shared::new(entries),
            status: Shared::new(status),
        }
    }

    /// An entry's words and its status.
    fn entry(&self, gref: GrantRef) -> Option<EntryV2<'_>> {
        let index = usize::try_from(gref).ok()?;
        let at = index.checked_mul(size_of::<GrantEntryV2FullPage>())?;
        Some(EntryV2 {
            head: self.entries.get(at)?,
            frame: [
                self.entries.get(at.checked_add(8)?)?,
                self.entries.get(at.checked_add(12)?)?,
            ],
            // Two status words share a word of memory.
            status: self.status.get((index / 2).checked_mul(4)?)?,
            odd: gref % 2 == 1,
        })
    }
}

struct EntryV2<'a> {
    head: &'a Word,
    /// In the order of the machine.
    frame: [&'a Word; 2],
    status: &'a Word,
    odd: bool,
}

impl EntryV2<'_> {
    /// Whether Xen marked it, read with acquire ordering.
    fn in_use(&self) -> bool {
        let [even, odd]: [GrantStatus; 2] =
            zerocopy::transmute!(self.status.load(Ordering::Acquire));
        Gtf::from_bits_retain(if self.odd { odd } else { even }).intersects(Gtf::IN_USE)
    }
}

impl<M: SharedMemory, S: SharedMemory> GrantTable for TableV2<M, S> {
    fn entries(&self) -> u32 {
        let entries = count(self.entries.len(), size_of::<GrantEntryV2FullPage>());
        let status = count(self.status.len(), 2 * size_of::<GrantStatus>()).saturating_mul(2);
        entries.min(status)
    }

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
