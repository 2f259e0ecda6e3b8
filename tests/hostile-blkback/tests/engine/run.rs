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
use crate::work::{Work, SECTORS};
use hostile_back::random::Rng;
use hostile_back::script::{DeviceFault, Fault as _};
use hostile_blkback::disk::Disk;
use hostile_blkback::options::Options;
use hostile_blkback::random;
use hostile_blkback::script::{Event, Fault, Injector, Script};
use portico_core::block::sim::Sim;
use portico_core::block::{Busy, Op, Violation};

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
    work: Work,
    now: u64,
}

/// What a script's faults let the back end do.
#[derive(Clone, Copy)]
struct Traits {
    /// It may say that a request is done that is not.
    lies: bool,
    /// It changes the ring's memory at any time.
    races: bool,
    /// It may keep grants beyond their request.
    holds: bool,
    /// Each end only looks when it was notified.
    strict: bool,
}

impl Run {
    /// The random script of a seed.
    pub(crate) fn random(seed: u64) -> Self {
        Self::new(random::script(seed), seed)
    }

    /// A script, with requests from a seed.
    pub(crate) fn new(mut script: Script, seed: u64) -> Self {
        script.options.sectors = SECTORS as u64;
        Run {
            injector: Injector::new(script.rules.clone()),
            rng: Rng::new(seed ^ 0x5eed),
            data: Disk::memory(SECTORS as u64),
            work: Work::new(Rng::new(seed ^ 0xf00d)),
            now: 0,
            script,
        }
    }

    fn has(&self, kind: impl Fn(&Fault) -> bool) -> bool {
        self.script.rules.iter().any(|rule| kind(&rule.fault))
    }

    fn traits(&mut self, disagree: bool) -> Traits {
        use Fault::*;
        let lies = self.has(|fault| {
            matches!(
                fault,
                WrongId(_) | OldId | DuplicateId | Flip(_) | ProducerAhead(_) | ProducerBack(_)
            )
        });
        let sleeps = self.has(|fault| matches!(fault, Never | Silence(_) | WrongOperation(_)));
        let holds = disagree || self.has(|fault| matches!(fault, KeepGrants(_)));
        Traits {
            lies,
            races: self.has(|fault| matches!(fault, Flip(_))),
            holds,
            strict: !lies && !sleeps && !holds && self.rng.one_in(2),
        }
    }

    /// Runs it to its end, and says how many requests failed.
    pub(crate) fn finish(mut self) -> (Ending, u64) {
        let refs = if self.rng.one_in(8) {
            2000 + self.rng.below(4000) as usize
        } else {
            usize::MAX
        };
        let Some(mut device) = self.connect(Sim::with_refs(refs)) else {
            return (Ending::Refused, 0);
        };
        let mut traits = self.traits(device.disagree);
        let resume = self.rng.one_in(5).then(|| self.rng.below(100));
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
            if resume == Some(round) {
                let Some(resumed) = self.resume(device) else {
                    return (Ending::Refused, self.work.failed);
                };
                device = resumed;
                oracle = Oracle::new(device.ring.clone(), device.front.entries());
                (to_back, seen) = (true, 0);
                traits.holds |= device.disagree;
                traits.strict &= !traits.holds;
            }
            self.work.submit(&mut device);
            to_back |= device.front.push();
            oracle.requests(traits.races);

            self.now += self.rng.below(3);
            let due = device.back.next_due().is_some_and(|due| due <= self.now);
            if to_back || due || !traits.strict && self.rng.one_in(3) {
                to_back = false;
                let options = &self.script.options;
                let served =
                    device
                        .back
                        .serve(self.now, &mut self.data, options, &mut self.injector);
                match served {
                    Ok(faults)
                        if faults
                            .iter()
                            .all(|f| matches!(f, Fault::Device(DeviceFault::Key { .. }))) =>
                    {
                        // The back end comes back to what it has left.
                        to_back = !faults.is_empty();
                    }
                    Ok(_) => ending = Some(Ending::Gone),
                    Err(error) => {
                        assert!(traits.races, "the front end broke the ring: {error}");
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
            let looks = notified || !traits.strict && self.rng.one_in(3);
            if looks && self.reap(&mut device, &mut oracle, traits, &mut to_back) {
                ending = Some(Ending::Broken);
            }
            if device.ability.persistent && self.rng.one_in(20) {
                device.front.purge();
            }
            if ending.is_some() {
                break;
            }
            let moving = to_back || device.notified.get() != seen;
            let all = self.work.all_submitted();
            if all && oracle.idle() && !device.front.has_unpushed() {
                ending = Some(Ending::Served);
                break;
            }
            if all && !moving && (traits.strict || round % 64 == 63) {
                // Time passes to what is due next, if anything is.
                match device
                    .back
                    .next_due()
                    .into_iter()
                    .chain(self.injector.next_elapsed())
                    .min()
                {
                    Some(due) => self.now = self.now.max(due),
                    None if traits.strict => panic!("a wake-up was lost: {:?}", self.script),
                    None => {}
                }
            }
        }
        self.end(device, ending.unwrap_or(Ending::Stalled))
    }

    fn connect(&mut self, sim: Sim) -> Option<Device> {
        Device::connect(&self.script, &mut self.injector, &mut self.rng, sim)
    }

    /// The guest goes on somewhere else, with a back end that offers something else. What was under way
    /// is sent again.
    fn resume(&mut self, device: Device) -> Option<Device> {
        let Device {
            sim,
            mut front,
            back,
            ..
        } = device;
        drop(back);
        front.drain(|io| self.work.resubmit(io));
        drop(front);
        assert_eq!((sim.grants(), sim.claimed()), (0, 0), "{:?}", self.script);
        let same = &self.script.options;
        self.script.options = Options {
            sectors: same.sectors,
            sector_size: same.sector_size,
            ..random::script(self.rng.number()).options
        };
        let resumed = self.connect(sim);
        if resumed.is_none() {
            self.work.check_all_back();
        }
        resumed
    }

    /// Takes answers; `true` when the queue broke.
    fn reap(
        &mut self,
        device: &mut Device,
        oracle: &mut Oracle,
        traits: Traits,
        to_back: &mut bool,
    ) -> bool {
        let expect = oracle.answers();
        let mut done = Vec::new();
        let reaped = device.front.reap(|io, outcome| done.push((io, outcome)));
        let got = match &reaped {
            Ok(reaped) => Expect::Answers(reaped.responses),
            Err(Violation::Ring(_)) => Expect::Producer,
            Err(Violation::Id { .. } | Violation::Operation { .. }) => Expect::Wrong,
            // The oracle sees no grants. It is right to find some held only if a fault holds some.
            Err(Violation::Held { .. }) if traits.holds => expect,
            Err(Violation::Held { .. }) => panic!("{reaped:?}: {:?}", self.script),
        };
        if !traits.races {
            assert_eq!(expect, got, "{reaped:?}: {:?}", self.script);
        }
        for (io, outcome) in done {
            self.work.completed(io, outcome, traits.lies);
        }
        match reaped {
            Ok(reaped) => {
                *to_back |= reaped.notify;
                // A flush that follows a write may have been published.
                oracle.requests(traits.races);
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

    /// Takes the device down and checks that nothing is left.
    fn end(mut self, device: Device, ending: Ending) -> (Ending, u64) {
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
        front.drain(|io| self.work.back(io.tag));
        self.work.check_all_back();
        assert_eq!(sim.grants(), sim.abandoned(), "{:?}", self.script);
        if back.is_none() {
            assert_eq!(sim.abandoned(), 0, "{:?}", self.script);
        }
        drop(front);
        drop(back);
        assert_eq!((sim.grants(), sim.claimed()), (0, 0), "{:?}", self.script);
        (ending, self.work.failed)
    }
}
