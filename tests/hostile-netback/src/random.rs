// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scripts from a seed: the same seed always gives the same script.

use crate::options::Options;
use crate::script::{Event, Fault, Op, Rule, Script};
use hostile_back::random::{self, Rng};

/// Keys that a front end reads.
const KEYS: [&str; 14] = [
    "feature-rx-copy",
    "feature-sg",
    "feature-gso-tcpv4",
    "feature-gso-tcpv6",
    "feature-ipv6-csum-offload",
    "feature-no-csum-offload",
    "feature-split-event-channels",
    "feature-multicast-control",
    "feature-dynamic-multicast-control",
    "feature-ctrl-ring",
    "feature-xdp-headroom",
    "multi-queue-max-queues",
    "carrier",
    "state",
];

/// A random device with a few random faults.
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
    Options {
        sg: !rng.one_in(3),
        gso_v4: !rng.one_in(3),
        gso_v6: !rng.one_in(3),
        v6_checksum: !rng.one_in(3),
        no_checksum: rng.one_in(4),
        split: rng.one_in(2),
        multicast: rng.one_in(2),
        xdp_headroom: rng.one_in(2),
        max_queues: rng.pick(&[0, 1, 2, 4]),
        piece: rng.pick(&[14, 64, 256, 1500, 4096]),
        ..Options::default()
    }
}

fn rule(rng: &mut Rng) -> Rule {
    let at = match rng.below(12) {
        0 => Event::Created,
        1 => Event::InitWait,
        2 => Event::Initialised,
        3 => Event::Connected,
        4 => Event::Closing,
        5 => Event::AfterMs(rng.below(2000)),
        6 => Event::Every(2 + rng.below(30)),
        7 => Event::Request(rng.below(100)),
        8 | 9 => Event::Op(Op::Transmit, rng.below(50)),
        _ => Event::Op(Op::Receive, rng.below(50)),
    };
    let fault = match at {
        Event::Connected | Event::AfterMs(_) if rng.one_in(2) => ring(rng),
        Event::Op(..) | Event::Request(_) | Event::Every(_) if !rng.one_in(8) => match at {
            Event::Op(Op::Receive, _) => receive(rng),
            Event::Op(Op::Transmit, _) => transmit(rng),
            _ if rng.one_in(2) => receive(rng),
            _ => transmit(rng),
        },
        _ => random::device(rng, &KEYS).into(),
    };
    Rule { at, fault }
}

fn while_of(rng: &mut Rng) -> Option<u64> {
    rng.pick(&[None, Some(1), Some(50), Some(2000)])
}

fn transmit(rng: &mut Rng) -> Fault {
    match rng.below(12) {
        0 => Fault::TxId(rng.pick(&[1, 77, 255, 256, 300, u16::MAX])),
        1 => Fault::TxOldId,
        2 => Fault::TxTwice,
        3 => Fault::TxNever,
        4 => Fault::TxLate(rng.pick(&[1, 20, 500, 3000])),
        5 => Fault::TxStatus(rng.pick(&[-1, -2, -3, 1, 77, i16::MIN, i16::MAX])),
        6 => Fault::TxNull,
        7 => Fault::TxExtraStatus(rng.pick(&[0, -1, 2])),
        8 => Fault::TxKeepGrants(while_of(rng)),
        9 => Fault::TxFlip(rng.pick(&[1, 20])),
        _ => ring(rng),
    }
}

fn receive(rng: &mut Rng) -> Fault {
    match rng.below(14) {
        0 => Fault::RxId(rng.pick(&[1, 77, 255, 256, u16::MAX])),
        1 => Fault::RxOffset(rng.pick(&[1, 100, 4000, 4095, 4096, u16::MAX])),
        2 | 3 => Fault::RxFlags(rng.number() as u16),
        4 => Fault::RxStatus(rng.number() as i16),
        5 => Fault::RxShort(rng.below(80) as u16),
        6 => Fault::RxGarbage(rng.number()),
        7 | 8 => Fault::RxExtra {
            kind: rng.below(8) as u8,
            flags: rng.below(4) as u8,
            bytes: [(); 6].map(|()| rng.number() as u8),
        },
        9 => Fault::RxEndless,
        10 => Fault::RxEndlessExtra,
        11 => Fault::RxSkip,
        12 => Fault::RxKeepGrants(while_of(rng)),
        _ => match rng.one_in(2) {
            true => Fault::RxRepeat(rng.pick(&[1, 10, 1000])),
            false => ring(rng),
        },
    }
}

fn ring(rng: &mut Rng) -> Fault {
    let by = rng.pick(&[1, 2, 255, 256, 257, 1000, 1 << 31, u32::MAX]);
    match rng.below(6) {
        0 => Fault::TxAhead(by),
        1 => Fault::TxBack(by),
        2 => Fault::RxAhead(by),
        3 => Fault::RxBack(by),
        4 => Fault::Storm(rng.pick(&[2, 100, 5000])),
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
        for seed in 0..3000 {
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
        assert_eq!(kinds.len(), 34, "{kinds:?}");
    }
}
