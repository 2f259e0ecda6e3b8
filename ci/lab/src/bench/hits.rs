// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counting executed instructions by address: a plugin in the emulator, compiled for the occasion.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context as _, Result};

use crate::context::Context;
use crate::machine::MachineOptions;
use crate::setup::Toolchain;

/// The plugin's source.
const PLUGIN: &str = include_str!("plugin/hits.rs");

/// Its name, and that of its output, in the folder of logs, which the emulator sees as `/work`.
const NAME: &str = "hits.so";
const OUT: &str = "hits";

/// Instructions executed so far at each address.
pub type Hits = HashMap<u64, u64>;

/// The plugin of a machine.
#[derive(Debug)]
pub struct Profiler {
    folder: PathBuf,
}

impl Profiler {
    /// Compiles the plugin and has a machine that is to be booted load it.
    ///
    /// # Errors
    ///
    /// When there is no compiler or it fails.
    pub fn prepare(ctx: &Context, options: &mut MachineOptions) -> Result<Self> {
        let folder = ctx.report().join("logs").join(&options.name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let toolchain = Toolchain::get(&ctx.host, Some(&ctx.kernel.release))?;
        fs::write(folder.join("hits.rs"), PLUGIN)?;
        toolchain
            .build_root
            .bind(&folder, "/work")
            .enter("rustc", "compile the profiler")
            .args(["--edition=2021", "--crate-type=cdylib", "-O"])
            .args(["-C", "linker=gcc-14", "-o"])
            .args([format!("/work/{NAME}"), "/work/hits.rs".into()])
            .log(ctx.host.log("profiler"))
            .run(None)?;
        let plugin = format!("/work/{NAME},out=/work/{OUT}");
        options.qemu.extend(["-plugin".into(), plugin]);
        Ok(Self { folder })
    }

    /// What was executed up to now.
    ///
    /// # Errors
    ///
    /// When the plugin does not answer.
    pub fn take(&self) -> Result<Hits> {
        let wish = self.folder.join(format!("{OUT}.take"));
        fs::write(&wish, "")?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while wish.exists() {
            ensure!(
                Instant::now() < deadline,
                "the profiler does not answer: see qemu.log in {}",
                self.folder.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        read(&self.folder.join(OUT))
    }
}

fn read(path: &Path) -> Result<Hits> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut hits = Hits::new();
    for line in text.lines() {
        let (address, count) = line.split_once(' ').context("a line without a count")?;
        if address == "lost" {
            bail!("the profiler ran out of slots: {count} blocks were not counted");
        }
        *hits.entry(u64::from_str_radix(address, 16)?).or_default() += count.parse::<u64>()?;
    }
    Ok(hits)
}

/// Hits around a short and a long run, from which start and end of the program fall out.
#[derive(Debug)]
pub struct Rounds {
    /// Before and after the short run.
    pub short: (Hits, Hits),
    /// Before and after the long run.
    pub long: (Hits, Hits),
    /// Requests that the long run made more.
    pub requests: f64,
}

impl Rounds {
    /// Instructions per request at each address.
    pub fn per_request(&self) -> BTreeMap<u64, f64> {
        let gained = |pair: &(Hits, Hits), at: &u64| {
            let before = pair.0.get(at).copied().unwrap_or(0);
            pair.1.get(at).copied().unwrap_or(0).saturating_sub(before) as f64
        };
        self.long
            .1
            .keys()
            .map(|at| {
                (
                    *at,
                    (gained(&self.long, at) - gained(&self.short, at)) / self.requests,
                )
            })
            .filter(|(_, count)| count.abs() > 0.01)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_and_end_of_the_program_fall_out() {
        let hits = |list: &[(u64, u64)]| list.iter().copied().collect::<Hits>();
        let rounds = Rounds {
            short: (hits(&[(1, 5)]), hits(&[(1, 105), (2, 70)])),
            long: (hits(&[(1, 105), (2, 70)]), hits(&[(1, 1205), (2, 140)])),
            requests: 100.0,
        };
        let per_request = rounds.per_request();
        assert_eq!(per_request.get(&1), Some(&10.0));
        assert_eq!(per_request.get(&2), None);
    }

    #[test]
    fn counts_at_the_same_address_are_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hits");
        fs::write(
            &path,
            "ffffffff81000000 5\n00000000000e9fbe 7\nffffffff81000000 1\n",
        )
        .unwrap();
        let hits = read(&path).unwrap();
        assert_eq!((hits.len(), hits[&0xffff_ffff_8100_0000]), (2, 6));
        fs::write(&path, "lost 3\n").unwrap();
        assert!(read(&path).is_err());
    }
}
