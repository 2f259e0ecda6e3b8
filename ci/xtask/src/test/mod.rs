// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`.

use std::time::Instant;

use anyhow::{bail, Result};
use clap::Args;
use portico_lab::context::Host;
use portico_lab::part::Tally;
use portico_lab::stop;

mod host;
mod linux;
mod report;
mod state;
mod world;

use report::Report;
use state::State;
use world::World;

/// What to test.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Run one part, or the group before its slash: `host`, `linux/clippy`, `guest`. Can be given
    /// more than once.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,

    /// Run the whole matrices. It takes hours; a run that was stopped goes on where it was, as long
    /// as no file has changed.
    #[arg(long)]
    full: bool,

    /// Say which parts there are, and run none.
    #[arg(long)]
    list: bool,
}

/// What a part does.
type Work = Box<dyn FnOnce(&mut World) -> Result<Tally>>;

/// A part: its name is `GROUP/NAME`.
struct Part {
    name: String,
    about: String,
    work: Work,
}

impl Part {
    fn new(
        name: &str,
        about: &str,
        work: impl FnOnce(&mut World) -> Result<Tally> + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            work: Box::new(work),
        }
    }
}

/// All parts, quick ones first.
fn parts(full: bool) -> Vec<Part> {
    let mut parts = host::parts();
    parts.extend(linux::parts());
    for part in portico_lab::scenario::parts(full) {
        let name = format!("guest/{}", part.name);
        parts.push(Part::new(&name, &part.about, |world| {
            (part.work)(world.context()?)
        }));
    }
    parts
}

/// Whether `only` names the part or its group.
fn is_named(only: &str, part: &str) -> bool {
    part == only
        || part
            .strip_prefix(only.trim_end_matches('/'))
            .is_some_and(|rest| rest.starts_with('/'))
}

fn select(parts: Vec<Part>, only: &[String]) -> Result<Vec<Part>> {
    for wanted in only {
        if !parts.iter().any(|part| is_named(wanted, &part.name)) {
            let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
            bail!(
                "there is no part {wanted:?}; there are: {}",
                names.join(", ")
            );
        }
    }
    Ok(parts
        .into_iter()
        .filter(|part| only.is_empty() || only.iter().any(|wanted| is_named(wanted, &part.name)))
        .collect())
}

pub(crate) fn run(host: &Host, kernel: Option<&str>, arguments: &Arguments) -> Result<()> {
    let parts = select(parts(arguments.full), &arguments.only)?;
    if arguments.list {
        for part in parts {
            println!("{:<24} {}", part.name, part.about);
        }
        return Ok(());
    }
    let mut state = if arguments.full {
        State::resume(host)?
    } else {
        State::none()
    };
    let mut world = World::new(host, kernel);
    let mut report = Report::default();
    for part in parts {
        if let Some(before) = state.passed(&part.name) {
            println!("ok      {} (passed before the run was stopped)", part.name);
            report.add(
                part.name,
                0.0,
                Tally::of(before, "before the run was stopped"),
            );
            continue;
        }
        let begun = Instant::now();
        let result = (part.work)(&mut world);
        stop::check()?;
        let tally = result.unwrap_or_else(|error| Tally {
            failures: vec![format!("{error:#}")],
            ..Tally::default()
        });
        let seconds = begun.elapsed().as_secs_f64();
        if tally.failures.is_empty() {
            println!("ok      {} ({seconds:.1} s) {}", part.name, tally.note);
            state.keep(&part.name, tally.passed)?;
        } else {
            println!("FAILED  {} ({seconds:.1} s)", part.name);
        }
        report.add(part.name, seconds, tally);
        report.write(host)?;
    }
    report.show();
    if report.failed == 0 {
        return state.forget();
    }
    // The verdict stands above, as the last line; the exit code says it again.
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_named_by_itself_or_its_group() {
        assert!(is_named("host", "host/fmt") && is_named("host/", "host/fmt"));
        assert!(is_named("host/fmt", "host/fmt"));
        assert!(!is_named("host/f", "host/fmt") && !is_named("ho", "host/fmt"));
        let error = select(parts(false), &["hosts".to_owned()]).err().unwrap();
        assert!(error
            .to_string()
            .contains("there is no part \"hosts\"; there are: host/fmt"));
    }

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<String> = parts(true).into_iter().map(|p| p.name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
