// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel's own tests print: KTAP, one line for each test (Linux `Documentation/dev-tools/ktap.rst`),
//! and before it what it has to say.

use serde::Serialize;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// It held.
    Pass,
    /// It did not apply, or could not hold here by its own account.
    Skip,
    /// It did not hold.
    Fail,
    /// It was not run, or not to its end.
    Missing,
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Skip => "skip",
            Outcome::Fail => "fail",
            Outcome::Missing => "missing",
        }
    }
}

/// One test's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestResult {
    /// Such as `ping.test_default_v4`.
    pub(super) name: String,
    pub(super) outcome: Outcome,
    /// Why it did not pass.
    pub(super) reason: String,
}

/// The results in what a test program has printed.
pub(super) fn results(text: &str) -> Vec<TestResult> {
    let mut results = Vec::new();
    let mut said: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix('#') {
            said.push(line.trim_end());
            continue;
        }
        let (ok, rest) = match (line.strip_prefix("not ok "), line.strip_prefix("ok ")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => continue,
        };
        let (name, comment) = rest.split_once(" # ").unwrap_or((rest, ""));
        let name = name.split_once(' ').map_or(name, |(_, name)| name).trim();
        let directive = ["SKIP", "XFAIL"]
            .iter()
            .find_map(|word| comment.strip_prefix(word));
        let (outcome, reason) = match (ok, directive) {
            (false, _) => (Outcome::Fail, why(&said)),
            (true, Some(why)) => (Outcome::Skip, why.trim().to_owned()),
            (true, None) => (Outcome::Pass, String::new()),
        };
        results.push(TestResult {
            name: name.to_owned(),
            outcome,
            reason,
        });
        said.clear();
    }
    results
}

/// How many tests it has announced.
pub(super) fn planned(text: &str) -> usize {
    let plan = text.lines().find_map(|line| line.strip_prefix("1.."));
    plan.and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// The lines that say why a test failed: checks that did not hold, or the end of an exception.
fn why(said: &[&str]) -> String {
    let mut reasons: Vec<&str> = said
        .iter()
        .map(|line| line.trim())
        .filter(|line| line.starts_with("Check failed") || line.starts_with("Expected exception"))
        .collect();
    // The last exception: the first line that is not about where it was.
    let mut lines = said
        .iter()
        .filter_map(|line| Some(line.split_once("Exception| ")?.1));
    let mut exception = None;
    while let Some(line) = lines.next() {
        if line.starts_with("Traceback") {
            exception = lines.by_ref().find(|line| !line.starts_with(' '));
        }
    }
    reasons.extend(exception);
    // A command that failed tells more of itself.
    reasons.extend(said.iter().filter_map(|line| {
        let text = line.split_once("Exception|")?.1.trim();
        ["CMD", "STDERR:", "EXIT:"]
            .iter()
            .any(|word| text.starts_with(word))
            .then_some(text)
    }));
    reasons.truncate(5);
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
TAP version 13
1..5
# Interface: eth0, driver: xen-netfront
ok 1 stats.check_pause # SKIP pause not supported by the device
# Check| At /selftests/drivers/net/./stats.py, line 70, in f:
# Check|     ksft_eq(a, b)
# Check failed 1 != 2 queues
not ok 2 stats.pkt_byte_sum
# Exception| Traceback (most recent call last):
# Exception|   File \"x.py\", line 1, in f
# Exception| net.lib.py.utils.CmdExitFailure: Command failed
# Exception| CMD: ip link set dev eth0 mtu 9000
# Exception|   EXIT: 2
# Exception|   STDERR: Error: mtu greater than device maximum.
not ok 3 stats.mtu
ok 4 stats.procfs_hammer
ok 5 gro.test.sw_ipv4_data # XFAIL Test only works on netdevsim
# Totals: pass:1 fail:2 xfail:1 xpass:0 skip:1 error:0
";

    #[test]
    fn outcomes_and_reasons_are_read() {
        let seen: Vec<(String, Outcome, String)> = results(TEXT)
            .into_iter()
            .map(|r| (r.name, r.outcome, r.reason))
            .collect();
        let line =
            |name: &str, outcome, reason: &str| (name.to_owned(), outcome, reason.to_owned());
        assert_eq!(planned(TEXT), 5);
        assert_eq!(
            seen,
            [
                line(
                    "stats.check_pause",
                    Outcome::Skip,
                    "pause not supported by the device"
                ),
                line(
                    "stats.pkt_byte_sum",
                    Outcome::Fail,
                    "Check failed 1 != 2 queues"
                ),
                line(
                    "stats.mtu",
                    Outcome::Fail,
                    "net.lib.py.utils.CmdExitFailure: Command failed; \
                     CMD: ip link set dev eth0 mtu 9000; EXIT: 2; \
                     STDERR: Error: mtu greater than device maximum."
                ),
                line("stats.procfs_hammer", Outcome::Pass, ""),
                line(
                    "gro.test.sw_ipv4_data",
                    Outcome::Skip,
                    "Test only works on netdevsim"
                ),
            ]
        );
    }
}
