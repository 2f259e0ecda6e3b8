// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verified traffic in all combinations of guest types, vCPUs, grants and event channels.

use anyhow::Result;
use portico_agent::proto::Driver;

use crate::context::Context;
use crate::part::Tally;

use super::super::types::{run_with, Subject};
use super::super::{driven_by, ETH0};
use super::traffic::{self, eth0, DOM0, LITTLE, MUCH};

const NET: Subject = Subject {
    name: "net-types",
    prepare: |machine| machine.bridge(1500),
    equip: |spec| spec.plug(eth0()),
    work: |machine, guest, much, facts| {
        driven_by(machine, guest, ETH0, facts)?;
        machine.at(guest).set_link(&eth0().link("eth0"))?;
        let load = if much { MUCH } else { LITTLE };
        traffic::verified(machine, guest, DOM0, load.flows(2), facts)
    },
};

pub(in super::super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    run_with(ctx, driver, full, NET)
}
