// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as text.

use std::fmt::Write as _;

use super::jobs::Subject;
use super::report::{Findings, Report};
use super::sample::Metric;
use super::stats::Spread;
use super::summary::{JobResult, Verdict};

/// Shown where there is no value.
const NONE: &str = "-";

/// Columns of the table of timed runs: head and metric.
fn columns(subject: Subject) -> Vec<(String, Metric)> {
    let short = subject.short();
    vec![
        (subject.rate().into(), Metric::Iops),
        ("MB/s".into(), Metric::Bandwidth),
        ("p50 µs".into(), Metric::P50),
        ("p99 µs".into(), Metric::P99),
        (format!("notif/{short}"), Metric::Notifications),
        (format!("irq/{short}"), Metric::Interrupts),
        (format!("CPU µs/{short}"), Metric::GuestCpu),
        (format!("dom0 µs/{short}"), Metric::Dom0Cpu),
    ]
}

/// The whole report.
pub fn render(report: &Report, findings: &Findings) -> String {
    let subject = report.subject;
    let mut out = format!("{}\n\n", subject.title());
    for (name, value) in &report.about.facts {
        let _ = writeln!(out, "  {name}: {value}");
    }
    if !findings.timed.is_empty() {
        out.push_str("\nTimed runs (each cell: stock -> ours, medians)\n\n");
        let mut columns = columns(subject);
        out.push_str(&absolute(&findings.timed, &columns));
        out.push_str("\nRatios, ours to stock (median of pairs, least to greatest)\n\n");
        // With one size, the ratio of bytes is that of items.
        columns.retain(|(_, metric)| *metric != Metric::Bandwidth);
        out.push_str(&ratios(&findings.timed, &columns));
    }
    if !findings.counted.is_empty() {
        let _ = writeln!(
            out,
            "\nInstructions of the guest per {}, with the hypervisor's on its behalf\n",
            subject.item()
        );
        let head = format!("instructions/{}", subject.short());
        let columns = [(head, Metric::Instructions)];
        out.push_str(&absolute(&findings.counted, &columns));
        out.push('\n');
        out.push_str(&ratios(&findings.counted, &columns));
    }
    for profile in &report.profiles {
        out.push('\n');
        out.push_str(&profile.text());
    }
    let failed = failures(findings.timed.iter().chain(&findings.counted));
    if !failed.is_empty() || !report.problems.is_empty() {
        out.push_str("\nProblems\n\n");
        for line in report.problems.iter().chain(&failed) {
            let _ = writeln!(out, "  {line}");
        }
    }
    out.push_str("\nVerdicts\n\n");
    for verdict in &findings.verdicts {
        let _ = writeln!(out, "  {}", line(verdict));
    }
    out
}

/// A verdict in one line.
pub fn line(verdict: &Verdict) -> String {
    let value = verdict
        .value
        .map_or_else(|| NONE.to_owned(), |v| format!("{v:.2}"));
    format!(
        "{}  {}: {value} (aim: {} {:.2}; {})",
        if verdict.met { "met    " } else { "NOT MET" },
        verdict.what,
        if verdict.at_most {
            "at most"
        } else {
            "at least"
        },
        verdict.aim,
        verdict.note
    )
}

/// One line for each measurement that failed, and for each job with missing ones.
pub fn failures<'a>(results: impl Iterator<Item = &'a JobResult>) -> Vec<String> {
    let mut lines = Vec::new();
    for result in results {
        for failure in &result.failures {
            lines.push(format!(
                "{}, {}, round {}: FAILED: {}",
                result.job,
                failure.driver.name(),
                failure.round + 1,
                failure.message
            ));
        }
        if result.missing > 0 {
            lines.push(format!(
                "{}: {} measurements were not taken",
                result.job, result.missing
            ));
        }
    }
    lines
}

/// A mark behind jobs that are not complete.
pub fn mark(result: &JobResult) -> &'static str {
    if result.complete() {
        ""
    } else {
        " (incomplete)"
    }
}

fn absolute(results: &[JobResult], columns: &[(String, Metric)]) -> String {
    table(results, columns, |result, metric| {
        let comparison = result.by(metric)?;
        let show = |spread: Option<Spread>| {
            spread.map_or_else(|| NONE.to_owned(), |s| metric.show(s.median))
        };
        Some(format!(
            "{} -> {}",
            show(comparison.stock),
            show(comparison.ours)
        ))
    })
}

fn ratios(results: &[JobResult], columns: &[(String, Metric)]) -> String {
    table(results, columns, |result, metric| {
        let s = result.ratio(metric)?;
        Some(format!("{:.2} ({:.2} to {:.2})", s.median, s.min, s.max))
    })
}

/// A table with one line a job; columns without any value are left out.
fn table(
    results: &[JobResult],
    columns: &[(String, Metric)],
    cell: impl Fn(&JobResult, Metric) -> Option<String>,
) -> String {
    let mut shown: Vec<Vec<String>> = vec![std::iter::once("job".to_owned())
        .chain(results.iter().map(|r| format!("{}{}", r.job, mark(r))))
        .collect()];
    for (head, metric) in columns {
        let cells: Vec<Option<String>> = results.iter().map(|r| cell(r, *metric)).collect();
        if cells.iter().any(Option::is_some) {
            let cells = cells.into_iter().map(|c| c.unwrap_or_else(|| NONE.into()));
            shown.push(std::iter::once(head.clone()).chain(cells).collect());
        }
    }
    let mut out = String::new();
    for row in 0..=results.len() {
        out.push_str("  ");
        for (at, column) in shown.iter().enumerate() {
            let width = column.iter().map(|c| c.chars().count()).max().unwrap_or(0);
            let cell = &column[row];
            if at == 0 {
                let _ = write!(out, "{cell:<width$}");
            } else {
                let _ = write!(out, "   {cell:>width$}");
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::example;

    #[test]
    fn every_job_and_every_failure_is_in_the_text() {
        let report = example();
        let findings = report.findings();
        let text = render(&report, &findings);
        for job in report.timed.jobs.iter().chain(&report.counted.jobs) {
            assert!(text.contains(&job.to_string()), "{job} is missing:\n{text}");
        }
        assert!(text.contains("round 1: FAILED: fio said"));
        assert!(text.contains("1 measurements were not taken"));
        assert!(text.contains("the second boot was repeated"));
        assert!(text.contains("NOT MET  geometric mean of 24 jobs"));
        assert!(text.contains("met      worst job, guest instructions"));
        // Nobody measured notifications: the column is left out.
        assert!(!text.contains("notif/IO"));
    }

    #[test]
    fn a_job_without_any_sample_has_a_line() {
        let mut report = example();
        let lost = report.timed.jobs[4];
        report.timed.records.retain(|r| r.job != lost);
        let text = render(&report, &report.findings());
        let line = text
            .lines()
            .find(|l| l.contains(&format!("{lost} (incomplete)")))
            .unwrap();
        assert!(line.trim_end().ends_with(NONE), "{line}");
    }
}
