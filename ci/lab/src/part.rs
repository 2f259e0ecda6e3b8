// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parts of the test run, as the runner of `cargo xtask test` takes them.

use std::fmt;

use anyhow::Result;

use crate::context::Context;

/// What a part found. A part that ends with an error counts as one failure.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Checks that held.
    pub passed: u32,
    /// Checks that did not: for each, what happened and what to do.
    pub failures: Vec<String>,
    /// A few words for the line of a part that passed.
    pub note: String,
}

impl Tally {
    /// One check that held.
    pub fn one(note: impl Into<String>) -> Self {
        Self::of(1, note)
    }

    /// Some checks, all of which held.
    pub fn of(passed: u32, note: impl Into<String>) -> Self {
        Self {
            passed,
            failures: Vec::new(),
            note: note.into(),
        }
    }
}

/// What a part of the run in real guests does.
pub type Work = Box<dyn FnOnce(&Context) -> Result<Tally>>;

/// A part of the run in real guests. It can be run alone and repeated.
pub struct Part {
    /// Its name, for `--only` and for the report: words with hyphens, such as `hvm-root-disk`.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Runs it.
    pub work: Work,
}

impl Part {
    /// A part.
    pub fn new(
        name: impl Into<String>,
        about: impl Into<String>,
        work: impl FnOnce(&Context) -> Result<Tally> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            about: about.into(),
            work: Box::new(work),
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("name", &self.name).finish()
    }
}
