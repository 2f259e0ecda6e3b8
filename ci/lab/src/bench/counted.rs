// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counted runs: a plugin in the emulator counts the instructions that are executed, and QEMU's
//! clock advances by one nanosecond an instruction, so that nothing depends on what the machine
//! underneath does. The CPU time that Xen accounts to the guest is then a count too: of the guest's
//! instructions and of those that the hypervisor executed on its behalf.
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
    let profiler = Profiler::prepare(ctx, &mut machine)?;
    let mut bed = Bed::boot(ctx, &machine, options)?;
    let mut namer = Namer::default();
    for turn in &plan {
        let job = jobs[turn.job];
        step.say(format!(
            "counting {job} under the {} driver begins after {} s",
            turn.driver.name(),
            step.elapsed().as_secs()
        ));
        let taken = count(&mut bed, *turn, job, &profiler, &mut namer);
        stop::check()?;
        let taken = taken.map(|(sample, profile)| {
            // The later rounds only show that the first can be repeated.
            report.profiles.extend((turn.round == 0).then_some(profile));
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

/// Counts a job, and says where the instructions went.
fn count(
    bed: &mut Bed,
    turn: Turn,
    job: Job,
    profiler: &Profiler,
    namer: &mut Namer,
) -> Result<(Sample, Profile)> {
    if bed.switch(turn.driver)? {
        namer.modules_changed();
        // The kernel has work left from booting, and from the change of modules.
        bed.fio(job, Length::Requests(requests(job).1))?;
    }
    let mut cost = |requests| -> Result<(u64, (Hits, Hits))> {
        let first = profiler.take()?;
        let before = bed.counters()?;
        bed.fio(job, Length::Requests(requests))?;
        let after = bed.counters()?;
        Ok((after.cpu_ns - before.cpu_ns, (first, profiler.take()?)))
    };
    let (few, many) = requests(job);
    let (short_ns, short) = cost(few)?;
    let (long_ns, long) = cost(many)?;
    ensure!(
        long_ns > short_ns,
        "{many} requests took {long_ns} ns and {few} took {short_ns}: the clock does not count"
    );
    let more = f64::from((many - few) * job.processes);
    let counts = Rounds {
        short,
        long,
        requests: more,
    }
    .per_request();
    let functions = namer.functions(&mut bed.machine, &bed.guest, &counts)?;
    let profile = Profile {
        job,
        driver: turn.driver,
        functions,
    };
    let mut sample = Sample::default();
    let with_hypervisor = (long_ns - short_ns) as f64 / more;
    sample.set(Metric::Instructions, Some(profile.sum()));
    sample.set(Metric::WithHypervisor, Some(with_hypervisor));
    Ok((sample, profile))
}
