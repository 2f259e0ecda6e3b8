// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the ring's memory says, read by a second pair of eyes: which answers are right and which break
//! the protocol. It knows the layouts of `ring.h` and `blkif.h`, and nothing of the engine.

use hostile_back::memory::RingPages;
use hostile_back::sim::Ring;
use std::collections::HashMap;

const REQ_PROD: usize = 0;
const RSP_PROD: usize = 8;
const HEADER: usize = 64;
const ENTRY: usize = 112;
const INDIRECT: u8 = 6;

/// What taking the answers that are there must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// So many answers, all right.
    Answers(u32),
    /// A producer index that cannot be.
    Producer,
    /// An answer that is wrong.
    Wrong,
}

struct Waiting {
    operation: u8,
    indirect: bool,
}

/// The ring, looked at from outside.
pub(crate) struct Oracle {
    ring: Ring,
    mask: u32,
    req_seen: u32,
    rsp_cons: u32,
    waiting: HashMap<u64, Waiting>,
}

impl Oracle {
    /// Begins with an empty ring.
    pub(crate) fn new(ring: Ring, entries: u32) -> Self {
        let index = ring.load(REQ_PROD);
        Oracle {
            ring,
            mask: entries - 1,
            req_seen: index,
            rsp_cons: index,
            waiting: HashMap::new(),
        }
    }

    fn entry(&self, index: u32) -> usize {
        HEADER + (index & self.mask) as usize * ENTRY
    }

    fn long(&self, at: usize) -> u64 {
        u64::from(self.ring.load(at)) | u64::from(self.ring.load(at + 4)) << 32
    }

    /// Takes note of the requests that were published since the last time. `races`: a fault may have
    /// changed them since.
    pub(crate) fn requests(&mut self, races: bool) {
        let prod = self.ring.load(REQ_PROD);
        while self.req_seen != prod {
            let at = self.entry(self.req_seen);
            let head = self.ring.load(at).to_le_bytes();
            let indirect = head[0] == INDIRECT;
            let waiting = Waiting {
                operation: if indirect { head[1] } else { head[0] },
                indirect,
            };
            let old = self.waiting.insert(self.long(at + 8), waiting);
            assert!(races || old.is_none(), "an id in use is given out again");
            self.req_seen = self.req_seen.wrapping_add(1);
        }
    }

    /// Whether a request waits for its answer.
    pub(crate) fn idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Looks at the answers that are there, which are then taken.
    pub(crate) fn answers(&mut self) -> Expect {
        let prod = self.ring.load(RSP_PROD);
        let outstanding = self.req_seen.wrapping_sub(self.rsp_cons);
        if prod.wrapping_sub(self.rsp_cons) > outstanding {
            return Expect::Producer;
        }
        let mut right = 0;
        while self.rsp_cons != prod {
            let at = self.entry(self.rsp_cons);
            let operation = self.ring.load(at + 8) as u8;
            self.rsp_cons = self.rsp_cons.wrapping_add(1);
            match self.waiting.remove(&self.long(at)) {
                Some(asked)
                    if asked.operation == operation || asked.indirect && operation == INDIRECT => {}
                _ => return Expect::Wrong,
            }
            right += 1;
        }
        Expect::Answers(right)
    }
}
