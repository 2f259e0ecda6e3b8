// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a test run found: for people at its end, and as JSON in `target/report/test.json`.

use std::fs;

use anyhow::{Context as _, Result};
use portico_lab::context::Host;
use portico_lab::part::Tally;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Entry {
    part: String,
    seconds: f64,
    passed: u32,
    failures: Vec<String>,
    note: String,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    passed: u32,
    pub(super) failed: usize,
    parts: Vec<Entry>,
}

impl Report {
    pub(super) fn add(&mut self, part: String, seconds: f64, tally: Tally) {
        self.passed += tally.passed;
        self.failed += tally.failures.len();
        self.parts.push(Entry {
            part,
            seconds,
            passed: tally.passed,
            failures: tally.failures,
            note: tally.note,
        });
    }

    /// Writes what is known so far; a run that is stopped leaves that.
    pub(super) fn write(&self, host: &Host) -> Result<()> {
        let folder = host.report();
        fs::create_dir_all(&folder)?;
        let file = folder.join("test.json");
        fs::write(&file, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("writing {}", file.display()))
    }

    /// Lists the failures; the last line is the verdict.
    pub(super) fn show(&self) {
        for entry in &self.parts {
            for failure in &entry.failures {
                println!("\n{}: {failure}", entry.part);
            }
        }
        if self.failed > 0 {
            println!();
        }
        println!("{} passed, {} failed", self.passed, self.failed);
    }
}
