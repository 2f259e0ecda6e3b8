// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots Xen with one guest and runs shell commands in it: the short way for people who work on a
//! driver. The parts are given as paths, so a half-built tree will do.
//!
//! ```text
//! cargo run -p portico-lab --example run -- \
//!     --root LAB-SYSROOT --release 7.3.4+deb13-amd64 --agent AGENT \
//!     [--hostile BINARY] [--hostile-net BINARY] \
//!     [--module portico.ko --module xen-blkfront.ko] [--driver stock|ours] [--type hvm|pvh|pv] \
//!     [--vcpus N] [--guest-args 'WORDS'] [--no-load] [--with MODULE] [--config 'LINE']
//!     [--before 'COMMAND'] [--dom0 'COMMAND']... [--guest 'COMMAND']...
//!     [--scenario NAME [--full] [--case WORD]...]
//! ```
//!
//! The guest has two disks of 64 MiB in dom0's memory: `xvda` (`/dev/ram0` in dom0) and, plugged in by a
//! command if wanted, `/dev/ram1`. Commands run in the order given; what they print is shown, and so is
//! the guest's kernel log from the driver's loading on. `--no-load` leaves the driver out, to be loaded by
//! a command with `busybox modprobe` or `insmod /lib/modules/*/updates/...`; `--with` loads a further one.
//! `--config` is a line of xl's configuration, `--before` a command in dom0 before the guest is created.
//!
//! With `--scenario`, a scenario of the tests is run instead, or `demo`, or the quick benchmark `bench-disk`
//! or `bench-net`: with `--driver stock`, of the stock driver beside itself. `--case` runs only those of a
//! scenario's cases that have the word in their name.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, Context as _, Result};
use portico_agent::proto::Driver;
use portico_lab::bench;
use portico_lab::bench::jobs::{Extent, Subject};
use portico_lab::cache::Cache;
use portico_lab::context::{Context, Host, Kernel};
use portico_lab::image;
use portico_lab::machine::{Disk, GuestSpec, GuestType, Machine, MachineOptions};
use portico_lab::progress::Progress;
use portico_lab::root::Root;

const LIMIT: Duration = Duration::from_secs(120);

enum Command {
    Dom0(String),
    Guest(String),
}

struct Arguments {
    ctx: Context,
    spec: GuestSpec,
    before: Vec<String>,
    commands: Vec<Command>,
    scenario: Option<String>,
    full: bool,
}

fn arguments() -> Result<Arguments> {
    let (mut root, mut release, mut agent) = (None, None, None);
    let (mut hostile, mut hostile_net) = (None, None);
    let mut modules = Vec::new();
    let mut spec = GuestSpec::new("g1", GuestType::Hvm, Driver::Stock);
    let (mut commands, mut before) = (Vec::new(), Vec::new());
    let (mut scenario, mut full, mut cases) = (None, false, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--no-load" => {
                spec.modules.clear();
                continue;
            }
            "--full" => {
                full = true;
                continue;
            }
            _ => {}
        }
        let value = words
            .next()
            .with_context(|| format!("{word} wants a value"))?;
        match word.as_str() {
            "--root" => root = Some(value),
            "--release" => release = Some(value),
            "--agent" => agent = Some(PathBuf::from(value)),
            "--hostile" => hostile = Some(PathBuf::from(value)),
            "--hostile-net" => hostile_net = Some(PathBuf::from(value)),
            "--module" => modules.push(PathBuf::from(value)),
            "--driver" => {
                spec.driver = Driver::from_name(&value).context("--driver is stock or ours")?;
            }
            "--type" => spec.kind = value.parse()?,
            "--vcpus" => spec.vcpus = value.parse()?,
            "--guest-args" => spec.cmdline.push(value),
            "--config" => spec.config.push(value),
            "--with" => spec.modules.push(value),
            "--before" => before.push(value),
            "--scenario" => scenario = Some(value),
            "--case" => cases.push(value),
            "--dom0" => commands.push(Command::Dom0(value)),
            "--guest" => commands.push(Command::Guest(value)),
            other => bail!("{other} is not known; the options stand at the top of the source"),
        }
    }
    let host = Host {
        checkout: std::env::current_dir()?,
        target: PathBuf::from("target"),
        cache: Cache::open()?,
        progress: Progress::new(),
    };
    let lab_root = Root::new(root.context("--root is missing")?);
    let release = release.context("--release is missing")?;
    let lib = lab_root.host_path("usr/lib/modules").join(&release);
    let agent = agent.context("--agent is missing")?;
    Ok(Arguments {
        ctx: Context {
            host: Host {
                target: std::env::current_dir()?.join(&host.target),
                ..host
            },
            lab_root,
            kernel: Kernel {
                image: lib.join("vmlinuz"),
                modules: lib,
                release,
            },
            modules,
            hostile_blkback: hostile.unwrap_or_else(|| agent.clone()),
            hostile_netback: hostile_net.unwrap_or_else(|| agent.clone()),
            agent,
            cases,
        },
        spec,
        before,
        commands,
        scenario,
        full,
    })
}

fn main() -> Result<()> {
    portico_lab::stop::install()?;
    let Arguments {
        ctx,
        mut spec,
        before,
        commands,
        scenario,
        full,
    } = arguments()?;
    if scenario.as_deref() == Some("demo") {
        return portico_lab::scenario::demo(&ctx, spec.kind);
    }
    let subject = match scenario.as_deref() {
        Some("bench-disk") => Some(Subject::Disk),
        Some("bench-net") => Some(Subject::Net),
        _ => None,
    };
    if let Some(subject) = subject {
        let usual = bench::Options::new(subject, Extent::Quick);
        let done = bench::run(
            &ctx,
            &bench::Options {
                same: spec.driver == Driver::Stock,
                ..usual
            },
        )?;
        print!("{}", done.text);
        return Ok(());
    }
    if let Some(name) = scenario {
        let tally = portico_lab::scenario::run(&ctx, &name, spec.driver, full)?;
        println!(
            "{} passed, {} failed {}",
            tally.passed,
            tally.failures.len(),
            tally.note
        );
        for failure in tally.failures {
            println!("\n{failure}");
        }
        return Ok(());
    }
    let images = image::images(&ctx)?;
    let mut machine = Machine::boot(&ctx, &images, &MachineOptions::new("run"))?;
    eprintln!("dom0 is up after {:.1} s", machine.seconds());
    machine
        .dom0()
        .load("brd", "rd_nr=2 rd_size=65536", Driver::Stock)?;
    for line in &before {
        let exit = machine.dom0().shell(line, LIMIT)?;
        println!("$ {line}\n{}{}-> {}", exit.stdout, exit.stderr, exit.code);
    }
    spec.disks.push(Disk::device("/dev/ram0", "xvda"));
    let guest = machine.create(&spec)?;
    eprintln!("{guest} is up after {:.1} s", guest.up_seconds);

    let mut failed = false;
    for command in &commands {
        let (name, result) = match command {
            Command::Dom0(line) => (line, machine.dom0().shell(line, LIMIT)),
            Command::Guest(line) => (line, machine.at(&guest).shell(line, LIMIT)),
        };
        match result {
            Ok(exit) => {
                println!("$ {name}\n{}{}-> {}", exit.stdout, exit.stderr, exit.code);
                failed |= exit.code != 0;
            }
            Err(error) => {
                println!("$ {name}\n-> {:#}", machine.guest_failure(&guest, &error));
                failed = true;
                break;
            }
        }
    }
    match machine.at(&guest).kernel_log(0) {
        Ok(log) => {
            // What comes before is the kernel's own start.
            let own = log
                .lines
                .iter()
                .skip_while(|line| !line.text.starts_with("Run /init"));
            for line in own {
                println!("[{:>10.6}] {}", line.at_us as f64 / 1e6, line.text);
            }
        }
        Err(error) => println!("no kernel log: {error:#}"),
    }
    machine.destroy(&guest)?;
    machine.power_off()?;
    if failed {
        bail!("a command failed");
    }
    Ok(())
}
