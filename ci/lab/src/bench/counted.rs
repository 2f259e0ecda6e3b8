// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counted runs: QEMU's clock advances by one nanosecond an instruction, so the CPU time that Xen
//! accounts to the guest is the number of instructions that it executed. It depends on nothing that
//! the machine underneath does.
//!
//! A job is run with few and with many requests; the difference in instructions divided by the
//! difference in requests is what a request costs, without fio's own start and end.

use anyhow::{ensure, Result};

use crate::context::Context;
use crate::machine::MachineOptions;
use crate::stop;

use super::bed::{Bed, Length};
use super::disk::Options;
use super::jobs::{Extent, Job};
use super::plan::{turns, Turn};
use super::profile::{profile, Hits, Profile, Profiler, Rounds};
use super::report::Report;
use super::sample::{Metric, Sample};
use super::summary::Part;

/// Requests of the short and of the long run.
const REQUESTS: (u32, u32) = (256, 2304);

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
    let mut bed = Bed::boot(ctx, &machine, options.same)?;
    for turn in &plan {
        let job = jobs[turn.job];
        step.note(format!("{job}, {}", turn.driver.name()));
        // The later rounds only show that the first can be repeated.
        let profiler = profiler.as_ref().filter(|_| turn.round == 0);
        let taken = count(&mut bed, *turn, job, profiler);
        stop::check()?;
        let taken = taken.map(|(sample, profile)| {
            report.profiles.extend(profile);
            sample
        });
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

/// Counts a job, and says where the instructions went if there is a profiler.
fn count(
    bed: &mut Bed,
    turn: Turn,
    job: Job,
    profiler: Option<&Profiler>,
) -> Result<(Sample, Option<Profile>)> {
    bed.switch(turn.driver)?;
    let take = || profiler.map(Profiler::take).transpose();
    let mut cost = |requests| -> Result<(u64, Option<(Hits, Hits)>)> {
        let first = take()?;
        let before = bed.counters()?;
        bed.fio(job, Length::Requests(requests))?;
        let after = bed.counters()?;
        Ok((after.cpu_ns - before.cpu_ns, first.zip(take()?)))
    };
    let (few, many) = REQUESTS;
    let (short, short_hits) = cost(few)?;
    let (long, long_hits) = cost(many)?;
    ensure!(
        long > short,
        "{many} requests took {long} instructions and {few} took {short}: the clock does not count"
    );
    let requests = f64::from((many - few) * job.processes);
    let mut sample = Sample::default();
    sample.set(Metric::Instructions, Some((long - short) as f64 / requests));
    let Some((short, long)) = short_hits.zip(long_hits) else {
        return Ok((sample, None));
    };
    let rounds = Rounds {
        short,
        long,
        requests,
    };
    let profile = profile(&mut bed.machine, &bed.guest, job, turn.driver, &rounds)?;
    Ok((sample, Some(profile)))
}
