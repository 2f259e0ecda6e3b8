// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network back end in dom0's user space: correct by default, faulty by script.
//!
//! It answers with one JSON object per line on standard output, and takes commands, one JSON value per
//! line, from standard input: `"stats"`, `"detach"`, `"quit"`, `{"fault": FAULT}`.

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use hostile_back::xen::device::Device;
use hostile_back::xen::nodes::Nodes;
use hostile_back::xen::usage::usage;
use hostile_netback::catalogue::{catalogue, named};
use hostile_netback::random;
use hostile_netback::script::Script;
use hostile_netback::xen::{self, Nets};
use xen_user::Store;

/// A network back end in dom0's user space: correct by default, faulty by script.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve an interface to a guest until it is detached or the guest is gone.
    Serve(Serve),
    /// Print the random script of a seed.
    Random {
        /// The seed; the same one always gives the same script.
        #[arg(long)]
        seed: u64,
    },
    /// Print the catalogue: a script for each fault, one a line, with its name and what to expect.
    Catalogue,
    /// Print what a guest holds: event channels, grants, CPU time, pages.
    Usage {
        /// The guest's domain number.
        #[arg(long)]
        domain: u16,
    },
    /// Remove the nodes that a back end which died has left behind.
    Clean {
        /// The guest's domain number.
        #[arg(long)]
        domain: u16,
        /// The device's number.
        #[arg(long)]
        device: u32,
    },
}

#[derive(Args)]
struct Serve {
    /// The guest's domain number.
    #[arg(long)]
    domain: u16,
    /// The device's number.
    #[arg(long, default_value = "7")]
    device: u32,
    /// The guest's Ethernet address.
    #[arg(long, default_value = "00:16:3e:00:00:77")]
    mac: String,
    /// A script in JSON.
    #[arg(long)]
    json: Option<String>,
    /// Run the script of this name from the catalogue.
    #[arg(long, conflicts_with = "json")]
    named: Option<String>,
    /// Run the random script of this seed.
    #[arg(long, conflicts_with_all = ["json", "named"])]
    seed: Option<u64>,
    /// Detach after so many seconds, by force if the guest does not let go.
    #[arg(long)]
    seconds: Option<u64>,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Serve(args) => serve(&args),
        Command::Random { seed } => {
            println!("{}", serde_json::to_string(&random::script(seed))?);
            Ok(())
        }
        Command::Catalogue => {
            for script in catalogue() {
                println!("{}", serde_json::to_string(&script)?);
            }
            Ok(())
        }
        Command::Usage { domain } => usage(domain),
        Command::Clean { domain, device } => {
            let mut store = Store::open()?;
            Nodes::of(&mut store, domain, xen::KIND, device)?.remove(&mut store)
        }
    }
}

fn serve(args: &Serve) -> Result<()> {
    let script = read_script(args)?;
    let mut store = Store::open()?;
    let nodes = Nodes::of(&mut store, args.domain, xen::KIND, args.device)?;
    xen::create(&mut store, &nodes, &args.mac, &script.options)?;
    let nets = Nets::new(script.options);
    Device::new(store, nodes, script.rules, nets)?.run(args.seconds, true)
}

fn read_script(args: &Serve) -> Result<Script> {
    if let Some(text) = &args.json {
        return Script::parse(text).context("--json is not a script");
    }
    if let Some(name) = &args.named {
        return named(name)
            .with_context(|| format!("no script is named {name:?}; `catalogue` lists them"));
    }
    Ok(args.seed.map(random::script).unwrap_or_default())
}
