// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the guest's time goes: its instruction pointer, sampled from dom0 while a job runs.

use std::fmt::Write as _;

use portico_agent::proto::Driver;
use serde::{Deserialize, Serialize};

use super::jobs::Job;

/// Lines of a profile that are shown.
const SHOWN: usize = 25;

/// Where a guest was while it ran a job.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Profile {
    /// The load.
    pub job: Job,
    /// Who drove the disk.
    pub driver: Driver,
    /// Functions and how often the guest was in them, most often first.
    pub hits: Vec<(String, u32)>,
}

impl Profile {
    /// Counts names.
    pub fn of(job: Job, driver: Driver, names: impl IntoIterator<Item = String>) -> Self {
        let mut counts = std::collections::BTreeMap::new();
        for name in names {
            *counts.entry(name).or_insert(0) += 1;
        }
        let mut hits: Vec<(String, u32)> = counts.into_iter().collect();
        hits.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Self { job, driver, hits }
    }

    /// The profile as text.
    pub fn text(&self) -> String {
        let all: u32 = self.hits.iter().map(|(_, count)| count).sum();
        let mut out = format!(
            "Where the guest was: {}, {}, {all} samples\n",
            self.job,
            self.driver.name()
        );
        for (name, count) in self.hits.iter().take(SHOWN) {
            let share = 100.0 * f64::from(*count) / f64::from(all.max(1));
            let _ = writeln!(out, "  {share:5.1} %  {name}");
        }
        if self.hits.len() > SHOWN {
            let _ = writeln!(out, "  and {} more functions", self.hits.len() - SHOWN);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::jobs::Extent;

    #[test]
    fn the_most_frequent_comes_first() {
        let names = ["b", "a", "b", "c"].map(str::to_owned);
        let profile = Profile::of(Extent::Quick.jobs()[0], Driver::Ours, names);
        assert_eq!(profile.hits[0], ("b".to_owned(), 2));
        let text = profile.text();
        assert!(text.contains("4 samples") && text.contains(" 50.0 %  b"));
    }
}
