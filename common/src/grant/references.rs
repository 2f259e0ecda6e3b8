// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of free references.

use core::ops::DerefMut;

use super::wire::GNTTAB_NR_RESERVED_ENTRIES;
use super::GrantRef;

/// The reference was not claimed: released twice, reserved, or never part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotClaimed(pub GrantRef);

/// Marks the end of the list. No entry has this index: a table ends far below.
const END: u32 = u32::MAX;
/// Marks a reference that is not free.
const CLAIMED: u32 = u32::MAX - 1;

/// Free references, linked through storage that the caller provides: one word for each entry that the
/// table may ever have. The last one released is the first one claimed.
///
/// The owner serialises access.
pub struct References<S> {
    /// For a free reference the next free one, or [`END`]; otherwise [`CLAIMED`].
    links: S,
    head: u32,
    free: u32,
    /// References below it take part.
    entries: u32,
}

impl<S: DerefMut<Target = [u32]>> References<S> {
    /// All entries of a table of `entries` are free but the first
    /// [`GNTTAB_NR_RESERVED_ENTRIES`]. Entries beyond the storage are not used.
    pub fn new(mut links: S, entries: u32) -> Self {
        links.fill(CLAIMED);
        let mut this = Self {
            links,
            head: END,
            free: 0,
            entries: GNTTAB_NR_RESERVED_ENTRIES,
        };
        this.grow(entries);
        this
    }

    /// The table has grown to `entries`: the new ones are free.
    pub fn grow(&mut self, entries: u32) {
        let storage = u32::try_from(self.links.len()).unwrap_or(CLAIMED);
        let entries = entries.min(storage).min(CLAIMED);
        for gref in (self.entries..entries).rev() {
            self.link(gref);
        }
        self.entries = self.entries.max(entries);
    }

    fn link(&mut self, gref: GrantRef) -> bool {
        match self.links.get_mut(gref as usize) {
            Some(link) if *link == CLAIMED => {
                *link = self.head;
                self.head = gref;
                self.free = self.free.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Number of free references.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Takes a free reference; `None`: let the table grow, or wait for a release.
    pub fn claim(&mut self) -> Option<GrantRef> {
        let gref = self.head;
        let link = self.links.get_mut(gref as usize)?;
        self.head = core::mem::replace(link, CLAIMED);
        self.free = self.free.saturating_sub(1);
        Some(gref)
    }

    /// Gives a reference back whose access has ended.
    pub fn release(&mut self, gref: GrantRef) -> Result<(), NotClaimed> {
        let takes_part = (GNTTAB_NR_RESERVED_ENTRIES..self.entries).contains(&gref);
        if takes_part && self.link(gref) {
            Ok(())
        } else {
            Err(NotClaimed(gref))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reserved_entries_are_never_given_out() {
        for entries in 0..12 {
            let mut refs = References::new(vec![0; 10], entries);
            let expected = entries.min(10).saturating_sub(8);
            assert_eq!(refs.free(), expected);
            for n in 0..expected {
                assert_eq!(refs.claim(), Some(8 + n));
            }
            assert_eq!(refs.claim(), None);
        }
        let mut refs = References::new(vec![], 512);
        assert_eq!(refs.claim(), None);
    }

    proptest! {
        /// Against a set: what is claimed is claimed once, and foreign releases change nothing.
        #[test]
        fn as_a_set(
            storage in 0_usize..40,
            start in 0_u32..40,
            steps in prop::collection::vec((0_u8..8, 0_u32..48), 0..200),
        ) {
            let mut refs = References::new(vec![0; storage], start);
            let mut entries = start.min(storage as u32);
            let mut free: BTreeSet<u32> = (8..entries.max(8)).collect();
            let mut claimed = BTreeSet::new();
            for (step, n) in steps {
                match step {
                    0..=3 => match refs.claim() {
                        Some(gref) => {
                            prop_assert!(free.remove(&gref));
                            claimed.insert(gref);
                        }
                        None => prop_assert!(free.is_empty()),
                    },
                    4..=6 => {
                        let ours = claimed.remove(&n);
                        prop_assert_eq!(refs.release(n), if ours { Ok(()) } else { Err(NotClaimed(n)) });
                        if ours {
                            free.insert(n);
                        }
                    }
                    _ => {
                        refs.grow(n);
                        let grown = n.min(storage as u32);
                        free.extend(entries.max(8)..grown.max(8));
                        entries = entries.max(grown);
                    }
                }
                prop_assert_eq!(refs.free() as usize, free.len());
            }
        }
    }
}
