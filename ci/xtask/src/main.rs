// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: the one command of the project.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use portico_lab::context::Host;
use portico_lab::machine::GuestType;
use portico_lab::stop::{self, Stopped};
use portico_lab::{kernel, log, scenario, setup};

mod bench;
mod build;
mod cargo;
mod doctor;
mod test;

/// Builds, boots and tests Portico: Rust drivers for Xen guests.
///
/// Sysroots, kernel metadata and images are kept in $XDG_CACHE_HOME/portico (or ~/.cache/portico),
/// artefacts in target/dist, results in target/report, logs of tools in target/log.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    /// The kernel to build for and to boot, instead of the newest supported one that can be had.
    #[arg(long, global = true, value_name = "RELEASE", value_parser = kernel::SUPPORTED.to_vec())]
    kernel: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot Xen and a guest on our drivers, do verified I/O, and show ours beside the stock driver.
    ///
    /// The first run sets up all it needs: sysroots from the system's own package mirrors, the
    /// kernel's Rust metadata, images. That takes minutes; later runs take what is cached.
    Demo {
        /// How Xen runs the guest.
        #[arg(long = "guest", default_value = "hvm", value_name = "hvm|pvh|pv")]
        kind: GuestType,
    },
    /// Pass the tests: on the host, over the modules, and in real guests.
    ///
    /// A part that fails does not stop the others. The last line is `N passed, N failed`.
    Test(test::Arguments),
    /// Build what runs in guests and dom0; artefacts go to target/dist.
    Build {
        /// What to build.
        #[arg(default_value = "all")]
        what: build::What,
    },
    /// Measure our drivers beside the stock ones in one boot.
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
    /// Open a guest with our drivers on this terminal, for people who work on them.
    Lab {
        /// How Xen runs the guest.
        #[arg(long = "guest", default_value = "hvm", value_name = "hvm|pvh|pv")]
        kind: GuestType,
    },
    /// Say what this machine lacks and how to get it, and what is in the cache.
    Doctor,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if stop::stopped() => {
            eprintln!("{Stopped}");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {}", log::explain(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    stop::install()?;
    let host = Host::find()?;
    let kernel = cli.kernel.as_deref();
    match cli.command {
        Command::Demo { kind } => scenario::demo(&setup::prepare(&host, kernel)?, kind),
        Command::Test(arguments) => test::run(&host, kernel, &arguments),
        Command::Build { what } => build::run(&host, kernel, what),
        Command::Bench { what } => bench::run(&host, kernel, &what),
        Command::Lab { kind } => scenario::lab(&setup::prepare(&host, kernel)?, kind),
        Command::Doctor => doctor::run(&host),
    }
}
