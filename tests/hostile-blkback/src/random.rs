// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scripts from a seed: the same seed always gives the same script.

use crate::options::Options;
use crate::script::{Event, Fault, Op, Rule, Script};

/// A small generator (splitmix64) whose numbers depend on nothing but its seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }

    /// `true` once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

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

/// Values that no back end should write there.
const VALUES: [&str; 20] = [
    "",
    " ",
    "0",
    "1",
    "3",
    "-1",
    "+1",
    "1e3",
    "0x10",
    "511",
    "1000000000",
    "1073741824",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999999999",
    "twelve",
    "7\u{0}7",
];

impl Script {
    /// A random disk with a few random faults.
    pub fn random(seed: u64) -> Self {
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
        _ => device(rng),
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

fn device(rng: &mut Rng) -> Fault {
    match rng.below(10) {
        0 => Fault::RemoveBackend,
        1 => Fault::RemoveFrontend,
        2 => Fault::Disconnect,
        3 => Fault::Exit,
        4 | 5 => Fault::State(
            rng.pick(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "-1", ""])
                .into(),
        ),
        _ => Fault::Key {
            name: rng.pick(&KEYS).into(),
            value: (!rng.one_in(6)).then(|| rng.pick(&VALUES).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_script() {
        assert_eq!(Script::random(7), Script::random(7));
        assert_ne!(Script::random(7), Script::random(8));
    }

    #[test]
    fn every_kind_of_fault_comes_up_and_reads_back() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..2000 {
            let script = Script::random(seed);
            assert!((1..=4).contains(&script.rules.len()));
            let text = serde_json::to_string(&script).unwrap();
            assert_eq!(Script::parse(&text).unwrap(), script);
            for rule in &script.rules {
                let kind = format!("{:?}", rule.fault);
                kinds.insert(kind.split(['(', ' ', '{']).next().unwrap().to_string());
            }
        }
        assert_eq!(kinds.len(), 20, "{kinds:?}");
    }
}
