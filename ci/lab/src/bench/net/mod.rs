// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network that is measured, and its load: traffic between the agents of guest and dom0.

pub mod jobs;

use anyhow::{ensure, Result};
use portico_agent::proto::{Amount, Traffic, TrafficKind, TrafficResult};

use crate::machine::{Device, Guest, Machine, Vif, DOM0_V4};

use super::bed::{Length, Ran, STEP};
use jobs::{NetJob, STREAM_PACKET};

/// Its name on the bus, without the domain.
pub(super) const BUS: (&str, u32) = ("vif", 0);

/// What the last word of its lines of `/proc/interrupts` begins with.
pub(super) const INTERRUPT: &str = "vif0-";

/// Datagrams a second in runs in which instructions are counted: all arrive, so that what is counted is
/// the work for them, and not for those that nobody had room for.
const COUNTED_RATE: u64 = 4000;

fn vif() -> Vif {
    Vif::new(2)
}

/// Makes the bridge in dom0.
pub(super) fn prepare(machine: &mut Machine) -> Result<Device> {
    machine.bridge(1500)?;
    Ok(Device::Vif(vif()))
}

/// Sets the interface up and has both sides know each other.
pub(super) fn warm_up(machine: &mut Machine, guest: &Guest) -> Result<()> {
    machine.at(guest).set_link(&vif().link("eth0"))?;
    let amount = Amount::Count(4 << 20);
    for back in [false, true] {
        let mut what = Traffic::new(DOM0_V4, TrafficKind::Stream, 1 << 16, amount);
        what.back = back;
        machine.at(guest).traffic(&what, STEP)?;
    }
    Ok(())
}

/// Runs a job.
pub(super) fn run(
    machine: &mut Machine,
    guest: &Guest,
    job: NetJob,
    length: Length,
) -> Result<Ran> {
    let amount = match (length, job.kind) {
        (Length::Millis(ms), _) => Amount::Millis(u64::from(ms)),
        (Length::Items(count), TrafficKind::Stream) => {
            Amount::Count(u64::from(count) * u64::from(STREAM_PACKET))
        }
        (Length::Items(count), _) => Amount::Count(u64::from(count)),
    };
    let mut what = Traffic::new(DOM0_V4, job.kind, job.size, amount);
    what.back = job.back;
    what.flows = job.flows;
    if let Length::Items(_) = length {
        what.rate = COUNTED_RATE / u64::from(job.flows);
    }
    let result = machine.at(guest).traffic(&what, STEP * 2)?;
    ensure!(
        result.wrong_bytes == 0 && result.bytes > 0,
        "{} bytes arrived, {} of them wrong",
        result.bytes,
        result.wrong_bytes
    );
    Ok(ran(job, &result))
}

fn ran(job: NetJob, result: &TrafficResult) -> Ran {
    let items = match job.kind {
        TrafficKind::Stream => result.bytes as f64 / f64::from(STREAM_PACKET),
        _ => result.arrived as f64,
    };
    Ran {
        items,
        rate: items / result.seconds,
        bandwidth: result.bytes as f64 / result.seconds,
        p50_ns: result.p50_ns as f64,
        p99_ns: result.p99_ns as f64,
    }
}

/// One line of facts about the interface as a driver presents it.
pub(super) fn describe(machine: &mut Machine, guest: &Guest) -> Result<String> {
    let state = machine.at(guest).link("eth0")?;
    let on = |name: &str| match state.feature(name) {
        Some(true) => "on",
        _ => "off",
    };
    Ok(format!(
        "MTU {}, {} queues, scatter-gather {}, TCP segmentation {}, receive offload {}",
        state.mtu,
        state.tx_queues,
        on("scatter-gather"),
        on("tcp-segmentation-offload"),
        on("generic-receive-offload")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::jobs::Extent;

    #[test]
    fn packets_of_a_stream_are_counted_by_its_bytes() {
        let job = jobs::timed(Extent::Quick)[0];
        let result = TrafficResult {
            bytes: 14_480,
            seconds: 2.0,
            ..TrafficResult::default()
        };
        let ran = ran(job, &result);
        assert_eq!((ran.items, ran.rate, ran.bandwidth), (10.0, 5.0, 7240.0));
    }
}
