// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faulty and hostile back ends: the guest goes on, its kernel has nothing to complain about, no grant
//! or event channel stays, and a fresh disk works afterwards.

use std::time::Duration;

use anyhow::{bail, ensure, Context as _, Result};
use hostile_blkback::catalogue::catalogue;
use hostile_blkback::script::{Expect, Script};
use portico_agent::proto::{Driver, Exec, Op, Reply, Usage};

use crate::context::Context;
use crate::machine::{Disk, Guest, GuestSpec, GuestType, Machine};
use crate::part::Tally;

use super::io::{self, MIB, SECOND};
use super::stage::{quiet_since, wait_for, with_guest_that_may_say, Stage};

const SHORT: Duration = Duration::from_secs(30);

/// How long the guest's I/O may take before the back end is told to detach.
const STALLED: Duration = Duration::from_secs(12);

/// What the guest does with the disk; that it fails is allowed, that it ends is required.
const LOAD: &str = "i=0; while [ $i -lt 40 ] && [ ! -b /dev/xvdb ]; do sleep 0.1; i=$((i+1)); done; \
    [ -b /dev/xvdb ] || { echo no disk; exit 0; }; \
    fio --name=h --filename=/dev/xvdb --rw=randrw --bsrange=4k-64k --blockalign=4k --size=1m \
    --ioengine=libaio --iodepth=8 --direct=1 --fsync=8 --number_ios=200 --minimal > /tmp/h.out 2>&1; \
    echo fio ended with $?";

/// The back end, with its commands from a pipe with a name.
const SERVE: &str = "rm -f /tmp/control; mkfifo /tmp/control; exec 3<>/tmp/control; \
    exec hostile-blkback serve --domain $0 --device xvdb --json \"$1\" <&3";

/// The kernel's own words when a grant is ended that the peer still uses: true here, and the account
/// shows that nothing stays.
const ALLOWED: &[&str] = &["still in use!"];

/// Scripts of the short run: one of each sort.
const SOME: [&str; 8] = [
    "wrong-id",
    "keeps-grants",
    "never-answers-one",
    "producer-ahead",
    "storm",
    "sector-size-0",
    "queues-10-to-9",
    "killed-under-load",
];

pub(super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut stage = Stage::new(ctx, "hostile-back-end", driver, |machine| {
        machine
            .dom0()
            .load("brd", "rd_nr=2 rd_size=65536", Driver::Stock)
    })?;
    let mut scripts = catalogue();
    scripts.retain(|script| full || SOME.contains(&script.name.as_str()));
    scripts.extend((1..=if full { 100 } else { 2 }).map(Script::random));
    // In groups, so that a guest that dies does not take all the rest with it.
    for group in scripts.chunks(10) {
        let (first, last) = (&group[0].name, &group[group.len() - 1].name);
        stage.case(&format!("{first} to {last}"), |machine, facts| {
            let spec = GuestSpec::new("hostile", GuestType::Hvm, driver);
            with_guest_that_may_say(machine, &spec, facts, ALLOWED, |machine, guest, facts| {
                fresh(machine, guest).context("before the first fault")?;
                for script in group {
                    let seen = one(machine, guest, script).with_context(|| script.name.clone())?;
                    facts.insert(script.name.clone(), seen.into());
                }
                Ok(())
            })
        })?;
    }
    stage.finish()
}

/// One script from beginning to end; returns what the guest's log said about the device.
fn one(machine: &mut Machine, guest: &Guest, script: &Script) -> Result<Vec<String>> {
    let since = machine.at(guest).kernel_log(0)?.next;
    let before = machine.dom0().usage(guest.domid)?;
    let domain = guest.domid.to_string();
    let json = serde_json::to_string(script)?;
    let serve = Exec::new(["sh", "-c", SERVE, &domain, &json]);
    let serve = machine.dom0().start(Op::Exec(serve), SHORT * 4)?;
    let load = machine
        .at(guest)
        .start(Op::Exec(Exec::shell(LOAD)), SHORT * 4)?;
    let early = machine.at(guest).join(load, STALLED);

    // One that has died has nobody at the other end of the pipe.
    let detach = "timeout 2 sh -c 'echo \\\"detach\\\" > /tmp/control'; true";
    machine.dom0().shell(detach, SHORT)?;
    let reply = machine
        .dom0()
        .join(serve, SHORT * 2)
        .context("the back end to end")?;
    let Reply::Exit(back_end) = reply else {
        bail!("the back end ended with {reply:?}");
    };
    // One that died, or that lost its own nodes, leaves some behind.
    machine.dom0().shell(
        &format!("hostile-blkback clean --domain {domain} --device xvdb"),
        SHORT,
    )?;
    let reply = match early {
        Ok(reply) => reply,
        Err(_) => machine
            .at(guest)
            .join(load, SHORT)
            .with_context(|| format!("the guest's I/O to end; back end: {}", back_end.stdout))?,
    };
    let Reply::Exit(load) = reply else {
        bail!("the guest's I/O ended with {reply:?}");
    };
    wait_for(machine, guest, "[ ! -e /sys/block/xvdb ]", SHORT).context("the disk to go")?;
    quiet_since(machine, guest, since, ALLOWED)?;
    let log = machine.at(guest).kernel_log(since)?;
    let said: Vec<String> = log
        .lines
        .into_iter()
        .map(|line| line.text)
        .filter(|text| text.contains("vbd") || text.contains("xvdb"))
        .take(12)
        .collect();
    let story = format!(
        "log: {said:?}; load: {}; back end: {}",
        load.stdout, back_end.stdout
    );
    if guest.driver == Driver::Ours {
        ensure!(
            as_expected(script, &said, &load.stdout),
            "not as expected: {story}"
        );
    }
    returned(machine, guest, &before).with_context(|| story)?;
    fresh(machine, guest).context("a fresh disk afterwards")?;
    Ok(said)
}

/// Whether our driver made of it what it should.
fn as_expected(script: &Script, log: &[String], load: &str) -> bool {
    match script.expect {
        Some(Expect::Serves) => load.contains("fio ended with 0"),
        Some(Expect::Refused) => load.contains("no disk"),
        Some(Expect::Broken) => log.iter().any(|line| line.contains("broken")),
        Some(Expect::Errors | Expect::Stalls | Expect::Any) | None => true,
    }
}

/// Waits until the guest has in use what it had before.
fn returned(machine: &mut Machine, guest: &Guest, before: &Usage) -> Result<()> {
    let mut after = machine.dom0().usage(guest.domid)?;
    for _ in 0..30 {
        if after == *before {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(500));
        after = machine.dom0().usage(guest.domid)?;
    }
    bail!("in use before: {before:?}; 15 s after: {after:?}")
}

/// A disk of the stock back end: plugged in, verified, taken away.
fn fresh(machine: &mut Machine, guest: &Guest) -> Result<()> {
    let before = machine.dom0().usage(guest.domid)?;
    machine.attach(guest, &Disk::device(SECOND.dom0, "xvdb"))?;
    let there = "[ -b /dev/xvdb ] && [ $(cat /sys/block/xvdb/size) != 0 ]";
    wait_for(machine, guest, there, SHORT).context("the disk to appear")?;
    io::guest_to_dom0(machine, guest, SECOND, 21, MIB)?;
    machine.detach(guest, "xvdb", false)?;
    wait_for(machine, guest, "[ ! -e /sys/block/xvdb ]", SHORT).context("the disk to go")?;
    returned(machine, guest, &before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_list_names_scripts() {
        let scripts = catalogue();
        assert!(SOME
            .iter()
            .all(|some| scripts.iter().any(|script| script.name == *some)));
    }
}
