// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk's life: save and restore of the guest under verified I/O, and hot plug and unplug with an
//! account of what is left behind.

use std::time::Duration;

use anyhow::{bail, ensure, Context as _, Result};
use portico_agent::proto::{Driver, Exec, Fio, Op, Reply, Usage};

use crate::context::Context;
use crate::machine::{Disk, Guest, GuestSpec, GuestType, Machine};
use crate::part::Tally;
use crate::report::Facts;

use super::io::{self, FIRST, MIB, SECOND};
use super::stage::{wait_for, with_guest, Stage};

const SHORT: Duration = Duration::from_secs(30);

/// Writes and verifies the disk again and again until told to stop; prints the number of passes.
const LOAD: &str = "n=0; while [ ! -e /tmp/stop ]; do \
    fio --name=life --filename=/dev/xvda --rw=randwrite --bsrange=4k-128k --blockalign=4k --size=16m \
    --ioengine=libaio --iodepth=8 --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=64 \
    --minimal > /tmp/life.out 2>&1 || { cat /tmp/life.out; echo failed in pass $n; exit 1; }; \
    n=$((n+1)); echo $n > /tmp/passes; done; echo $n";

fn two_memory_disks(machine: &mut Machine) -> Result<()> {
    machine
        .dom0()
        .load("brd", "rd_nr=2 rd_size=65536", Driver::Stock)
}

pub(super) fn save_restore(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut stage = Stage::new(ctx, "save-restore", driver, two_memory_disks)?;
    let rounds = if full { 20 } else { 2 };
    let kinds: &[GuestType] = if full {
        &GuestType::ALL
    } else {
        &[GuestType::Hvm]
    };
    for kind in kinds {
        stage.case(
            &format!("{} {rounds} times", kind.name()),
            |machine, facts| {
                let mut spec = GuestSpec::new("life", *kind, driver);
                spec.disks.push(Disk::device(FIRST.dom0, "xvda"));
                with_guest(machine, &spec, facts, |machine, guest, facts| {
                    super::driven_by(machine, guest, super::XVDA, facts)?;
                    move_around(machine, guest, rounds, facts)
                })
            },
        )?;
    }
    stage.finish()
}

fn move_around(
    machine: &mut Machine,
    guest: &mut Guest,
    rounds: u32,
    facts: &mut Facts,
) -> Result<()> {
    // Beyond what the load writes: must not change.
    let still = machine
        .at(guest)
        .digest(FIRST.guest, 32 * MIB, 16 * MIB, SHORT)?;
    let limit = Duration::from_secs(120) * (rounds + 2);
    let job = machine
        .at(guest)
        .start(Op::Exec(Exec::shell(LOAD)), limit)?;
    wait_for(machine, guest, "[ -e /tmp/life.out ]", SHORT)?;
    let mut done = 0;
    for round in 1..=rounds {
        let what = format!("round {round} of {rounds}");
        machine
            .save(guest, "/tmp/life.save")
            .with_context(|| what.clone())?;
        machine
            .restore(guest, "/tmp/life.save")
            .with_context(|| what.clone())?;
        machine.dom0().run(&["rm", "/tmp/life.save"], SHORT)?;
        // The load goes on: requests are completed after the restore.
        let before = completed(machine, guest)?;
        let condition = format!(
            "[ $(awk '{{print $5}}' /sys/block/xvda/stat) -gt {} ]",
            before + 50
        );
        wait_for(machine, guest, &condition, SHORT).with_context(|| what.clone())?;
        done = round;
    }
    machine.at(guest).write("/tmp/stop", "")?;
    let reply = machine.at(guest).join(job, Duration::from_secs(180))?;
    let Reply::Exit(exit) = reply else {
        bail!("the load ended with {reply:?}");
    };
    ensure!(
        exit.code == 0,
        "the load failed: {} {}",
        exit.stdout,
        exit.stderr
    );
    facts.insert("rounds".into(), done.into());
    facts.insert("passes_of_load".into(), exit.stdout.trim().into());
    let now = machine
        .dom0()
        .digest(FIRST.dom0, 32 * MIB, 16 * MIB, SHORT)?;
    ensure!(
        now == still,
        "a part of the disk that nobody wrote has changed"
    );
    io::guest_to_dom0(machine, guest, FIRST, 99, 8 * MIB).context("after the last restore")?;
    Ok(())
}

/// Writes that the guest's disk has completed.
fn completed(machine: &mut Machine, guest: &Guest) -> Result<u64> {
    let text = machine.at(guest).read("/sys/block/xvda/stat")?;
    let field = text
        .split_whitespace()
        .nth(4)
        .context("an empty stat file")?;
    Ok(field.parse()?)
}

pub(super) fn hot_plug(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut stage = Stage::new(ctx, "hot-plug", driver, two_memory_disks)?;
    // What is leaked in each round shows in a hundred of one type; the others take the same path.
    let kinds: &[(GuestType, u32)] = if full {
        &[
            (GuestType::Hvm, 100),
            (GuestType::Pvh, 20),
            (GuestType::Pv, 20),
        ]
    } else {
        &[(GuestType::Hvm, 6)]
    };
    for &(kind, rounds) in kinds {
        stage.case(
            &format!("{} {rounds} times", kind.name()),
            |machine, facts| {
                let spec = GuestSpec::new("plug", kind, driver);
                with_guest(machine, &spec, facts, |machine, guest, facts| {
                    plug(machine, guest, rounds, facts)
                })
            },
        )?;
    }
    stage.finish()
}

/// Kernel memory of the guest in KiB: unreclaimable slabs, and pages that no counter names, which are
/// those that drivers take for themselves. Free pages that a processor keeps for itself (`count` in
/// `zoneinfo`) are not in `MemFree`: megabytes, that come and go with the load.
const KERNEL_MEMORY: &str = "sync; echo 3 > /proc/sys/vm/drop_caches; sleep 1; awk '\
    /^MemTotal|^SUnreclaim/ {n += $2} \
    /^MemFree|^Buffers|^Cached|^AnonPages|^Slab|^KernelStack|^PageTables|^Percpu/ {n -= $2} \
    /^ +count:/ {n -= 4 * $2} \
    END {print n}' /proc/meminfo /proc/zoneinfo";

/// What must not grow: grants and ports in use, and kernel memory in KiB.
#[derive(Debug)]
pub(super) struct Before(Usage, u64);

impl Before {
    /// Takes the account.
    pub(super) fn take(machine: &mut Machine, guest: &Guest) -> Result<Self> {
        let used = machine.at(guest).shell(KERNEL_MEMORY, SHORT)?.stdout;
        let usage = machine.dom0().usage(guest.domid)?;
        let used = used.trim().parse().context("sum over /proc/meminfo")?;
        Ok(Self(usage, used))
    }
}

/// Fails if the guest has more in use than before so many rounds of something.
pub(super) fn same_as_before(
    machine: &mut Machine,
    guest: &Guest,
    Before(before, used_before): &Before,
    rounds: u32,
    facts: &mut Facts,
) -> Result<()> {
    let Before(mut after, mut used_after) = Before::take(machine, guest)?;
    // Grants that the back end still held are ended a little later.
    for _ in 0..20 {
        if after == *before {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
        Before(after, used_after) = Before::take(machine, guest)?;
    }
    facts.insert("rounds".into(), rounds.into());
    facts.insert("usage_before".into(), serde_json::to_value(before)?);
    facts.insert("usage_after".into(), serde_json::to_value(&after)?);
    facts.insert(
        "kernel_kib_before_and_after".into(),
        vec![*used_before, used_after].into(),
    );
    ensure!(
        after == *before,
        "in use before: {before:?}; after: {after:?}"
    );
    // Slabs breathe; a ring or its grants lost in each round would show.
    let lost = used_after.saturating_sub(*used_before);
    let allowed = 512 + 16 * u64::from(rounds);
    ensure!(
        lost <= allowed,
        "the guest's kernel holds {lost} KiB more after {rounds} rounds"
    );
    Ok(())
}

fn plug(machine: &mut Machine, guest: &Guest, rounds: u32, facts: &mut Facts) -> Result<()> {
    // The first ones fill caches that stay.
    for round in 0..2 {
        once(machine, guest, round).context("before the account")?;
    }
    let before = Before::take(machine, guest)?;
    for round in 0..rounds {
        once(machine, guest, round).with_context(|| format!("round {} of {rounds}", round + 1))?;
    }
    same_as_before(machine, guest, &before, rounds, facts)
}

/// Plugs a disk in, uses it, and takes it away: idle in even rounds, under I/O in odd ones.
fn once(machine: &mut Machine, guest: &Guest, round: u32) -> Result<()> {
    machine.attach(guest, &Disk::device(SECOND.dom0, "xvdb"))?;
    let there = "[ -b /dev/xvdb ] && [ $(cat /sys/block/xvdb/size) != 0 ]";
    wait_for(machine, guest, there, SHORT).context("the disk to appear")?;
    io::guest_to_dom0(machine, guest, SECOND, u64::from(round) + 1, MIB)?;
    let job = match round % 2 {
        0 => None,
        _ => {
            let what = Fio {
                path: SECOND.guest.into(),
                rw: "randrw".into(),
                bs: 4096,
                depth: 16,
                jobs: 1,
                size: 0,
                seconds: 60,
                verify: false,
                extra: Vec::new(),
            };
            let job = machine
                .at(guest)
                .start(Op::Fio(what), Duration::from_secs(90))?;
            let busy = "[ $(awk '{print $5}' /sys/block/xvdb/stat) -gt 20 ]";
            wait_for(machine, guest, busy, SHORT).context("I/O to begin")?;
            Some(job)
        }
    };
    machine.detach(guest, "xvdb", job.is_some())?;
    if let Some(job) = job {
        // fio must end with the disk, long before its own time, and say that it had errors.
        let reply = machine
            .at(guest)
            .join(job, SHORT)
            .context("fio to end with its disk")?;
        let Reply::Fio(result) = reply else {
            bail!("fio ended with {reply:?}");
        };
        ensure!(result.errors > 0, "fio saw no error when its disk went");
    }
    wait_for(machine, guest, "[ ! -e /sys/block/xvdb ]", SHORT).context("the disk to go")
}
