// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the instructions of a request go, by function: a plugin in the emulator counts every block of
//! instructions that is executed, and the guest's own symbol table names them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context as _, Result};
use portico_agent::proto::{Driver, Exec, Op, Reply};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::machine::{Guest, Machine, MachineOptions};
use crate::setup::Toolchain;

use super::jobs::Job;

/// The plugin's source.
const PLUGIN: &str = include_str!("plugin/hits.rs");

/// Its name, and that of its output, in the folder of logs, which the emulator sees as `/work`.
const NAME: &str = "hits.so";
const OUT: &str = "hits";

/// Functions of a profile that are shown.
const SHOWN: usize = 45;

/// Blocks that are named; the guest answers in messages of limited length. They hold nearly all
/// instructions.
const NAMED: usize = 2500;

/// Instructions per request of one driver on one job, by function.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Profile {
    /// The load.
    pub job: Job,
    /// Who drove the disk.
    pub driver: Driver,
    /// Functions and the instructions in them per request, most first.
    pub functions: Vec<(String, f64)>,
}

impl Profile {
    /// The profile as text.
    pub fn text(&self) -> String {
        let all: f64 = self.functions.iter().map(|(_, count)| count).sum();
        let mut out = format!(
            "Instructions per request by function: {}, {}, {all:.0} in all\n",
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

/// Instructions executed so far at each address.
pub type Hits = HashMap<u64, u64>;

/// The plugin of a machine.
#[derive(Debug)]
pub struct Profiler {
    folder: PathBuf,
}

impl Profiler {
    /// Compiles the plugin and has a machine that is to be booted load it.
    ///
    /// # Errors
    ///
    /// When there is no compiler or it fails.
    pub fn prepare(ctx: &Context, options: &mut MachineOptions) -> Result<Self> {
        let folder = ctx.report().join("logs").join(&options.name);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let toolchain = Toolchain::get(&ctx.host, Some(&ctx.kernel.release))?;
        fs::write(folder.join("hits.rs"), PLUGIN)?;
        toolchain
            .build_root
            .bind(&folder, "/work")
            .enter("rustc", "compile the profiler")
            .args(["--edition=2021", "--crate-type=cdylib", "-O"])
            .args(["-C", "linker=gcc-14", "-o"])
            .args([format!("/work/{NAME}"), "/work/hits.rs".into()])
            .log(ctx.host.log("profiler"))
            .run(None)?;
        Ok(Self::load(folder, options))
    }

    fn load(folder: PathBuf, options: &mut MachineOptions) -> Self {
        let plugin = format!("/work/{NAME},out=/work/{OUT}");
        options.qemu.extend(["-plugin".into(), plugin]);
        Self { folder }
    }

    /// What was executed up to now.
    ///
    /// # Errors
    ///
    /// When the plugin does not answer.
    pub fn take(&self) -> Result<Hits> {
        let wish = self.folder.join(format!("{OUT}.take"));
        fs::write(&wish, "")?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while wish.exists() {
            ensure!(
                Instant::now() < deadline,
                "the profiler does not answer: see qemu.log in {}",
                self.folder.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        read(&self.folder.join(OUT))
    }
}

fn read(path: &Path) -> Result<Hits> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut hits = Hits::new();
    for line in text.lines() {
        let (address, count) = line.split_once(' ').context("a line without a count")?;
        if address == "lost" {
            bail!("the profiler ran out of slots: {count} blocks were not counted");
        }
        *hits.entry(u64::from_str_radix(address, 16)?).or_default() += count.parse::<u64>()?;
    }
    Ok(hits)
}

/// Hits around a short and a long run, from which start and end of the program fall out.
#[derive(Debug)]
pub struct Rounds {
    /// Before and after the short run.
    pub short: (Hits, Hits),
    /// Before and after the long run.
    pub long: (Hits, Hits),
    /// Requests that the long run made more.
    pub requests: f64,
}

impl Rounds {
    /// Instructions per request at each address.
    fn per_request(&self) -> BTreeMap<u64, f64> {
        let gained = |pair: &(Hits, Hits), at: &u64| {
            let before = pair.0.get(at).copied().unwrap_or(0);
            pair.1.get(at).copied().unwrap_or(0).saturating_sub(before) as f64
        };
        self.long
            .1
            .keys()
            .map(|at| {
                (
                    *at,
                    (gained(&self.long, at) - gained(&self.short, at)) / self.requests,
                )
            })
            .filter(|(_, count)| count.abs() > 0.01)
            .collect()
    }
}

/// Names what was executed, with the guest's help.
///
/// # Errors
///
/// When the guest's agent does not answer.
pub fn profile(
    machine: &mut Machine,
    guest: &Guest,
    job: Job,
    driver: Driver,
    rounds: &Rounds,
) -> Result<Profile> {
    let counts = rounds.per_request();
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    let mut kernel: Vec<(u64, f64)> = Vec::new();
    for (address, count) in counts {
        match address {
            0xffff_8000_0000_0000..=0xffff_87ff_ffff_ffff => {
                *sums.entry("(hypervisor)".into()).or_default() += count;
            }
            0xffff_8800_0000_0000.. => kernel.push((address, count)),
            _ => *sums.entry("(user space)".into()).or_default() += count,
        }
    }
    kernel.sort_by(|a, b| b.1.total_cmp(&a.1));
    for (_, count) in kernel.iter().skip(NAMED) {
        *sums.entry("(blocks not named)".into()).or_default() += count;
    }
    kernel.truncate(NAMED);
    let names = names(machine, guest, kernel.iter().map(|(address, _)| *address))?;
    for (address, count) in kernel {
        let name = names
            .get(&address)
            .map_or("(dom0's kernel)", String::as_str);
        *sums.entry(name.to_owned()).or_default() += count;
    }
    let mut functions: Vec<(String, f64)> = sums.into_iter().collect();
    functions.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(Profile {
        job,
        driver,
        functions,
    })
}

/// Prints, for each address on its standard input, the symbol that it lies in. Lines of the symbol table
/// and of addresses are sorted into one list, in which the symbol stands before its addresses.
const LOOK_UP: &str = "{ grep -i ' [tw] ' /proc/kallsyms; cat; } | sort | \
    awk '$3 == \"@\" { print $1, name; next } { name = $3 $4 }'";

/// Symbols of the guest's kernel at these addresses; none where another system's code lies.
fn names(
    machine: &mut Machine,
    guest: &Guest,
    addresses: impl Iterator<Item = u64>,
) -> Result<HashMap<u64, String>> {
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
        .filter_map(|line| line.split_once(' '))
        // Before the guest's first symbol and after its last one is the code of dom0.
        .filter(|(_, name)| !name.is_empty() && !matches!(*name, "_etext" | "_einittext"))
        .filter_map(|(address, name)| {
            Some((u64::from_str_radix(address, 16).ok()?, name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::jobs::Extent;

    #[test]
    fn start_and_end_of_the_program_fall_out() {
        let hits = |list: &[(u64, u64)]| list.iter().copied().collect::<Hits>();
        let rounds = Rounds {
            short: (hits(&[(1, 5)]), hits(&[(1, 105), (2, 70)])),
            long: (hits(&[(1, 105), (2, 70)]), hits(&[(1, 1205), (2, 140)])),
            requests: 100.0,
        };
        let per_request = rounds.per_request();
        assert_eq!(per_request.get(&1), Some(&10.0));
        assert_eq!(per_request.get(&2), None);
    }

    #[test]
    fn names_are_read_and_foreign_code_has_none() {
        let names =
            parse("ffffffff81000000 \nffffffffa0000010 do_it[portico]\nffffffffb0000000 _etext\n");
        assert_eq!(names.len(), 1);
        assert_eq!(names[&0xffff_ffff_a000_0010], "do_it[portico]");
    }

    #[test]
    fn the_look_up_names_the_symbol_before_an_address() {
        let script = LOOK_UP.replace("/proc/kallsyms", "symbols");
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("symbols"),
            "ffffffff81000100 t two\nffffffff81000000 T one\nffffffffc0000000 t three\t[mod]\n",
        )
        .unwrap();
        fs::write(
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
            job: Extent::Quick.jobs()[0],
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
