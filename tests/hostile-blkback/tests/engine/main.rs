// SPDX-License-Identifier: MIT OR Apache-2.0
//! The front-end engine of the core against the hostile back end, in a simulated machine.
//!
//! Each script comes from a seed. `HOSTILE_SEED=n cargo test -p hostile-blkback --test engine` runs the one
//! of that seed alone; `HOSTILE_SCRIPTS=n` runs another number of them than [`SCRIPTS`].

mod device;
mod machine;
mod oracle;
mod run;

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
        println!("{:?}", Run::new(seed).finish());
        return;
    }
    let scripts = from_env("HOSTILE_SCRIPTS").unwrap_or(SCRIPTS);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let workers: Vec<_> = (0..threads)
        .map(|first| {
            std::thread::spawn(move || {
                let mut endings = BTreeMap::new();
                for seed in (first..scripts).step_by(threads as usize) {
                    match catch_unwind(|| Run::new(seed).finish()) {
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
        assert_eq!(total.len(), Ending::ALL.len(), "{total:?}");
    }
}
