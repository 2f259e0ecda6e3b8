// SPDX-License-Identifier: MIT OR Apache-2.0
//! The timed runs: both drivers in turn, in one boot.

use std::collections::BTreeMap;

use anyhow::{ensure, Result};
use portico_agent::proto::Driver;

use crate::context::Context;
use crate::machine::{Failure, MachineOptions, Verdict};
use crate::stop;

use super::bed::{Bed, Counters, Length, Ran};
use super::jobs::Job;
use super::plan::{turns, Turn};
use super::report::Report;
use super::run::Options;
use super::sample::{Metric, Sample};
use super::summary::Part;

/// How long a job runs before it is measured, in milliseconds: the emulator translates what is run for the
/// first time since a driver was loaded.
const WARM_UP: u32 = 300;

/// Machines that a benchmark may use up: some are lost to the emulator, or to a driver.
const BOOTS: u32 = 4;

/// Takes all measurements and puts them into the report.
///
/// # Errors
///
/// When nothing can be measured at all; a measurement that fails goes into the report.
pub fn run(ctx: &Context, options: &Options, report: &mut Report) -> Result<()> {
    let jobs = options.subject.jobs(options.extent);
    let plan = turns(jobs.len(), options.rounds);
    report.timed = Part::new(jobs.clone(), options.rounds);
    let step = ctx.host.progress.step(format!(
        "measuring {} jobs, {} times with each driver",
        jobs.len(),
        options.rounds
    ));
    let mut boots = Boots {
        ctx,
        options,
        count: 0,
    };
    let mut bed = boots.boot()?;
    describe(&mut bed, options, report)?;
    let mut bare = BTreeMap::new();
    for (at, turn) in plan.iter().enumerate() {
        let job = jobs[turn.job];
        if turn.round as usize * jobs.len() * 2 == at {
            let seconds = step.elapsed().as_secs();
            step.say(format!(
                "round {} of {} begins after {seconds} s",
                turn.round + 1,
                options.rounds
            ));
        }
        let name = format!("{job}, {}, round {}", turn.driver.name(), turn.round + 1);
        step.note(format!("{} of {}: {name}", at + 1, plan.len()));
        let mut taken = measure(&mut bed, *turn, job, options, &mut bare);
        if let (Err(error), true) = (&taken, bed.machine.emulator_fault()) {
            // Not the driver's fault: once more, which the report shows.
            let line = format!("{name}: repeated after a fault of the emulator: {error:#}");
            step.say(&line);
            report.problems.push(line);
            drop(bed);
            bed = boots.boot()?;
            taken = measure(&mut bed, *turn, job, options, &mut bare);
        }
        stop::check()?;
        if let Err(error) = &taken {
            step.say(format!("{name}: {error:#}"));
        }
        if !report.timed.put(turn, taken) {
            // The guest may be in any state: what follows must not be measured in it.
            drop(bed);
            if at + 1 == plan.len() {
                return Ok(());
            }
            bed = boots.boot()?;
        }
    }
    bed.machine.power_off()?;
    step.done(format!("{} samples", report.timed.records.len()));
    Ok(())
}

/// Boots machines, as long as it makes sense.
struct Boots<'a> {
    ctx: &'a Context,
    options: &'a Options,
    count: u32,
}

impl Boots<'_> {
    fn boot(&mut self) -> Result<Bed> {
        loop {
            self.count += 1;
            ensure!(
                self.count <= BOOTS,
                "{BOOTS} machines were lost: the other measurements were not taken"
            );
            let machine = MachineOptions::new(format!(
                "bench-{}-{}",
                self.options.subject.name(),
                self.count
            ));
            let failure = match Bed::boot(self.ctx, &machine, self.options) {
                Ok(bed) => return Ok(bed),
                Err(error) => error,
            };
            let emulator = failure
                .downcast_ref::<Failure>()
                .is_some_and(|f| f.verdict == Verdict::Emulator);
            if !emulator {
                return Err(failure);
            }
        }
    }
}

/// Notes how each driver presents the device.
fn describe(bed: &mut Bed, options: &Options, report: &mut Report) -> Result<()> {
    let version = bed.hypervisor()?;
    report
        .about
        .facts
        .push(("hypervisor".into(), format!("Xen {version}")));
    for driver in [Driver::Stock, Driver::Ours] {
        bed.switch(driver)?;
        let facts = bed.describe()?;
        let name = format!(
            "{} as the {} driver shows it",
            options.subject.name(),
            driver.name()
        );
        report.about.facts.push((name, facts));
    }
    Ok(())
}

/// One measurement. `bare` remembers what a run costs that does next to nothing.
fn measure(
    bed: &mut Bed,
    turn: Turn,
    job: Job,
    options: &Options,
    bare: &mut BTreeMap<Job, Cpu>,
) -> Result<Sample> {
    bed.switch(turn.driver)?;
    let around = |bed: &mut Bed, length| -> Result<(Ran, Counters, Counters)> {
        let before = bed.counters()?;
        let result = bed.run(job, length)?;
        Ok((result, before, bed.counters()?))
    };
    let bare = match bare.get(&job) {
        Some(cpu) => *cpu,
        None => {
            let (_, before, after) = around(bed, Length::Items(1))?;
            let cpu = Cpu::between(before, after);
            bare.insert(job, cpu);
            cpu
        }
    };
    bed.run(job, Length::Millis(WARM_UP))?;
    let (result, before, after) = around(bed, Length::Millis(options.millis))?;
    Ok(sample(&result, before, after, bare))
}

/// CPU time that a run takes, in nanoseconds.
#[derive(Clone, Copy, Default)]
struct Cpu {
    guest: u64,
    dom0: u64,
}

impl Cpu {
    fn between(before: Counters, after: Counters) -> Cpu {
        Cpu {
            guest: after.cpu_ns.saturating_sub(before.cpu_ns),
            dom0: after.dom0_cpu_ns.saturating_sub(before.dom0_cpu_ns),
        }
    }
}

/// The values of a run, from what it says and the counters around it.
fn sample(ran: &Ran, before: Counters, after: Counters, bare: Cpu) -> Sample {
    let positive = |value: f64| (value > 0.0).then_some(value);
    let per_item = |count: Option<u64>| Some(count? as f64 / positive(ran.items)?);
    let gained = |of: fn(&Counters) -> Option<u64>| of(&after)?.checked_sub(of(&before)?);
    let cpu = Cpu::between(before, after);
    let (guest, dom0) = (
        cpu.guest.checked_sub(bare.guest),
        cpu.dom0.checked_sub(bare.dom0),
    );
    let mut sample = Sample::default();
    sample.set(Metric::Iops, positive(ran.rate));
    sample.set(Metric::Bandwidth, positive(ran.bandwidth));
    sample.set(Metric::P50, positive(ran.p50_ns));
    sample.set(Metric::P99, positive(ran.p99_ns));
    sample.set(Metric::GuestCpu, per_item(guest));
    sample.set(Metric::Dom0Cpu, per_item(dom0));
    sample.set(Metric::Notifications, per_item(gained(|c| c.notifications)));
    sample.set(Metric::Interrupts, per_item(gained(|c| c.interrupts)));
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_become_values_per_item() {
        let ran = Ran {
            items: 1000.0,
            rate: 500.0,
            bandwidth: 2_048_000.0,
            p50_ns: 1.0,
            p99_ns: 2.0,
        };
        let before = Counters {
            cpu_ns: 5_000_000,
            dom0_cpu_ns: 1_000_000,
            notifications: Some(10),
            interrupts: None,
        };
        let after = Counters {
            cpu_ns: 8_000_000,
            dom0_cpu_ns: 4_500_000,
            notifications: Some(260),
            interrupts: Some(5),
        };
        let sample = sample(
            &ran,
            before,
            after,
            Cpu {
                guest: 1_000_000,
                dom0: 500_000,
            },
        );
        assert_eq!(sample.get(Metric::GuestCpu), Some(2000.0));
        assert_eq!(sample.get(Metric::Dom0Cpu), Some(3000.0));
        assert_eq!(sample.get(Metric::Notifications), Some(0.25));
        assert_eq!(sample.get(Metric::Interrupts), None);
        assert_eq!(sample.get(Metric::Iops), Some(500.0));
    }

    #[test]
    fn a_run_that_did_nothing_has_no_values() {
        let none = Counters::default();
        assert!(sample(&Ran::default(), none, none, Cpu::default())
            .0
            .is_empty());
    }
}
