// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ours beside the stock driver: what may fail, and why.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{ensure, Result};
use serde_json::json;

use crate::report::Facts;

use super::ktap::{Outcome, TestResult};

/// Results by the tests' names.
pub(super) type Results = BTreeMap<String, TestResult>;

/// Tests that do not pass with our driver, and why that is so.
const KNOWN: &[(&str, &str)] = &[
    ("csum.ipv4_tx_udp_csum_offload", NO_SUM),
    ("csum.ipv4_tx_udp_zero_checksum", NO_SUM),
    ("csum.ipv6_tx_udp_csum_offload", NO_SUM),
    ("csum.ipv6_tx_udp_zero_checksum", NO_SUM),
    ("toeplitz.test.tcp_ipv4", NO_HASH),
    ("toeplitz.test.tcp_ipv6", NO_HASH),
    ("toeplitz.test.udp_ipv4", NO_HASH),
    ("toeplitz.test.udp_ipv6", NO_HASH),
    ("toeplitz.test.rss_tcp_ipv4", NO_HASH),
    ("toeplitz.test.rss_tcp_ipv6", NO_HASH),
    ("toeplitz.test.rss_udp_ipv4", NO_HASH),
    ("toeplitz.test.rss_udp_ipv6", NO_HASH),
];

const NO_SUM: &str =
    "a checksum that is left to the device comes to dom0 as one that is left to be made, \
    which the test does not look at: nobody makes it where there is no wire";

const NO_HASH: &str =
    "the stock back end makes the hash only where it chooses among several queues, and this \
    guest has one; of UDP it never takes the ports in";

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == name)
}

/// A result in words.
pub(super) fn words(result: &TestResult) -> String {
    match result.reason.as_str() {
        "" => result.outcome.name().to_owned(),
        reason => format!("{}: {reason}", result.outcome.name()),
    }
}

/// The results of both, one line for each test.
pub(super) fn table(stock: &Results, ours: &Results) -> String {
    let names: BTreeSet<&String> = stock.keys().chain(ours.keys()).collect();
    let outcome = |results: &Results, name| {
        results
            .get(name)
            .map_or("", |result| result.outcome.name())
            .to_owned()
    };
    let mut text = format!("{:<50} {:<8} {:<8}", "test", "stock", "ours");
    for name in names {
        let reason = ours.get(name).map_or("", |result| &result.reason);
        let line = format!(
            "\n{name:<50} {:<8} {:<8} {reason}",
            outcome(stock, name),
            outcome(ours, name)
        );
        text.push_str(line.trim_end());
    }
    text
}

/// Fails if ours does not pass what the stock driver passes, or fails what is not known to fail.
pub(super) fn compare(stock: &Results, ours: &Results, facts: &mut Facts) -> Result<()> {
    let mut bad = Vec::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (name, result) in ours {
        let before = stock.get(name).map(|result| result.outcome);
        let pair = format!(
            "stock {}, ours {}",
            before.map_or("none", Outcome::name),
            result.outcome.name()
        );
        *counts.entry(pair).or_default() += 1;
        let worse = before == Some(Outcome::Pass) && result.outcome != Outcome::Pass;
        let failed = matches!(result.outcome, Outcome::Fail | Outcome::Missing);
        if worse || failed && !is_known(name) {
            bad.push(format!("{name}: {}", words(result)));
        }
    }
    for (name, result) in stock {
        if result.outcome == Outcome::Pass && !ours.contains_key(name) {
            bad.push(format!("{name}: not run"));
        }
    }
    facts.insert("counts".into(), json!(counts));
    let known: BTreeMap<_, _> = KNOWN.iter().copied().collect();
    facts.insert("known_failures".into(), json!(known));
    ensure!(bad.is_empty(), "{}", bad.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(list: &[(&str, Outcome)]) -> Results {
        let one = |&(name, outcome): &(&str, Outcome)| {
            let result = TestResult {
                name: name.into(),
                outcome,
                reason: String::new(),
            };
            (name.to_owned(), result)
        };
        list.iter().map(one).collect()
    }

    fn verdict(stock: &[(&str, Outcome)], ours: &[(&str, Outcome)]) -> Result<()> {
        compare(&results(stock), &results(ours), &mut Facts::new())
    }

    #[test]
    fn what_stock_passes_must_pass_and_other_failures_must_be_known() {
        use Outcome::{Fail, Missing, Pass, Skip};
        let known = KNOWN[0].0;
        verdict(&[("a", Fail), ("b", Skip)], &[("a", Pass), ("b", Skip)]).unwrap();
        verdict(&[(known, Fail)], &[(known, Fail)]).unwrap();
        for (stock, ours) in [
            (&[("a", Pass)], ("a", Fail)),
            (&[("a", Pass)], ("a", Skip)),
            (&[("a", Fail)], ("a", Fail)),
            (&[("a", Skip)], ("a", Missing)),
            (&[("a", Pass)], ("b", Pass)),
            (&[(known, Pass)], (known, Fail)),
        ] {
            verdict(stock, &[ours]).unwrap_err();
        }
    }
}
