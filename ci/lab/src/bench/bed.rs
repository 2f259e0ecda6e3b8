// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test bed: a machine with one HVM guest whose disk lies on a block device of dom0 that costs next
//! to nothing, and the change from one driver to the other while the guest runs.
//!
//! Both modules register the driver of the same bus devices under the same name, so one is removed
//! before the other is loaded; the disk is unplugged meanwhile.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use portico_agent::proto::{Driver, Fio, FioResult};

use crate::context::Context;
use crate::image;
use crate::machine::{Device, Disk, Guest, GuestSpec, GuestType, Machine, MachineOptions};

use super::disk::Options;
use super::jobs::{Engine, Job};

/// Its disk in the guest.
const DISK: &str = "/dev/xvda";

/// Number of `xvda` on the bus: major 202, minor 0.
const VDEV: u32 = 202 << 8;

/// Disk behind it in dom0: 1 GiB that takes and gives data without touching any.
const BACKING: (&str, &str, &str) = (
    "null_blk",
    "nr_devices=1 gb=1 bs=512 submit_queues=1 hw_queue_depth=256",
    "/dev/nullb0",
);

/// A change of the driver, and other steps that take a second or two.
const STEP: Duration = Duration::from_secs(60);

/// Counters around a job.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// CPU time of the guest, nanoseconds.
    pub cpu_ns: u64,
    /// Notifications that dom0 got for the disk; none if the kernel does not count them.
    pub notifications: Option<u64>,
    /// Interrupts of the disk in the guest.
    pub interrupts: Option<u64>,
}

/// A machine with a guest, ready to measure.
#[derive(Debug)]
pub struct Bed {
    /// The machine.
    pub machine: Machine,
    /// Its guest.
    pub guest: Guest,
    loaded: Option<Driver>,
    same: bool,
    engine: Engine,
}

impl Bed {
    /// Boots.
    ///
    /// # Errors
    ///
    /// When the machine or the guest does not come up.
    pub fn boot(ctx: &Context, machine: &MachineOptions, options: &Options) -> Result<Self> {
        let images = image::images(ctx)?;
        let mut machine = Machine::boot(ctx, &images, machine)?;
        let (module, params, _) = BACKING;
        machine.dom0().load(module, params, Driver::Stock)?;
        let mut spec = GuestSpec::new("bench", GuestType::Hvm, Driver::Stock);
        // Room for two processes with 64 requests of 1 MiB each.
        spec.memory_mib = 640;
        spec.modules.clear();
        let guest = machine.create(&spec)?;
        Ok(Self {
            machine,
            guest,
            loaded: None,
            same: options.same,
            engine: options.engine,
        })
    }

    /// Has the disk driven by `driver`. Returns whether that was a change.
    ///
    /// # Errors
    ///
    /// When the modules cannot be changed, or the disk does not come back.
    pub fn switch(&mut self, driver: Driver) -> Result<bool> {
        if self.loaded == Some(driver) {
            return Ok(false);
        }
        let disk = Device::Disk(Disk::device(BACKING.2, "xvda"));
        let loaded = self.loaded.take().is_some();
        let wanted = if self.same { Driver::Stock } else { driver };
        self.machine
            .switch_driver(&self.guest, &disk, (wanted, ""), loaded)?;
        let mut guest = self.machine.at(&self.guest);
        // Takes the one-time cost of the first requests out of the measurement: granting pages.
        guest.digest(DISK, 0, 8 << 20, STEP)?;
        self.loaded = Some(driver);
        Ok(true)
    }

    /// Reads the counters.
    ///
    /// # Errors
    ///
    /// When an agent does not answer or the guest is gone.
    pub fn counters(&mut self) -> Result<Counters> {
        let interrupts = self.machine.at(&self.guest).read("/proc/interrupts")?;
        let domid = self.guest.domid;
        let events = format!("/sys/bus/xen-backend/devices/vbd-{domid}-{VDEV}/xenbus/events");
        let mut dom0 = self.machine.dom0();
        let notifications = match dom0.read(&events) {
            Ok(text) => text.trim().parse().ok(),
            Err(_) => None,
        };
        let state = dom0.domain(domid)?;
        let cpu_ns = state.context("the guest is gone")?.cpu_ns;
        Ok(Counters {
            cpu_ns,
            notifications,
            interrupts: count_interrupts(&interrupts),
        })
    }

    /// Runs a job for some milliseconds, or for a number of requests per process.
    ///
    /// # Errors
    ///
    /// When fio cannot be run, or reports an error.
    pub fn fio(&mut self, job: Job, length: Length) -> Result<FioResult> {
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
        let engine = self.engine.options().iter();
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
            Length::Requests(count) => what
                .extra
                .extend([format!("--number_ios={count}"), "--gtod_reduce=1".into()]),
        }
        let result = self.machine.at(&self.guest).fio(&what, STEP * 2)?;
        ensure!(
            result.errors == 0,
            "fio counted {} errors: {}",
            result.errors,
            result.message
        );
        Ok(result)
    }

    /// The hypervisor's version.
    ///
    /// # Errors
    ///
    /// When dom0 does not answer.
    pub fn hypervisor(&mut self) -> Result<String> {
        let line = "xl info | awk '/^xen_version/ { print $3 }'";
        Ok(self
            .machine
            .dom0()
            .shell(line, STEP)?
            .stdout
            .trim()
            .to_owned())
    }

    /// One line of facts about the disk as a driver presents it.
    ///
    /// # Errors
    ///
    /// When the agent does not answer.
    pub fn describe(&mut self) -> Result<String> {
        let line = "cd /sys/class/block/xvda; echo \"scheduler $(cat queue/scheduler), \
                    $(ls mq | wc -l) queues, $(cat queue/nr_requests) requests, \
                    largest request $(cat queue/max_sectors_kb) KiB in \
                    $(cat queue/max_segments) segments\"";
        let exit = self.machine.at(&self.guest).shell(line, STEP)?;
        Ok(exit.stdout.trim().to_owned())
    }
}

/// How long a job runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// Milliseconds.
    Millis(u32),
    /// Requests that each process makes.
    Requests(u32),
}

/// Sum over the processors of all lines of `/proc/interrupts` that belong to the disk.
fn count_interrupts(text: &str) -> Option<u64> {
    let cpus = text.lines().next()?.split_whitespace().count();
    let mut sum = None;
    for line in text
        .lines()
        .filter(|line| line.trim_end().ends_with("blkif"))
    {
        let counts = line.split_whitespace().skip(1).take(cpus);
        for count in counts.filter_map(|c| c.parse::<u64>().ok()) {
            *sum.get_or_insert(0) += count;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_of_the_disk_are_added_up() {
        let text = "            CPU0       CPU1\n\
                    \x20 24:       100          7   xen-dyn    -event     vbd\n\
                    \x20 63:       1000        5   xen-dyn    -event     blkif\n\
                    \x20 64:       20        3   xen-dyn    -event     blkif\n\
                    NMI:          0          0   Non-maskable interrupts\n";
        assert_eq!(count_interrupts(text), Some(1028));
        assert_eq!(count_interrupts("CPU0\n"), None);
    }
}
