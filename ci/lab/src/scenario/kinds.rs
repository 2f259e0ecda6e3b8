// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kinds of disks: sectors of 4096 bytes, discard, flush and FUA, read-only, CD-ROM, a size that changes
//! while the disk is in use. The back end's disks are loop devices on files in dom0's memory.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use portico_agent::proto::{Driver, Fio};

use crate::context::Context;
use crate::machine::{Disk, Guest, GuestSpec, GuestType, Machine};
use crate::part::Tally;
use crate::report::Facts;

use super::facts::{self, DiskFacts};
use super::io::{self, Pair, MIB};
use super::stage::{wait_for, with_guest, Stage};

const SHORT: Duration = Duration::from_secs(30);

/// The files behind, each on the loop device of its place in the list, with their sector sizes.
const FILES: [(&str, u32); 4] = [
    ("/tmp/large-sectors.img", 4096),
    ("/tmp/usual.img", 512),
    ("/tmp/read-only.img", 512),
    ("/tmp/cd-rom.img", 2048),
];

const LARGE: Pair = Pair {
    guest: "/dev/xvda",
    dom0: "/dev/loop0",
};

const USUAL: Pair = Pair {
    guest: "/dev/xvdb",
    dom0: "/dev/loop1",
};

/// By its path: the shell has a smaller one of its own that comes first.
const LOSETUP: &str = "/usr/sbin/losetup";

fn prepare(machine: &mut Machine) -> Result<()> {
    let mut dom0 = machine.dom0();
    for (i, (file, sector)) in FILES.iter().enumerate() {
        let script =
            format!("truncate -s 64M {file} && {LOSETUP} -b {sector} /dev/loop{i} {file} 2>&1");
        let exit = dom0.shell(&script, SHORT)?;
        ensure!(
            exit.code == 0,
            "loop device on {file}: {}{}",
            exit.stdout,
            exit.stderr
        );
    }
    Ok(())
}

pub(super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut stage = Stage::new(ctx, "disk-kinds", driver, prepare)?;
    let kinds: &[GuestType] = if full {
        &GuestType::ALL
    } else {
        &[GuestType::Pv]
    };
    for kind in kinds {
        stage.case(kind.name(), |machine, facts| {
            let mut spec = GuestSpec::new("kinds", *kind, driver);
            spec.disks.push(Disk::device(LARGE.dom0, "xvda"));
            spec.disks.push(Disk::device(USUAL.dom0, "xvdb"));
            // In an HVM guest, xvda to xvdd have an emulated twin, which cannot be read-only.
            let mut disk = Disk::device("/dev/loop2", "xvde");
            disk.writable = false;
            spec.disks.push(disk.clone());
            // An HVM guest's CD-ROM is an emulated one, never the front end's.
            if *kind != GuestType::Hvm {
                disk.target = "phy:/dev/loop3".into();
                disk.vdev = "xvdd".into();
                disk.more.push("cdrom".into());
                spec.disks.push(disk);
            }
            with_guest(machine, &spec, facts, |machine, guest, facts| {
                super::driven_by(machine, guest, super::XVDA, facts)?;
                large_sectors(machine, guest, facts).context("sectors of 4096 bytes")?;
                flush(machine, guest, facts).context("flush and FUA")?;
                discard(machine, guest, facts).context("discard")?;
                resize(machine, guest, facts).context("resize")?;
                read_only(machine, guest).context("read-only")?;
                if *kind != GuestType::Hvm {
                    cd_rom(machine, guest, facts).context("CD-ROM")?;
                }
                Ok(())
            })
        })?;
    }
    stage.finish()
}

fn large_sectors(machine: &mut Machine, guest: &Guest, facts: &mut Facts) -> Result<()> {
    let seen = DiskFacts::read(machine, guest, "xvda")?;
    let size = seen.queue_number("logical_block_size")?;
    ensure!(size == 4096, "logical_block_size is {size}");
    ensure!(
        seen.queue_number("size")? == 64 * MIB / 512,
        "the disk has another size"
    );
    io::verified(machine, guest, LARGE, 8 * MIB, facts)
}

/// Flushes and barriers that the back end has done for `xvdb`.
fn flushes(machine: &mut Machine, guest: &Guest) -> Result<u64> {
    let number = facts::vdev("xvdb")?;
    let path = format!(
        "/sys/bus/xen-backend/devices/vbd-{}-{number}/statistics/f_req",
        guest.domid
    );
    Ok(machine.dom0().read(&path)?.trim().parse()?)
}

fn flush(machine: &mut Machine, guest: &Guest, facts: &mut Facts) -> Result<()> {
    let seen = DiskFacts::read(machine, guest, "xvdb")?;
    let cache = seen.queue.get("write_cache").cloned().unwrap_or_default();
    ensure!(
        cache == "write back",
        "the guest sees the cache as {cache:?}"
    );
    let mut counts = vec![flushes(machine, guest)?];
    for extra in ["--fsync=1", "--sync=dsync"] {
        let what = Fio {
            path: USUAL.guest.into(),
            rw: "write".into(),
            bs: 4096,
            depth: 1,
            jobs: 1,
            size: 64 * 1024,
            seconds: 0,
            verify: false,
            extra: vec![extra.into()],
        };
        let result = machine.at(guest).fio(&what, Duration::from_secs(60))?;
        ensure!(result.errors == 0, "fio {extra}: {}", result.message);
        // fio does not flush after the last one.
        counts.push(flushes(machine, guest)?);
        let gained = counts[counts.len() - 1] - counts[counts.len() - 2];
        ensure!(
            gained >= 15,
            "the back end saw {gained} flushes for 16 writes with {extra}"
        );
    }
    facts.insert("flushes_seen_by_back_end".into(), counts.into());
    Ok(())
}

/// Blocks of 512 bytes that the file behind `xvdb` takes.
fn blocks(machine: &mut Machine) -> Result<u64> {
    let text = machine
        .dom0()
        .run(&["stat", "-c", "%b", FILES[1].0], SHORT)?;
    Ok(text.trim().parse()?)
}

fn discard(machine: &mut Machine, guest: &Guest, facts: &mut Facts) -> Result<()> {
    io::guest_to_dom0(machine, guest, USUAL, 7, 24 * MIB)?;
    let before = blocks(machine)?;
    let length = (16 * MIB).to_string();
    let argv = ["blkdiscard", "-o", "0", "-l", &length, USUAL.guest];
    machine.at(guest).run(&argv, SHORT)?;
    let after = blocks(machine)?;
    facts.insert(
        "blocks_before_and_after_discard".into(),
        vec![before, after].into(),
    );
    let freed = before.saturating_sub(after);
    ensure!(
        freed >= 15 * MIB / 512,
        "a discard of 16 MiB freed {freed} blocks of 512 bytes"
    );
    // What was not discarded is still there.
    let kept = machine
        .at(guest)
        .digest(USUAL.guest, 16 * MIB, 8 * MIB, SHORT)?;
    let wanted = machine
        .dom0()
        .digest(USUAL.dom0, 16 * MIB, 8 * MIB, SHORT)?;
    ensure!(kept == wanted, "data behind the discarded range differs");
    Ok(())
}

fn resize(machine: &mut Machine, guest: &Guest, facts: &mut Facts) -> Result<()> {
    let mut sizes = Vec::new();
    for mib in [96, 48] {
        let script = format!(
            "truncate -s {mib}M {} && {LOSETUP} -c {}",
            FILES[1].0, USUAL.dom0
        );
        let exit = machine.dom0().shell(&script, SHORT)?;
        ensure!(exit.code == 0, "losetup -c: {}", exit.stderr);
        // The back end looks at the size when a request comes.
        machine.at(guest).digest(USUAL.guest, 0, 4096, SHORT)?;
        let sectors = mib * MIB / 512;
        let condition = format!("[ $(cat /sys/block/xvdb/size) = {sectors} ]");
        wait_for(machine, guest, &condition, SHORT)?;
        sizes.push(sectors);
    }
    facts.insert("resized_to_sectors".into(), sizes.into());
    io::fio_verify(machine, guest, USUAL.guest, 8 * MIB, 1)?;
    // For the next guest.
    let script = format!(
        "truncate -s 64M {} && {LOSETUP} -c {}",
        FILES[1].0, USUAL.dom0
    );
    machine.dom0().shell(&script, SHORT)?;
    Ok(())
}

fn read_only(machine: &mut Machine, guest: &Guest) -> Result<()> {
    let seen = DiskFacts::read(machine, guest, "xvde")?;
    ensure!(
        seen.queue_number("ro")? == 1,
        "the guest may write the disk"
    );
    let exit = machine.at(guest).shell(
        "dd if=/dev/zero of=/dev/xvde bs=4096 count=1 conv=fsync",
        SHORT,
    )?;
    ensure!(exit.code != 0, "a write to the read-only disk went well");
    machine.at(guest).digest("/dev/xvde", 0, MIB, SHORT)?;
    Ok(())
}

fn cd_rom(machine: &mut Machine, guest: &Guest, facts: &mut Facts) -> Result<()> {
    let pair = Pair {
        guest: "/dev/xvdd",
        dom0: "/dev/loop3",
    };
    let seen = DiskFacts::read(machine, guest, "xvdd")?;
    let kind = seen.front.get("device-type").cloned().unwrap_or_default();
    ensure!(kind == "cdrom", "device-type is {kind:?}");
    ensure!(seen.queue_number("ro")? == 1, "the CD-ROM can be written");
    let block = seen.queue_number("logical_block_size")?;
    facts.insert("cd_rom_block".into(), block.into());
    facts.insert(
        "cd_rom_removable".into(),
        seen.queue_number("removable")?.into(),
    );
    io::dom0_to_guest(machine, guest, pair, 3, 4 * MIB)
}
