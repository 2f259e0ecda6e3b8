// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a long step shows: a spinner on a terminal, plain lines with seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Where steps are shown. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Progress {
    terminal: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Shows steps on stderr, in the form that fits what stderr is.
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// One line that stays.
    pub fn say(&self, line: impl AsRef<str>) {
        eprintln!("{}", line.as_ref());
    }

    /// Begins a step. It ends with [`Step::done`]; one that is dropped before is shown as failed.
    pub fn step(&self, name: impl Into<String>) -> Step {
        let name = name.into();
        let bar = if self.terminal {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {msg}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            Some(bar)
        } else {
            eprintln!("{name} ...");
            None
        };
        Step {
            name,
            bar,
            begun: Instant::now(),
            ended: false,
        }
    }
}

/// A step that runs.
#[derive(Debug)]
pub struct Step {
    name: String,
    bar: Option<ProgressBar>,
    begun: Instant,
    ended: bool,
}

impl Step {
    /// Shows what the step does at the moment, such as the last line of a tool.
    pub fn note(&self, text: impl Into<String>) {
        if let Some(bar) = &self.bar {
            let mut text: String = text.into();
            text.retain(|c| !c.is_control());
            bar.set_message(text.chars().take(90).collect::<String>());
        }
    }

    /// A line about the step that stays.
    pub fn say(&self, line: impl AsRef<str>) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{}", line.as_ref())),
            None => eprintln!("{}", line.as_ref()),
        }
    }

    /// Seconds since the step began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends the step well. `result` says in a few words what came out; it may be empty.
    pub fn done(mut self, result: impl AsRef<str>) {
        self.end("done", result.as_ref());
    }

    fn end(&mut self, verdict: &str, result: &str) {
        self.ended = true;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        let colon = if result.is_empty() { "" } else { ": " };
        eprintln!(
            "{} {verdict} after {seconds:.1} s{colon}{result}",
            self.name
        );
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.end("not finished", "");
        }
    }
}
