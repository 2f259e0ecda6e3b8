// SPDX-License-Identifier: MIT OR Apache-2.0
//! A whole benchmark.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use anyhow::Result;

use crate::context::Context;

use super::disk::jobs::Engine;
use super::jobs::{Extent, Subject};
use super::report::{About, Report};
use super::summary::Verdict;
use super::{counted, timed};

/// What to measure, and how thoroughly.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose driver.
    pub subject: Subject,
    /// How many jobs.
    pub extent: Extent,
    /// Rounds over all jobs.
    pub rounds: u32,
    /// Milliseconds that a timed job runs.
    pub millis: u32,
    /// Take the timed runs.
    pub timed: bool,
    /// Count instructions.
    pub instructions: bool,
    /// Say in which functions of the guest the counted instructions are.
    pub profile: bool,
    /// How requests to the disk get to the kernel.
    pub engine: Engine,
    /// Compare the stock driver with itself: shows how much of a difference is none.
    pub same: bool,
}

impl Options {
    /// The usual rounds and times of an extent.
    pub fn new(subject: Subject, extent: Extent) -> Self {
        let (rounds, millis) = match extent {
            Extent::Quick => (3, 700),
            Extent::Standard => (5, 1500),
            Extent::Full => (5, 1500),
        };
        Self {
            subject,
            extent,
            rounds,
            millis,
            timed: true,
            instructions: true,
            profile: false,
            engine: Engine::Libaio,
            same: false,
        }
    }
}

/// What came out.
#[derive(Debug)]
pub struct Done {
    /// The report as text.
    pub text: String,
    /// The page with the plots.
    pub page: PathBuf,
    /// The verdicts.
    pub verdicts: Vec<Verdict>,
    /// Whether every measurement was taken.
    pub complete: bool,
}

/// Measures, and writes the report as JSON, text and HTML.
///
/// # Errors
///
/// When the machine cannot be booted or the report not be written. What was measured up to an error
/// is written all the same.
pub fn run(ctx: &Context, options: &Options) -> Result<Done> {
    let begun = Instant::now();
    let mut report = Report {
        subject: options.subject,
        about: about(ctx, options),
        ..Report::default()
    };
    let measured = measure(ctx, options, &mut report);
    if let Err(error) = &measured {
        report.problems.push(format!("{error:#}"));
    }
    report.about.facts.push((
        "whole benchmark".into(),
        format!("{:.0} s", begun.elapsed().as_secs_f64()),
    ));
    let (text, page) = report.write(&ctx.report())?;
    measured?;
    let findings = report.findings();
    Ok(Done {
        text,
        page,
        complete: findings
            .timed
            .iter()
            .chain(&findings.counted)
            .all(super::summary::JobResult::complete),
        verdicts: findings.verdicts,
    })
}

fn measure(ctx: &Context, options: &Options, report: &mut Report) -> Result<()> {
    if options.timed {
        timed::run(ctx, options, report)?;
    }
    if options.instructions {
        counted::run(ctx, options, report)?;
    }
    Ok(())
}

fn about(ctx: &Context, options: &Options) -> About {
    let mut facts = vec![
        (
            "kernel of dom0 and guest".to_owned(),
            ctx.kernel.release.clone(),
        ),
        (
            "machine".to_owned(),
            "QEMU (TCG), Xen, dom0 and one HVM guest with one vCPU each".to_owned(),
        ),
    ];
    match options.subject {
        Subject::Disk => facts.extend([
            (
                "disk".to_owned(),
                "null_blk in dom0 behind xen-blkback; module parameters as they come".to_owned(),
            ),
            (
                "load".to_owned(),
                format!(
                    "fio, {}, direct; {} ms a measurement; completed requests are submitted again \
                     together, as an event loop does, but for jobs marked \"singly\"",
                    options.engine.describe(),
                    options.millis
                ),
            ),
        ]),
        Subject::Net => facts.extend([
            (
                "network".to_owned(),
                "a bridge in dom0 behind xen-netback; the peer is dom0 itself; module parameters \
                 as they come"
                    .to_owned(),
            ),
            (
                "load".to_owned(),
                format!(
                    "between the agents, each byte compared where it arrives; {} ms a measurement",
                    options.millis
                ),
            ),
            (
                "packet".to_owned(),
                "1448 bytes of a stream, a datagram that arrived, or a request with its answer"
                    .to_owned(),
            ),
        ]),
    }
    if options.same {
        facts.push((
            "note".to_owned(),
            "the stock driver against itself: every difference is noise".to_owned(),
        ));
    }
    About {
        started: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        facts,
    }
}
