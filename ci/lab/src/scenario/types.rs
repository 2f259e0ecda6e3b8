// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest types, vCPUs, versions of the grant table and kinds of event channels: verified work in each
//! combination that Xen and the stock kernel offer.

use anyhow::{ensure, Result};
use portico_agent::proto::Driver;

use crate::context::Context;
use crate::machine::{Disk, Guest, GuestSpec, GuestType, Machine};
use crate::part::Tally;
use crate::report::Facts;

use super::io::{self, FIRST, MIB};
use super::stage::{with_guest, Stage};

/// A combination.
#[derive(Clone, Copy, Debug)]
struct Combination {
    kind: GuestType,
    vcpus: u32,
    grants: u32,
    fifo: bool,
}

impl Combination {
    fn name(self) -> String {
        format!(
            "{} {} vcpu grants-v{} {}",
            self.kind.name(),
            self.vcpus,
            self.grants,
            if self.fifo { "fifo" } else { "2-level" }
        )
    }
}

/// All that there are. Version 2 is for PV only: the stock kernel oopses with it in the other types,
/// whatever driver runs (`gnttab_end_foreign_access_ref_v2`).
fn all() -> Vec<Combination> {
    let mut list = Vec::new();
    for kind in GuestType::ALL {
        for grants in [1, 2] {
            if grants == 2 && kind != GuestType::Pv {
                continue;
            }
            for vcpus in [1, 2] {
                for fifo in [true, false] {
                    list.push(Combination {
                        kind,
                        vcpus,
                        grants,
                        fifo,
                    });
                }
            }
        }
    }
    list
}

/// Each value of each kind at least once.
fn some() -> Vec<Combination> {
    let one = |kind, vcpus, grants, fifo| Combination {
        kind,
        vcpus,
        grants,
        fifo,
    };
    vec![
        one(GuestType::Hvm, 1, 1, true),
        one(GuestType::Pvh, 1, 1, false),
        one(GuestType::Pv, 2, 2, true),
    ]
}

/// What is tried in each combination.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    /// The scenario's name.
    pub(super) name: &'static str,
    /// Prepares dom0.
    pub(super) prepare: fn(&mut Machine) -> Result<()>,
    /// Gives a guest its devices.
    pub(super) equip: fn(&mut GuestSpec),
    /// Works with them: much, or little.
    pub(super) work: fn(&mut Machine, &Guest, bool, &mut Facts) -> Result<()>,
}

const DISK: Subject = Subject {
    name: "guest-types",
    prepare: |machine| {
        machine
            .dom0()
            .load("brd", "rd_nr=1 rd_size=65536", Driver::Stock)
    },
    equip: |spec| spec.disks.push(Disk::device(FIRST.dom0, "xvda")),
    work: |machine, guest, much, facts| {
        super::driven_by(machine, guest, super::XVDA, facts)?;
        let size = if much { 32 * MIB } else { 8 * MIB };
        io::verified(machine, guest, FIRST, size, facts)
    },
};

pub(super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    run_with(ctx, driver, full, DISK)
}

/// Tries a subject in all combinations, or in some.
pub(super) fn run_with(
    ctx: &Context,
    driver: Driver,
    full: bool,
    subject: Subject,
) -> Result<Tally> {
    let mut stage = Stage::new(ctx, subject.name, driver, subject.prepare)?;
    let list = if full { all() } else { some() };
    for combination in list {
        stage.case(&combination.name(), |machine, facts| {
            let mut spec = specification(combination, driver);
            (subject.equip)(&mut spec);
            with_guest(machine, &spec, facts, |machine, guest, facts| {
                in_effect(machine, guest, combination, facts)?;
                (subject.work)(machine, guest, full, facts)
            })
        })?;
    }
    stage.finish()
}

fn specification(combination: Combination, driver: Driver) -> GuestSpec {
    let mut spec = GuestSpec::new("types", combination.kind, driver);
    spec.vcpus = combination.vcpus;
    if !combination.fifo {
        spec.cmdline.push("xen.fifo_events=0".into());
    }
    spec.cmdline
        .push(format!("grant_table.version={}", combination.grants));
    spec
}

/// The guest runs what was asked for, by its own log and the hypervisor's word.
fn in_effect(
    machine: &mut Machine,
    guest: &Guest,
    combination: Combination,
    facts: &mut Facts,
) -> Result<()> {
    let log = machine.at(guest).kernel_log(0)?;
    let told = |text: &str| log.lines.iter().any(|line| line.text.contains(text));
    ensure!(
        told("Using FIFO-based ABI") == combination.fifo,
        "the guest's kernel uses the other kind of event channels"
    );
    let usage = machine.dom0().usage(guest.domid)?;
    ensure!(
        usage.grant_version == combination.grants,
        "the guest's grant table has version {}",
        usage.grant_version
    );
    let cpus = machine.at(guest).read("/sys/devices/system/cpu/online")?;
    let wanted = if combination.vcpus == 1 { "0" } else { "0-1" };
    ensure!(cpus.trim() == wanted, "CPUs online: {}", cpus.trim());
    let kind = machine.at(guest).read("/sys/hypervisor/guest_type")?;
    facts.insert("guest_type".into(), kind.trim().into());
    ensure!(
        kind.trim().eq_ignore_ascii_case(combination.kind.name()),
        "the guest says that it is of type {}",
        kind.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_there_once() {
        let mut names: Vec<String> = all().into_iter().map(Combination::name).collect();
        assert_eq!(names.len(), 16);
        for combination in some() {
            assert!(names.contains(&combination.name()));
        }
        names.dedup();
        assert_eq!(names.len(), 16);
    }
}
