// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faulty and hostile back ends: the guest goes on, its kernel has nothing to complain about, no grant
//! or event channel stays, and a fresh disk works afterwards.

use std::time::Duration;

use anyhow::{bail, Context as _, Result};
use portico_agent::proto::{Driver, Exec, Op, Reply, Usage};

use crate::context::Context;
use crate::machine::{Disk, Guest, GuestSpec, GuestType, Machine};
use crate::part::Tally;

use super::io::{self, MIB, SECOND};
use super::stage::{quiet_since, wait_for, with_guest, Stage};

const SHORT: Duration = Duration::from_secs(30);

/// Seconds that a faulty back end serves before it detaches.
const SERVE: &str = "6";

/// What the guest does with the disk; that it fails is expected, that it ends is required.
const LOAD: &str =
    "i=0; while [ $i -lt 40 ] && [ ! -b /dev/xvdb ]; do sleep 0.1; i=$((i+1)); done; \
    [ -b /dev/xvdb ] || { echo no disk; exit 0; }; \
    fio --name=h --filename=/dev/xvdb --rw=randrw --bsrange=4k-64k --size=1m --ioengine=libaio \
    --iodepth=8 --direct=1 --fsync=8 --time_based --runtime=3 --continue_on_error=none --minimal \
    > /tmp/h.out 2>&1; echo fio ended with $?; \
    dd if=/dev/xvdb of=/dev/null bs=4096 count=8 2>/dev/null; true";

/// Name, and the script that the back end is given.
type Fault = (&'static str, &'static str);

const FAULTS: [Fault; 27] = [
    (
        "wrong id",
        r#"{"rules":[{"at":{"request":20},"do":{"wrong-id":77}}]}"#,
    ),
    (
        "duplicate id",
        r#"{"rules":[{"at":{"request":20},"do":"duplicate-id"}]}"#,
    ),
    (
        "unfinished id",
        r#"{"rules":[{"at":{"request":20},"do":"never"},{"at":{"request":21},"do":"old-id"}]}"#,
    ),
    (
        "producer far ahead",
        r#"{"rules":[{"at":{"request":20},"do":{"producer-ahead":1000}}]}"#,
    ),
    (
        "producer backwards",
        r#"{"rules":[{"at":{"request":20},"do":{"producer-back":5}}]}"#,
    ),
    (
        "wrong operation",
        r#"{"rules":[{"at":{"request":20},"do":{"wrong-operation":6}}]}"#,
    ),
    (
        "unknown status",
        r#"{"rules":[{"at":{"request":20},"do":{"status":-77}}]}"#,
    ),
    (
        "flush not supported",
        r#"{"rules":[{"at":{"op":["flush",0]},"do":{"status":-2}}]}"#,
    ),
    (
        "write not supported",
        r#"{"rules":[{"at":{"op":["write",0]},"do":{"status":-2}}]}"#,
    ),
    (
        "out of order",
        r#"{"rules":[{"at":{"request":0},"do":{"reorder":4}}]}"#,
    ),
    (
        "late",
        r#"{"rules":[{"at":{"every":10},"do":{"late":1500}}]}"#,
    ),
    (
        "never answered",
        r#"{"rules":[{"at":{"request":20},"do":"never"}]}"#,
    ),
    (
        "slot rewritten",
        r#"{"rules":[{"at":{"every":5},"do":{"flip":200}}]}"#,
    ),
    (
        "notification storm",
        r#"{"rules":[{"at":{"request":20},"do":{"storm":20000}}]}"#,
    ),
    (
        "no notification",
        r#"{"rules":[{"at":{"request":20},"do":{"silence":null}}]}"#,
    ),
    (
        "sector-size 0",
        r#"{"rules":[{"at":"init-wait","do":{"key":{"name":"sector-size","value":"0"}}}]}"#,
    ),
    (
        "sector-size 3",
        r#"{"rules":[{"at":"init-wait","do":{"key":{"name":"sector-size","value":"3"}}}]}"#,
    ),
    (
        "sector-size 1 GiB",
        r#"{"rules":[{"at":"init-wait","do":{"key":{"name":"sector-size","value":"1073741824"}}}]}"#,
    ),
    (
        "sectors 2^63",
        r#"{"rules":[{"at":"init-wait","do":{"key":{"name":"sectors","value":"9223372036854775808"}}}]}"#,
    ),
    (
        "sectors missing",
        r#"{"rules":[{"at":"init-wait","do":{"key":{"name":"sectors","value":null}}}]}"#,
    ),
    (
        "sectors empty",
        r#"{"rules":[{"at":"init-wait","do":{"key":{"name":"sectors","value":""}}}]}"#,
    ),
    (
        "10^9 queues",
        r#"{"rules":[{"at":"created","do":{"key":{"name":"multi-queue-max-queues","value":"1000000000"}}}]}"#,
    ),
    (
        "negative ring order",
        r#"{"rules":[{"at":"created","do":{"key":{"name":"max-ring-page-order","value":"-1"}}}]}"#,
    ),
    (
        "state jumps",
        r#"{"rules":[{"at":"connected","do":{"state":"2"}},{"at":{"request":10},"do":{"state":"8"}}]}"#,
    ),
    (
        "vanishes before connecting",
        r#"{"rules":[{"at":"initialised","do":"remove-backend"}]}"#,
    ),
    (
        "vanishes while serving",
        r#"{"rules":[{"at":{"request":20},"do":"exit"}]}"#,
    ),
    (
        "keeps grants",
        r#"{"rules":[{"at":{"every":3},"do":{"keep-grants":null}}]}"#,
    ),
];

/// Those of the short run: one of each sort.
const SOME: [&str; 7] = [
    "wrong id",
    "producer far ahead",
    "never answered",
    "notification storm",
    "sector-size 0",
    "vanishes while serving",
    "keeps grants",
];

pub(super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut stage = Stage::new(ctx, "hostile-back-end", driver, |machine| {
        machine
            .dom0()
            .load("brd", "rd_nr=2 rd_size=65536", Driver::Stock)
    })?;
    // In groups, so that one guest that dies does not take all the rest with it.
    let faults: Vec<(String, Vec<String>)> = FAULTS
        .iter()
        .filter(|(name, _)| full || SOME.contains(name))
        .map(|(name, script)| ((*name).to_owned(), vec!["--json".into(), (*script).into()]))
        .chain((1..=if full { 100 } else { 2 }).map(|seed: u32| {
            (
                format!("random script {seed}"),
                vec!["--seed".into(), seed.to_string()],
            )
        }))
        .collect();
    for group in faults.chunks(10) {
        let (first, last) = (&group[0].0, &group[group.len() - 1].0);
        stage.case(&format!("{first} to {last}"), |machine, facts| {
            let spec = GuestSpec::new("hostile", GuestType::Hvm, driver);
            with_guest(machine, &spec, facts, |machine, guest, facts| {
                fresh(machine, guest).context("before the first fault")?;
                for (name, arguments) in group {
                    let seen = one(machine, guest, arguments).with_context(|| name.clone())?;
                    facts.insert(name.clone(), seen.into());
                }
                Ok(())
            })
        })?;
    }
    stage.finish()
}

/// One fault from beginning to end; returns what the guest's log said about the device.
fn one(machine: &mut Machine, guest: &Guest, arguments: &[String]) -> Result<Vec<String>> {
    let since = machine.at(guest).kernel_log(0)?.next;
    let before = machine.dom0().usage(guest.domid)?;
    let domain = guest.domid.to_string();
    let mut argv: Vec<String> = [
        "hostile-blkback",
        "serve",
        "--device",
        "xvdb",
        "--seconds",
        SERVE,
        "--domain",
    ]
    .map(str::to_owned)
    .into();
    argv.push(domain.clone());
    argv.extend(arguments.iter().cloned());
    let serve = machine.dom0().start(Op::Exec(Exec::new(argv)), SHORT * 2)?;
    let load = machine
        .at(guest)
        .start(Op::Exec(Exec::shell(LOAD)), SHORT * 2)?;

    let reply = machine
        .dom0()
        .join(serve, SHORT * 2)
        .context("the back end to end")?;
    let Reply::Exit(exit) = reply else {
        bail!("the back end ended with {reply:?}");
    };
    // One that died, or that lost its own nodes, leaves some behind.
    machine.dom0().shell(
        &format!("hostile-blkback clean --domain {domain} --device xvdb"),
        SHORT,
    )?;
    let reply = machine.at(guest).join(load, SHORT);
    let reply =
        reply.with_context(|| format!("the guest's I/O to end; back end: {}", exit.stdout))?;
    wait_for(machine, guest, "[ ! -e /sys/block/xvdb ]", SHORT).context("the disk to go")?;
    quiet_since(machine, guest, since)?;
    returned(machine, guest, &before)
        .with_context(|| format!("back end: {} {}; load: {reply:?}", exit.stdout, exit.stderr))?;
    fresh(machine, guest).context("a fresh disk afterwards")?;
    let log = machine.at(guest).kernel_log(since)?;
    Ok(log
        .lines
        .into_iter()
        .filter(|line| line.text.contains("vbd") || line.text.contains("xvdb"))
        .map(|line| line.text)
        .take(8)
        .collect())
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
    fn scripts_are_json_and_the_short_list_names_them() {
        for (name, script) in FAULTS {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(script);
            assert!(parsed.is_ok(), "{name}");
        }
        assert!(SOME
            .iter()
            .all(|some| FAULTS.iter().any(|(name, _)| name == some)));
    }
}
