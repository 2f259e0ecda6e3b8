// SPDX-License-Identifier: MIT OR Apache-2.0
//! A block back end in dom0's user space: correct by default, faulty by script.
//!
//! It answers with one JSON object per line on standard output, and takes commands, one JSON value per
//! line, from standard input: `"stats"`, `"detach"`, `"quit"`, `{"resize": SECTORS}`, `{"fault": FAULT}`.

use anyhow::{bail, Context, Result};
use clap::{Args, Parser, Subcommand};
use hostile_back::xen::device::Device;
use hostile_back::xen::nodes::Nodes;
use hostile_back::xen::usage::usage;
use hostile_blkback::catalogue::{catalogue, named};
use hostile_blkback::disk::Disk;
use hostile_blkback::random;
use hostile_blkback::script::Script;
use hostile_blkback::vdev::vdev;
use hostile_blkback::xen::{self, Disks};
use std::fs::{self, File};
use std::path::PathBuf;
use xen_user::Store;

/// A block back end in dom0's user space: correct by default, faulty by script.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a disk to a guest until it is detached or the guest is gone.
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
        /// The virtual device, as for `serve`.
        #[arg(long)]
        device: String,
    },
}

#[derive(Args)]
struct Serve {
    /// The guest's domain number.
    #[arg(long)]
    domain: u16,
    /// The virtual device: `xvdb`, or its number.
    #[arg(long, default_value = "xvdb")]
    device: String,
    /// The file or block device that holds the data; without it, memory does.
    #[arg(long)]
    file: Option<PathBuf>,
    /// A file with a script in JSON.
    #[arg(long)]
    script: Option<PathBuf>,
    /// A script in JSON.
    #[arg(long, conflicts_with = "script")]
    json: Option<String>,
    /// Run the script of this name from the catalogue.
    #[arg(long, conflicts_with_all = ["script", "json"])]
    named: Option<String>,
    /// Run the random script of this seed.
    #[arg(long, conflicts_with_all = ["script", "json", "named"])]
    seed: Option<u64>,
    /// Set one of the disk's options, such as `sectors=2048` or `barrier=true` (JSON values).
    #[arg(long = "set", value_name = "OPTION=VALUE")]
    set: Vec<String>,
    /// Use nodes that exist already instead of making them: the back end's directory.
    #[arg(long)]
    backend: Option<String>,
    /// Detach after so many seconds, by force if the guest does not let go.
    #[arg(long)]
    seconds: Option<u64>,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Serve(args) => serve(args),
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
            Nodes::of(&mut store, domain, xen::KIND, vdev(&device)?)?.remove(&mut store)?;
            Ok(())
        }
    }
}

fn serve(args: Serve) -> Result<()> {
    let mut script = read_script(&args)?;
    set(&mut script, &args.set)?;
    let disk = match &args.file {
        None => Disk::memory(script.options.sectors),
        Some(path) => {
            let file = File::options()
                .read(true)
                .write(!script.options.read_only)
                .open(path);
            Disk::File(file.with_context(|| format!("cannot open {path:?}"))?)
        }
    };
    let mut store = Store::open()?;
    let nodes = match &args.backend {
        Some(backend) => Nodes::existing(&mut store, backend)?,
        None => {
            let nodes = Nodes::of(&mut store, args.domain, xen::KIND, vdev(&args.device)?)?;
            xen::create(&mut store, &nodes, &script.options)?;
            nodes
        }
    };
    let made = args.backend.is_none();
    let disks = Disks::new(script.options, disk);
    Device::new(store, nodes, script.rules, disks)?.run(args.seconds, made)
}

fn read_script(args: &Serve) -> Result<Script> {
    if let Some(path) = &args.script {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
        return Script::parse(&text).with_context(|| format!("{path:?} is not a script"));
    }
    if let Some(text) = &args.json {
        return Script::parse(text).context("--json is not a script");
    }
    if let Some(name) = &args.named {
        return named(name)
            .with_context(|| format!("no script is named {name:?}; `catalogue` lists them"));
    }
    Ok(args.seed.map(random::script).unwrap_or_default())
}

/// Sets options by the names that a script has for them.
fn set(script: &mut Script, settings: &[String]) -> Result<()> {
    let mut options = serde_json::to_value(&script.options)?;
    for setting in settings {
        let Some((key, value)) = setting.split_once('=') else {
            bail!("{setting:?} is not OPTION=VALUE");
        };
        let known = options.as_object().is_some_and(|o| o.contains_key(key));
        if !known {
            bail!("there is no option {key:?}; there are {options}");
        }
        options[key] = serde_json::from_str(value)
            .with_context(|| format!("the value of {setting:?} is not JSON"))?;
    }
    script.options = serde_json::from_value(options).context("an option's value does not fit")?;
    Ok(())
}
