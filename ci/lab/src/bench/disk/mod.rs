// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk that is measured, and its load: fio.

pub mod jobs;

use anyhow::{ensure, Result};
use portico_agent::proto::{Driver, Fio, FioResult};

use crate::machine::{Device, Disk, Guest, Machine};

use super::bed::{Length, Ran, STEP};
use jobs::{DiskJob, Engine};

/// Its name in the guest.
const DISK: &str = "/dev/xvda";

/// Its name on the bus, without the domain: `xvda` has major 202, minor 0.
pub(super) const BUS: (&str, u32) = ("vbd", 202 << 8);

/// What its line of `/proc/interrupts` ends with.
pub(super) const INTERRUPT: &str = "blkif";

/// Disk behind it in dom0: 1 GiB that takes and gives data without touching any.
const BACKING: (&str, &str, &str) = (
    "null_blk",
    "nr_devices=1 gb=1 bs=512 submit_queues=1 hw_queue_depth=256",
    "/dev/nullb0",
);

/// Makes the disk in dom0.
pub(super) fn prepare(machine: &mut Machine) -> Result<Device> {
    let (module, params, path) = BACKING;
    machine.dom0().load(module, params, Driver::Stock)?;
    Ok(Device::Disk(Disk::device(path, "xvda")))
}

/// Takes the one-time cost of the first requests out of the measurement: granting pages.
pub(super) fn warm_up(machine: &mut Machine, guest: &Guest) -> Result<()> {
    machine.at(guest).digest(DISK, 0, 8 << 20, STEP)?;
    Ok(())
}

/// Runs a job.
pub(super) fn run(
    machine: &mut Machine,
    guest: &Guest,
    engine: Engine,
    job: DiskJob,
    length: Length,
) -> Result<Ran> {
    let mut what = Fio {
        path: DISK.into(),
        rw: job.pattern.name().into(),
        bs: u64::from(job.block),
        depth: job.depth,
        jobs: job.processes,
        size: 0,
        seconds: 0,
        verify: false,
        // The same places in every run.
        extra: vec!["--randseed=1".into(), "--norandommap".into()],
    };
    let engine = engine.options().iter();
    what.extra.extend(engine.map(|option| (*option).to_owned()));
    if !job.singly && job.depth > 1 {
        // As an event loop does: all that completed is submitted again at once.
        what.extra
            .push(format!("--iodepth_batch_submit={}", job.depth));
        what.extra
            .push(format!("--iodepth_batch_complete_max={}", job.depth));
    }
    match length {
        Length::Millis(ms) => what
            .extra
            .extend([format!("--runtime={ms}ms"), "--time_based".into()]),
        // Nobody reads latencies then, so fio need not look at the clock all the time.
        Length::Items(count) => what
            .extra
            .extend([format!("--number_ios={count}"), "--gtod_reduce=1".into()]),
    }
    let result = machine.at(guest).fio(&what, STEP * 2)?;
    ensure!(
        result.errors == 0,
        "fio counted {} errors: {}",
        result.errors,
        result.message
    );
    Ok(ran(job, &result))
}

fn ran(job: DiskJob, result: &FioResult) -> Ran {
    let side = if job.pattern.writes() {
        &result.write
    } else {
        &result.read
    };
    Ran {
        items: side.ios as f64,
        rate: side.iops,
        bandwidth: side.bandwidth,
        p50_ns: side.p50_ns as f64,
        p99_ns: side.p99_ns as f64,
    }
}

/// One line of facts about the disk as a driver presents it.
pub(super) fn describe(machine: &mut Machine, guest: &Guest) -> Result<String> {
    let line = "cd /sys/class/block/xvda; echo \"scheduler $(cat queue/scheduler), \
                $(ls mq | wc -l) queues, $(cat queue/nr_requests) requests, \
                largest request $(cat queue/max_sectors_kb) KiB in \
                $(cat queue/max_segments) segments\"";
    let exit = machine.at(guest).shell(line, STEP)?;
    Ok(exit.stdout.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::jobs::Extent;
    use portico_agent::proto::FioSide;

    #[test]
    fn the_side_that_the_job_is_about_counts() {
        let result = FioResult {
            read: FioSide {
                ios: 1000,
                iops: 500.0,
                ..FioSide::default()
            },
            ..FioResult::default()
        };
        let job = jobs::timed(Extent::Quick)[0];
        assert_eq!(ran(job, &result).items, 1000.0);
        let writes = jobs::timed(Extent::Quick)
            .into_iter()
            .find(|job| job.pattern.writes())
            .unwrap();
        assert_eq!(ran(writes, &result).rate, 0.0);
    }
}
