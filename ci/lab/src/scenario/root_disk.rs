// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root file system of an HVM guest on the front end: ext4 on `xvda`, read-write, clean after a
//! reboot and after a power-off.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context as _, Result};
use portico_agent::proto::{Driver, Op};

use crate::context::Context;
use crate::image;
use crate::machine::{Disk, Guest, GuestSpec, GuestType, Machine};
use crate::part::Tally;
use crate::report::Facts;

use super::io::{self, MIB};
use super::stage::{quiet, Stage};

const SHORT: Duration = Duration::from_secs(60);

/// A file that must be the same after the reboot.
const KEPT: &str = "/root/kept";

pub(super) fn run(ctx: &Context, driver: Driver, _full: bool) -> Result<Tally> {
    let folder = tempfile::tempdir_in(ctx.work())?;
    let disk = folder.path().join("root.img");
    image::root_disk(ctx, &disk, 256)?;
    let mut stage = Stage::new(ctx, "root-disk", driver, |_| Ok(()))?;
    stage.add_disk(&disk);
    stage.case("hvm", |machine, facts| {
        let mut spec = GuestSpec::new("root", GuestType::Hvm, driver);
        spec.modules.push("ext4".into());
        spec.cmdline.push("lab.root=/dev/xvda".into());
        spec.disks.push(Disk::device("/dev/vda", "xvda"));

        let guest = machine.create(&spec)?;
        let digest = first_life(machine, &guest, facts)
            .map_err(|error| machine.guest_failure(&guest, &error))?;
        leave(machine, &guest, Op::Reboot, 1)?;
        fsck(machine).context("after the reboot")?;

        let guest = machine.create(&spec)?;
        let again = machine.at(&guest).digest(KEPT, 0, 8 * MIB, SHORT);
        let again = again.map_err(|error| machine.guest_failure(&guest, &error))?;
        ensure!(again == digest, "{KEPT} has changed over the reboot");
        leave(machine, &guest, Op::PowerOff, 0)?;
        fsck(machine).context("after the power-off")
    })?;
    stage.finish()
}

fn first_life(machine: &mut Machine, guest: &Guest, facts: &mut Facts) -> Result<String> {
    super::driven_by(machine, guest, super::XVDA, facts)?;
    let mounts = machine.at(guest).read("/proc/mounts")?;
    let root = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(1) == Some("/"));
    let root = root.unwrap_or_default().to_owned();
    ensure!(
        root.starts_with("/dev/xvda / ext4 rw"),
        "the root file system is {root:?}"
    );
    facts.insert("root_mount".into(), root.into());
    let line = format!("dd if=/dev/urandom of={KEPT} bs=1M count=8 conv=fsync && touch /root/load");
    let exit = machine.at(guest).shell(&line, SHORT)?;
    ensure!(exit.code == 0, "dd: {}", exit.stderr);
    let bytes = io::fio_verify(machine, guest, "/root/load", 32 * MIB, 1)?;
    facts.insert("verified_bytes".into(), bytes.into());
    // Many small files, so that the journal has work.
    let line = "mkdir -p /root/many && cd /root/many && \
        for i in $(seq 400); do echo $i > f$i; done && rm f?5 f1?? && sync && ls | wc -l";
    let exit = machine.at(guest).shell(line, SHORT)?;
    ensure!(exit.code == 0, "small files: {}", exit.stderr);
    quiet(machine, guest)?;
    machine.at(guest).digest(KEPT, 0, 8 * MIB, SHORT)
}

/// Has the guest leave, waits until it has, and removes what is left of it. `reason` is the hypervisor's
/// code for the way it should go.
fn leave(machine: &mut Machine, guest: &Guest, how: Op, reason: u8) -> Result<()> {
    machine.at(guest).ask(how, SHORT)?;
    let deadline = Instant::now() + SHORT;
    loop {
        match machine.dom0().domain(guest.domid)? {
            Some(state) if state.shutdown == Some(reason) => break,
            Some(state) if state.shutdown.is_none() && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(200));
            }
            state => {
                let error = anyhow::anyhow!("did not leave as told: {state:?}");
                return Err(machine.guest_failure(guest, &error));
            }
        }
    }
    machine.destroy(guest)
}

fn fsck(machine: &mut Machine) -> Result<()> {
    // dom0 may hold pages of the disk from the last time.
    let line = "blockdev --flushbufs /dev/vda; e2fsck -f -n /dev/vda";
    let exit = machine.dom0().shell(line, SHORT)?;
    if exit.code != 0 {
        bail!(
            "e2fsck ended with {}: {}{}",
            exit.code,
            exit.stdout,
            exit.stderr
        );
    }
    Ok(())
}
