// SPDX-License-Identifier: MIT OR Apache-2.0
//! What front and back end negotiate: persistent grants, indirect segments, pages of the ring, queues,
//! trust. Each is seen in effect in the store, in the queue's limits and in our counters, and carries
//! verified data.

use std::time::Duration;

use anyhow::{bail, ensure, Result};
use portico_agent::proto::Driver;

use crate::context::Context;
use crate::machine::{Disk, Guest, GuestSpec, GuestType, Machine};
use crate::part::Tally;
use crate::report::Facts;

use super::facts::DiskFacts;
use super::io::{self, FIRST, MIB};
use super::stage::{with_guest, Stage};

/// Segments of a request that names them itself (`BLKIF_MAX_SEGMENTS_PER_REQUEST`).
const DIRECT: u64 = 11;

/// Settings of both ends.
#[derive(Clone, Copy, Debug)]
struct Setting {
    kind: GuestType,
    vcpus: u32,
    persistent_front: bool,
    persistent_back: bool,
    indirect: u64,
    order: u64,
    queues: u64,
    /// Of the queues, those that are polled.
    polled: u64,
    trusted: bool,
}

/// What the stock driver takes without parameters, in the type of guest that is quickest.
const USUAL: Setting = Setting {
    kind: GuestType::Hvm,
    vcpus: 1,
    persistent_front: true,
    persistent_back: true,
    indirect: 32,
    order: 0,
    queues: 1,
    polled: 0,
    trusted: true,
};

fn all() -> Vec<(String, Setting)> {
    let mut list = vec![
        ("usual".to_owned(), USUAL),
        (
            "persistent off by the front end".to_owned(),
            Setting {
                persistent_front: false,
                ..USUAL
            },
        ),
        (
            "persistent off by the back end".to_owned(),
            Setting {
                persistent_back: false,
                ..USUAL
            },
        ),
        (
            "not trusted".to_owned(),
            Setting {
                trusted: false,
                ..USUAL
            },
        ),
        (
            "not trusted, no persistent grants".to_owned(),
            Setting {
                trusted: false,
                persistent_front: false,
                ..USUAL
            },
        ),
    ];
    for indirect in [0, 256] {
        list.push((
            format!("{indirect} indirect segments"),
            Setting { indirect, ..USUAL },
        ));
    }
    for order in 1..=4 {
        list.push((format!("ring of order {order}"), Setting { order, ..USUAL }));
    }
    for queues in 1..=4 {
        // Several vCPUs are steady in PV guests only, where the emulator has no world to switch.
        list.push((
            format!("{queues} queues"),
            Setting {
                kind: GuestType::Pv,
                vcpus: queues as u32,
                queues,
                order: 1,
                ..USUAL
            },
        ));
    }
    list.push((
        "a queue that is polled".to_owned(),
        Setting {
            kind: GuestType::Pv,
            vcpus: 2,
            queues: 2,
            polled: 1,
            ..USUAL
        },
    ));
    list
}

/// Each value at its two ends, in few guests.
fn some() -> Vec<(String, Setting)> {
    vec![
        (
            "no persistent grants, no indirect segments".to_owned(),
            Setting {
                persistent_front: false,
                indirect: 0,
                ..USUAL
            },
        ),
        (
            "256 indirect segments, ring of order 4, not trusted".to_owned(),
            Setting {
                indirect: 256,
                order: 4,
                trusted: false,
                ..USUAL
            },
        ),
        (
            "2 queues, one of them polled, rings of order 2".to_owned(),
            Setting {
                kind: GuestType::Pv,
                vcpus: 2,
                queues: 2,
                polled: 1,
                order: 2,
                ..USUAL
            },
        ),
    ]
}

pub(super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut stage = Stage::new(ctx, "disk-features", driver, |machine| {
        let mut dom0 = machine.dom0();
        dom0.load("brd", "rd_nr=1 rd_size=65536", Driver::Stock)?;
        // The back end offers as many queues as dom0 has vCPUs unless told otherwise.
        dom0.write("/sys/module/xen_blkback/parameters/max_queues", "4")
    })?;
    let (list, size) = if full {
        (all(), 32 * MIB)
    } else {
        (some(), 8 * MIB)
    };
    for (name, setting) in list {
        stage.case(&name, |machine, facts| {
            let parameter = "/sys/module/xen_blkback/parameters/feature_persistent";
            let value = if setting.persistent_back { "Y" } else { "N" };
            machine.dom0().write(parameter, value)?;
            let spec = specification(setting, driver);
            with_guest(machine, &spec, facts, |machine, guest, facts| {
                super::driven_by(machine, guest, super::XVDA, facts)?;
                io::verified(machine, guest, FIRST, size, facts)?;
                if setting.queues > 1 {
                    io::fio_verify(machine, guest, FIRST.guest, size, setting.vcpus)?;
                }
                if setting.polled > 0 && driver == Driver::Ours {
                    poll(machine, guest, facts)?;
                }
                in_effect(machine, guest, setting, facts)
            })
        })?;
    }
    stage.finish()
}

fn specification(setting: Setting, driver: Driver) -> GuestSpec {
    let mut spec = GuestSpec::new("features", setting.kind, driver);
    spec.vcpus = setting.vcpus;
    spec.disks.push(Disk::device(FIRST.dom0, "xvda"));
    let flag = u8::from;
    spec.cmdline = vec![
        format!(
            "xen_blkfront.feature_persistent={}",
            flag(setting.persistent_front)
        ),
        format!("xen_blkfront.max_indirect_segments={}", setting.indirect),
        format!("xen_blkfront.max_ring_page_order={}", setting.order),
        format!(
            "xen_blkfront.max_queues={}",
            match driver {
                Driver::Ours => setting.queues - setting.polled,
                Driver::Stock => setting.queues,
            }
        ),
        format!("xen_blkfront.trusted={}", flag(setting.trusted)),
    ];
    if setting.polled > 0 && driver == Driver::Ours {
        spec.cmdline
            .push(format!("xen_blkfront.poll_queues={}", setting.polled));
    }
    spec
}

/// Reads by polling: the last queue takes requests, and completes them without an interrupt.
fn poll(machine: &mut Machine, guest: &Guest, facts: &mut Facts) -> Result<()> {
    const READS: u64 = 200;
    let stats = "cat /sys/kernel/debug/xen-blkfront-*/stats";
    let limit = Duration::from_secs(60);
    let requests = |text: &str| -> Option<u64> {
        let line = text
            .lines()
            .find(|line| line.starts_with("queue1_requests "))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    let before = machine.at(guest).shell(stats, limit)?.stdout;
    let job = format!(
        "fio --name=poll --filename={} --rw=randread --bs=4k --direct=1 --ioengine=io_uring \
         --hipri=1 --iodepth=4 --number_ios={READS} --minimal",
        FIRST.guest
    );
    let exit = machine.at(guest).shell(&job, limit)?;
    ensure!(
        exit.code == 0,
        "fio that polls: {} {}",
        exit.stdout,
        exit.stderr
    );
    let after = machine.at(guest).shell(stats, limit)?.stdout;
    let (Some(before), Some(after)) = (requests(&before), requests(&after)) else {
        bail!("there are no counters of a second queue: {after}");
    };
    facts.insert("polled_requests".into(), (after - before).into());
    ensure!(
        after - before >= READS,
        "of {READS} polled reads {} went to the polled queue",
        after - before
    );
    Ok(())
}

fn in_effect(
    machine: &mut Machine,
    guest: &Guest,
    setting: Setting,
    facts: &mut Facts,
) -> Result<()> {
    let seen = DiskFacts::read(machine, guest, "xvda")?;
    facts.insert("front_keys".into(), serde_json::to_value(&seen.front)?);
    facts.insert("counters".into(), serde_json::to_value(&seen.counters)?);

    let order = seen.front_number("ring-page-order", 0)?;
    ensure!(order == setting.order, "ring-page-order is {order}");
    let queues = seen.front_number("multi-queue-num-queues", 1)?;
    ensure!(
        queues == setting.queues,
        "multi-queue-num-queues is {queues}"
    );
    let own = seen.queue_number("queues")?;
    ensure!(own == setting.queues, "the disk has {own} hardware queues");
    let persistent = seen.front_number("feature-persistent", 0)? == 1;
    ensure!(
        persistent == setting.persistent_front,
        "the front end's feature-persistent is {persistent}"
    );
    let segments = seen.queue_number("max_segments")?;
    ensure!(
        segments == setting.indirect.max(DIRECT),
        "requests have up to {segments} segments"
    );
    if guest.driver == Driver::Stock {
        return Ok(());
    }
    let used = |name: &str, wanted: bool| {
        let value = seen.counter(name);
        ensure!(
            value.is_some_and(|value| (value > 0) == wanted),
            "our counter {name} is {value:?}"
        );
        Ok(())
    };
    used("requests", true)?;
    used("indirect", setting.indirect > DIRECT)?;
    let both = setting.persistent_front && setting.persistent_back;
    used("persistent_hits", both)?;
    if !setting.trusted {
        used("bounces", true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_say_what_the_setting_says() {
        let spec = specification(
            Setting {
                trusted: false,
                ..USUAL
            },
            Driver::Ours,
        );
        assert!(spec.cmdline.contains(&"xen_blkfront.trusted=0".to_owned()));
        assert!(spec
            .cmdline
            .contains(&"xen_blkfront.max_indirect_segments=32".to_owned()));
        assert_eq!(all().len(), 16);
    }
}
