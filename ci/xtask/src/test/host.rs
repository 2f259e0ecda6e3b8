// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parts that cargo runs on the host.

use std::fs;

use anyhow::{bail, Result};
use portico_lab::checks::source;
use portico_lab::context::Host;
use portico_lab::part::Tally;
use portico_lab::run::Run;

use super::world::World;
use super::Part;
use crate::cargo::cargo;

pub(super) fn parts() -> Vec<Part> {
    vec![
        Part::new("host/fmt", "rustfmt, host crates and modules", fmt),
        Part::new("host/spdx", "a licence line in every file", |world| {
            let read = source::spdx(&world.host.checkout)?;
            Ok(Tally::one(format!("{read} files")))
        }),
        Part::new("host/clippy", "clippy over the host crates", clippy),
        Part::new("host/tests", "unit, property and peer tests", tests),
        Part::new("host/loom", "models of the lost-wake-up rules", loom),
    ]
}

fn fmt(world: &mut World) -> Result<Tally> {
    let host = &world.host;
    cargo(
        host,
        "find all crates formatted (`cargo fmt --all` formats them)",
    )
    .args(["fmt", "--all", "--check", "--", "--color", "never"])
    .log(host.log("fmt"))
    .run(None)?;
    let modules = source::rust_files(&host.checkout.join("linux"))?;
    Run::new(
        "rustfmt",
        "find all modules formatted (`rustfmt --edition 2021` formats them)",
    )
    .args(["--check", "--edition", "2021", "--color", "never"])
    .args(&modules)
    .dir(&host.checkout)
    .log(host.log("fmt-linux"))
    .run(None)?;
    Ok(Tally::of(2, ""))
}

fn clippy(world: &mut World) -> Result<Tally> {
    let include = world.xen_include()?;
    let host = &world.host;
    let step = host.progress.step("clippy over the host crates");
    cargo(host, "find the host crates free of clippy's warnings")
        .args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
        .env("PORTICO_XEN_INCLUDE", include)
        .log(host.log("clippy"))
        .run(Some(&step))?;
    step.done("");
    Ok(Tally::one(""))
}

fn tests(world: &mut World) -> Result<Tally> {
    let include = world.xen_include()?;
    let host = &world.host;
    let run = cargo(host, "pass the tests on the host")
        .args(["test", "--workspace", "--no-fail-fast"])
        .env("PORTICO_XEN_INCLUDE", include);
    counted(host, run, "host-tests", "tests on the host")
}

fn loom(world: &mut World) -> Result<Tally> {
    let host = &world.host;
    let run = cargo(host, "pass the loom models")
        .args(["test", "--release", "--package", "portico-peers"])
        .arg("--target-dir")
        .arg(host.target.join("loom"))
        .env("RUSTFLAGS", "--cfg loom");
    counted(host, run, "loom", "loom models")
}

/// Runs tests and counts them from what libtest prints.
fn counted(host: &Host, run: Run, log: &str, what: &str) -> Result<Tally> {
    let step = host.progress.step(what);
    let log = host.log(log);
    let result = run.log(&log).run(Some(&step));
    let text = fs::read(&log).unwrap_or_default();
    let mut tally = count(&String::from_utf8_lossy(&text));
    match result {
        Ok(()) if tally.passed == 0 => bail!("no test ran, see {}", log.display()),
        Ok(()) => {
            tally.note = format!("{} tests", tally.passed);
            step.done(&tally.note);
        }
        Err(error) if tally.failures.is_empty() => return Err(error),
        Err(_) => tally
            .failures
            .push(format!("the whole log: {}", log.display())),
    }
    Ok(tally)
}

fn count(log: &str) -> Tally {
    let mut tally = Tally::default();
    for line in log.lines() {
        if let Some(result) = line.strip_prefix("test result: ") {
            tally.passed += result
                .split_once(" passed")
                .and_then(|(before, _)| before.rsplit(' ').next()?.parse::<u32>().ok())
                .unwrap_or(0);
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|l| l.strip_suffix(" ... FAILED"))
        {
            tally.failures.push(format!("test {name} failed"));
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted() {
        let tally = count(
            "test a ... ok\ntest b::c ... FAILED\n\
             test result: FAILED. 12 passed; 1 failed; 0 ignored; 0 measured\n\
             test result: ok. 3 passed; 0 failed; 1 ignored\n",
        );
        assert_eq!(tally.passed, 15);
        assert_eq!(tally.failures, ["test b::c failed"]);
    }
}
