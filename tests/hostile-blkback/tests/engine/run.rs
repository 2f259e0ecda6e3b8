// SPDX-License-Identifier: MIT OR Apache-2.0
//! One script: requests at random, answers as the script has them, and what must hold whatever it says.
//!
//! - Nothing panics, and taking answers comes to an end.
//! - Every request that was taken comes back exactly once.
//! - What breaks the protocol is noticed, and what keeps it is not taken for a breach (the oracle).
//! - A read that is done has the data, unless the back end lied about which request it answered.
//! - No wake-up is lost between two ends that notify as the ring says.
//! - After the end no grant is left, but for those that the back end has still mapped; none of those
//!   either when it has let go.

use crate::device::Device;
use crate::oracle::{Expect, Oracle};
use hostile_blkback::disk::Disk;
use hostile_blkback::inject::Injector;
use hostile_blkback::random::Rng;
use hostile_blkback::script::{Event, Fault, Script};
use portico_core::block::sim::SimIo;
use portico_core::block::{Busy, Op, Outcome};
use std::collections::{HashMap, VecDeque};

/// Sectors of the disk that requests go to.
const SECTORS: usize = 2048;
/// Requests in one script.
const REQUESTS: u64 = 150;
/// Rounds after which a script ends in any case.
const ROUNDS: u64 = 3000;

/// How a script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// The front end refused the device.
    Refused,
    /// All requests were answered.
    Served,
    /// The back end broke the protocol, and the front end noticed.
    Broken,
    /// The back end went away, or said that it goes.
    Gone,
    /// Some requests were never answered.
    Stalled,
}

impl Ending {
    /// All of them.
    pub(crate) const ALL: [Ending; 5] = [
        Ending::Refused,
        Ending::Served,
        Ending::Broken,
        Ending::Gone,
        Ending::Stalled,
    ];
}

/// A script that is being run.
pub(crate) struct Run {
    script: Script,
    injector: Injector,
    rng: Rng,
    data: Disk,
    /// What each sector holds, if that is known.
    shadow: Vec<Option<u64>>,
    /// Sectors that a request which is under way touches.
    locked: Vec<bool>,
    /// Requests that were taken, by tag: how often they came back.
    taken: HashMap<u64, u32>,
    /// Requests that are to be submitted again.
    again: VecDeque<SimIo>,
    next: u64,
    now: u64,
}

impl Run {
    /// The script of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut script = Script::random(seed);
        script.options.sectors = SECTORS as u64;
        Run {
            injector: Injector::new(script.rules.clone()),
            rng: Rng::new(seed ^ 0x5eed),
            data: Disk::memory(SECTORS as u64),
            shadow: vec![Some(0); SECTORS],
            locked: vec![false; SECTORS],
            taken: HashMap::new(),
            again: VecDeque::new(),
            next: 1,
            now: 0,
            script,
        }
    }

    fn has(&self, kind: impl Fn(&Fault) -> bool) -> bool {
        self.script.rules.iter().any(|rule| kind(&rule.fault))
    }

    /// Runs it to its end.
    pub(crate) fn finish(mut self) -> Ending {
        use Fault::*;
        let Some(mut device) = Device::connect(&self.script, &mut self.injector, &mut self.rng)
        else {
            return Ending::Refused;
        };
        let lies = self.has(|fault| {
            matches!(
                fault,
                WrongId(_) | OldId | DuplicateId | Flip(_) | ProducerAhead(_) | ProducerBack(_)
            )
        });
        let races = self.has(|fault| matches!(fault, Flip(_)));
        let holds = device.disagree || self.has(|fault| matches!(fault, KeepGrants(_)));
        let wakes =
            !lies && !self.has(|fault| matches!(fault, Never | Silence(_) | WrongOperation(_)));
        // With `strict`, each end only looks when it was notified.
        let strict = wakes && !holds && self.rng.one_in(2);

        let mut oracle = Oracle::new(device.ring.clone(), device.front.entries());
        let (mut to_back, mut seen) = (true, 0);
        let mut ending = None;
        let connected = self.injector.moment(Event::Connected);
        device.back.fault(&connected);
        for round in 0..ROUNDS {
            if connected.iter().any(Fault::is_device) {
                ending = Some(Ending::Gone);
                break;
            }
            self.submit(&mut device);
            to_back |= device.front.push();
            oracle.requests();

            self.now += self.rng.below(3);
            let due = device.back.next_due().is_some_and(|due| due <= self.now);
            if to_back || due || !strict && self.rng.one_in(3) {
                to_back = false;
                let options = &self.script.options;
                let served =
                    device
                        .back
                        .serve(self.now, &mut self.data, options, &mut self.injector);
                match served {
                    Ok(faults) if faults.iter().all(|f| matches!(f, Key { .. })) => {
                        // The back end comes back to what it has left.
                        to_back = !faults.is_empty();
                    }
                    Ok(_) => ending = Some(Ending::Gone),
                    Err(error) => {
                        assert!(races, "the front end broke the ring: {error}");
                        ending = Some(Ending::Broken);
                    }
                }
            }
            let timed = self.injector.elapsed(self.now);
            device.back.fault(&timed);
            if timed.iter().any(Fault::is_device) {
                ending = Some(Ending::Gone);
            }

            let notified = device.notified.get() != seen;
            seen = device.notified.get();
            if notified || !strict && self.rng.one_in(3) {
                let broken = self.reap(&mut device, &mut oracle, lies, races, holds, &mut to_back);
                if broken {
                    ending = Some(Ending::Broken);
                }
            }
            if device.ability.persistent && self.rng.one_in(20) {
                device.front.purge();
            }
            if ending.is_some() {
                break;
            }
            let moving = to_back || device.notified.get() != seen;
            let all = self.next > REQUESTS && self.again.is_empty();
            if all && oracle.idle() && !device.front.has_unpushed() {
                ending = Some(Ending::Served);
                break;
            }
            if all && !moving && (strict || round % 64 == 63) {
                // Time passes to what is due next, if anything is.
                match device
                    .back
                    .next_due()
                    .into_iter()
                    .chain(self.injector.next_elapsed())
                    .min()
                {
                    Some(due) => self.now = self.now.max(due),
                    None if strict => panic!("a wake-up was lost: {:?}", self.script),
                    None => {}
                }
            }
        }
        self.end(device, ending.unwrap_or(Ending::Stalled))
    }

    /// Submits some requests, those that are to go again first.
    fn submit(&mut self, device: &mut Device) {
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
                Err((io, Busy::Unsupported)) => self.lock(&io, false),
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

    /// Takes answers; `true` when the queue broke.
    fn reap(
        &mut self,
        device: &mut Device,
        oracle: &mut Oracle,
        lies: bool,
        races: bool,
        holds: bool,
        to_back: &mut bool,
    ) -> bool {
        let expect = oracle.answers();
        let mut done = Vec::new();
        let reaped = device.front.reap(|io, outcome| done.push((io, outcome)));
        let got = match &reaped {
            Ok(reaped) => Expect::Answers(reaped.responses),
            Err(_) => Expect::Violation(0),
        };
        if !races {
            match (expect, got) {
                (Expect::Answers(n), Expect::Answers(m)) => assert_eq!(n, m),
                (Expect::Violation(_), Expect::Violation(_)) => {}
                (Expect::Answers(_), Expect::Violation(_)) if holds => {}
                _ => panic!("expected {expect:?}, got {reaped:?}: {:?}", self.script),
            }
        }
        for (io, outcome) in done {
            self.completed(io, outcome, lies);
        }
        match reaped {
            Ok(reaped) => {
                *to_back |= reaped.notify;
                // A flush that follows a write may have been published.
                oracle.requests();
                false
            }
            Err(_) => {
                assert!(device.front.is_broken());
                let io = device.sim.io(u64::MAX, Op::Read, 0, &[(0, 512)]);
                assert!(matches!(device.front.submit(io), Err((_, Busy::Closed))));
                assert!(!device.front.push());
                true
            }
        }
    }

    fn completed(&mut self, io: SimIo, outcome: Outcome, lies: bool) {
        let range = range(&io);
        if outcome == Outcome::Retry {
            self.again.push_back(io);
            return;
        }
        self.lock(&io, false);
        *self
            .taken
            .get_mut(&io.tag)
            .expect("a request that was taken") += 1;
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

    /// Takes the device down and checks that nothing is left.
    fn end(mut self, device: Device, ending: Ending) -> Ending {
        let Device {
            sim,
            mut front,
            back,
            ..
        } = device;
        // A back end may go before the front end ends, or after it.
        let mut back = Some(back);
        if self.rng.one_in(2) {
            back = None;
        }
        if self.rng.one_in(2) {
            front.close();
        }
        let mut lost = Vec::new();
        front.drain(|io| lost.push(io.tag));
        for tag in lost {
            *self.taken.get_mut(&tag).expect("a request that was taken") += 1;
        }
        let again: Vec<u64> = self.again.iter().map(|io| io.tag).collect();
        for (tag, times) in &self.taken {
            // One that was to be sent again is ours since it came back.
            let times = times + u32::from(again.contains(tag));
            assert_eq!(
                times, 1,
                "request {tag} came back {times} times: {:?}",
                self.script
            );
        }
        assert_eq!(sim.grants(), sim.abandoned(), "{:?}", self.script);
        if back.is_none() {
            assert_eq!(sim.abandoned(), 0, "{:?}", self.script);
        }
        drop(front);
        drop(back);
        assert_eq!((sim.grants(), sim.claimed()), (0, 0), "{:?}", self.script);
        ending
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
