// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verified I/O: what the guest writes is what dom0 reads from the disk behind it and the other way
//! round, and fio finds its own check sums again.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use portico_agent::proto::{Fio, Pattern};

use crate::machine::{Guest, Machine};
use crate::report::Facts;

use super::stage::round;

const LIMIT: Duration = Duration::from_secs(180);

/// A disk under its two names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// In the guest.
    pub(super) guest: &'static str,
    /// In dom0.
    pub(super) dom0: &'static str,
}

/// The first disk of most guests, on the first memory disk of dom0.
pub(super) const FIRST: Pair = Pair {
    guest: "/dev/xvda",
    dom0: "/dev/ram0",
};

/// The second one.
pub(super) const SECOND: Pair = Pair {
    guest: "/dev/xvdb",
    dom0: "/dev/ram1",
};

/// Bytes in a MiB.
pub(super) const MIB: u64 = 1 << 20;

fn pattern(path: &str, seed: u64, len: u64) -> Pattern {
    Pattern {
        path: path.into(),
        seed,
        offset: 0,
        len,
    }
}

/// The guest writes `len` bytes, dom0 compares what is on the disk behind; returns the common hash.
pub(super) fn guest_to_dom0(
    machine: &mut Machine,
    guest: &Guest,
    disk: Pair,
    seed: u64,
    len: u64,
) -> Result<String> {
    machine
        .at(guest)
        .fill(&pattern(disk.guest, seed, len), LIMIT)?;
    let seen = machine
        .dom0()
        .check(&pattern(disk.dom0, seed, len), LIMIT)?;
    ensure!(
        seen.wrong_words == 0,
        "dom0 reads {} other words than the guest wrote, the first at byte {:?}",
        seen.wrong_words,
        seen.first_wrong
    );
    let own = machine.at(guest).digest(disk.guest, 0, len, LIMIT)?;
    ensure!(
        own == seen.digest,
        "the guest reads {own}, dom0 {} from the same disk",
        seen.digest
    );
    Ok(own)
}

/// dom0 writes `len` bytes, the guest compares what it reads.
pub(super) fn dom0_to_guest(
    machine: &mut Machine,
    guest: &Guest,
    disk: Pair,
    seed: u64,
    len: u64,
) -> Result<()> {
    machine.dom0().fill(&pattern(disk.dom0, seed, len), LIMIT)?;
    let seen = machine
        .at(guest)
        .check(&pattern(disk.guest, seed, len), LIMIT)?;
    ensure!(
        seen.wrong_words == 0,
        "the guest reads {} other words than dom0 wrote, the first at byte {:?}",
        seen.wrong_words,
        seen.first_wrong
    );
    Ok(())
}

/// fio writes blocks of mixed sizes at random places and verifies them.
pub(super) fn fio_verify(
    machine: &mut Machine,
    guest: &Guest,
    path: &str,
    size: u64,
    jobs: u32,
) -> Result<u64> {
    let what = Fio {
        path: path.into(),
        rw: "randwrite".into(),
        bs: 4096,
        depth: 16,
        jobs,
        size,
        seconds: 0,
        verify: true,
        extra: vec!["--bsrange=4k-512k".into(), "--blockalign=4k".into()],
    };
    let result = machine.at(guest).fio(&what, LIMIT)?;
    ensure!(
        result.errors == 0,
        "fio --verify on {path}: {} errors: {}",
        result.errors,
        result.message
    );
    ensure!(
        result.write.bytes >= size / 2 && result.read.bytes >= size / 2,
        "fio --verify on {path} moved too little: {} bytes written, {} read back",
        result.write.bytes,
        result.read.bytes
    );
    Ok(result.write.bytes)
}

/// All three on the first `len` bytes of a disk.
pub(super) fn verified(
    machine: &mut Machine,
    guest: &Guest,
    disk: Pair,
    len: u64,
    facts: &mut Facts,
) -> Result<()> {
    let begun = machine.seconds();
    let digest = guest_to_dom0(machine, guest, disk, 0x5eed + len, len)
        .context("guest writes, dom0 reads")?;
    dom0_to_guest(machine, guest, disk, 0xd0 + len, len).context("dom0 writes, guest reads")?;
    let bytes = fio_verify(machine, guest, disk.guest, len, 1)?;
    facts.insert("verified_bytes".into(), (2 * len + bytes).into());
    facts.insert("digest".into(), digest.into());
    facts.insert("io_seconds".into(), round(machine.seconds() - begun).into());
    Ok(())
}
