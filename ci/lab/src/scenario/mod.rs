// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done in real guests, as the command line calls it.

use anyhow::{bail, Result};

use crate::context::Context;
use crate::machine::GuestType;
use crate::part::Part;

/// The main job: a guest on our driver, verified I/O, ours beside the stock driver.
///
/// # Errors
///
/// When a step fails or passes its time limit.
pub fn demo(_ctx: &Context, _kind: GuestType) -> Result<()> {
    bail!("the demo is not written yet")
}

/// The parts of the test run in real guests; with `full`, the whole matrices.
pub fn parts(_full: bool) -> Vec<Part> {
    Vec::new()
}

/// Our disk driver beside the stock one. `rounds` of each job are run, in turn.
///
/// # Errors
///
/// When a step fails or passes its time limit.
pub fn bench_disk(_ctx: &Context, _rounds: u32) -> Result<()> {
    bail!("the disk benchmark is not written yet")
}

/// A guest whose console is this terminal, until it is left.
///
/// # Errors
///
/// When it does not boot.
pub fn lab(_ctx: &Context, _kind: GuestType) -> Result<()> {
    bail!("the interactive guest is not written yet")
}
