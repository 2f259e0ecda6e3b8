// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log over the network: netconsole sends from within the kernel's printing, with interrupts
//! disabled, and polls the interface itself while its queue is full.

use std::time::Duration;

use anyhow::{bail, ensure, Context as _, Result};
use portico_agent::proto::{Amount, Driver, Op, Reply, Traffic, TrafficKind};

use crate::machine::{GuestSpec, GuestType, Machine, BRIDGE, DOM0_V4};
use crate::report::Facts;

use super::super::stage::with_guest;
use super::super::{driven_by, ETH0};
use super::traffic::{self, eth0, DOM0, LITTLE};

const SHORT: Duration = Duration::from_secs(60);

/// Lines that the guest's kernel is to print.
const LINES: u64 = 600;

/// Lines under traffic that keeps the queue full; netconsole itself gives up those for which there is no
/// room within some microseconds.
pub(super) fn netconsole(machine: &mut Machine, driver: Driver, facts: &mut Facts) -> Result<()> {
    machine.bridge(1500)?;
    let mut spec = GuestSpec::new("console", GuestType::Hvm, driver);
    spec.plug(eth0());
    with_guest(machine, &spec, facts, |machine, guest, facts| {
        driven_by(machine, guest, ETH0, facts)?;
        machine.at(guest).set_link(&eth0().link("eth0"))?;
        let address = machine
            .dom0()
            .read(&format!("/sys/class/net/{BRIDGE}/address"))?;
        let v4 = eth0().v4();
        let to = format!(
            "netconsole=6665@{v4}/eth0,6666@{DOM0_V4}/{}",
            address.trim()
        );
        machine.at(guest).load("netconsole", &to, Driver::Stock)?;

        let before = unheard(machine)?;
        let mut what = Traffic::new(
            DOM0_V4,
            TrafficKind::Stream,
            1 << 16,
            Amount::Millis(600_000),
        );
        what.flows = 4;
        let job = machine
            .at(guest)
            .start(Op::Traffic(what.clone()), SHORT * 12)?;
        let say = format!(
            "echo on > /proc/sys/kernel/printk_devkmsg; i=0; while [ $i -lt {LINES} ]; do \
             echo \"<3>console: line $i\" > /dev/kmsg; i=$((i+1)); done"
        );
        machine.at(guest).shell(&say, SHORT * 2)?;
        machine.at(guest).stop(job)?;
        let Reply::Traffic(result) = machine.at(guest).join(job, SHORT)? else {
            bail!("the traffic ended otherwise");
        };
        traffic::correct(&what, &result)?;
        let arrived = unheard(machine)? - before;
        facts.insert("lines".into(), LINES.into());
        facts.insert("lines_that_arrived".into(), arrived.into());
        facts.insert("verified_bytes_meanwhile".into(), result.bytes.into());
        ensure!(
            arrived * 2 > LINES && arrived <= LINES + LINES / 2,
            "{arrived} of {LINES} lines arrived"
        );
        machine.at(guest).unload("netconsole")?;
        traffic::verified(machine, guest, DOM0, LITTLE, facts).context("afterwards")
    })
}

/// Datagrams to dom0 for which nobody listens: there is no program for the lines.
fn unheard(machine: &mut Machine) -> Result<u64> {
    let snmp = machine.dom0().read("/proc/net/snmp")?;
    snmp.lines()
        .filter_map(|line| line.strip_prefix("Udp: "))
        .nth(1)
        .and_then(|values| values.split(' ').nth(1)?.parse().ok())
        .context("NoPorts in /proc/net/snmp")
}
