// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the instructions of a request go, by function: the counts of [`super::hits`] with names from the
//! guest's own symbol table, which also tells the guest's kernel from dom0's.
//!
//! It shows where to look; the sum is no measure, as user space is dom0's too and whatever the guest does
//! in the background is counted.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{bail, ensure, Result};
use portico_agent::proto::{Driver, Exec, Op, Reply};
use rustc_demangle::demangle;
use serde::{Deserialize, Serialize};

use crate::machine::{Guest, Machine};

use super::jobs::Job;

/// Functions of a profile that are shown.
const SHOWN: usize = 45;

/// Blocks that are named; the guest answers in messages of limited length. They hold nearly all
/// instructions.
const NAMED: usize = 2000;

/// Where the kernel and its modules are.
const KERNEL: u64 = 0xffff_ffff_8000_0000;

/// User space ends here.
const USER_END: u64 = 0x8000_0000_0000;

/// No function is as long as this: what is farther from the symbol before it is other code.
const LONGEST: u64 = 32 * 1024;

/// Instructions per request of one driver on one job, by function.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Profile {
    /// The load.
    pub job: Job,
    /// Who drove the device.
    pub driver: Driver,
    /// Functions and the instructions in them per request, most first.
    pub functions: Vec<(String, f64)>,
}

impl Profile {
    /// The profile as text.
    pub fn text(&self) -> String {
        let all: f64 = self.functions.iter().map(|(_, count)| count).sum();
        let mut out = format!(
            "Instructions per request or packet by function: {}, {}, {all:.0} in all\n",
            self.job,
            self.driver.name()
        );
        for (name, count) in self.functions.iter().take(SHOWN) {
            let _ = writeln!(
                out,
                "  {count:9.1}  {:4.1} %  {name}",
                100.0 * count / all.max(1.0)
            );
        }
        if let Some(rest) = self.functions.get(SHOWN..).filter(|rest| !rest.is_empty()) {
            let sum: f64 = rest.iter().map(|(_, count)| count).sum();
            let _ = writeln!(out, "  {sum:9.1}          {} more functions", rest.len());
        }
        out
    }
}

/// Names code with the guest's help, and remembers the names.
#[derive(Debug, Default)]
pub struct Namer {
    /// Names at addresses; none where another system's code lies.
    known: HashMap<u64, Option<String>>,
}

impl Namer {
    /// Forgets what may have changed its place.
    pub fn modules_changed(&mut self) {
        self.known
            .retain(|_, name| name.as_ref().is_some_and(|name| !name.contains('[')));
    }

    /// Sums counts up by function, most first. dom0's kernel and the hypervisor are left out: what they
    /// do while the guest waits says nothing.
    ///
    /// # Errors
    ///
    /// When the guest's agent does not answer.
    pub fn functions(
        &mut self,
        machine: &mut Machine,
        guest: &Guest,
        counts: &BTreeMap<u64, f64>,
    ) -> Result<Vec<(String, f64)>> {
        let mut kernel: Vec<(u64, f64)> = counts
            .range(KERNEL..)
            .map(|(address, count)| (*address, *count))
            .collect();
        // Counts can be negative: a little less of something in the long run than in the short one.
        kernel.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        let new: Vec<u64> = kernel
            .iter()
            .map(|(address, _)| *address)
            .filter(|address| !self.known.contains_key(address))
            .take(NAMED)
            .collect();
        if !new.is_empty() {
            let mut names = names(machine, guest, &new)?;
            self.known
                .extend(new.iter().map(|at| (*at, names.remove(at))));
        }
        let user = counts.range(..USER_END).map(|(_, count)| count).sum();
        let mut sums = BTreeMap::from([("(user space)".to_owned(), user)]);
        for (address, count) in kernel {
            if let Some(Some(name)) = self.known.get(&address) {
                *sums.entry(name.clone()).or_default() += count;
            }
        }
        let mut functions: Vec<(String, f64)> = sums.into_iter().collect();
        functions.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(functions)
    }
}

/// Prints, for each address on its standard input, the place and name of the symbol before it. Lines of
/// the symbol table and of addresses are sorted into one list, a symbol before its own addresses.
const LOOK_UP: &str = "{ grep -i ' [tw] ' /proc/kallsyms; cat; } | sort | \
    awk '$3 == \"@\" { if (at) print $1, at, name; next } { at = $1; name = $3 $4 }'";

/// Symbols of the guest's kernel at these addresses; none where another system's code lies.
fn names(machine: &mut Machine, guest: &Guest, addresses: &[u64]) -> Result<HashMap<u64, String>> {
    let mut exec = Exec::shell(LOOK_UP);
    for address in addresses {
        let _ = writeln!(exec.stdin, "{address:016x} ~ @");
    }
    exec.keep = 180 * 1024;
    let reply = machine
        .at(guest)
        .ask(Op::Exec(exec), Duration::from_secs(240))?;
    let Reply::Exit(exit) = reply else {
        bail!("an answer that does not fit its request: {reply:?}");
    };
    ensure!(
        exit.code == 0,
        "naming addresses ended with {}: {}",
        exit.code,
        exit.stderr
    );
    Ok(parse(&exit.stdout))
}

fn parse(text: &str) -> HashMap<u64, String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let mut number = || u64::from_str_radix(words.next()?, 16).ok();
            let (address, symbol) = (number()?, number()?);
            let near = address.checked_sub(symbol)? < LONGEST;
            near.then(|| Some((address, readable(words.next()?))))?
        })
        .collect()
}

/// A name as people read it: Rust's without hashes and without the parameters of types.
fn readable(name: &str) -> String {
    let (symbol, module) = name.split_at(name.find('[').unwrap_or(name.len()));
    let whole = format!("{:#}", demangle(symbol));
    let mut short = String::new();
    let mut depth = 0;
    for c in whole.chars() {
        let opens_parameters = short.ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
        match c {
            '<' if depth > 0 || opens_parameters => depth += 1,
            '>' if depth > 0 => depth -= 1,
            _ if depth == 0 => short.push(c),
            _ => {}
        }
    }
    short + module
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::jobs::{Extent, Subject};

    #[test]
    fn names_are_read_and_foreign_code_has_none() {
        let names = parse(
            "ffffffffa0000010 ffffffffa0000000 do_it[portico]\n\
             ffffffffb0000000 ffffffffa0100000 the_last_one\n",
        );
        assert_eq!(names.len(), 1);
        assert_eq!(names[&0xffff_ffff_a000_0010], "do_it[portico]");
    }

    #[test]
    fn names_of_rust_become_short() {
        let name = "_RNvMs0_NtCsgc2kMmWzdA9_12xen_blkfront4ringNtB5_4Ring8queue_rq[xen_blkfront]";
        assert_eq!(
            readable(name),
            "<xen_blkfront::ring::Ring>::queue_rq[xen_blkfront]"
        );
        let generic = "_RNvMNtNtNtCsbF8VZVrBYq4_12portico_core5block5queue6submit\
            INtB4_5QueueINtNtCsgubwGoucYe7_7portico4host4HostINtNtNtB1a_5block7request\
            7RequestNtNtCsgc2kMmWzdA9_12xen_blkfront4ring3BlkEEE8transferB2h_[xen_blkfront]";
        assert_eq!(
            readable(generic),
            "<portico_core::block::queue::Queue>::transfer[xen_blkfront]"
        );
        assert_eq!(readable("memcpy_orig"), "memcpy_orig");
    }

    #[test]
    fn the_look_up_names_the_symbol_before_an_address() {
        let script = LOOK_UP.replace("/proc/kallsyms", "symbols");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("symbols"),
            "ffffffff81000100 t two\nffffffff81000000 T one\nffffffffc0000000 t three\t[mod]\n",
        )
        .unwrap();
        std::fs::write(
            folder.path().join("in"),
            "ffffffff810000ff ~ @\nffffffff81000100 ~ @\nffffffffc0000004 ~ @\nffffffff80000000 ~ @\n",
        )
        .unwrap();
        let out = std::process::Command::new("sh")
            .args(["-c", &format!("({script}) < in")])
            .current_dir(folder.path())
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let names = parse(&String::from_utf8(out.stdout).unwrap());
        assert_eq!(names[&0xffff_ffff_8100_00ff], "one");
        assert_eq!(names[&0xffff_ffff_8100_0100], "two");
        assert_eq!(names[&0xffff_ffff_c000_0004], "three[mod]");
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn the_text_shows_shares() {
        let profile = Profile {
            job: Subject::Disk.jobs(Extent::Quick)[0],
            driver: Driver::Ours,
            functions: vec![("a".into(), 300.0), ("b".into(), 100.0)],
        };
        let text = profile.text();
        assert!(
            text.contains("400 in all") && text.contains("75.0 %  a"),
            "{text}"
        );
    }
}
