// SPDX-License-Identifier: MIT OR Apache-2.0
//! The stage that scenarios play on: a machine, cases with verdicts, and one more try where the emulator
//! failed.

use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use portico_agent::proto::Driver;

use crate::context::Context;
use crate::image::{self, Images};
use crate::machine::{Failure, Guest, GuestSpec, Machine, MachineOptions, Verdict};
use crate::part::Tally;
use crate::progress::Step;
use crate::report::{Facts, Report};
use crate::stop;

/// A machine with the report of what is done on it.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    ctx: &'a Context,
    options: MachineOptions,
    images: Images,
    machine: Option<Machine>,
    prepare: fn(&mut Machine) -> Result<()>,
    report: Report,
    step: Option<Step>,
}

impl<'a> Stage<'a> {
    /// A stage for a scenario; `prepare` is done on each machine that it boots.
    pub(super) fn new(
        ctx: &'a Context,
        name: &str,
        driver: Driver,
        prepare: fn(&mut Machine) -> Result<()>,
    ) -> Result<Self> {
        Ok(Self {
            ctx,
            options: MachineOptions::new(format!("{name}-{}", driver.name())),
            images: image::images(ctx)?,
            machine: None,
            prepare,
            report: Report::new(name, driver, &ctx.kernel.release),
            step: Some(ctx.host.progress.step(name)),
        })
    }

    /// Gives dom0 one more disk.
    pub(super) fn add_disk(&mut self, image: &std::path::Path) {
        self.options.disks.push(image.to_owned());
    }

    /// Runs a case. Its failure is noted, and does not keep the next ones from running; one that broke
    /// the machine, or that a fault of the emulator broke, makes the next one boot anew.
    pub(super) fn case(
        &mut self,
        name: &str,
        body: impl Fn(&mut Machine, &mut Facts) -> Result<()>,
    ) -> Result<()> {
        stop::check()?;
        let cases = &self.ctx.cases;
        if !cases.is_empty() && !cases.iter().any(|word| name.contains(word.as_str())) {
            return Ok(());
        }
        if let Some(step) = &self.step {
            step.note(name);
        }
        for last_try in [false, true] {
            let begun = Instant::now();
            let mut facts = Facts::new();
            let result = self.machine().and_then(|machine| body(machine, &mut facts));
            stop::check()?;
            let Err(error) = result else {
                self.report.add(name, begun, facts, None);
                return Ok(());
            };
            let text = format!("{error:#}");
            let emulator = self.is_emulators(&error);
            self.machine = None;
            if emulator && !last_try {
                self.say(&format!("{name}: the emulator failed; once more"));
                self.report.emulator_faults.push(format!("{name}: {text}"));
                continue;
            }
            self.say(&format!("{name} failed: {text}"));
            self.report.add(name, begun, facts, Some(text));
            return Ok(());
        }
        Ok(())
    }

    /// Notes a line for people who watch.
    pub(super) fn say(&self, line: &str) {
        if let Some(step) = &self.step {
            step.say(line);
        }
    }

    fn is_emulators(&self, error: &anyhow::Error) -> bool {
        let told = error
            .downcast_ref::<Failure>()
            .is_some_and(|failure| failure.verdict == Verdict::Emulator);
        told || self.machine.as_ref().is_some_and(Machine::emulator_fault)
    }

    fn machine(&mut self) -> Result<&mut Machine> {
        if self.machine.is_none() {
            let mut machine = Machine::boot(self.ctx, &self.images, &self.options)?;
            (self.prepare)(&mut machine)?;
            self.machine = Some(machine);
        }
        match &mut self.machine {
            Some(machine) => Ok(machine),
            None => bail!("no machine"),
        }
    }

    /// Switches the machine off and writes the report.
    pub(super) fn finish(mut self) -> Result<Tally> {
        if let Some(machine) = self.machine.take() {
            machine.power_off()?;
        }
        let path = self.report.write(&self.ctx.report())?;
        let tally = self.report.tally();
        if let Some(step) = self.step.take() {
            step.done(format!(
                "{} passed, {} failed; {}",
                tally.passed,
                tally.failures.len(),
                path.display()
            ));
        }
        Ok(tally)
    }
}

/// Runs `body` with a guest, which is destroyed afterwards. The guest's kernel must have nothing to
/// complain about.
pub(super) fn with_guest(
    machine: &mut Machine,
    spec: &GuestSpec,
    facts: &mut Facts,
    body: impl FnOnce(&mut Machine, &mut Guest, &mut Facts) -> Result<()>,
) -> Result<()> {
    with_guest_that_may_say(machine, spec, facts, NOTHING, body)
}

/// What the stock driver makes its kernel say when it gives up what was not sent yet: it takes a
/// reference of a page that belongs to a slab, which has none.
pub(super) const STOCK_SAYS: &[&str] = &["xennet_disconnect_backend", "Call Trace"];

/// No complaint is part of the case.
const NOTHING: &[&str] = &[];

/// The same, where complaints with one of these words in them are part of the case.
pub(super) fn with_guest_that_may_say(
    machine: &mut Machine,
    spec: &GuestSpec,
    facts: &mut Facts,
    allowed: &[&str],
    body: impl FnOnce(&mut Machine, &mut Guest, &mut Facts) -> Result<()>,
) -> Result<()> {
    let mut guest = machine.create(spec)?;
    facts.insert("guest_up_seconds".into(), round(guest.up_seconds).into());
    let done =
        body(machine, &mut guest, facts).and_then(|()| quiet_since(machine, &guest, 0, allowed));
    if let Err(error) = done {
        let error = machine.guest_failure(&guest, &error);
        // The case has failed already; a guest that cannot be destroyed goes with its machine.
        let _ = machine.destroy(&guest);
        return Err(error);
    }
    machine.destroy(&guest)
}

/// Signs of trouble in a kernel log.
const TROUBLE: [&str; 9] = [
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Oops",
    "Call Trace",
    "general protection fault",
    "blocked for more than",
    "refcount_t:",
    "g.e. 0x",
];

/// Fails if the guest's kernel has complained.
pub(super) fn quiet(machine: &mut Machine, guest: &Guest) -> Result<()> {
    quiet_since(machine, guest, 0, NOTHING)
}

/// Fails if the guest's kernel has complained since this record of its log, other than with one of the
/// allowed words.
pub(super) fn quiet_since(
    machine: &mut Machine,
    guest: &Guest,
    since: u64,
    allowed: &[&str],
) -> Result<()> {
    let log = machine.at(guest).kernel_log(since)?;
    let bad: Vec<String> = log
        .lines
        .iter()
        .filter(|line| TROUBLE.iter().any(|sign| line.text.contains(sign)))
        .filter(|line| !allowed.iter().any(|word| line.text.contains(word)))
        .map(|line| line.text.clone())
        .collect();
    match bad.is_empty() {
        true => Ok(()),
        false => bail!("the guest's kernel complained: {}", bad.join(" | ")),
    }
}

/// Waits until a shell condition holds in the guest.
pub(super) fn wait_for(
    machine: &mut Machine,
    guest: &Guest,
    condition: &str,
    limit: Duration,
) -> Result<()> {
    // The condition is polled in the guest: each request to it costs more than the wait itself.
    let turns = limit.as_millis() / 100;
    let line = format!(
        "i=0; while [ $i -lt {turns} ]; do {condition} && exit 0; sleep 0.1; i=$((i+1)); done; exit 1"
    );
    let exit = machine
        .at(guest)
        .shell(&line, limit * 2 + Duration::from_secs(10))?;
    match exit.code {
        0 => Ok(()),
        _ => bail!("in vain waited for `{condition}` in the guest for {limit:?}"),
    }
}

/// Two decimals are enough for people.
pub(super) fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
