// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counted runs: QEMU's clock advances by one nanosecond an instruction, so the CPU time that Xen
//! accounts to the guest is a number of instructions, those that the hypervisor executes on the guest's
//! behalf included. It does not depend on what the machine underneath does at the moment.
//!
//! A job is run with few and with many requests or packets; the difference in instructions divided by
//! the difference in them is what one costs, without the load's own start and end.

use anyhow::{ensure, Result};

use crate::context::Context;
use crate::machine::MachineOptions;
use crate::stop;

use super::bed::{Bed, Length};
use super::hits::{Hits, Profiler, Rounds};
use super::jobs::{Extent, Job};
use super::plan::{turns, Turn};
use super::profile::{Namer, Profile};
use super::report::Report;
use super::run::Options;
use super::sample::{Metric, Sample};
use super::summary::Part;

/// Counts, and puts the counts into the report.
///
/// # Errors
///
/// When the machine cannot be booted.
pub fn run(ctx: &Context, options: &Options, report: &mut Report) -> Result<()> {
    let jobs = options.subject.counted(options.extent);
    let rounds = match options.extent {
        Extent::Quick => 1,
        _ => 2,
    };
    let plan = turns(jobs.len(), rounds);
    report.counted = Part::new(jobs.clone(), rounds);
    let step = ctx.host.progress.step("counting instructions");
    step.note("booting");
    let mut machine = MachineOptions::new(format!("bench-{}-instructions", options.subject.name()));
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
    let (few, many) = job.counts();
    if bed.switch(turn.driver)? {
        namer.modules_changed();
        // The kernel has work left from booting, and from the change of modules.
        bed.run(job, Length::Items(many))?;
    }
    let mut cost = |count| -> Result<(u64, f64)> {
        let before = bed.counters()?;
        let ran = bed.run(job, Length::Items(count))?;
        Ok((bed.counters()?.cpu_ns - before.cpu_ns, ran.items))
    };
    let ((short, some), (long, more)) = (cost(few)?, cost(many)?);
    ensure!(
        long > short && more > some,
        "{more} {item}s took {long} ns and {some} took {short}: the clock does not count",
        item = bed.subject().item()
    );
    let mut sample = Sample::default();
    sample.set(
        Metric::Instructions,
        Some((long - short) as f64 / (more - some)),
    );
    Ok(sample)
}

/// Says in which functions of the guest the instructions of a request or packet are.
fn explain(
    bed: &mut Bed,
    job: Job,
    profiler: &Profiler,
    namer: &mut Namer,
) -> Result<Vec<(String, f64)>> {
    let (few, many) = job.counts();
    // Nothing else is asked of the machine in between: time flies there while it is idle.
    let mut hits = |count| -> Result<((Hits, Hits), f64)> {
        let before = profiler.take()?;
        let ran = bed.run(job, Length::Items(count))?;
        Ok(((before, profiler.take()?), ran.items))
    };
    let ((short, some), (long, more)) = (hits(few)?, hits(many)?);
    let counts = Rounds {
        short,
        long,
        requests: more - some,
    }
    .per_request();
    namer.functions(&mut bed.machine, &bed.guest, &counts)
}
