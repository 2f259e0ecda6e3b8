// SPDX-License-Identifier: MIT OR Apache-2.0
//! An interface's life: save and restore of the guest with a connection that lives on, and hot plug and
//! unplug under traffic with an account of what is left behind.

use std::time::Duration;

use anyhow::{bail, ensure, Context as _, Result};
use portico_agent::proto::{Amount, Driver, Op, Reply, Traffic, TrafficKind};

use crate::context::Context;
use crate::machine::{Guest, GuestSpec, GuestType, Machine, Vif, BRIDGE, DOM0_V4};
use crate::part::Tally;
use crate::report::Facts;

use super::super::life::{same_as_before, Before};
use super::super::stage::{wait_for, with_guest_that_may_say, Stage, STOCK_SAYS};
use super::super::{driven_by, ETH0};
use super::traffic::{self, eth0, DOM0, LITTLE};

const SHORT: Duration = Duration::from_secs(30);

/// How long a connection may take to go on: its sender waits longer after each try.
const GO_ON: Duration = Duration::from_secs(60);

pub(in super::super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut stage = Stage::new(ctx, "net-life", driver, |machine| machine.bridge(1500))?;
    let kinds: &[GuestType] = if full {
        &GuestType::ALL
    } else {
        &[GuestType::Hvm]
    };
    for kind in kinds {
        let (moves, plugs) = match (full, kind) {
            (true, GuestType::Hvm) => (20, 100),
            (true, _) => (20, 20),
            (false, _) => (2, 6),
        };
        let name = format!(
            "{}: {moves} times saved, {plugs} times plugged",
            kind.name()
        );
        stage.case(&name, |machine, facts| {
            let mut spec = GuestSpec::new("life", *kind, driver);
            spec.plug(eth0());
            let allowed = match driver {
                Driver::Stock => STOCK_SAYS,
                Driver::Ours => &[],
            };
            with_guest_that_may_say(machine, &spec, facts, allowed, |machine, guest, facts| {
                driven_by(machine, guest, ETH0, facts)?;
                machine.at(guest).set_link(&eth0().link("eth0"))?;
                move_around(machine, guest, moves, facts)?;
                plug(machine, guest, plugs, facts)
            })
        })?;
    }
    stage.finish()
}

/// A connection each way that only ends when it is told to.
fn endless(back: bool) -> Traffic {
    let amount = Amount::Millis(86_400_000);
    let mut what = Traffic::new(DOM0_V4, TrafficKind::Stream, 1 << 14, amount);
    what.back = back;
    what
}

fn counters(machine: &mut Machine, guest: &Guest, link: &str) -> Result<(u64, u64)> {
    let state = machine.at(guest).link(link)?;
    Ok((state.counter("rx_bytes"), state.counter("tx_bytes")))
}

fn move_around(
    machine: &mut Machine,
    guest: &mut Guest,
    rounds: u32,
    facts: &mut Facts,
) -> Result<()> {
    let limit = Duration::from_secs(150) * (rounds + 2);
    let mut jobs = Vec::new();
    for back in [false, true] {
        let op = Op::Traffic(endless(back));
        jobs.push((back, machine.at(guest).start(op, limit)?));
    }
    let mut announced = Vec::new();
    for round in 1..=rounds {
        let what = format!("round {round} of {rounds}");
        flows(machine, guest).with_context(|| format!("before {what}"))?;
        machine
            .save(guest, "/tmp/life.save")
            .with_context(|| what.clone())?;
        let watch = Op::Announcements {
            link: BRIDGE.into(),
            millis: 180_000,
        };
        let watch = machine.dom0().start(watch, Duration::from_secs(200))?;
        machine
            .restore(guest, "/tmp/life.save")
            .with_context(|| what.clone())?;
        machine.dom0().run(&["rm", "/tmp/life.save"], SHORT)?;
        flows(machine, guest).with_context(|| format!("after {what}"))?;
        machine.dom0().stop(watch)?;
        let reply = machine.dom0().join(watch, SHORT)?;
        let Reply::Announcements(seen) = reply else {
            bail!("the watch on the bridge ended with {reply:?}");
        };
        let own = |address: &str| {
            seen.iter()
                .any(|one| one.mac == eth0().mac() && one.address == address)
        };
        ensure!(
            own(&eth0().v4()),
            "{what}: the bridge saw no announcement of {}, but {seen:?}",
            eth0().v4()
        );
        announced.push(seen.iter().map(|one| one.times).sum::<u32>());
    }
    let mut moved = 0;
    for (back, job) in jobs {
        machine.at(guest).stop(job)?;
        let reply = machine.at(guest).join(job, Duration::from_secs(60))?;
        let Reply::Traffic(result) = reply else {
            bail!("the connection ended with {reply:?}");
        };
        traffic::correct(&endless(back), &result)?;
        ensure!(
            result.bytes == result.sent_bytes && result.bytes > 0,
            "{} bytes were sent over the connection, {} arrived",
            result.sent_bytes,
            result.bytes
        );
        moved += result.bytes;
    }
    facts.insert("rounds".into(), rounds.into());
    facts.insert("verified_bytes_of_connections".into(), moved.into());
    facts.insert("announcements".into(), announced.into());
    let mut after = Facts::new();
    traffic::verified(machine, guest, DOM0, LITTLE, &mut after)
        .context("after the last restore")?;
    facts.insert("after".into(), after.into());
    Ok(())
}

/// Waits until both connections have moved some data.
fn flows(machine: &mut Machine, guest: &Guest) -> Result<()> {
    let (rx, tx) = counters(machine, guest, "eth0")?;
    let condition = format!(
        "[ $(cat /sys/class/net/eth0/statistics/rx_bytes) -gt {} ] && \
         [ $(cat /sys/class/net/eth0/statistics/tx_bytes) -gt {} ]",
        rx + (1 << 18),
        tx + (1 << 18)
    );
    wait_for(machine, guest, &condition, GO_ON).context("both connections to go on")
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

/// Plugs an interface in, uses it, and takes it away: idle in even rounds, under traffic in odd ones.
fn once(machine: &mut Machine, guest: &Guest, round: u32) -> Result<()> {
    let vif = Vif::new(9);
    machine.attach_vif(guest, &vif)?;
    let mut link = vif.link("eth1");
    // An own net: what goes to dom0 goes through this interface.
    link.addresses = vec!["10.78.0.9/24".into()];
    machine.at(guest).set_link(&link)?;
    let second = "ip address replace 10.78.0.1/24 dev xenbr0";
    machine.dom0().shell(second, SHORT)?;
    let mut what = Traffic::new(
        "10.78.0.1",
        TrafficKind::Stream,
        1 << 14,
        Amount::Count(1 << 20),
    );
    what.seed = u64::from(round);
    traffic::stream(machine, guest, &what)?;
    let job = match round % 2 {
        0 => None,
        _ => {
            what.amount = Amount::Millis(60_000);
            what.back = round % 4 == 1;
            let op = Op::Traffic(what);
            let job = machine.at(guest).start(op, Duration::from_secs(90))?;
            let (rx, tx) = counters(machine, guest, "eth1")?;
            let busy = format!(
                "cd /sys/class/net/eth1/statistics && [ $(($(cat rx_bytes) + $(cat tx_bytes))) -gt {} ]",
                rx + tx + (1 << 18)
            );
            wait_for(machine, guest, &busy, SHORT).context("traffic to begin")?;
            Some(job)
        }
    };
    machine.detach_vif(guest, &vif)?;
    wait_for(machine, guest, "[ ! -e /sys/class/net/eth1 ]", SHORT)
        .context("the interface to go")?;
    if let Some(job) = job {
        // The connection hangs: nobody resets it. It must be possible to end it.
        machine.at(guest).stop(job)?;
        if let Ok(reply) = machine.at(guest).join(job, SHORT) {
            bail!("the connection ended well without its interface: {reply:?}");
        }
    }
    Ok(())
}
