// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page that a guest shares with the store: 1024 bytes each way, with free-running indexes.
//!
//! The owner notifies the store's event channel after every call that moved bytes, and tries again
//! after every notification from it, having taken the event off first. So neither side sleeps while
//! the other waits for it.

use core::fmt;
use core::mem::offset_of;

use super::wire::{XenstoreDomainInterface, XENSTORE_RING_SIZE};
use crate::shared::{Ordering, Shared, SharedMemory, Word};

const REQ: usize = offset_of!(XenstoreDomainInterface, req);
const RSP: usize = offset_of!(XenstoreDomainInterface, rsp);
const REQ_CONS: usize = offset_of!(XenstoreDomainInterface, req_cons);
const REQ_PROD: usize = offset_of!(XenstoreDomainInterface, req_prod);
const RSP_CONS: usize = offset_of!(XenstoreDomainInterface, rsp_cons);
const RSP_PROD: usize = offset_of!(XenstoreDomainInterface, rsp_prod);
const SIZE: u32 = XENSTORE_RING_SIZE as u32;

/// The store's index is more than a ring away from ours: nothing in the ring can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadIndex {
    /// What the store wrote.
    pub theirs: u32,
    /// Ours.
    pub ours: u32,
}

impl fmt::Display for BadIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "xenstore wrote ring index {:#x}, more than 1024 bytes from {:#x}",
            self.theirs, self.ours
        )
    }
}

/// The guest's side of the page.
pub struct Ring<M> {
    page: Shared<M>,
    /// Ours, and never read back from the page.
    req_prod: u32,
    /// As above.
    rsp_cons: u32,
}

impl<M: SharedMemory> Ring<M> {
    /// Takes the page of `HVM_PARAM_STORE_PFN`; `None` if it is too short.
    ///
    /// Firmware has used the ring before, so requests go on at the index that it left. Responses that
    /// it did not read are dropped: they answer nothing of ours.
    pub fn new(page: M) -> Option<Self> {
        let page = Shared::new(page);
        if page.len() < size_of::<XenstoreDomainInterface>() {
            return None;
        }
        let req_prod = page.get(REQ_PROD)?.load(Ordering::Relaxed);
        let rsp_cons = page.get(RSP_PROD)?.load(Ordering::Relaxed);
        page.get(RSP_CONS)?.store(rsp_cons, Ordering::Release);
        Some(Self {
            page,
            req_prod,
            rsp_cons,
        })
    }

    /// Writes as many of `bytes` as there is room for; how many. Notify the store if not 0.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, BadIndex> {
        let ours = self.req_prod;
        let theirs = self.index(REQ_CONS);
        let used = ours.wrapping_sub(theirs);
        let room = SIZE.checked_sub(used).ok_or(BadIndex { theirs, ours })?;
        let mut done = 0_u32;
        for (&byte, _) in bytes.iter().zip(0..room) {
            if let Some((word, lane)) = self.byte(REQ, ours.wrapping_add(done)) {
                // Only this side writes to this array, so the neighbours keep their values.
                let mut lanes = word.load(Ordering::Relaxed).to_ne_bytes();
                if let Some(place) = lanes.get_mut(lane) {
                    *place = byte;
                }
                word.store(u32::from_ne_bytes(lanes), Ordering::Relaxed);
            }
            done = done.wrapping_add(1);
        }
        self.req_prod = ours.wrapping_add(done);
        // The store reads the bytes once it sees the index.
        self.set_index(REQ_PROD, self.req_prod);
        Ok(done as usize)
    }

    /// Reads as many bytes into `buffer` as there are; how many. Notify the store if not 0.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, BadIndex> {
        let ours = self.rsp_cons;
        let theirs = self.index(RSP_PROD);
        let there = theirs.wrapping_sub(ours);
        if there > SIZE {
            return Err(BadIndex { theirs, ours });
        }
        let mut done = 0_u32;
        for (place, _) in buffer.iter_mut().zip(0..there) {
            if let Some((word, lane)) = self.byte(RSP, ours.wrapping_add(done)) {
                let lanes = word.load(Ordering::Relaxed).to_ne_bytes();
                *place = lanes.get(lane).copied().unwrap_or(0);
            }
            done = done.wrapping_add(1);
        }
        self.rsp_cons = ours.wrapping_add(done);
        // The store overwrites the bytes once it sees the index.
        self.set_index(RSP_CONS, self.rsp_cons);
        Ok(done as usize)
    }

    fn index(&self, at: usize) -> u32 {
        self.page
            .get(at)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn set_index(&self, at: usize, index: u32) {
        if let Some(word) = self.page.get(at) {
            word.store(index, Ordering::Release);
        }
    }

    /// The word of the byte for `index` in the array at `array`, and which of its four bytes it is.
    fn byte(&self, array: usize, index: u32) -> Option<(&Word, usize)> {
        let at = (index % SIZE) as usize;
        Some((self.page.get(array.checked_add(at & !3)?)?, at & 3))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::test_memory::TestMemory;

    /// The store's side, over the same page.
    struct Store(TestMemory);

    impl Store {
        fn index(&self, at: usize) -> u32 {
            self.0.word(at).load(Ordering::Relaxed)
        }

        fn set(&self, at: usize, value: u32) {
            self.0.word(at).store(value, Ordering::Relaxed);
        }

        fn start(index: u32) -> Self {
            let store = Self(TestMemory::new(1));
            for at in [REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD] {
                store.set(at, index);
            }
            store
        }

        fn take(&self, most: usize) -> Vec<u8> {
            let (cons, prod) = (self.index(REQ_CONS), self.index(REQ_PROD));
            let n = (prod.wrapping_sub(cons) as usize).min(most);
            let bytes = (0..n).map(|i| {
                let at = cons.wrapping_add(i as u32) as usize % 1024;
                self.0
                    .word(REQ + at / 4 * 4)
                    .load(Ordering::Relaxed)
                    .to_ne_bytes()[at % 4]
            });
            let bytes = bytes.collect();
            self.set(REQ_CONS, cons.wrapping_add(n as u32));
            bytes
        }

        fn put(&self, bytes: &[u8]) -> usize {
            let (cons, prod) = (self.index(RSP_CONS), self.index(RSP_PROD));
            let n = (1024 - prod.wrapping_sub(cons) as usize).min(bytes.len());
            for (i, &byte) in bytes[..n].iter().enumerate() {
                let at = prod.wrapping_add(i as u32) as usize % 1024;
                let word = self.0.word(RSP + at / 4 * 4);
                let mut lanes = word.load(Ordering::Relaxed).to_ne_bytes();
                lanes[at % 4] = byte;
                word.store(u32::from_ne_bytes(lanes), Ordering::Relaxed);
            }
            self.set(RSP_PROD, prod.wrapping_add(n as u32));
            n
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(Vec<u8>),
        Take(usize),
        Put(Vec<u8>),
        Read(usize),
    }

    proptest! {
        /// Bytes come out as they went in, both ways, whatever the indexes and pieces.
        #[test]
        fn two_pipes(
            start in prop_oneof![any::<u32>(), u32::MAX - 2000..=u32::MAX],
            steps in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..1500).prop_map(Step::Write),
                (0_usize..1500).prop_map(Step::Take),
                prop::collection::vec(any::<u8>(), 0..1500).prop_map(Step::Put),
                (0_usize..1500).prop_map(Step::Read),
            ], 0..60),
        ) {
            let store = Store::start(start);
            let mut ring = Ring::new(store.0.clone()).unwrap();
            let (mut requests, mut responses) = (VecDeque::new(), VecDeque::new());
            for step in steps {
                match step {
                    Step::Write(bytes) => {
                        let n = ring.write(&bytes).unwrap();
                        prop_assert_eq!(n, bytes.len().min(1024 - requests.len()));
                        requests.extend(&bytes[..n]);
                    }
                    Step::Take(most) => {
                        let n = requests.len().min(most);
                        prop_assert_eq!(store.take(most), requests.drain(..n).collect::<Vec<u8>>());
                    }
                    Step::Put(bytes) => {
                        let n = store.put(&bytes);
                        responses.extend(&bytes[..n]);
                    }
                    Step::Read(most) => {
                        let mut buffer = vec![0; most];
                        let n = ring.read(&mut buffer).unwrap();
                        prop_assert_eq!(n, responses.len().min(most));
                        buffer.truncate(n);
                        prop_assert_eq!(buffer, responses.drain(..n).collect::<Vec<u8>>());
                    }
                }
            }
        }

        /// Any index of the store either fits or is refused, and nothing else happens.
        #[test]
        fn any_index(ours: u32, theirs: u32) {
            let store = Store::start(ours);
            let mut ring = Ring::new(store.0.clone()).unwrap();
            store.set(REQ_CONS, theirs);
            let used = ours.wrapping_sub(theirs);
            let expected = if used > 1024 { Err(BadIndex { theirs, ours }) } else { Ok(1024 - used) };
            prop_assert_eq!(ring.write(&[7; 2000]).map(|n| n as u32), expected);
            store.set(RSP_PROD, theirs);
            let there = theirs.wrapping_sub(ours);
            let expected = if there > 1024 { Err(BadIndex { theirs, ours }) } else { Ok(there) };
            prop_assert_eq!(ring.read(&mut [0; 2000]).map(|n| n as u32), expected);
        }
    }

    #[test]
    fn what_firmware_left_is_dropped() {
        let store = Store::start(77);
        store.put(b"stale");
        let mut ring = Ring::new(store.0.clone()).unwrap();
        assert_eq!(ring.read(&mut [0; 9]), Ok(0));
        store.put(b"fresh");
        let mut buffer = [0; 9];
        assert_eq!(ring.read(&mut buffer), Ok(5));
        assert_eq!(&buffer[..5], b"fresh");
    }
}
