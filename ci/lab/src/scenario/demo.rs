// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demonstration: one boot of Xen, one guest, its disk and its network on our drivers with verified
//! data, and a table of ours beside the stock drivers on the same work.

use std::time::Duration;

use anyhow::{ensure, Result};
use portico_agent::proto::{Amount, Driver, Fio, Traffic, TrafficKind};
use serde::Serialize;

use crate::context::Context;
use crate::image;
use crate::machine::{Device, Disk, Guest, GuestSpec, GuestType, Machine, MachineOptions, DOM0_V4};
use crate::report::{self, Facts};

use super::io::{self, FIRST, MIB};
use super::net::traffic::{self, eth0, DOM0, LITTLE};
use super::stage::{quiet_since, STOCK_SAYS};

const SHORT: Duration = Duration::from_secs(60);

/// Bytes that are compared with dom0's view of the disk.
const VERIFIED: u64 = 64 * MIB;

/// Rounds of each job with each driver, in turn.
const ROUNDS: usize = 3;

/// What is measured.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// fio's pattern, block size, depth.
    Disk(&'static str, u64, u32),
    /// Kind, whether it comes from dom0, bytes of a write, datagram or request.
    Net(TrafficKind, bool, u32),
}

/// Name, unit and work.
type Job = (&'static str, &'static str, Work);

const DISK_JOBS: [Job; 4] = [
    (
        "disk read, 1 MiB, depth 4",
        "MB/s",
        Work::Disk("read", 1 << 20, 4),
    ),
    (
        "disk write, 1 MiB, depth 4",
        "MB/s",
        Work::Disk("write", 1 << 20, 4),
    ),
    (
        "disk random read, 4 KiB, depth 32",
        "IOPS",
        Work::Disk("randread", 4096, 32),
    ),
    (
        "disk random write, 4 KiB, depth 32",
        "IOPS",
        Work::Disk("randwrite", 4096, 32),
    ),
];

const NET_JOBS: [Job; 5] = [
    (
        "TCP to dom0",
        "MB/s",
        Work::Net(TrafficKind::Stream, false, 1 << 16),
    ),
    (
        "TCP from dom0",
        "MB/s",
        Work::Net(TrafficKind::Stream, true, 1 << 16),
    ),
    (
        "UDP to dom0, 64 bytes",
        "packets/s",
        Work::Net(TrafficKind::Datagrams, false, 64),
    ),
    (
        "UDP from dom0, 64 bytes",
        "packets/s",
        Work::Net(TrafficKind::Datagrams, true, 64),
    ),
    (
        "UDP request and answer, 64 bytes",
        "per s",
        Work::Net(TrafficKind::DatagramRequests, false, 64),
    ),
];

/// A line of the table: medians over the rounds.
#[derive(Debug, Serialize)]
struct Line {
    job: &'static str,
    unit: &'static str,
    ours: f64,
    stock: f64,
    ratio: f64,
}

#[derive(Debug, Serialize)]
struct Demo {
    hypervisor: String,
    kernel: String,
    guest: Facts,
    verified_bytes: u64,
    digest: String,
    /// Bytes over the network; none if that was not shown.
    verified_traffic: Option<u64>,
    table: Vec<Line>,
    seconds: f64,
}

pub(super) fn run(ctx: &Context, kind: GuestType) -> Result<()> {
    let progress = &ctx.host.progress;
    let images = image::images(ctx)?;

    let step = progress.step("booting Xen and dom0");
    let mut machine = Machine::boot(ctx, &images, &MachineOptions::new("demo"))?;
    let version = machine.dom0().run(&["xl", "info", "xen_version"], SHORT)?;
    let hypervisor = format!("Xen {}", version.trim());
    step.done(&hypervisor);

    let step = progress.step(format!("booting a guest of type {}", kind.name()));
    machine
        .dom0()
        .load("brd", "rd_nr=1 rd_size=131072", Driver::Stock)?;
    let mut spec = GuestSpec::new("demo", kind, Driver::Ours);
    spec.memory_mib = 448;
    spec.disks.push(disk());
    // A checkout may have the disk's driver only.
    let network = ctx.has_module("xen-netfront");
    if network {
        machine.bridge(1500)?;
        spec.plug(eth0());
    }
    let guest = machine.create(&spec)?;
    step.done("");

    let result = show(ctx, &mut machine, &guest, network, hypervisor);
    let demo = result.map_err(|error| machine.guest_failure(&guest, &error))?;
    machine.destroy(&guest)?;
    machine.power_off()?;
    print(&demo);
    let path = report::write_json(&ctx.report(), "demo", &demo)?;
    println!("\nresults: {}", path.display());
    Ok(())
}

fn show(
    ctx: &Context,
    machine: &mut Machine,
    guest: &Guest,
    network: bool,
    hypervisor: String,
) -> Result<Demo> {
    let progress = &ctx.host.progress;
    let mut facts = Facts::new();
    let kind = machine.at(guest).read("/sys/hypervisor/guest_type")?;
    facts.insert("type".into(), kind.trim().into());
    super::driven_by(machine, guest, super::XVDA, &mut facts)?;

    let step = progress.step("writing 64 MiB in the guest, comparing with what dom0 reads");
    let digest = io::guest_to_dom0(machine, guest, FIRST, 2026, VERIFIED)?;
    io::dom0_to_guest(machine, guest, FIRST, 6202, VERIFIED)?;
    let bytes = io::fio_verify(machine, guest, FIRST.guest, 16 * MIB, 1)?;
    step.done("no difference");

    let mut jobs: Vec<Job> = DISK_JOBS.to_vec();
    let mut devices = vec![Device::Disk(disk())];
    let mut verified_traffic = None;
    if network {
        super::driven_by(machine, guest, super::ETH0, &mut facts)?;
        let step = progress.step("TCP and UDP both ways, IPv4 and IPv6, each byte compared");
        machine.at(guest).set_link(&eth0().link("eth0"))?;
        let mut seen = Facts::new();
        traffic::verified(machine, guest, DOM0, LITTLE, &mut seen)?;
        verified_traffic = seen
            .get("verified_bytes")
            .and_then(serde_json::Value::as_u64);
        step.done("no difference");
        jobs.extend(NET_JOBS);
        devices.push(Device::Vif(eth0()));
    }

    let mut speeds = vec![[Vec::new(), Vec::new()]; jobs.len()];
    let step = progress.step("measuring the drivers in turn");
    for round in 0..ROUNDS {
        for (side, driver) in [Driver::Ours, Driver::Stock].into_iter().enumerate() {
            if round != 0 || side != 0 {
                for device in &devices {
                    machine.switch_driver(guest, device, (driver, ""), true)?;
                }
                if network {
                    machine.at(guest).set_link(&eth0().link("eth0"))?;
                }
            }
            for (job, speeds) in jobs.iter().zip(&mut speeds) {
                step.note(format!("round {}: {}, {}", round + 1, driver.name(), job.0));
                speeds[side].push(measure(machine, guest, *job)?);
            }
        }
    }
    step.done("");
    // The stock driver was at work, too.
    quiet_since(machine, guest, 0, STOCK_SAYS)?;
    let table = jobs
        .iter()
        .zip(speeds)
        .map(|((job, unit, _), [ours, stock])| {
            let (ours, stock) = (median(ours), median(stock));
            Line {
                job,
                unit,
                ours,
                stock,
                ratio: ours / stock,
            }
        })
        .collect();
    Ok(Demo {
        hypervisor,
        kernel: machine.kernel().to_owned(),
        guest: facts,
        verified_bytes: 2 * VERIFIED + bytes,
        digest,
        verified_traffic,
        table,
        seconds: machine.seconds(),
    })
}

fn disk() -> Disk {
    Disk::device(FIRST.dom0, "xvda")
}

fn measure(machine: &mut Machine, guest: &Guest, (name, unit, work): Job) -> Result<f64> {
    match work {
        Work::Disk(rw, bs, depth) => {
            let what = Fio {
                path: FIRST.guest.into(),
                rw: rw.into(),
                bs,
                depth,
                jobs: 1,
                size: 0,
                seconds: 2,
                verify: false,
                extra: vec!["--randseed=1".into()],
            };
            let result = machine.at(guest).fio(&what, SHORT)?;
            ensure!(result.errors == 0, "{name}: {}", result.message);
            let side = if rw.ends_with("read") {
                &result.read
            } else {
                &result.write
            };
            Ok(match unit {
                "MB/s" => side.bandwidth / 1e6,
                _ => side.iops,
            })
        }
        Work::Net(kind, back, size) => {
            let mut what = Traffic::new(DOM0_V4, kind, size, Amount::Millis(2000));
            what.back = back;
            let result = machine.at(guest).traffic(&what, SHORT)?;
            traffic::correct(&what, &result)?;
            Ok(match unit {
                "MB/s" => result.bytes as f64 / result.seconds / 1e6,
                _ => result.arrived as f64 / result.seconds,
            })
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(demo: &Demo) {
    let text = |name: &str| {
        demo.guest
            .get(name)
            .and_then(|v| v.as_str())
            .unwrap_or("?")
            .to_owned()
    };
    println!("hypervisor   {}", demo.hypervisor);
    println!("guest        {}, kernel {}", text("type"), demo.kernel);
    println!("xvda         driven by xen_blkfront from updates/, built here, on portico");
    println!(
        "verified     {} MiB, 64 MiB of them against what dom0 reads (hash {})",
        demo.verified_bytes / MIB,
        demo.digest
    );
    if let Some(bytes) = demo.verified_traffic {
        println!("eth0         driven by xen_netfront from updates/, built here, on portico");
        println!(
            "verified     {} MiB of TCP and UDP, IPv4 and IPv6",
            bytes / MIB
        );
    }
    println!(
        "\n{:<36} {:>10} {:>10} {:>7}",
        "job", "ours", "stock", "ratio"
    );
    for line in &demo.table {
        println!(
            "{:<36} {:>10.0} {:>10.0} {:>7.2}  {}",
            line.job, line.ours, line.stock, line.ratio, line.unit
        );
    }
    println!(
        "\nmedians of {ROUNDS} rounds under emulation: `cargo xtask bench disk` measures with care"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_value_counts() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }
}
