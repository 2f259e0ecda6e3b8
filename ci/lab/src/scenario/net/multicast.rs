// SPDX-License-Identifier: MIT OR Apache-2.0
//! Multicast: a guest gets what it listens to. With our driver the back end keeps the rest from it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use anyhow::{bail, ensure, Context as _, Result};
use portico_agent::proto::Driver;

use crate::machine::{Guest, GuestSpec, GuestType, Machine, BRIDGE};
use crate::report::Facts;

use super::super::facts::nodes;
use super::super::stage::with_guest;
use super::super::{driven_by, ETH0};
use super::traffic::eth0;

const SHORT: Duration = Duration::from_secs(60);

/// Packets to a group at a time.
const PACKETS: u64 = 20;

/// More groups than the back end's list has room for.
const MANY: Range<u32> = 10..72;

pub(super) fn multicast(machine: &mut Machine, driver: Driver, facts: &mut Facts) -> Result<()> {
    machine.bridge(1500)?;
    // For what dom0 itself sends over the bridge the back end does not look at its list: there must be a
    // host on the network.
    let host = format!(
        "ip link delete mc0 2>/dev/null; ip link add mc0 type veth peer name mc1 && \
         ip link set mc1 master {BRIDGE} up && ip link set mc0 up && \
         ip address add 10.80.0.1/24 dev mc0 && ip route add 239.0.0.0/8 dev mc0"
    );
    machine.dom0().load("veth", "", Driver::Stock)?;
    machine.dom0().run(&["bash", "-c", &host], SHORT)?;
    let mut spec = GuestSpec::new("multicast", GuestType::Hvm, driver);
    spec.plug(eth0());
    with_guest(machine, &spec, facts, |machine, guest, facts| {
        driven_by(machine, guest, ETH0, facts)?;
        machine.at(guest).set_link(&eth0().link("eth0"))?;
        // The stock driver does not ask for that.
        let filters = driver == Driver::Ours;
        let look = |machine: &mut Machine, guest: &Guest, filtered: bool, when: &str| {
            settled(machine, guest, filtered).context(when.to_owned())?;
            passes(machine, guest, 1, true).with_context(|| format!("{when}, joined"))?;
            passes(machine, guest, 2, !filtered).with_context(|| format!("{when}, not joined"))
        };
        let run = |machine: &mut Machine, guest: &Guest, line: &str| {
            let argv = ["sh", "-e", "-c", line];
            machine.at(guest).run(&argv, SHORT).map(drop)
        };
        let groups = |machine: &mut Machine, guest: &Guest, what: &str, numbers: Range<u32>| {
            // The stock driver refuses that, and gets them all.
            if !filters {
                return Ok(());
            }
            let macs: Vec<String> = numbers.map(mac).collect();
            let macs = macs.join(" ");
            let each = format!("/usr/sbin/ip maddress {what} $mac dev eth0");
            run(
                machine,
                guest,
                &format!("for mac in {macs}; do {each}; done"),
            )
        };

        settled(machine, guest, filters)?;
        passes(machine, guest, 1, !filters).context("nothing joined")?;
        groups(machine, guest, "add", 1..2)?;
        look(machine, guest, filters, "one group")?;
        run(machine, guest, "/usr/sbin/ip link set eth0 allmulticast on")?;
        look(machine, guest, false, "all groups")?;
        run(
            machine,
            guest,
            "/usr/sbin/ip link set eth0 allmulticast off",
        )?;
        look(machine, guest, filters, "one group again")?;
        groups(machine, guest, "add", MANY)?;
        look(machine, guest, false, "too many groups")?;
        groups(machine, guest, "delete", MANY)?;
        look(machine, guest, filters, "few groups again")?;
        machine.save(guest, "/tmp/multicast.save")?;
        machine.restore(guest, "/tmp/multicast.save")?;
        machine.dom0().run(&["rm", "/tmp/multicast.save"], SHORT)?;
        look(machine, guest, filters, "after a restore")?;
        // The next driver may know nothing of it.
        machine
            .at(guest)
            .write("/sys/bus/xen/drivers/vif/unbind", "vif-0")?;
        let front = nodes(
            machine,
            &format!("/local/domain/{}/device/vif/0", guest.domid),
        )?;
        ensure!(
            front.contains_key("state") && !front.contains_key("request-multicast-control"),
            "the filter is still asked for after the driver let go"
        );
        Ok(())
    })?;
    machine
        .dom0()
        .run(&["ip", "link", "delete", "mc0"], SHORT)?;
    Ok(())
}

/// The Ethernet address of group `number`, which is 239.1.1.`number`.
fn mac(number: u32) -> String {
    format!("01:00:5e:01:01:{number:02x}")
}

/// Waits until the back end is connected, and is asked to filter or not to.
fn settled(machine: &mut Machine, guest: &Guest, filtered: bool) -> Result<()> {
    let domid = guest.domid;
    let (front, back) = (
        format!("/local/domain/{domid}/device/vif/0"),
        format!("/local/domain/0/backend/vif/{domid}/0"),
    );
    let mut found = String::new();
    for _ in 0..40 {
        let is = |nodes: &BTreeMap<String, String>, key: &str| nodes.get(key).cloned();
        let state = is(&nodes(machine, &back)?, "state");
        let asked = is(&nodes(machine, &front)?, "request-multicast-control");
        let asked = asked.is_some_and(|asked| asked == "1");
        if state.as_deref() == Some("4") && asked == filtered {
            // The back end looks at it a moment later.
            std::thread::sleep(Duration::from_millis(500));
            return Ok(());
        }
        found = format!("back end in state {state:?}, filter asked for: {asked}");
        std::thread::sleep(Duration::from_millis(250));
    }
    bail!("{found}")
}

/// Fails if packets to group `number` do not reach the guest, or if they do.
fn passes(machine: &mut Machine, guest: &Guest, number: u32, pass: bool) -> Result<()> {
    let received = |machine: &mut Machine| -> Result<u64> {
        Ok(machine.at(guest).link("eth0")?.counter("rx_packets"))
    };
    let before = received(machine)?;
    let line = format!("for i in {{1..{PACKETS}}}; do echo $i > /dev/udp/239.1.1.{number}/9; done");
    machine.dom0().run(&["bash", "-c", &line], SHORT)?;
    let mut arrived = 0;
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(200));
        arrived = received(machine)? - before;
        if arrived >= PACKETS {
            break;
        }
    }
    // There may be a little other traffic.
    let right = if pass {
        arrived >= PACKETS
    } else {
        arrived < PACKETS / 2
    };
    ensure!(right, "{PACKETS} packets were sent, {arrived} arrived");
    Ok(())
}
