// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a full run has passed so far, so that it can be stopped and go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use portico_lab::cache::Inputs;
use portico_lab::checks::source;
use portico_lab::context::Host;
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize, Serialize)]
struct Kept {
    /// What the checkout looked like: results of other files are worth nothing.
    checkout: String,
    /// Parts that passed, with the number of their checks.
    passed: BTreeMap<String, u32>,
}

/// The state of a run; without a file nothing is kept.
pub(super) struct State {
    file: Option<PathBuf>,
    kept: Kept,
}

impl State {
    pub(super) fn none() -> Self {
        Self {
            file: None,
            kept: Kept::default(),
        }
    }

    /// The state of the last full run, if it was stopped and no file has changed since.
    pub(super) fn resume(host: &Host) -> Result<Self> {
        let checkout = fingerprint(host)?;
        let file = host.target.join("test-full.json");
        let kept = fs::read(&file)
            .ok()
            .and_then(|data| serde_json::from_slice::<Kept>(&data).ok())
            .filter(|kept| kept.checkout == checkout)
            .unwrap_or(Kept {
                checkout,
                ..Kept::default()
            });
        if !kept.passed.is_empty() {
            println!("going on after {} parts that passed", kept.passed.len());
        }
        Ok(Self {
            file: Some(file),
            kept,
        })
    }

    pub(super) fn passed(&self, part: &str) -> Option<u32> {
        self.kept.passed.get(part).copied()
    }

    pub(super) fn keep(&mut self, part: &str, passed: u32) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        self.kept.passed.insert(part.to_owned(), passed);
        let fresh = file.with_extension("new");
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&fresh, serde_json::to_vec_pretty(&self.kept)?)?;
        fs::rename(&fresh, file).with_context(|| format!("writing {}", file.display()))
    }

    pub(super) fn forget(self) -> Result<()> {
        match self.file {
            Some(file) if file.exists() => Ok(fs::remove_file(file)?),
            _ => Ok(()),
        }
    }
}

/// A digest of every file of the checkout.
fn fingerprint(host: &Host) -> Result<String> {
    let mut inputs = Inputs::new(1);
    for file in source::files(&host.checkout)? {
        if let Ok(text) = fs::read(host.checkout.join(&file)) {
            inputs = inputs.with(&file.to_string_lossy(), &String::from_utf8_lossy(&text));
        }
    }
    Ok(inputs.key())
}

#[cfg(test)]
mod tests {
    use super::*;
    use portico_lab::cache::Cache;
    use portico_lab::progress::Progress;
    use portico_lab::run::Run;

    #[test]
    fn a_stopped_run_goes_on_until_a_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host {
            checkout: dir.path().join("c"),
            target: dir.path().join("t"),
            cache: Cache::at(dir.path().join("cache")).unwrap(),
            progress: Progress::new(),
        };
        fs::create_dir(&host.checkout).unwrap();
        Run::new("git", "make a checkout")
            .args(["init", "--quiet"])
            .dir(&host.checkout)
            .run(None)
            .unwrap();
        fs::write(host.checkout.join("a"), "1").unwrap();
        let mut state = State::resume(&host).unwrap();
        state.keep("host/fmt", 3).unwrap();
        assert_eq!(State::resume(&host).unwrap().passed("host/fmt"), Some(3));
        fs::write(host.checkout.join("a"), "2").unwrap();
        assert_eq!(State::resume(&host).unwrap().passed("host/fmt"), None);
        state.forget().unwrap();
        fs::write(host.checkout.join("a"), "1").unwrap();
        assert_eq!(State::resume(&host).unwrap().passed("host/fmt"), None);
    }
}
