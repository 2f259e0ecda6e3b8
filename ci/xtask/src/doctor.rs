// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask doctor`.

use anyhow::{bail, Result};
use portico_lab::context::Host;
use portico_lab::doctor::{self, Verdict};

pub(crate) fn run(host: &Host) -> Result<()> {
    let findings = doctor::examine(host);
    for finding in &findings {
        let mark = match finding.verdict {
            Verdict::Good => "ok     ",
            Verdict::Note => "note   ",
            Verdict::Missing => "MISSING",
        };
        println!("{mark}  {}", finding.text);
        if let Some(remedy) = &finding.remedy {
            println!("         {remedy}");
        }
    }
    let missing = findings
        .iter()
        .filter(|f| f.verdict == Verdict::Missing)
        .count();
    if missing > 0 {
        bail!(
            "{missing} of {} checks need a hand, see above",
            findings.len()
        );
    }
    Ok(())
}
