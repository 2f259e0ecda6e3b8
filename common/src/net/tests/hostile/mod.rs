// SPDX-License-Identifier: MIT OR Apache-2.0
//! The engines against back ends that do as they like.
//!
//! Each script comes from a seed: what the operating system asks for, and what the back end writes into
//! the ring's memory, whenever and wherever. A model reads the same memory with offsets of its own, knows
//! the rules of the protocol, and says what the engine must make of it: which packets come back or which
//! frames arrive, and what breaks the queue. At every step no page is granted but those of what the queue
//! holds, and in the end each packet and each buffer has come back once.
//!
//! `HOSTILE_SEED=n cargo test -p portico-core hostile` runs the scripts of that seed alone;
//! `HOSTILE_SCRIPTS=n` runs another number of them than [`SCRIPTS`].

mod rx;
mod tx;

use std::collections::BTreeMap;
use std::eprintln;
use std::panic::{catch_unwind, resume_unwind};
use std::println;
use std::vec::Vec;

use crate::net::sim::SimRing;
use crate::net::Violation;
use crate::shared::{Ordering, Shared};

/// How many scripts are run, on each ring.
const SCRIPTS: u64 = 10_000;

const REQ_PROD: usize = 0;
const RSP_PROD: usize = 8;
const ENTRIES: u32 = 256;

/// How a script ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Served,
    Producer,
    Id,
    Null,
    Held,
    TooLong,
}

impl From<Violation> for Ending {
    fn from(violation: Violation) -> Self {
        match violation {
            Violation::Ring(_) => Self::Producer,
            Violation::Id { .. } => Self::Id,
            Violation::Null => Self::Null,
            Violation::Held { .. } => Self::Held,
            Violation::TooLong => Self::TooLong,
        }
    }
}

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Where the indexes of a ring begin.
    fn start(&mut self) -> u32 {
        let random = self.number() as u32;
        self.pick(&[0, u32::MAX - 100, random])
    }
}

/// The memory of a ring whose entries have `entry` bytes.
struct Memory {
    shared: Shared<SimRing>,
    entry: usize,
}

impl Memory {
    fn new(ring: SimRing, entry: usize) -> Self {
        Self {
            shared: Shared::new(ring),
            entry,
        }
    }

    fn load(&self, at: usize) -> u32 {
        self.shared.get(at).expect("a word").load(Ordering::Relaxed)
    }

    fn store(&self, at: usize, value: u32) {
        self.shared
            .get(at)
            .expect("a word")
            .store(value, Ordering::Relaxed);
    }

    fn at(&self, index: u32) -> usize {
        64 + (index % ENTRIES) as usize * self.entry
    }

    /// Word `nth` of the entry at `index`.
    fn word(&self, index: u32, nth: usize) -> u32 {
        self.load(self.at(index) + nth * 4)
    }

    fn set(&self, index: u32, words: &[u32]) {
        for (nth, &word) in words.iter().enumerate() {
            self.store(self.at(index) + nth * 4, word);
        }
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// Runs the scripts; each of the `endings` must come up.
fn run(script: fn(u64) -> Ending, endings: &[Ending]) {
    if let Some(seed) = from_env("HOSTILE_SEED") {
        println!("{:?}", script(seed));
        return;
    }
    let scripts = from_env("HOSTILE_SCRIPTS").unwrap_or(SCRIPTS);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let workers: Vec<_> = (0..threads)
        .map(|first| {
            std::thread::spawn(move || {
                let mut endings = BTreeMap::new();
                for seed in (first..scripts).step_by(threads as usize) {
                    match catch_unwind(|| script(seed)) {
                        Ok(ending) => *endings.entry(ending).or_insert(0u64) += 1,
                        Err(panic) => {
                            eprintln!("failed with HOSTILE_SEED={seed}");
                            resume_unwind(panic);
                        }
                    }
                }
                endings
            })
        })
        .collect();
    let mut total = BTreeMap::new();
    for worker in workers {
        for (ending, count) in worker.join().expect("a script failed, see above") {
            *total.entry(ending).or_insert(0) += count;
        }
    }
    println!("{total:?}");
    assert_eq!(total.values().sum::<u64>(), scripts);
    // The scripts must not all miss: each way to end comes up.
    if scripts >= 1000 {
        assert!(total.keys().eq(endings), "{total:?}");
    }
}
