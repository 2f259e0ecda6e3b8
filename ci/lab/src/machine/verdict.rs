// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run that did not end well shows in its logs.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Lines of the console that a failure shows.
const TAIL: usize = 25;

/// Whose fault it was, as far as the logs tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The emulator's: a guest fell over an instruction of Xen itself, or over one that its kernel had replaced
    /// already. Worth one more try.
    Emulator,
    /// The hypervisor or dom0 died.
    Panic,
    /// The guest's kernel died.
    GuestPanic,
    /// Nothing in the logs says why.
    Unknown,
}

/// A run that broke off.
#[derive(Debug)]
pub struct Failure {
    /// What was seen.
    pub fact: String,
    /// What the logs say about it.
    pub verdict: Verdict,
    /// The end of the console.
    pub tail: String,
    /// Folder of the logs.
    pub logs: PathBuf,
}

impl Failure {
    /// Reads the logs for a verdict.
    pub fn new(fact: &str, logs: &Path) -> Self {
        let text = |name| {
            let bytes = fs::read(logs.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\r', "")
        };
        let console = text("console.log");
        let mut lines: Vec<String> = last(&console, TAIL);
        lines.extend(last(&text("qemu.log"), 5));
        Self {
            fact: fact.to_owned(),
            verdict: judge(&console),
            tail: lines.join("\n"),
            logs: logs.to_owned(),
        }
    }
}

fn last(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(count);
    lines[from..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Emulator => {
                "a guest triple-faulted inside Xen's own text, or fell over code that it had just patched, which is a fault of the emulator"
            }
            Verdict::Panic => "the hypervisor or dom0 died; the console shows how",
            Verdict::GuestPanic => "the guest's kernel died; its console shows how",
            Verdict::Unknown => "the logs do not say why",
        };
        write!(
            f,
            "{}: {verdict}\nend of the console:\n{}\nlogs: {}",
            self.fact,
            self.tail,
            self.logs.display()
        )
    }
}

impl std::error::Error for Failure {}

/// Looks through a console log.
pub(super) fn judge(console: &str) -> Verdict {
    if emulator_fault(console) {
        return Verdict::Emulator;
    }
    let panics = ["Panic on CPU", "Kernel panic", "Xen BUG at", "FATAL TRAP"];
    match panics.iter().any(|sign| console.contains(sign)) {
        true => Verdict::Panic,
        false => Verdict::Unknown,
    }
}

/// Looks through the console of a guest that has died.
pub(super) fn judge_guest(console: &str) -> Verdict {
    // Where a kernel patches itself there is a breakpoint for a moment. An emulated processor may still
    // run it when the kernel is done with it. With a module of ours loaded, nothing is excused.
    let patching = console.contains("Oops: int3") && !console.contains("portico: loading");
    match console.contains("Kernel panic") {
        true if patching => Verdict::Emulator,
        true => Verdict::GuestPanic,
        false => Verdict::Unknown,
    }
}

/// A triple fault whose dumped instruction pointer lies in Xen's text (`xen/include/asm-x86/config.h`:
/// 1 GiB from 0xffff82d040000000), where no guest can be.
fn emulator_fault(console: &str) -> bool {
    let mut lines = console.lines();
    while lines.by_ref().any(|line| line.contains("riple fault")) {
        let hit = lines.clone().take(80).any(|line| {
            let line = line.to_ascii_lowercase();
            line.split("rip").skip(1).any(|rest| {
                // `RIP = 0x…`, or with the code segment in front: `RIP:    e008:[<…>]`.
                let value = rest.trim_start_matches([':', '=', ' ']);
                let value = value.split_once(":[<").map_or(value, |(_, after)| after);
                value.trim_start_matches("0x").starts_with("ffff82d0")
            })
        });
        if hit {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breakpoint_of_the_kernel_itself_is_the_emulators() {
        let died = "Oops: int3: 0000 [#1] SMP\nKernel panic - not syncing";
        assert_eq!(judge_guest(died), Verdict::Emulator);
        let ours = format!("portico: loading out-of-tree module\n{died}");
        assert_eq!(judge_guest(&ours), Verdict::GuestPanic);
        assert_eq!(judge_guest("all is well"), Verdict::Unknown);
    }

    #[test]
    fn the_emulators_fault_is_told_from_a_guests() {
        let dump = |rip: &str| {
            format!("(XEN) d3v0 Triple fault - invoking HVM shutdown action 1\n(XEN) *** VMCB\n(XEN) rip = {rip} rsp = 0x0\n")
        };
        assert_eq!(judge(&dump("0xffff82d04020a1b2")), Verdict::Emulator);
        assert_eq!(
            judge(&dump("   e008:[<ffff82d040215abd>]")),
            Verdict::Emulator
        );
        assert_eq!(judge(&dump("0xffffffff810001b2")), Verdict::Unknown);
        assert_eq!(judge("(XEN) Panic on CPU 0:\n"), Verdict::Panic);
    }
}
