// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of multicast addresses that the back end lets pass.

/// Addresses that a list can have: as many as Linux' back end takes (`XEN_NETBK_MCAST_MAX`).
pub const MULTICAST_MAX: usize = 64;

/// What the back end was told of.
#[derive(Clone, Debug)]
pub struct MulticastList {
    told: [[u8; 6]; MULTICAST_MAX],
    len: usize,
}

impl MulticastList {
    /// That of a back end that was just connected.
    pub const fn new() -> Self {
        Self {
            told: [[0; 6]; MULTICAST_MAX],
            len: 0,
        }
    }

    /// The addresses.
    pub fn told(&self) -> &[[u8; 6]] {
        self.told.get(..self.len).unwrap_or_default()
    }

    /// Makes it the same as `wanted`, [`MULTICAST_MAX`] addresses at most. `tell` tells the back end to pass
    /// packets to an address, or no longer to do so. When it fails, the rest is for the next call.
    pub fn update<E>(
        &mut self,
        wanted: &[[u8; 6]],
        mut tell: impl FnMut([u8; 6], bool) -> Result<(), E>,
    ) -> Result<(), E> {
        // These make room for others. Backwards, as the last one takes the place of the one that goes.
        for index in (0..self.len).rev() {
            let Some(&addr) = self.told.get(index) else {
                continue;
            };
            if wanted.contains(&addr) {
                continue;
            }
            tell(addr, false)?;
            self.len = self.len.saturating_sub(1);
            let last = self.told.get(self.len).copied();
            if let (Some(entry), Some(last)) = (self.told.get_mut(index), last) {
                *entry = last;
            }
        }
        for &addr in wanted {
            if self.told().contains(&addr) {
                continue;
            }
            let Some(entry) = self.told.get_mut(self.len) else {
                break;
            };
            tell(addr, true)?;
            *entry = addr;
            self.len = self.len.saturating_add(1);
        }
        Ok(())
    }
}

impl Default for MulticastList {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    /// A back end that has room for as many as Linux', and a ring that is full every now and then.
    #[derive(Default)]
    struct Back {
        passes: BTreeSet<[u8; 6]>,
        room: usize,
    }

    impl Back {
        fn tell(&mut self, addr: [u8; 6], pass: bool) -> Result<(), ()> {
            self.room = self.room.checked_sub(1).ok_or(())?;
            let new = match pass {
                true => self.passes.insert(addr),
                false => self.passes.remove(&addr),
            };
            assert!(new, "told twice");
            assert!(self.passes.len() <= MULTICAST_MAX);
            Ok(())
        }
    }

    fn addresses() -> impl Strategy<Value = Vec<[u8; 6]>> {
        btree_set(0..96u8, 0..=MULTICAST_MAX).prop_map(|ends| {
            let address = |end| [0x33, 0x33, 0, 0, 0, end];
            ends.into_iter().map(address).collect()
        })
    }

    proptest! {
        #[test]
        fn the_back_end_passes_what_is_wanted(
            lists in vec((addresses(), 0..160usize), 1..8)
        ) {
            let (mut list, mut back) = (MulticastList::new(), Back::default());
            for (wanted, room) in lists {
                back.room = room;
                let done = list.update(&wanted, |addr, pass| back.tell(addr, pass));
                let told: BTreeSet<_> = list.told().iter().copied().collect();
                prop_assert_eq!(&told, &back.passes);
                prop_assert_eq!(told.len(), list.told().len());
                if done.is_ok() {
                    prop_assert_eq!(told, wanted.into_iter().collect());
                } else {
                    prop_assert_eq!(back.room, 0);
                }
            }
        }
    }
}
