// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counted runs: QEMU's clock advances by one nanosecond an instruction, so the CPU time that Xen
//! accounts to the guest is a number of instructions, those that the hypervisor executes on the guest's
//! behalf included. It does not depend on what the machine underneath does at the moment.
//!
//! A job is run with few and with many requests; the difference in instructions divided by the
//! difference in requests is what a request costs, without fio's own start and end.

use anyhow::{ensure, Result};

use crate::context::Context;
use crate::machine::MachineOptions;
use crate::stop;

use super::bed::{Bed, Length};
use super::disk::Options;
use super::hits::{Hits, Profiler, Rounds};
use super::jobs::{Extent, Job};
use super::plan::{turns, Turn};
use super::profile::{Namer, Profile};
use super::report::Report;
use super::sample::{Metric, Sample};
use super::summary::Part;

/// Requests of the short and of the long run of a job, which take longer one by one.
fn requests(job: Job) -> (u32, u32) {
    match job.depth {
        1 => (256, 2304),
        _ => (512, 4608),
    }
}

/// Counts, and puts the counts into the report.
///
/// # Errors
///
/// When the machine cannot be booted.
pub fn run(ctx: &Context, options: &Options, report: &mut Report) -> Result<()> {
    let jobs = options.extent.counted();
    let rounds = match options.extent {
        Extent::Quick => 1,
        _ => 2,
    };
    let plan = turns(jobs.len(), rounds);
    report.counted = Part::new(jobs.clone(), rounds);
    let step = ctx.host.progress.step("counting instructions");
    step.note("booting");
    let mut machine = MachineOptions::new("bench-disk-instructions");
    machine.icount = true;
    machine.cpus = 1;
    let profiler = match options.profile {
        true => Some(Profiler::prepare(ctx, &mut machine)?),
        false => None,
    };
    let mut bed = Bed::boot(ctx, &machine, options)?;
    let mut namer = Namer::default();
    for turn in &plan {
        let job = jobs[turn.job];
        step.say(format!(
            "counting {job}, {}, begins after {} s",
            turn.driver.name(),
            step.elapsed().as_secs()
        ));
        let taken = count(&mut bed, *turn, job, &mut namer);
        stop::check()?;
        // The later rounds only show that the first can be repeated.
        let profiler = profiler.as_ref().filter(|_| turn.round == 0);
        if let (Ok(_), Some(profiler)) = (&taken, profiler) {
            match explain(&mut bed, job, profiler, &mut namer) {
                Ok(functions) => report.profiles.push(Profile {
                    job,
                    driver: turn.driver,
                    functions,
                }),
                Err(error) => report
                    .problems
                    .push(format!("no profile of {job}: {error:#}")),
            }
        }
        if !report.counted.put(turn, taken) {
            report
                .problems
                .push("counting instructions ended with the first failure".into());
            return Ok(());
        }
    }
    bed.machine.power_off()?;
    step.done(format!("{} counts", report.counted.records.len()));
    Ok(())
}

/// Counts a job.
fn count(bed: &mut Bed, turn: Turn, job: Job, namer: &mut Namer) -> Result<Sample> {
    let (few, many) = requests(job);
    if bed.switch(turn.driver)? {
        namer.modules_changed();
        // The kernel has work left from booting, and from the change of modules.
        bed.fio(job, Length::Requests(many))?;
    }
    let mut cost = |requests| -> Result<u64> {
        let before = bed.counters()?;
        bed.fio(job, Length::Requests(requests))?;
        Ok(bed.counters()?.cpu_ns - before.cpu_ns)
    };
    let (short, long) = (cost(few)?, cost(many)?);
    ensure!(
        long > short,
        "{many} requests took {long} ns and {few} took {short}: the clock does not count"
    );
    let more = f64::from((many - few) * job.processes);
    let mut sample = Sample::default();
    sample.set(Metric::Instructions, Some((long - short) as f64 / more));
    Ok(sample)
}

/// Says in which functions of the guest the instructions of a request are.
fn explain(
    bed: &mut Bed,
    job: Job,
    profiler: &Profiler,
    namer: &mut Namer,
) -> Result<Vec<(String, f64)>> {
    let (few, many) = requests(job);
    // Nothing else is asked of the machine in between: time flies there while it is idle.
    let mut hits = |requests| -> Result<(Hits, Hits)> {
        let before = profiler.take()?;
        bed.fio(job, Length::Requests(requests))?;
        Ok((before, profiler.take()?))
    };
    let counts = Rounds {
        short: hits(few)?,
        long: hits(many)?,
        requests: f64::from((many - few) * job.processes),
    }
    .per_request();
    namer.functions(&mut bed.machine, &bed.guest, &counts)
}
