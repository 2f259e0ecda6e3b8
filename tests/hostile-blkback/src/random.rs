// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scripts from a seed: the same seed always gives the same script.

use crate::options::Options;
use crate::script::{Event, Fault, Op, Rule, Script};
use hostile_back::random::{self, Rng};

/// Keys that a front end reads.
const KEYS: [&str; 15] = [
    "sectors",
    "sector-size",
    "physical-sector-size",
    "info",
    "feature-flush-cache",
    "feature-barrier",
    "feature-discard",
    "discard-granularity",
    "discard-alignment",
    "discard-secure",
    "feature-persistent",
    "feature-max-indirect-segments",
    "max-ring-page-order",
    "multi-queue-max-queues",
    "state",
];

/// A random disk with a few random faults.
pub fn script(seed: u64) -> Script {
    let mut rng = Rng::new(seed);
    let options = options(&mut rng);
    let rules = (0..1 + rng.below(4)).map(|_| rule(&mut rng)).collect();
    Script {
        name: format!("seed {seed}"),
        expect: None,
        options,
        rules,
    }
}

fn options(rng: &mut Rng) -> Options {
    let discard = rng.one_in(2);
    Options {
        sectors: rng.pick(&[2048, 16384, 131072]),
        sector_size: rng.pick(&[512, 512, 4096]),
        physical_sector_size: rng.pick(&[None, Some(4096)]),
        flush_cache: rng.pick(&[Some(true), Some(true), Some(false), None]),
        barrier: rng.pick(&[None, None, Some(true)]),
        discard,
        discard_granularity: rng.pick(&[None, Some(4096)]),
        discard_secure: rng.one_in(2),
        persistent: rng.one_in(2),
        max_indirect_segments: rng.pick(&[0, 32, 256]),
        max_ring_page_order: rng.pick(&[0, 1, 4]),
        max_queues: rng.pick(&[0, 1, 2, 4]),
        ..Options::default()
    }
}

fn rule(rng: &mut Rng) -> Rule {
    let op = [
        Op::Read,
        Op::Read,
        Op::Write,
        Op::Flush,
        Op::Barrier,
        Op::Discard,
    ];
    let at = match rng.below(12) {
        0 => Event::Created,
        1 => Event::InitWait,
        2 => Event::Initialised,
        3 => Event::Connected,
        4 => Event::Closing,
        5 => Event::AfterMs(rng.below(2000)),
        6 => Event::Every(2 + rng.below(30)),
        7 | 8 => Event::Op(rng.pick(&op), rng.below(20)),
        _ => Event::Request(rng.below(200)),
    };
    let fault = match at {
        Event::Request(_) | Event::Every(_) | Event::Op(..) if !rng.one_in(8) => answer(rng),
        Event::Connected | Event::AfterMs(_) if rng.one_in(2) => ring(rng),
        _ => random::device(rng, &KEYS).into(),
    };
    Rule { at, fault }
}

/// A fault of one answer, or one of a ring.
fn answer(rng: &mut Rng) -> Fault {
    let add = [1, 2, 31, 77, 1 << 16, 1 << 32, u64::MAX, 1 << 63];
    match rng.below(12) {
        0 => Fault::WrongId(rng.pick(&add)),
        1 => Fault::DuplicateId,
        2 => Fault::OldId,
        3 => Fault::Never,
        4 => Fault::Late(rng.pick(&[1, 20, 500, 3000])),
        5 => Fault::Reorder(2 + rng.below(12) as usize),
        6 => Fault::WrongOperation(rng.below(256) as u8),
        7 => Fault::Status(rng.pick(&[-1, -2, -2, -3, 1, 77, i16::MIN, i16::MAX])),
        8 => Fault::Flip(rng.pick(&[1, 20])),
        9 => Fault::KeepGrants(rng.pick(&[None, Some(1), Some(50), Some(2000)])),
        _ => ring(rng),
    }
}

fn ring(rng: &mut Rng) -> Fault {
    let by = [1, 2, 31, 32, 33, 1000, 1 << 31, u32::MAX];
    match rng.below(4) {
        0 => Fault::ProducerAhead(rng.pick(&by)),
        1 => Fault::ProducerBack(rng.pick(&by)),
        2 => Fault::Storm(rng.pick(&[2, 100, 5000])),
        _ => Fault::Silence(rng.pick(&[None, Some(1), Some(10)])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_script() {
        assert_eq!(script(7), script(7));
        assert_ne!(script(7), script(8));
    }

    #[test]
    fn every_kind_of_fault_comes_up_and_reads_back() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..2000 {
            let script = script(seed);
            assert!((1..=4).contains(&script.rules.len()));
            let text = serde_json::to_string(&script).unwrap();
            assert_eq!(Script::parse(&text).unwrap(), script);
            for rule in &script.rules {
                let kind = match &rule.fault {
                    Fault::Device(fault) => format!("{fault:?}"),
                    fault => format!("{fault:?}"),
                };
                kinds.insert(kind.split(['(', ' ', '{']).next().unwrap().to_string());
            }
        }
        assert_eq!(kinds.len(), 20, "{kinds:?}");
    }
}
