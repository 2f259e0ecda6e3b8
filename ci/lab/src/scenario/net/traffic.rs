// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verified traffic: over TCP and UDP, IPv4 and IPv6, both ways; each byte is compared where it arrives.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use portico_agent::proto::{Amount, Traffic, TrafficKind, TrafficResult, FRAME};

use crate::machine::{Guest, Machine, Vif, DOM0_V4, DOM0_V6};
use crate::report::Facts;

use super::super::stage::round;

const LIMIT: Duration = Duration::from_secs(180);

/// The interface of most guests.
pub(in super::super) fn eth0() -> Vif {
    Vif::new(2)
}

/// How much traffic.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Load {
    /// Bytes over TCP each way and with each protocol, over all flows.
    pub(in super::super) bytes: u64,
    /// Frames of datagrams each way and with each size.
    pub(in super::super) frames: u64,
    /// Requests.
    pub(in super::super) requests: u64,
    /// Flows side by side.
    pub(in super::super) flows: u32,
}

/// Enough to see every path.
pub(in super::super) const LITTLE: Load = Load {
    bytes: 4 << 20,
    frames: 200,
    requests: 50,
    flows: 1,
};

/// Some seconds' worth.
pub(in super::super) const MUCH: Load = Load {
    bytes: 48 << 20,
    frames: 2000,
    requests: 500,
    flows: 1,
};

impl Load {
    /// The same in so many flows.
    pub(in super::super) fn flows(self, flows: u32) -> Self {
        Self { flows, ..self }
    }
}

/// Bytes of a datagram: the least, one that fills a frame, and one that is sent in fragments.
const SIZES: [u32; 3] = [18, 1400, 9000];

/// Frames a second: few enough that none need be lost.
const RATE: u64 = 1000;

/// dom0's addresses.
pub(in super::super) const DOM0: [&str; 2] = [DOM0_V4, DOM0_V6];

/// All kinds of traffic between a guest and the agent at these addresses.
pub(in super::super) fn verified(
    machine: &mut Machine,
    guest: &Guest,
    peers: [&str; 2],
    load: Load,
    facts: &mut Facts,
) -> Result<()> {
    let begun = machine.seconds();
    let mut bytes = 0;
    let mut lost = 0;
    for (family, peer) in peers.into_iter().enumerate() {
        for back in [false, true] {
            let mut what = Traffic::new(
                peer,
                TrafficKind::Stream,
                1 << 16,
                Amount::Count(load.bytes / u64::from(load.flows)),
            );
            what.back = back;
            what.flows = load.flows;
            what.seed = load.bytes + family as u64;
            bytes += stream(machine, guest, &what)?.bytes;
            // Each size at least once with each protocol and each way.
            let sizes = if back != (family == 0) {
                &SIZES[..1]
            } else {
                &SIZES[1..]
            };
            for size in sizes {
                let shared = u64::from(load.flows * size.div_ceil(FRAME));
                let amount = Amount::Count(load.frames / shared);
                let mut what = Traffic::new(peer, TrafficKind::Datagrams, *size, amount);
                what.back = back;
                what.flows = load.flows;
                what.rate = RATE / shared;
                let result = datagrams(machine, guest, &what)?;
                bytes += result.bytes;
                lost += result.lost;
            }
        }
        for kind in [TrafficKind::Requests, TrafficKind::DatagramRequests] {
            let what = Traffic::new(peer, kind, 64, Amount::Count(load.requests));
            bytes += datagrams(machine, guest, &what)?.bytes;
        }
    }
    facts.insert("verified_bytes".into(), bytes.into());
    facts.insert("lost_datagrams".into(), lost.into());
    facts.insert(
        "traffic_seconds".into(),
        round(machine.seconds() - begun).into(),
    );
    Ok(())
}

/// Traffic of which nothing may be lost.
pub(in super::super) fn stream(
    machine: &mut Machine,
    guest: &Guest,
    what: &Traffic,
) -> Result<TrafficResult> {
    let result = exchange(machine, guest, what)?;
    if let Amount::Count(wanted) = what.amount {
        let wanted = wanted * u64::from(what.flows);
        ensure!(
            result.bytes == wanted,
            "{}: {} of {wanted} bytes arrived",
            words(what),
            result.bytes
        );
    }
    Ok(result)
}

/// Traffic of which a little may be lost: queues are short, and the machine is slow.
pub(in super::super) fn datagrams(
    machine: &mut Machine,
    guest: &Guest,
    what: &Traffic,
) -> Result<TrafficResult> {
    let result = exchange(machine, guest, what)?;
    ensure!(
        result.arrived > 0 && result.lost <= 1 + result.sent / 50 && result.duplicates == 0,
        "{}: {} sent, {} arrived, {} twice",
        words(what),
        result.sent,
        result.arrived,
        result.duplicates
    );
    Ok(result)
}

fn exchange(machine: &mut Machine, guest: &Guest, what: &Traffic) -> Result<TrafficResult> {
    let result = machine
        .at(guest)
        .traffic(what, LIMIT)
        .with_context(|| words(what))?;
    correct(what, &result)?;
    Ok(result)
}

/// Fails if a byte was wrong.
pub(in super::super) fn correct(what: &Traffic, result: &TrafficResult) -> Result<()> {
    ensure!(
        result.wrong_bytes == 0,
        "{}: {} bytes differ, the first at {:?}",
        words(what),
        result.wrong_bytes,
        result.first_wrong
    );
    Ok(())
}

/// A traffic in words.
fn words(what: &Traffic) -> String {
    let way = if what.back { "from" } else { "to" };
    format!(
        "{:?} of {} bytes in {} flows {way} {}",
        what.kind, what.size, what.flows, what.peer
    )
}
