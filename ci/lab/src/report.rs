// SPDX-License-Identifier: MIT OR Apache-2.0
//! Results of what was done in real guests: one JSON file for each scenario, with every case, its facts
//! and its verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use portico_agent::proto::Driver;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::part::Tally;

/// What a case has seen, by name.
pub type Facts = Map<String, Value>;

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// Its name, which says the combination that it is about.
    pub name: String,
    /// Whether all that it checks held.
    pub passed: bool,
    /// What it saw, also where it failed later on.
    pub facts: Facts,
    /// What did not hold.
    pub error: Option<String>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// A scenario's results.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name, and that of its file.
    pub scenario: String,
    /// Whose driver the guests ran.
    pub driver: Driver,
    /// Release of the kernel of dom0 and the guests.
    pub kernel: String,
    /// Runs that were repeated because the emulator itself failed: for each, what was seen.
    pub emulator_faults: Vec<String>,
    /// The cases in the order of their run.
    pub cases: Vec<Case>,
}

impl Report {
    /// An empty report.
    pub fn new(scenario: &str, driver: Driver, kernel: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            driver,
            kernel: kernel.to_owned(),
            emulator_faults: Vec::new(),
            cases: Vec::new(),
        }
    }

    /// Notes how a case ended.
    pub fn add(&mut self, name: &str, begun: Instant, facts: Facts, error: Option<String>) {
        self.cases.push(Case {
            name: name.to_owned(),
            passed: error.is_none(),
            facts,
            error,
            seconds: begun.elapsed().as_secs_f64(),
        });
    }

    /// Writes `SCENARIO.json` (for the stock driver `SCENARIO-stock.json`) into the folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let suffix = match self.driver {
            Driver::Ours => "",
            Driver::Stock => "-stock",
        };
        write_json(folder, &format!("{}{suffix}", self.scenario), self)
    }

    /// The results for the runner of the tests.
    pub fn tally(&self) -> Tally {
        let failed = self.cases.iter().filter(|case| !case.passed);
        let mut note = String::new();
        if !self.emulator_faults.is_empty() {
            note = format!(
                "({} repeated after a fault of the emulator)",
                self.emulator_faults.len()
            );
        }
        Tally {
            passed: self.cases.iter().filter(|case| case.passed).count() as u32,
            failures: failed
                .map(|case| {
                    format!(
                        "{}: {}",
                        case.name,
                        case.error.as_deref().unwrap_or_default()
                    )
                })
                .collect(),
            note,
        }
    }
}

/// Writes a JSON file, whole or not at all.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_json(folder: &Path, name: &str, value: &impl Serialize) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.json"));
    let fresh = folder.join(format!("{name}.json.new"));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&fresh, serde_json::to_vec_pretty(value)?))
        .and_then(|()| fs::rename(&fresh, &path))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_cases_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut report = Report::new("demo", Driver::Stock, "7.3.4");
        report.add("one", Instant::now(), Facts::new(), None);
        report.add("two", Instant::now(), Facts::new(), Some("it broke".into()));
        let tally = report.tally();
        assert_eq!(
            (tally.passed, tally.failures),
            (1, vec!["two: it broke".to_owned()])
        );
        let path = report.write(folder.path()).unwrap();
        assert!(path.ends_with("demo-stock.json"));
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("\"passed\": false") && text.contains("\"driver\": \"stock\""));
    }
}
