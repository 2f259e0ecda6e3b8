// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demonstration: one boot of Xen, one guest, its disk on our driver with verified data, and a table
//! of ours beside the stock driver on the same work.

use std::time::Duration;

use anyhow::{ensure, Result};
use portico_agent::proto::{Driver, Fio};
use serde::Serialize;

use crate::context::Context;
use crate::image;
use crate::machine::{Disk, Guest, GuestSpec, GuestType, Machine, MachineOptions};
use crate::report::{self, Facts};

use super::io::{self, FIRST, MIB};
use super::stage::quiet;

const SHORT: Duration = Duration::from_secs(60);

/// Bytes that are compared with dom0's view of the disk.
const VERIFIED: u64 = 64 * MIB;

/// Rounds of each job with each driver, in turn.
const ROUNDS: usize = 3;

/// Name, fio's pattern, block size, depth.
const JOBS: [(&str, &str, u64, u32); 4] = [
    ("read, 1 MiB, depth 4", "read", 1 << 20, 4),
    ("write, 1 MiB, depth 4", "write", 1 << 20, 4),
    ("random read, 4 KiB, depth 32", "randread", 4096, 32),
    ("random write, 4 KiB, depth 32", "randwrite", 4096, 32),
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
    let guest = machine.create(&spec)?;
    step.done("");

    let result = show(ctx, &mut machine, &guest, hypervisor);
    let demo = result.map_err(|error| machine.guest_failure(&guest, &error))?;
    machine.destroy(&guest)?;
    machine.power_off()?;
    print(&demo);
    let path = report::write_json(&ctx.report(), "demo", &demo)?;
    println!("\nresults: {}", path.display());
    Ok(())
}

fn show(ctx: &Context, machine: &mut Machine, guest: &Guest, hypervisor: String) -> Result<Demo> {
    let progress = &ctx.host.progress;
    let mut facts = Facts::new();
    let kind = machine.at(guest).read("/sys/hypervisor/guest_type")?;
    facts.insert("type".into(), kind.trim().into());
    super::driven_by(machine, guest, &mut facts)?;

    let step = progress.step("writing 64 MiB in the guest, comparing with what dom0 reads");
    let digest = io::guest_to_dom0(machine, guest, FIRST, 2026, VERIFIED)?;
    io::dom0_to_guest(machine, guest, FIRST, 6202, VERIFIED)?;
    let bytes = io::fio_verify(machine, guest, FIRST.guest, 16 * MIB, 1)?;
    step.done("no difference");

    let mut speeds = vec![[Vec::new(), Vec::new()]; JOBS.len()];
    let step = progress.step("measuring both drivers in turn");
    for round in 0..ROUNDS {
        for (side, driver) in [Driver::Ours, Driver::Stock].into_iter().enumerate() {
            if round != 0 || side != 0 {
                machine.switch_driver(guest, &disk(), driver, true)?;
            }
            for (job, speeds) in JOBS.iter().zip(&mut speeds) {
                step.note(format!("round {}: {}, {}", round + 1, driver.name(), job.0));
                speeds[side].push(measure(machine, guest, *job)?);
            }
        }
    }
    step.done("");
    quiet(machine, guest)?;
    let table = JOBS
        .iter()
        .zip(speeds)
        .map(|(job, [ours, stock])| {
            let (ours, stock) = (median(ours), median(stock));
            Line {
                job: job.0,
                unit: unit(job.2),
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
        table,
        seconds: machine.seconds(),
    })
}

fn disk() -> Disk {
    Disk::device(FIRST.dom0, "xvda")
}

fn measure(machine: &mut Machine, guest: &Guest, job: (&str, &str, u64, u32)) -> Result<f64> {
    let (name, rw, bs, depth) = job;
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
    Ok(match unit(bs) {
        "MB/s" => side.bandwidth / 1e6,
        _ => side.iops,
    })
}

fn unit(bs: u64) -> &'static str {
    if bs > 64 * 1024 {
        "MB/s"
    } else {
        "IOPS"
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
    println!(
        "\n{:<32} {:>10} {:>10} {:>7}",
        "job", "ours", "stock", "ratio"
    );
    for line in &demo.table {
        println!(
            "{:<32} {:>10.0} {:>10.0} {:>7.2}  {}",
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
