// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: the one command of the project.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use portico_lab::context::Host;
use portico_lab::kernel;
use portico_lab::stop::{self, Stopped};

mod build;
mod doctor;

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
    /// Build what runs in guests and dom0; artefacts go to target/dist.
    Build {
        /// What to build.
        #[arg(default_value = "all")]
        what: build::What,
    },
    /// Say what this machine lacks and how to get it, and what is in the cache.
    Doctor,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Stopped>() || stop::stopped() => {
            eprintln!("{Stopped}");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    stop::install()?;
    let host = Host::find()?;
    let kernel = cli.kernel.as_deref();
    match cli.command {
        Command::Build { what } => build::run(&host, kernel, what),
        Command::Doctor => doctor::run(&host),
    }
}
