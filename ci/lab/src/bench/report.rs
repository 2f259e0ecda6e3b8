// SPDX-License-Identifier: MIT OR Apache-2.0
//! A whole benchmark as data, and the three files that show it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::jobs::Subject;
use super::profile::Profile;
use super::summary::{verdicts, JobResult, Part, Verdict};
use super::{html, text};

/// What it was measured on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct About {
    /// Seconds since 1970 at the start.
    pub started: u64,
    /// Facts in order, name and value.
    pub facts: Vec<(String, String)>,
}

/// A benchmark.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// Whose driver was measured.
    #[serde(default)]
    pub subject: Subject,
    /// What it was measured on.
    pub about: About,
    /// The timed runs.
    pub timed: Part,
    /// The runs whose instructions were counted.
    pub counted: Part,
    /// Where the guest's instructions went, per driver and job, if it was asked for.
    pub profiles: Vec<Profile>,
    /// What went wrong with the benchmark as a whole.
    pub problems: Vec<String>,
}

/// What a report says.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Whether the aims are met.
    pub verdicts: Vec<Verdict>,
    /// Results of the timed runs.
    pub timed: Vec<JobResult>,
    /// Results of the counted runs.
    pub counted: Vec<JobResult>,
}

#[derive(Serialize)]
struct Document<'a> {
    findings: &'a Findings,
    report: &'a Report,
}

impl Report {
    /// What it says.
    pub fn findings(&self) -> Findings {
        Findings {
            verdicts: verdicts(self.subject, &self.timed, &self.counted),
            timed: self.timed.results(),
            counted: self.counted.results(),
        }
    }

    /// Writes `bench-SUBJECT` as `.json`, `.txt` and `.html` into a folder, and gives the text and the
    /// page.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written, or a plot cannot be drawn.
    pub fn write(&self, folder: &Path) -> Result<(String, PathBuf)> {
        let name = format!("bench-{}", self.subject.name());
        let findings = self.findings();
        let document = Document {
            findings: &findings,
            report: self,
        };
        let shown = text::render(self, &findings);
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let put = |extension: &str, content: &str| -> Result<PathBuf> {
            let path = folder.join(format!("{name}.{extension}"));
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
            Ok(path)
        };
        put("json", &(serde_json::to_string_pretty(&document)? + "\n"))?;
        put("txt", &shown)?;
        let page = put("html", &html::render(self, &findings)?)?;
        Ok((shown, page))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::jobs::Extent;
    use crate::bench::sample::{Metric, Outcome};
    use crate::bench::summary::tests::part;

    /// A benchmark with one failed measurement and one that was never taken.
    pub(crate) fn example() -> Report {
        let mut timed = part(&Subject::Disk.jobs(Extent::Standard), Metric::Iops, 1.1, 5);
        for record in &mut timed.records {
            if let Outcome::Taken(sample) = &mut record.outcome {
                let iops = sample.get(Metric::Iops);
                sample.set(Metric::P50, iops.map(|v| 1e9 / v));
                sample.set(Metric::GuestCpu, iops.map(|v| 8e8 / v));
            }
        }
        timed.records[7].outcome = Outcome::Failed("fio said <no> & \"never\"".into());
        timed.records.pop();
        Report {
            subject: Subject::Disk,
            about: About {
                started: 1_790_000_000,
                facts: vec![("kernel".into(), "7.3.4".into())],
            },
            timed,
            counted: part(
                &Subject::Disk.counted(Extent::Standard),
                Metric::Instructions,
                0.7,
                2,
            ),
            profiles: Vec::new(),
            problems: vec!["the second boot was repeated".into()],
        }
    }

    #[test]
    fn three_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (text, page) = example().write(folder.path()).unwrap();
        assert!(text.contains("worst job"));
        assert!(page.ends_with("bench-disk.html"));
        let json = fs::read_to_string(folder.path().join("bench-disk.json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["findings"]["verdicts"][0]["met"], false);
        let report: Report = serde_json::from_value(value["report"].clone()).unwrap();
        let whole = example();
        assert!(report.timed.records.len() == whole.timed.records.len());
        assert!(report.timed.jobs == whole.timed.jobs && report.problems == whole.problems);
    }
}
