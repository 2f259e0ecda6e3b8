// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test bed: a machine with one HVM guest whose device has a peer in dom0 that costs next to
//! nothing, and the change from one driver to the other while the guest runs.
//!
//! Both modules register the driver of the same bus devices under the same name, so one is removed
//! before the other is loaded; the device is unplugged meanwhile.

use std::time::Duration;

use anyhow::{bail, Context as _, Result};
use portico_agent::proto::Driver;

use crate::context::Context;
use crate::image;
use crate::machine::{Device, Guest, GuestSpec, GuestType, Machine, MachineOptions};

use super::disk::jobs::Engine;
use super::jobs::{Job, Subject};
use super::run::Options;
use super::{disk, net};

/// A change of the driver, and other steps that take a second or two.
pub(super) const STEP: Duration = Duration::from_secs(60);

/// Counters around a job.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// CPU time of the guest, nanoseconds.
    pub cpu_ns: u64,
    /// CPU time of dom0, nanoseconds.
    pub dom0_cpu_ns: u64,
    /// Notifications that dom0 got for the device; none if the kernel does not count them.
    pub notifications: Option<u64>,
    /// Interrupts of the device in the guest.
    pub interrupts: Option<u64>,
}

/// How long a job runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// Milliseconds.
    Millis(u32),
    /// Items of each process or flow.
    Items(u32),
}

/// What came of a job. What could not be measured is 0 or not a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ran {
    /// Items that were done.
    pub items: f64,
    /// Items a second.
    pub rate: f64,
    /// Bytes a second.
    pub bandwidth: f64,
    /// Median latency in nanoseconds.
    pub p50_ns: f64,
    /// 99th percentile of the latency in nanoseconds.
    pub p99_ns: f64,
}

/// A machine with a guest, ready to measure.
#[derive(Debug)]
pub struct Bed {
    /// The machine.
    pub machine: Machine,
    /// Its guest.
    pub guest: Guest,
    subject: Subject,
    device: Device,
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
        let mut machine = machine.clone();
        let mut spec = GuestSpec::new("bench", GuestType::Hvm, Driver::Stock);
        if machine.cpus > 1 {
            // Whether dom0 and guest share a processor for a while must not be up to Xen's scheduler.
            machine.xen.push("dom0_vcpus_pin".into());
            spec.config.push("cpus=\"1\"".into());
        }
        let mut machine = Machine::boot(ctx, &images, &machine)?;
        let device = match options.subject {
            Subject::Disk => disk::prepare(&mut machine)?,
            Subject::Net => net::prepare(&mut machine)?,
        };
        // Room for two processes with 64 requests of 1 MiB each.
        spec.memory_mib = 640;
        spec.modules.clear();
        let guest = machine.create(&spec)?;
        Ok(Self {
            machine,
            guest,
            subject: options.subject,
            device,
            loaded: None,
            same: options.same,
            engine: options.engine,
        })
    }

    /// What is measured.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// Has the device driven by `driver`. Returns whether that was a change.
    ///
    /// # Errors
    ///
    /// When the modules cannot be changed, or the device does not come back.
    pub fn switch(&mut self, driver: Driver) -> Result<bool> {
        if self.loaded == Some(driver) {
            return Ok(false);
        }
        let loaded = self.loaded.take().is_some();
        let wanted = if self.same { Driver::Stock } else { driver };
        self.machine
            .switch_driver(&self.guest, &self.device, (wanted, ""), loaded)?;
        match self.subject {
            Subject::Disk => disk::warm_up(&mut self.machine, &self.guest)?,
            Subject::Net => net::warm_up(&mut self.machine, &self.guest)?,
        }
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
        let ((kind, number), name) = match self.subject {
            Subject::Disk => (disk::BUS, disk::INTERRUPT),
            Subject::Net => (net::BUS, net::INTERRUPT),
        };
        let events = format!("/sys/bus/xen-backend/devices/{kind}-{domid}-{number}/xenbus/events");
        let mut dom0 = self.machine.dom0();
        let notifications = match dom0.read(&events) {
            Ok(text) => text.trim().parse().ok(),
            Err(_) => None,
        };
        let cpu_ns = dom0.domain(domid)?.context("the guest is gone")?.cpu_ns;
        let dom0_cpu_ns = dom0.domain(0)?.context("there is no dom0")?.cpu_ns;
        Ok(Counters {
            cpu_ns,
            dom0_cpu_ns,
            notifications,
            interrupts: count_interrupts(&interrupts, name),
        })
    }

    /// Runs a job for some milliseconds, or for a number of items.
    ///
    /// # Errors
    ///
    /// When the load cannot be run, or reports an error.
    pub fn run(&mut self, job: Job, length: Length) -> Result<Ran> {
        let (machine, guest) = (&mut self.machine, &self.guest);
        match (self.subject, job) {
            (Subject::Disk, Job::Disk(job)) => disk::run(machine, guest, self.engine, job, length),
            (Subject::Net, Job::Net(job)) => net::run(machine, guest, job, length),
            _ => bail!("{job} is no job for the {}", self.subject.name()),
        }
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

    /// One line of facts about the device as a driver presents it.
    ///
    /// # Errors
    ///
    /// When the agent does not answer.
    pub fn describe(&mut self) -> Result<String> {
        match self.subject {
            Subject::Disk => disk::describe(&mut self.machine, &self.guest),
            Subject::Net => net::describe(&mut self.machine, &self.guest),
        }
    }
}

/// Sum over the processors of all lines of `/proc/interrupts` whose last word begins with the name.
fn count_interrupts(text: &str, name: &str) -> Option<u64> {
    let cpus = text.lines().next()?.split_whitespace().count();
    let mut sum = None;
    let own = |line: &&str| {
        let last = line.split_whitespace().next_back();
        last.is_some_and(|last| last.starts_with(name))
    };
    for line in text.lines().filter(own) {
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
    fn interrupts_of_the_device_are_added_up() {
        let text = "            CPU0       CPU1\n\
                    \x20 24:       100          7   xen-dyn    -event     vbd\n\
                    \x20 63:       1000        5   xen-dyn    -event     blkif\n\
                    \x20 64:       20        3   xen-dyn    -event     blkif\n\
                    \x20 65:       20        0   xen-dyn    -event     vif0-q0-tx\n\
                    \x20 66:       2         1   xen-dyn    -event     vif0-q0-rx\n\
                    NMI:          0          0   Non-maskable interrupts\n";
        assert_eq!(count_interrupts(text, disk::INTERRUPT), Some(1028));
        assert_eq!(count_interrupts(text, net::INTERRUPT), Some(23));
        assert_eq!(count_interrupts("CPU0\n", disk::INTERRUPT), None);
    }
}
