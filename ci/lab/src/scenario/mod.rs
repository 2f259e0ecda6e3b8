// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done in real guests, as the command line calls it.

use std::path::Path;

use anyhow::{bail, ensure, Result};
use portico_agent::proto::Driver;

use crate::context::Context;
use crate::machine::{Guest, GuestType, Machine};
use crate::part::{Part, Tally};
use crate::report::Facts;

mod demo;
mod facts;
mod features;
mod hostile;
mod io;
mod kinds;
mod life;
mod net;
mod prompt;
mod root_disk;
mod stage;
mod trial;
mod types;

/// A scenario: what it shows, and its run with a driver, whole or in part.
type Scenario = (
    &'static str,
    &'static str,
    fn(&Context, Driver, bool) -> Result<Tally>,
);

const SCENARIOS: [Scenario; 12] = [
    (
        "guest-types",
        "verified I/O in HVM, PVH and PV guests, grants v1 and v2, FIFO and 2-level events",
        types::run,
    ),
    (
        "disk-features",
        "persistent grants, indirect segments, ring pages, queues, trust",
        features::run,
    ),
    (
        "disk-kinds",
        "large sectors, discard, flush, FUA, read-only, CD-ROM, resize",
        kinds::run,
    ),
    (
        "save-restore",
        "the guest moves while fio writes and verifies",
        life::save_restore,
    ),
    (
        "hot-plug",
        "disks come and go, also under I/O, and nothing leaks",
        life::hot_plug,
    ),
    (
        "root-disk",
        "the root file system of an HVM guest, clean after a reboot",
        root_disk::run,
    ),
    (
        "hostile-back-end",
        "faults of the back end, one after the other, and random ones",
        hostile::run,
    ),
    (
        "net-types",
        "verified traffic in HVM, PVH and PV guests, grants v1 and v2, FIFO and 2-level events",
        net::types::run,
    ),
    (
        "net-features",
        "queues, event channels, MTU, offloads, IPv4 and IPv6, guest to guest, multicast",
        net::features::run,
    ),
    (
        "net-life",
        "save and restore, hot plug and unplug under traffic, and nothing leaks",
        net::life::run,
    ),
    (
        "net-hostile",
        "faults of the network's back end, one after the other, and random ones",
        net::hostile::run,
    ),
    (
        "net-xdp",
        "XDP programs that pass, drop, send back and redirect what comes",
        net::xdp::run,
    ),
];

/// Scenarios of the whole test run only.
const LONG: [Scenario; 1] = [(
    "net-selftests",
    "the kernel's own tests of network drivers, ours beside the stock driver",
    net::selftests::run,
)];

/// The main job: a guest on our driver, verified I/O, ours beside the stock driver.
///
/// # Errors
///
/// When a step fails or passes its time limit.
pub fn demo(ctx: &Context, kind: GuestType) -> Result<()> {
    demo::run(ctx, kind)
}

/// The parts of the test run in real guests; with `full`, the whole matrices.
pub fn parts(full: bool) -> Vec<Part> {
    let long = if full { &LONG[..] } else { &[] };
    SCENARIOS
        .into_iter()
        .chain(long.iter().copied())
        .map(|(name, about, run)| {
            Part::new(name, about, move |ctx: &Context| {
                run(ctx, Driver::Ours, full)
            })
        })
        .collect()
}

/// Runs one scenario with a driver: with the stock one, it is the scenario that is tested.
///
/// # Errors
///
/// When there is no such scenario, or it cannot be run.
pub fn run(ctx: &Context, name: &str, driver: Driver, full: bool) -> Result<Tally> {
    let mut all = SCENARIOS.into_iter().chain(LONG);
    match all.find(|scenario| scenario.0 == name) {
        Some((_, _, run)) => run(ctx, driver, full),
        None => {
            let all = SCENARIOS.iter().chain(&LONG);
            let names: Vec<&str> = all.map(|scenario| scenario.0).collect();
            bail!(
                "there is no scenario {name:?}; there are: {}",
                names.join(", ")
            )
        }
    }
}

/// A guest that runs the commands typed on this terminal, until it is left.
///
/// # Errors
///
/// When it does not boot.
pub fn lab(ctx: &Context, kind: GuestType) -> Result<()> {
    prompt::run(ctx, kind)
}

/// A device in the guest: its name on the bus and its driver's module.
#[derive(Clone, Copy, Debug)]
struct Bound(&'static str, &'static str);

/// The first disk of most guests.
const XVDA: Bound = Bound("vbd-51712", "xen_blkfront");

/// The first network interface.
const ETH0: Bound = Bound("vif-0", "xen_netfront");

/// Fails unless the device is driven by the module that the guest was told to load.
fn driven_by(
    machine: &mut Machine,
    guest: &Guest,
    Bound(device, module): Bound,
    facts: &mut Facts,
) -> Result<()> {
    let link = format!("/sys/bus/xen/devices/{device}/driver/module");
    let target = machine.at(guest).run(
        &["readlink", "-f", &link],
        std::time::Duration::from_secs(20),
    )?;
    let name = Path::new(target.trim()).file_name().unwrap_or_default();
    ensure!(name == module, "{device} is driven by {}", target.trim());
    let state = machine.at(guest).module(module)?;
    let Some(state) = state else {
        bail!("{module} is not a loaded module");
    };
    let helper = machine.at(guest).module("portico")?;
    let ours = state.taint.contains('O')
        && helper.is_some_and(|portico| portico.holders.iter().any(|user| user == module));
    facts.insert("ours".into(), ours.into());
    ensure!(
        ours == (guest.driver == Driver::Ours),
        "{module} is {}the one built here",
        if ours { "" } else { "not " }
    );
    Ok(())
}
