// SPDX-License-Identifier: MIT OR Apache-2.0
//! The report as one page that needs nothing else: styles and plots are in it.

use std::fmt::Write as _;

use anyhow::Result;

use super::jobs::Subject;
use super::plot::{Plot, Row};
use super::report::{Findings, Report};
use super::sample::Metric;
use super::stats::Spread;
use super::summary::{JobResult, Verdict};
use super::text::{failures, mark};

const STYLE: &str = "
body { font: 15px/1.45 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
table { border-collapse: collapse; margin: 0.6em 0 }
th, td { padding: 0.15em 0.7em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
.met { color: #005fb8 } .short { color: #b33c00; font-weight: bold }
.wide { overflow-x: auto } svg { max-width: 100%; height: auto }
small { color: #666 }
";

/// The page.
///
/// # Errors
///
/// When a plot cannot be drawn.
pub fn render(report: &Report, findings: &Findings) -> Result<String> {
    let subject = report.subject;
    let title = subject.title();
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>{title}</title>\n<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    verdicts(&mut out, &findings.verdicts);
    problems(&mut out, report, findings);
    if !findings.timed.is_empty() {
        timed(&mut out, subject, &findings.timed)?;
    }
    if !findings.counted.is_empty() {
        counted(&mut out, subject, &findings.counted)?;
    }
    for profile in &report.profiles {
        let _ = writeln!(out, "<pre>{}</pre>", escape(&profile.text()));
    }
    about(&mut out, report);
    out.push_str("</body></html>\n");
    Ok(out)
}

fn verdicts(out: &mut String, verdicts: &[Verdict]) {
    out.push_str(
        "<table><tr><th>aim</th><th>reached</th><th>wanted</th><th></th><th>detail</th></tr>\n",
    );
    for verdict in verdicts {
        let (class, word) = if verdict.met {
            ("met", "met")
        } else {
            ("short", "not met")
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{} {:.2}</td><td class=\"{class}\">{word}</td>\
             <td>{}</td></tr>",
            escape(&verdict.what),
            verdict
                .value
                .map_or_else(|| "–".into(), |v| format!("{v:.3}")),
            if verdict.at_most { "≤" } else { "≥" },
            verdict.aim,
            escape(&verdict.note)
        );
    }
    out.push_str("</table>\n");
}

fn problems(out: &mut String, report: &Report, findings: &Findings) {
    let failed = failures(findings.timed.iter().chain(&findings.counted));
    if failed.is_empty() && report.problems.is_empty() {
        return;
    }
    out.push_str("<h2 class=\"short\">Problems</h2>\n<ul>\n");
    for line in report.problems.iter().chain(&failed) {
        let _ = writeln!(out, "<li>{}</li>", escape(line));
    }
    out.push_str("</ul>\n");
}

fn timed(out: &mut String, subject: Subject, results: &[JobResult]) -> Result<()> {
    out.push_str(
        "<h2>Timed runs</h2>\n<p>Both drivers in one boot, in pairs taken right after each other. \
         A dot is the median, its bar reaches from the least to the greatest value.</p>\n",
    );
    ratio_plot(
        out,
        results,
        Metric::Iops,
        &format!("{}s per second, ours to stock", subject.item()),
        &[1.0, 1.15],
    )?;
    for metric in Metric::TIMED {
        absolute_plot(out, subject, results, metric)?;
    }
    table(out, subject, results, &Metric::TIMED);
    Ok(())
}

fn counted(out: &mut String, subject: Subject, results: &[JobResult]) -> Result<()> {
    let metric = Metric::Instructions;
    out.push_str(
        "<h2>Instructions</h2>\n<p>Counted by the emulator: the guest's, and the hypervisor's on its behalf; the same on any machine.</p>\n",
    );
    ratio_plot(
        out,
        results,
        metric,
        &format!("guest instructions per {}, ours to stock", subject.item()),
        &[1.0, 0.8],
    )?;
    absolute_plot(out, subject, results, metric)?;
    table(out, subject, results, &[metric]);
    Ok(())
}

fn label(result: &JobResult) -> String {
    format!("{}{}", result.job, mark(result))
}

fn ratio_plot(
    out: &mut String,
    results: &[JobResult],
    metric: Metric,
    title: &str,
    lines: &[f64],
) -> Result<()> {
    let rows = results.iter().map(|result| Row {
        label: label(result),
        marks: result.ratio(metric).map(|s| (0, s)).into_iter().collect(),
    });
    let plot = Plot {
        title,
        series: &["ours"],
        rows: rows.collect(),
        lines,
        show: |v| format!("{v:.2}"),
    };
    figure(out, &plot)
}

fn absolute_plot(
    out: &mut String,
    subject: Subject,
    results: &[JobResult],
    metric: Metric,
) -> Result<()> {
    if results.iter().all(|r| r.by(metric).is_none()) {
        return Ok(());
    }
    // The axis is in the unit that the title names.
    let scale = match metric {
        Metric::Bandwidth => 1e-6,
        Metric::P50 | Metric::P99 | Metric::GuestCpu | Metric::Dom0Cpu => 1e-3,
        _ => 1.0,
    };
    let scaled = |s: Spread| Spread {
        median: s.median * scale,
        min: s.min * scale,
        max: s.max * scale,
        ..s
    };
    let rows = results.iter().map(|result| {
        let both = result.by(metric).map(|c| [c.stock, c.ours]);
        Row {
            label: label(result),
            marks: both
                .into_iter()
                .flatten()
                .enumerate()
                .filter_map(|(at, spread)| Some((at, scaled(spread?))))
                .collect(),
        }
    });
    let plot = Plot {
        title: &metric.title(subject),
        series: &["stock", "ours"],
        rows: rows.collect(),
        lines: &[],
        show: short,
    };
    figure(out, &plot)
}

/// A number with as many digits as it needs.
fn short(value: f64) -> String {
    match value {
        v if v >= 10.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

fn figure(out: &mut String, plot: &Plot<'_>) -> Result<()> {
    let _ = writeln!(out, "<div>{}</div>", plot.svg()?);
    Ok(())
}

fn table(out: &mut String, subject: Subject, results: &[JobResult], metrics: &[Metric]) {
    let shown: Vec<Metric> = metrics
        .iter()
        .copied()
        .filter(|m| results.iter().any(|r| r.by(*m).is_some()))
        .collect();
    out.push_str("<div class=\"wide\"><table><tr><th>job</th>");
    for metric in &shown {
        let _ = write!(
            out,
            "<th>{}<br>stock → ours</th><th>ratio</th>",
            metric.title(subject)
        );
    }
    out.push_str("</tr>\n");
    for result in results {
        let _ = write!(out, "<tr><td>{}</td>", escape(&label(result)));
        for metric in &shown {
            let side = |spread: Option<Spread>| {
                spread.map_or_else(|| "–".to_owned(), |s| metric.show(s.median))
            };
            let comparison = result.by(*metric);
            let ratio = result.ratio(*metric).map_or_else(
                || "–".to_owned(),
                |s| {
                    let range = format!("{:.2}…{:.2}", s.min, s.max);
                    format!("{:.2} <small>{range}</small>", s.median)
                },
            );
            let _ = write!(
                out,
                "<td>{} → {}</td><td>{ratio}</td>",
                side(comparison.and_then(|c| c.stock)),
                side(comparison.and_then(|c| c.ours))
            );
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

fn about(out: &mut String, report: &Report) {
    out.push_str("<h2>Measured on</h2>\n<table>\n");
    for (name, value) in &report.about.facts {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td></tr>",
            escape(name),
            escape(value)
        );
    }
    out.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::example;

    #[test]
    fn the_page_is_complete_and_needs_nothing_else() {
        let report = example();
        let page = render(&report, &report.findings()).unwrap();
        assert!(!page.contains("http") && !page.contains("src=") && !page.contains("url("));
        assert!(page.contains("fio said &lt;no&gt; &amp; &quot;never&quot;"));
        assert!(page.contains("not met") && page.contains("1 measurements were not taken"));
        for job in report.timed.jobs.iter().chain(&report.counted.jobs) {
            assert!(page.contains(&job.to_string()));
        }
        // Ratios and absolute values of four metrics, and two plots of instructions.
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<svg").count(), 1 + 3 + 2);
    }

    #[test]
    fn a_page_without_any_result_is_a_page() {
        let report = Report::default();
        let page = render(&report, &report.findings()).unwrap();
        assert!(page.ends_with("</html>\n"));
    }
}
