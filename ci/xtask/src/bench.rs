// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`.

use anyhow::{bail, Result};
use clap::{Args, Subcommand};
use portico_lab::bench::jobs::{Engine, Extent};
use portico_lab::bench::{self, Options};
use portico_lab::context::Host;
use portico_lab::setup;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// The block device: requests and bytes per second, latency, notifications, CPU time and
    /// instructions per request.
    ///
    /// Takes about 20 minutes. The text goes to the terminal, and with the numbers as JSON and a page
    /// with plots to target/report/bench-disk.{txt,json,html}. Aims that are not met are shown, but
    /// are no failure; measurements that could not be taken are.
    Disk(Disk),
}

#[derive(Debug, Args)]
pub(crate) struct Disk {
    /// A few typical jobs, in some three minutes.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All combinations of pattern, block size, depth and processes, in some hours.
    #[arg(long)]
    full: bool,
    /// How often each job is run with each driver, in turn.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Say in which functions of the guest the instructions of a request are.
    #[arg(long)]
    profile: bool,
    /// Count instructions, but take no timed measurements.
    #[arg(long)]
    only_instructions: bool,
    /// Take timed measurements, but count no instructions.
    #[arg(long, conflicts_with_all = ["only_instructions", "profile"])]
    only_timed: bool,
    /// Have fio use io_uring with registered buffers instead of libaio: less work above the driver.
    #[arg(long)]
    io_uring: bool,
    /// Compare the stock driver with itself, to see how much of a difference is none.
    #[arg(long)]
    same: bool,
}

impl Disk {
    fn options(&self) -> Options {
        let extent = match (self.quick, self.full) {
            (true, _) => Extent::Quick,
            (_, true) => Extent::Full,
            _ => Extent::Standard,
        };
        let usual = Options::new(extent);
        Options {
            rounds: self.rounds.unwrap_or(usual.rounds),
            timed: !self.only_instructions,
            instructions: !self.only_timed,
            profile: self.profile,
            engine: match self.io_uring {
                true => Engine::IoUring,
                false => Engine::Libaio,
            },
            same: self.same,
            ..usual
        }
    }
}

pub(crate) fn run(host: &Host, kernel: Option<&str>, what: &What) -> Result<()> {
    let What::Disk(disk) = what;
    let ctx = setup::prepare(host, kernel)?;
    let done = bench::disk(&ctx, &disk.options())?;
    print!("{}", done.text);
    let page = done.page.strip_prefix(&host.checkout).unwrap_or(&done.page);
    println!("\nplots: {}", page.display());
    if !done.complete {
        bail!("not every measurement was taken: see the problems above");
    }
    Ok(())
}
