// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench ring`: the benchmarks of `portico-peers`.

use std::fmt::Write as _;
use std::fs;

use anyhow::{ensure, Context as _, Result};
use clap::Args;
use portico_lab::context::Host;
use portico_lab::setup::Toolchain;
use serde::Serialize;

use crate::cargo::{cargo, xen_include};

#[derive(Debug, Args)]
pub(crate) struct Ring {
    /// Leave out criterion's statistics: only the runs in turns.
    #[arg(long)]
    quick: bool,
}

/// A job that both have done.
#[derive(Debug, PartialEq, Serialize)]
struct Job {
    /// Its name.
    job: String,
    /// Which code of ours.
    who: String,
    /// What is counted, `request` or `packet`.
    item: String,
    /// Nanoseconds per item with the code in C.
    c_ns: f64,
    /// Nanoseconds per item with ours.
    ours_ns: f64,
    /// Ours to C.
    ratio: f64,
}

impl Ring {
    pub(super) fn run(&self, host: &Host, kernel: Option<&str>) -> Result<()> {
        let include = xen_include(host, &Toolchain::get(host, kernel)?)?;
        let step = host.progress.step("benchmarks beside C");
        let log = host.log("bench-ring");
        let mut run = cargo(host, "run the benchmarks")
            .args(["bench", "--package", "portico-peers"])
            .env("PORTICO_XEN_INCLUDE", include);
        if self.quick {
            // Criterion runs what has this in its name.
            run = run.args(["--", "no such benchmark"]);
        }
        run.log(&log).run(Some(&step))?;
        let text = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
        let jobs: Vec<_> = String::from_utf8_lossy(&text)
            .lines()
            .flat_map(jobs)
            .collect();
        ensure!(!jobs.is_empty(), "no result in {}", log.display());
        step.done(format!("{} results", jobs.len()));

        let folder = host.report();
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join("bench-ring.json");
        fs::write(&path, serde_json::to_string_pretty(&jobs)? + "\n")
            .with_context(|| format!("writing {}", path.display()))?;
        print!("{}", table(&jobs));
        Ok(())
    }
}

/// The results in a line like `JOB: C 1.20 ns/request, ours 1.10 (ratio 0.92)`; there may be several of
/// ours.
fn jobs(line: &str) -> Vec<Job> {
    let parse = || -> Option<Vec<Job>> {
        let (job, rest) = line.split_once(": C ")?;
        let (c_ns, rest) = rest.trim_start().split_once(" ns/")?;
        let (item, ours) = rest.split_once(", ")?;
        let c_ns: f64 = c_ns.parse().ok()?;
        let jobs = ours.split(", ").map(|ours| {
            let (ours, _) = ours.split_once(" (ratio ")?;
            let (who, ours_ns) = ours.rsplit_once(' ')?;
            let ours_ns: f64 = ours_ns.parse().ok()?;
            Some(Job {
                job: job.split_whitespace().collect::<Vec<_>>().join(" "),
                who: who.trim().into(),
                item: item.into(),
                c_ns,
                ours_ns,
                ratio: ours_ns / c_ns,
            })
        });
        jobs.collect()
    };
    parse().unwrap_or_default()
}

fn table(jobs: &[Job]) -> String {
    let width = |name: fn(&Job) -> &str| jobs.iter().map(|job| name(job).len()).max().unwrap_or(0);
    let (job, who) = (width(|job| &job.job), width(|job| &job.who));
    let mut out = format!(
        "\n{:job$}  {:who$}  {:>7}  {:>7}  {:>5}\n",
        "ns per request or packet", "", "C", "ours", "ratio"
    );
    for row in jobs {
        let _ = writeln!(
            out,
            "{:job$}  {:who$}  {:7.2}  {:7.2}  {:5.2}",
            row.job, row.who, row.c_ns, row.ours_ns, row.ratio
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_and_shown() {
        let one = "engine,  1 x 8 segments: C  66.72 ns/request, ours  33.36 (ratio 0.50)";
        let two = "ring, batches of 32: C  5.00 ns/request, our front  5.00 (ratio 1.00), \
                   our front and back 10.00 (ratio 2.00)";
        let other = "test result: ok. 0 passed";
        let read: Vec<_> = [one, other, two].into_iter().flat_map(jobs).collect();
        let seen: Vec<_> = read
            .iter()
            .map(|job| (job.job.as_str(), job.who.as_str(), job.ratio))
            .collect();
        assert_eq!(
            seen,
            [
                ("engine, 1 x 8 segments", "ours", 0.5),
                ("ring, batches of 32", "our front", 1.0),
                ("ring, batches of 32", "our front and back", 2.0),
            ]
        );
        let shown = table(&read);
        assert_eq!(shown.lines().count(), 5);
        assert!(
            shown.contains("engine, 1 x 8 segments  ours                  66.72    33.36   0.50")
        );
    }
}
