// SPDX-License-Identifier: MIT OR Apache-2.0
//! The front-end engine of the core against the hostile back end, in a simulated machine.
//!
//! Each script comes from a seed. `HOSTILE_SEED=n cargo test -p hostile-blkback --test engine` runs the one
//! of that seed alone; `HOSTILE_SCRIPTS=n` runs another number of them than [`SCRIPTS`].

mod back;
mod device;
mod machine;
mod oracle;
mod run;
mod work;

use hostile_blkback::catalogue::catalogue;
use hostile_blkback::script::Expect;
use run::{Ending, Run};
use std::collections::BTreeMap;
use std::panic::{catch_unwind, resume_unwind};

/// How many scripts are run.
const SCRIPTS: u64 = 10_000;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

#[test]
fn random_scripts() {
    if let Some(seed) = from_env("HOSTILE_SEED") {
        println!("{:?}", Run::random(seed).finish());
        return;
    }
    let scripts = from_env("HOSTILE_SCRIPTS").unwrap_or(SCRIPTS);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let workers: Vec<_> = (0..threads)
        .map(|first| {
            std::thread::spawn(move || {
                let mut endings = BTreeMap::new();
                for seed in (first..scripts).step_by(threads as usize) {
                    match catch_unwind(|| Run::random(seed).finish()) {
                        Ok((ending, _)) => *endings.entry(ending).or_insert(0u64) += 1,
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
        assert_eq!(total.len(), Ending::ALL.len(), "{total:?}");
    }
}

#[test]
fn each_fault_of_the_catalogue() {
    let mut wrong = Vec::new();
    for script in catalogue() {
        for seed in 0..4 {
            let (ending, failed) = Run::new(script.clone(), seed).finish();
            let right = match script.expect {
                Some(Expect::Serves | Expect::Warns) => ending == Ending::Served && failed == 0,
                Some(Expect::Errors) => ending == Ending::Served && failed > 0,
                Some(Expect::Broken) => ending == Ending::Broken,
                Some(Expect::Refused) => ending == Ending::Refused,
                // Here the front end also looks without being notified.
                Some(Expect::Stalls | Expect::Any) | None => true,
            };
            if !right {
                wrong.push((script.name.clone(), seed, ending, failed));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
