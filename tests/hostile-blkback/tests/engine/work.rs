// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests of a script, and what is known of the disk's data.

use crate::device::Device;
use hostile_back::random::Rng;
use portico_core::block::sim::SimIo;
use portico_core::block::{Busy, Op, Outcome};
use std::collections::{HashMap, VecDeque};

/// Sectors of the disk that requests go to.
pub(crate) const SECTORS: usize = 2048;
/// Requests in one script.
const REQUESTS: u64 = 150;

/// Requests made and come back.
pub(crate) struct Work {
    rng: Rng,
    /// What each sector holds, if that is known.
    shadow: Vec<Option<u64>>,
    /// Sectors that a request which is under way touches.
    locked: Vec<bool>,
    /// Requests that were taken, by tag: how often they came back.
    taken: HashMap<u64, u32>,
    /// Requests that are to be submitted again.
    again: VecDeque<SimIo>,
    next: u64,
    /// Requests that came back as failed.
    pub(crate) failed: u64,
}

impl Work {
    /// Begins with a disk of zeros.
    pub(crate) fn new(rng: Rng) -> Self {
        Work {
            rng,
            shadow: vec![Some(0); SECTORS],
            locked: vec![false; SECTORS],
            taken: HashMap::new(),
            again: VecDeque::new(),
            next: 1,
            failed: 0,
        }
    }

    /// Whether no request is left to submit.
    pub(crate) fn all_submitted(&self) -> bool {
        self.next > REQUESTS && self.again.is_empty()
    }

    /// Takes note that a request came back.
    pub(crate) fn back(&mut self, tag: u64) {
        *self.taken.get_mut(&tag).expect("a request that was taken") += 1;
    }

    /// Takes a request back that is to be sent again.
    pub(crate) fn resubmit(&mut self, io: SimIo) {
        self.again.push_back(io);
    }

    /// Checks that every request that was taken came back exactly once.
    pub(crate) fn check_all_back(&mut self) {
        // One that was to be sent again is ours since it came back.
        for io in std::mem::take(&mut self.again) {
            if self.taken.contains_key(&io.tag) {
                self.back(io.tag);
            }
        }
        for (tag, times) in &self.taken {
            assert_eq!(*times, 1, "request {tag} came back {times} times");
        }
    }

    /// Submits some requests, those that are to go again first.
    pub(crate) fn submit(&mut self, device: &mut Device) {
        for _ in 0..self.rng.below(6) {
            let io = match self.again.pop_front() {
                Some(io) => io,
                None if self.next <= REQUESTS => match self.request(device) {
                    Some(io) => io,
                    None => continue,
                },
                None => return,
            };
            let tag = io.tag;
            match device.front.submit(io) {
                Ok(()) => drop(self.taken.entry(tag).or_insert(0)),
                Err((io, Busy::Ring | Busy::Pages | Busy::Grants)) => {
                    assert!(!device.front.is_broken());
                    self.again.push_back(io);
                    return;
                }
                Err((io, Busy::Unsupported)) => {
                    self.lock(&io, false);
                    // Another back end may have taken it before, and done it.
                    if self.taken.contains_key(&tag) {
                        self.back(tag);
                        self.shadow[range(&io)].fill(None);
                    }
                }
                Err((_, busy)) => panic!("request {tag} was refused: {busy:?}"),
            }
        }
    }

    /// Makes a request to sectors that no other request is at.
    fn request(&mut self, device: &Device) -> Option<SimIo> {
        let tag = self.next;
        self.next += 1;
        let op = match self.rng.below(16) {
            0 => Op::Flush,
            1 => Op::Discard {
                secure: self.rng.one_in(2),
            },
            2 => Op::Write { fua: true },
            3..=8 => Op::Write { fua: false },
            _ => Op::Read,
        };
        let unit = (device.disk.sector_size / 512).max(1) as u64;
        let end = device.disk.sectors.min(SECTORS as u64) / unit;
        if end == 0 {
            return None;
        }
        let sector = self.rng.below(end) * unit;
        let pieces: Vec<(u32, u32)> = match op {
            Op::Read | Op::Write { .. } => {
                let most = if self.rng.one_in(4) { 40 } else { 4 };
                (0..1 + self.rng.below(most))
                    .map(|_| self.piece(unit))
                    .collect()
            }
            _ => Vec::new(),
        };
        let mut io = device.sim.io(tag, op, sector, &pieces);
        if matches!(op, Op::Discard { .. }) {
            io.sectors = (1 + self.rng.below(16)) * unit;
        }
        let range = range(&io);
        if range.end > SECTORS || self.locked[range.clone()].contains(&true) {
            return None;
        }
        self.lock(&io, true);
        if matches!(op, Op::Write { .. }) {
            let mut sector = 0;
            for piece in &io.pieces {
                let sectors = u64::from(piece.len) / 512;
                let stamps = (sector..sector + sectors).map(|i| stamped(stamp(tag, i)));
                piece.fill(stamps.collect::<Vec<_>>().as_flattened());
                sector += sectors;
            }
        }
        Some(io)
    }

    fn piece(&mut self, unit: u64) -> (u32, u32) {
        let slots = 8 / unit;
        let first = self.rng.below(slots);
        let len = 1 + self.rng.below(slots - first);
        ((first * unit * 512) as u32, (len * unit * 512) as u32)
    }

    fn lock(&mut self, io: &SimIo, lock: bool) {
        self.locked[range(io)].fill(lock);
    }

    pub(crate) fn completed(&mut self, io: SimIo, outcome: Outcome, lies: bool) {
        let range = range(&io);
        if outcome == Outcome::Retry {
            self.again.push_back(io);
            return;
        }
        self.lock(&io, false);
        self.failed += u64::from(outcome == Outcome::Failed);
        self.back(io.tag);
        match (io.op, outcome) {
            (Op::Read, Outcome::Done) if !lies => {
                let mut known = self.shadow[range].iter();
                for piece in &io.pieces {
                    for (sector, known) in piece.bytes().chunks(512).zip(&mut known) {
                        if let Some(stamp) = *known {
                            assert_eq!(sector, stamped(stamp), "request {}", io.tag);
                        }
                    }
                }
            }
            (Op::Write { .. }, Outcome::Done) => {
                for (i, at) in range.enumerate() {
                    self.shadow[at] = Some(stamp(io.tag, i as u64));
                }
            }
            (Op::Discard { .. }, Outcome::Done) => self.shadow[range].fill(Some(0)),
            // It may have been done or not.
            (Op::Write { .. } | Op::Discard { .. }, _) => self.shadow[range].fill(None),
            _ => {}
        }
    }
}

fn range(io: &SimIo) -> std::ops::Range<usize> {
    let start = io.sector as usize;
    if io.op == Op::Flush {
        return start..start;
    }
    start..start + io.sectors as usize
}

/// What a request writes to its sector `i`.
fn stamp(tag: u64, i: u64) -> u64 {
    tag << 32 | i << 8 | 1
}

/// A sector that holds a stamp.
fn stamped(stamp: u64) -> [u8; 512] {
    let mut sector = [0; 512];
    for word in sector.chunks_exact_mut(8) {
        word.copy_from_slice(&stamp.to_le_bytes());
    }
    sector
}
