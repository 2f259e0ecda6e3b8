// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faulty and hostile back ends: the guest goes on, its kernel has nothing to complain about, no grant
//! or event channel stays, and a fresh device works afterwards. What is a device and what is done with
//! it, the kinds of back ends say.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context as _, Result};
use hostile_back::script::{Expect, Script};
use portico_agent::proto::{Driver, Exec, Fault, FaultKind, Op, Reply, Usage};
use serde::Serialize;

use crate::context::Context;
use crate::machine::{Guest, GuestSpec, GuestType, Machine};
use crate::part::Tally;

use super::stage::{quiet_since, wait_for, with_guest_that_may_say, Stage};

pub(super) const SHORT: Duration = Duration::from_secs(30);

/// How long the guest's load may take before the back end is told to detach.
const STALLED: Duration = Duration::from_secs(12);

/// Time between two looks at what the guest's log says meanwhile.
const LOOK: Duration = Duration::from_secs(3);

/// The back end, with its commands from a pipe with a name.
const SERVE: &str = "rm -f /tmp/control; mkfifo /tmp/control; exec 3<>/tmp/control; \
    exec $0 serve --domain $1 --device $2 --json \"$3\" <&3";

/// The kernel's own words when a grant is ended that the peer still uses: true here, and the account
/// shows that nothing stays.
const ALLOWED: &[&str] = &["still in use!"];

/// What came of the guest's load.
#[derive(Clone, Debug)]
pub(super) enum Load {
    /// All of it succeeded.
    Whole(String),
    /// Some of it.
    Partly(String),
    /// Nothing.
    Failed(String),
    /// There was no device.
    NoDevice,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Load::Whole(text) => write!(f, "succeeded: {text}"),
            Load::Partly(text) => write!(f, "succeeded in part: {text}"),
            Load::Failed(text) => write!(f, "failed: {text}"),
            Load::NoDevice => f.write_str("there was no device"),
        }
    }
}

/// A kind of device and its hostile back end.
#[derive(Clone, Copy)]
pub(super) struct Victim {
    /// The scenario's name.
    pub(super) name: &'static str,
    /// Prepares dom0.
    pub(super) prepare: fn(&mut Machine) -> Result<()>,
    /// Gives a guest what it needs.
    pub(super) equip: fn(&mut GuestSpec),
    /// The back end.
    pub(super) program: &'static str,
    /// The device as the back end names it.
    pub(super) device: &'static str,
    /// A condition of the guest's shell: the device is gone.
    pub(super) gone: &'static str,
    /// Words in the lines of the guest's log that are about it.
    pub(super) words: &'static [&'static str],
    /// Starts a load in the guest; none if there is no device. That it fails is allowed, that it ends
    /// is required.
    pub(super) start: fn(&mut Machine, &Guest) -> Result<Option<u64>>,
    /// What came of it.
    pub(super) ended: fn(Result<Reply>) -> Load,
    /// A device of the stock back end: plugged in, verified, taken away.
    pub(super) fresh: fn(&mut Machine, &Guest) -> Result<()>,
}

/// Runs scripts one after the other.
pub(super) fn run<O, P, F>(
    ctx: &Context,
    driver: Driver,
    victim: Victim,
    scripts: &[Script<O, P, F>],
) -> Result<Tally>
where
    Script<O, P, F>: Serialize,
{
    let mut stage = Stage::new(ctx, victim.name, driver, victim.prepare)?;
    // In groups, so that a guest that dies does not take all the rest with it.
    for group in scripts.chunks(10) {
        let (first, last) = (&group[0].name, &group[group.len() - 1].name);
        stage.case(&format!("{first} to {last}"), |machine, facts| {
            let mut spec = GuestSpec::new("hostile", GuestType::Hvm, driver);
            (victim.equip)(&mut spec);
            with_guest_that_may_say(machine, &spec, facts, ALLOWED, |machine, guest, facts| {
                fresh(machine, guest, &victim).context("before the first fault")?;
                let mut surprises = Vec::new();
                for script in group {
                    let seen = one(machine, guest, &victim, script)
                        .with_context(|| script.name.clone())?;
                    let expected = as_expected(script.expect, &seen.said, &seen.load);
                    if guest.driver == Driver::Ours && !expected {
                        surprises.push(format!("{}: {}", script.name, seen.story()));
                    }
                    facts.insert(script.name.clone(), seen.said.into());
                }
                ensure!(
                    surprises.is_empty(),
                    "not as expected: {}",
                    surprises.join("; ")
                );
                Ok(())
            })
        })?;
    }
    stage.finish()
}

/// What came of a script.
struct Seen {
    /// What the guest's log said about the device.
    said: Vec<String>,
    load: Load,
    back_end: String,
}

impl Seen {
    fn story(&self) -> String {
        format!(
            "log: {:?}; load: {}; back end: {}",
            self.said, self.load, self.back_end
        )
    }
}

/// One script from beginning to end. An error: the guest or a device did not come through it.
fn one<O, P, F>(
    machine: &mut Machine,
    guest: &Guest,
    victim: &Victim,
    script: &Script<O, P, F>,
) -> Result<Seen>
where
    Script<O, P, F>: Serialize,
{
    let since = machine.at(guest).kernel_log(0)?.next;
    let before = machine.dom0().usage(guest.domid)?;
    let domain = guest.domid.to_string();
    let json = serde_json::to_string(script)?;
    let (program, device) = (victim.program, victim.device);
    let serve = Exec::new(["sh", "-c", SERVE, program, &domain, device, &json]);
    let serve = machine.dom0().start(Op::Exec(serve), SHORT * 4)?;
    let job = (victim.start)(machine, guest)?;
    let early = job.map(|job| while_it_works(machine, guest, victim, since, job));

    // One that has died has nobody at the other end of the pipe.
    let detach = "timeout 2 sh -c 'echo \\\"detach\\\" > /tmp/control'; true";
    machine.dom0().shell(detach, SHORT)?;
    let reply = machine
        .dom0()
        .join(serve, SHORT * 2)
        .context("the back end to end")?;
    let Reply::Exit(back_end) = reply else {
        bail!("the back end ended with {reply:?}");
    };
    // One that died, or that lost its own nodes, leaves some behind.
    machine.dom0().shell(
        &format!("{program} clean --domain {domain} --device {device}"),
        SHORT,
    )?;
    let load = match (job, early) {
        (Some(job), Some(early)) => {
            let reply = match early {
                Err(error) if still_runs(&error) => machine.at(guest).join(job, SHORT),
                early => early,
            };
            if reply.as_ref().is_err_and(still_runs) {
                bail!(
                    "the guest's load does not end; back end: {}",
                    back_end.stdout
                );
            }
            (victim.ended)(reply)
        }
        _ => Load::NoDevice,
    };
    wait_for(machine, guest, victim.gone, SHORT).context("the device to go")?;
    quiet_since(machine, guest, since, ALLOWED)?;
    let said = said(machine, guest, victim, since)?;
    let seen = Seen {
        said,
        load,
        back_end: back_end.stdout,
    };
    returned(machine, guest, &before).with_context(|| seen.story())?;
    fresh(machine, guest, victim).context("a fresh device afterwards")?;
    Ok(seen)
}

/// What the guest's log said about the device.
fn said(machine: &mut Machine, guest: &Guest, victim: &Victim, since: u64) -> Result<Vec<String>> {
    let log = machine.at(guest).kernel_log(since)?;
    let texts = log.lines.into_iter().map(|line| line.text);
    Ok(texts
        .filter(|text| victim.words.iter().any(|word| text.contains(word)))
        .take(12)
        .collect())
}

fn is_broken(said: &[String]) -> bool {
    said.iter().any(|line| line.contains("broken"))
}

/// Whether nothing is known of the load's end: its own limit is longer than anybody waits here.
fn still_runs(error: &anyhow::Error) -> bool {
    let fault = error.downcast_ref::<Fault>();
    fault.is_some_and(|fault| fault.kind == FaultKind::Timeout)
}

/// Joins the load, unless the device breaks under it or it takes too long.
fn while_it_works(
    machine: &mut Machine,
    guest: &Guest,
    victim: &Victim,
    since: u64,
    job: u64,
) -> Result<Reply> {
    let begun = Instant::now();
    loop {
        match machine.at(guest).join(job, LOOK) {
            Err(error) if still_runs(&error) => {
                if begun.elapsed() > STALLED || is_broken(&said(machine, guest, victim, since)?) {
                    return Err(error);
                }
            }
            ended => return ended,
        }
    }
}

/// Whether our driver made of it what it should.
fn as_expected(expect: Option<Expect>, log: &[String], load: &Load) -> bool {
    match expect {
        Some(Expect::Serves) => matches!(load, Load::Whole(_)),
        Some(Expect::Warns) => {
            matches!(load, Load::Whole(_)) && log.iter().any(|line| line.contains("the back end "))
        }
        Some(Expect::Refused) => matches!(load, Load::NoDevice),
        Some(Expect::Broken) => is_broken(log),
        Some(Expect::Errors | Expect::Stalls | Expect::Any) | None => true,
    }
}

/// Waits until the guest has in use what it had before.
fn returned(machine: &mut Machine, guest: &Guest, before: &Usage) -> Result<()> {
    let mut after = machine.dom0().usage(guest.domid)?;
    for _ in 0..30 {
        if after == *before {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(500));
        after = machine.dom0().usage(guest.domid)?;
    }
    bail!("in use before: {before:?}; 15 s after: {after:?}")
}

fn fresh(machine: &mut Machine, guest: &Guest, victim: &Victim) -> Result<()> {
    let before = machine.dom0().usage(guest.domid)?;
    (victim.fresh)(machine, guest)?;
    wait_for(machine, guest, victim.gone, SHORT).context("the device to go")?;
    returned(machine, guest, &before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_is_late_has_not_ended_its_load() {
        let late = Fault::new(FaultKind::Timeout, "is up but did not answer in time");
        assert!(still_runs(&late.into()));
        let gone = Fault::new(FaultKind::GuestGone, "has crashed");
        assert!(!still_runs(&gone.into()));
    }
}
