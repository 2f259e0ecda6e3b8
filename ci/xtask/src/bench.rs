// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`.

use anyhow::{bail, Result};
use clap::{Args, Subcommand};
use portico_lab::bench::disk::jobs::Engine;
use portico_lab::bench::jobs::{Extent, Subject};
use portico_lab::bench::{self, Options};
use portico_lab::context::Host;
use portico_lab::setup;

mod ring;

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
    /// The network: packets and bytes per second both ways, round trips, notifications, CPU time and
    /// instructions per packet.
    ///
    /// The same report as that of the disk, in target/report/bench-net.{txt,json,html}. Takes about
    /// 15 minutes.
    Net(Measure),
    /// The core's rings and engines beside the same work in C on Xen's own macros, on this machine and
    /// without a guest: nanoseconds per request or packet.
    ///
    /// Each is the fastest of runs in turns, as what else runs here comes on top. Takes some minutes,
    /// most of them for criterion's statistics, whose text is in target/log/bench-ring.log. The table
    /// goes to the terminal, and to target/report/bench-ring.json. A ratio above 1 is shown, but is no
    /// failure.
    Ring(ring::Ring),
}

#[derive(Debug, Args)]
pub(crate) struct Disk {
    #[command(flatten)]
    measure: Measure,
    /// Have fio use io_uring with registered buffers instead of libaio: less work above the driver.
    #[arg(long)]
    io_uring: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Measure {
    /// A few typical jobs, in some three minutes.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All combinations, in some hours.
    #[arg(long)]
    full: bool,
    /// How often each job is run with each driver, in turn.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Say in which functions of the guest the instructions of a request or packet are.
    #[arg(long)]
    profile: bool,
    /// Count instructions, but take no timed measurements.
    #[arg(long)]
    only_instructions: bool,
    /// Take timed measurements, but count no instructions.
    #[arg(long, conflicts_with_all = ["only_instructions", "profile"])]
    only_timed: bool,
    /// Compare the stock driver with itself, to see how much of a difference is none.
    #[arg(long)]
    same: bool,
}

impl Measure {
    fn options(&self, subject: Subject) -> Options {
        let extent = match (self.quick, self.full) {
            (true, _) => Extent::Quick,
            (_, true) => Extent::Full,
            _ => Extent::Standard,
        };
        let usual = Options::new(subject, extent);
        Options {
            rounds: self.rounds.unwrap_or(usual.rounds),
            timed: !self.only_instructions,
            instructions: !self.only_timed,
            profile: self.profile,
            same: self.same,
            ..usual
        }
    }
}

impl Disk {
    fn options(&self) -> Options {
        Options {
            engine: match self.io_uring {
                true => Engine::IoUring,
                false => Engine::Libaio,
            },
            ..self.measure.options(Subject::Disk)
        }
    }
}

pub(crate) fn run(host: &Host, kernel: Option<&str>, what: &What) -> Result<()> {
    let options = match what {
        What::Disk(disk) => disk.options(),
        What::Net(measure) => measure.options(Subject::Net),
        What::Ring(ring) => return ring.run(host, kernel),
    };
    let ctx = setup::prepare(host, kernel)?;
    let done = bench::run(&ctx, &options)?;
    print!("{}", done.text);
    let page = done.page.strip_prefix(&host.checkout).unwrap_or(&done.page);
    println!("\nplots: {}", page.display());
    if !done.complete {
        bail!("not every measurement was taken: see the problems above");
    }
    Ok(())
}
