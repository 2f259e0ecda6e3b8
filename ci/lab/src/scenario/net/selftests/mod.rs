// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own tests of network drivers, unchanged, first with the stock driver and then with ours.
//!
//! Each driver gets a guest with two interfaces. The tests have `eth0`, whose other end is the back end's
//! interface in dom0 itself, so that they can change it. By `eth1`, on the bridge, they reach dom0 with
//! `ssh`. A test that the stock driver passes must pass with ours; what else fails must
//! be known to do so.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use portico_agent::proto::{Driver, Exec, Link, Op, Reply};

use crate::context::Context;
use crate::machine::{Disk, Guest, GuestSpec, GuestType, Machine, Vif, DOM0_V4};
use crate::part::Tally;
use crate::report::Facts;
use crate::selftests::{self, FOLDER};

use super::super::stage::{quiet, with_guest, Stage};
use super::super::{driven_by, ETH0};
use compare::{compare, is_known, table, words, Results};
use ktap::{Outcome, TestResult};

mod compare;
mod ktap;

const SHORT: Duration = Duration::from_secs(60);

/// Bytes of a program's output that are kept: what a guest's answer can hold.
const OUTPUT: usize = 128 * 1024;

/// The two ends of `eth0`.
const LOCAL: [&str; 2] = ["10.78.0.2", "fd78::2"];
const REMOTE: [&str; 2] = ["10.78.0.1", "fd78::1"];

/// A program of tests.
struct Program {
    /// Where it is.
    path: &'static str,
    /// Seconds that it may take on a machine of usual speed.
    seconds: u64,
    /// What the guest's shell does before it, so that it finds the interface as it wants it.
    prepare: &'static str,
    /// The same in dom0, whose end of the wire is `$0`.
    prepare_remote: &'static str,
    /// It starts what it ends by ending `ssh`, for which each command must have a connection of its own. A
    /// shared one is faster.
    own_connections: bool,
}

const fn program(path: &'static str, seconds: u64) -> Program {
    Program {
        path,
        seconds,
        prepare: "",
        prepare_remote: "ethtool -K $0 tx on",
        own_connections: false,
    }
}

const PROGRAMS: &[Program] = &[
    program("drivers/net/ping.py", 240),
    program("drivers/net/stats.py", 180),
    program("drivers/net/queues.py", 120),
    Program {
        own_connections: true,
        ..program("drivers/net/ring_reconfig.py", 180)
    },
    Program {
        // Its programs send back what comes, for which it must have whole checksums, as on a wire.
        prepare_remote: "ethtool -K $0 tx off",
        ..program("drivers/net/xdp.py", 900)
    },
    program("drivers/net/hw/csum.py", 240),
    program("drivers/net/hw/tso.py", 240),
    Program {
        prepare: "ethtool -K eth0 rxhash on",
        ..program("drivers/net/hw/toeplitz.py", 240)
    },
];

/// Makes the image usable at `/mnt`, with what the tests write to in memory.
const MOUNT: &str = "set -e; mount -t ext4 -o ro $0 /mnt; \
    mount -t proc proc /mnt/proc; mount -t sysfs sysfs /mnt/sys; mount --bind /dev /mnt/dev; \
    mount -t bpf bpf /mnt/sys/fs/bpf; mount -t debugfs debugfs /mnt/sys/kernel/debug; \
    for d in run tmp; do mount -t tmpfs tmpfs /mnt/$d; done; \
    mkdir /mnt/run/sshd /mnt/run/netns; ip link set dev lo up; \
    [ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd";

pub(in super::super) fn run(ctx: &Context, driver: Driver, _full: bool) -> Result<Tally> {
    let image = selftests::image(ctx)?;
    let mut stage = Stage::new(ctx, "net-selftests", driver, prepare)?;
    stage.add_disk(&image);
    let drivers: &[Driver] = match driver {
        Driver::Stock => &[Driver::Stock],
        Driver::Ours => &[Driver::Stock, Driver::Ours],
    };
    let seen: RefCell<BTreeMap<&str, Results>> = RefCell::default();
    for &driver in drivers {
        stage.case(driver.name(), |machine, facts| {
            let results = all(machine, driver, facts)?;
            seen.borrow_mut().insert(driver.name(), results);
            Ok(())
        })?;
    }
    let seen = seen.into_inner();
    if let Some(ours) = seen.get(Driver::Ours.name()) {
        let none = Results::new();
        let stock = seen.get(Driver::Stock.name()).unwrap_or(&none);
        stage.say(&table(stock, ours));
        stage.case("ours beside stock", |_, facts| compare(stock, ours, facts))?;
    }
    stage.finish()
}

/// dom0 as the endpoint.
fn prepare(machine: &mut Machine) -> Result<()> {
    machine.bridge(1500)?;
    machine.dom0().load("ext4", "", Driver::Stock)?;
    machine
        .dom0()
        .run(&["sh", "-c", MOUNT, "/dev/vda"], SHORT)?;
    machine
        .dom0()
        .run(&["chroot", "/mnt", "/usr/sbin/sshd"], SHORT)?;
    Ok(())
}

/// All programs in a guest with this driver.
fn all(machine: &mut Machine, driver: Driver, facts: &mut Facts) -> Result<Results> {
    let mut spec = GuestSpec::new("selftests", GuestType::Hvm, driver);
    spec.memory_mib = 512;
    spec.modules.push("ext4".into());
    // Not among those that QEMU emulates, too: these cannot be read-only.
    let mut disk = Disk::device("/dev/vda", "xvde");
    disk.writable = false;
    spec.disks.push(disk);
    spec.plug(Vif::new(2));
    spec.plug(Vif::new(3));
    let mut results = Results::new();
    with_guest(machine, &spec, facts, |machine, guest, facts| {
        driven_by(machine, guest, ETH0, facts)?;
        machine
            .at(guest)
            .run(&["sh", "-c", MOUNT, "/dev/xvde"], SHORT)?;
        machine.at(guest).set_link(&Vif::new(3).link("eth1"))?;
        let remote = format!("vif{}.0", guest.domid);
        machine
            .dom0()
            .shell(&format!("ip link set dev {remote} nomaster"), SHORT)?;
        for program in PROGRAMS {
            both_ends(machine, guest, &remote, program)?;
            let mut seen = one(machine, guest, program, &[]).with_context(|| program.path)?;
            if driver == Driver::Ours {
                once_more(machine, guest, &remote, program, &mut seen)
                    .with_context(|| format!("{}, once more", program.path))?;
            }
            let lines: Facts = seen
                .iter()
                .map(|result| (result.name.clone(), words(result).into()))
                .collect();
            facts.insert(program.path.into(), lines.into());
            results.extend(seen.into_iter().map(|result| (result.name.clone(), result)));
            quiet(machine, guest).with_context(|| program.path)?;
        }
        Ok(())
    })?;
    Ok(results)
}

/// Both ends of `eth0` as the tests are to find them, whatever the last ones have left.
fn both_ends(machine: &mut Machine, guest: &Guest, remote: &str, program: &Program) -> Result<()> {
    let link = |name: &str, [v4, v6]: [&str; 2]| Link {
        name: name.into(),
        mtu: Some(1500),
        addresses: vec![format!("{v4}/24"), format!("{v6}/64")],
        ..Link::default()
    };
    machine.dom0().set_link(&link(remote, REMOTE))?;
    // A program that took too long to be put on may have been so in the end.
    let no_program = "for way in xdp xdpgeneric; do /usr/sbin/ip link set dev eth0 $way off; done";
    machine.at(guest).shell(no_program, SHORT)?;
    machine.at(guest).set_link(&link("eth0", LOCAL))?;
    machine
        .dom0()
        .run(&["sh", "-c", program.prepare_remote, remote], SHORT)?;
    // Not all of it is there with each driver.
    machine.at(guest).shell(program.prepare, SHORT)?;
    Ok(())
}

/// Runs tests that have failed once more: some of them wait for half a second, which the emulator may take for
/// a ping. What came of that is told with the result.
fn once_more(
    machine: &mut Machine,
    guest: &Guest,
    remote: &str,
    program: &Program,
    seen: &mut [TestResult],
) -> Result<()> {
    let failed = |result: &TestResult| result.outcome == Outcome::Fail && !is_known(&result.name);
    let names: Vec<&str> = seen
        .iter()
        .filter(|result| failed(result))
        .filter_map(|result| Some(result.name.split_once('.')?.1))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let only: Vec<String> = names
        .iter()
        .flat_map(|name| ["-t".to_owned(), (*name).to_owned()])
        .collect();
    both_ends(machine, guest, remote, program)?;
    let again = one(machine, guest, program, &only)?;
    for result in seen.iter_mut().filter(|result| failed(result)) {
        let passed = again
            .iter()
            .any(|again| again.name == result.name && again.outcome == Outcome::Pass);
        if passed {
            result.outcome = Outcome::Pass;
            result.reason = format!("at the second try; before: {}", result.reason);
        }
    }
    Ok(())
}

/// Runs a program, or some of its tests.
fn one(
    machine: &mut Machine,
    guest: &Guest,
    program: &Program,
    only: &[String],
) -> Result<Vec<TestResult>> {
    let Program { path, seconds, .. } = program;
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.strip_suffix(".py").unwrap_or(name);
    let connection = match program.own_connections {
        true => "ssh -q -O exit $0; ssh $0 true",
        false => "ssh -q -O check $0 || ssh -M -N -f -o ControlPersist=yes $0",
    };
    let argv = ["chroot", "/mnt", "sh", "-c", connection, DOM0_V4];
    machine
        .at(guest)
        .run(&argv, SHORT)
        .context("the way to dom0")?;
    // The limit is the tests' own: they clean up behind themselves when they are told to end.
    let limit = Duration::from_secs(*seconds) * machine.slowness();
    let mut argv = vec![
        "chroot".to_owned(),
        "/mnt".into(),
        "timeout".into(),
        limit.as_secs().to_string(),
        "env".into(),
        "NETIF=eth0".into(),
        format!("LOCAL_V4={}", LOCAL[0]),
        format!("LOCAL_V6={}", LOCAL[1]),
        format!("REMOTE_V4={}", REMOTE[0]),
        format!("REMOTE_V6={}", REMOTE[1]),
        "REMOTE_TYPE=ssh".into(),
        format!("REMOTE_ARGS={DOM0_V4}"),
        "KSFT_MACHINE_SLOW=1".into(),
        "PYTHONDONTWRITEBYTECODE=1".into(),
        "python3".into(),
        format!("{FOLDER}/{path}"),
    ];
    argv.extend(only.iter().cloned());
    let mut tests = Exec::new(argv);
    tests.keep = OUTPUT;
    let begun = machine.seconds();
    let reply = machine
        .at(guest)
        .ask(Op::Exec(tests), Duration::from_secs(seconds + 30))?;
    let Reply::Exit(exit) = reply else {
        anyhow::bail!("the tests ended with {reply:?}");
    };
    let part = if only.is_empty() { "" } else { "-again" };
    let log = format!("{}-{name}{part}.ktap", guest.driver.name());
    let head = format!("# {:.0} s\n", machine.seconds() - begun);
    std::fs::write(machine.logs().join(log), head + &exit.stdout + &exit.stderr)?;
    let mut results = ktap::results(&exit.stdout);
    if results.len() < ktap::planned(&exit.stdout) || results.is_empty() {
        let end = exit.stderr.trim().lines().last().unwrap_or_default();
        results.push(TestResult {
            name: format!("{name}, to its end"),
            outcome: Outcome::Missing,
            reason: format!("it ended with {}: {end}", exit.code),
        });
    }
    Ok(results)
}
