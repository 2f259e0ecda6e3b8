// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faulty and hostile back ends of disks.

use anyhow::{Context as _, Result};
use hostile_blkback::catalogue::catalogue;
use hostile_blkback::random;
use portico_agent::proto::{Driver, Exec, Op, Reply};

use crate::context::Context;
use crate::machine::{Disk, Guest, Machine};
use crate::part::Tally;

use super::io::{self, MIB, SECOND};
use super::stage::wait_for;
use super::trial::{self, Load, Victim, SHORT};

/// What the guest does with the disk.
const LOAD: &str = "i=0; while [ $i -lt 40 ] && [ ! -b /dev/xvdb ]; do sleep 0.1; i=$((i+1)); done; \
    [ -b /dev/xvdb ] || { echo no disk; exit 0; }; \
    fio --name=h --filename=/dev/xvdb --rw=randrw --bsrange=4k-64k --blockalign=4k --size=1m \
    --ioengine=libaio --iodepth=8 --direct=1 --fsync=8 --number_ios=200 --minimal > /tmp/h.out 2>&1; \
    echo fio ended with $?";

/// Scripts of the short run: one of each sort.
const SOME: [&str; 8] = [
    "wrong-id",
    "keeps-grants",
    "never-answers-one",
    "producer-ahead",
    "storm",
    "sector-size-0",
    "queues-10-to-9",
    "killed-under-load",
];

const DISK: Victim = Victim {
    name: "hostile-back-end",
    prepare: |machine| {
        machine
            .dom0()
            .load("brd", "rd_nr=2 rd_size=65536", Driver::Stock)
    },
    equip: |_| {},
    program: "hostile-blkback",
    device: "xvdb",
    gone: "[ ! -e /sys/block/xvdb ]",
    words: &["vbd", "xvdb"],
    start: |machine, guest| {
        let load = Op::Exec(Exec::shell(LOAD));
        machine.at(guest).start(load, SHORT * 4).map(Some)
    },
    ended,
    fresh,
};

pub(super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut scripts = catalogue();
    scripts.retain(|script| full || SOME.contains(&script.name.as_str()));
    scripts.extend((1..=if full { 100 } else { 2 }).map(random::script));
    trial::run(ctx, driver, DISK, &scripts)
}

fn ended(reply: Result<Reply>) -> Load {
    match reply {
        Ok(Reply::Exit(exit)) if exit.stdout.contains("no disk") => Load::NoDevice,
        Ok(Reply::Exit(exit)) if exit.stdout.contains("fio ended with 0") => {
            Load::Whole(exit.stdout)
        }
        Ok(Reply::Exit(exit)) => Load::Failed(exit.stdout),
        Ok(other) => Load::Failed(format!("{other:?}")),
        Err(error) => Load::Failed(format!("{error:#}")),
    }
}

fn fresh(machine: &mut Machine, guest: &Guest) -> Result<()> {
    machine.attach(guest, &Disk::device(SECOND.dom0, "xvdb"))?;
    let there = "[ -b /dev/xvdb ] && [ $(cat /sys/block/xvdb/size) != 0 ]";
    wait_for(machine, guest, there, SHORT).context("the disk to appear")?;
    io::guest_to_dom0(machine, guest, SECOND, 21, MIB)?;
    machine.detach(guest, "xvdb", false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_list_names_scripts() {
        let scripts = catalogue();
        assert!(SOME
            .iter()
            .all(|some| scripts.iter().any(|script| script.name == *some)));
    }
}
