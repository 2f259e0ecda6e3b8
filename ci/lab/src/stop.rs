// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ctrl-C and termination.
//!
//! One thread waits for the signals. It marks the run as stopped and ends every child's process
//! group; the main thread then sees its child fail, unwinds, and on its way the guards remove
//! temporary folders. Mounts are made in private namespaces only, so they end with their children.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{kill_process_group, Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long a child has between the polite and the final signal.
const GRACE: Duration = Duration::from_millis(1500);

static STOPPED: AtomicBool = AtomicBool::new(false);
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// The error of a run that the user stopped.
#[derive(Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by a signal; what was finished before stays cached")
    }
}

impl std::error::Error for Stopped {}

/// Starts to listen for SIGINT, SIGTERM and SIGHUP. To be called once, by the command line.
///
/// # Errors
///
/// When the handlers cannot be set.
pub fn install() -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("setting up signal handling")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            let again = STOPPED.swap(true, Ordering::SeqCst);
            if !again {
                eprintln!("\nstopping: ending what is running and removing what is half done");
                end_groups(Signal::TERM);
                thread::sleep(GRACE);
            }
            end_groups(Signal::KILL);
        }
    });
    Ok(())
}

/// Whether a signal asked this run to end.
pub fn stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}

/// Fails when a signal asked this run to end. To be called between steps and in waiting loops.
///
/// # Errors
///
/// [`Stopped`].
pub fn check() -> Result<()> {
    if stopped() {
        return Err(Stopped.into());
    }
    Ok(())
}

fn groups() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    GROUPS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn end_groups(signal: Signal) {
    for raw in groups().iter() {
        end_group(*raw, signal);
    }
}

/// Sends `signal` to the process group `group`; one that is gone is fine.
pub(crate) fn end_group(group: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(group) {
        let _ = kill_process_group(pid, signal);
    }
}

/// A child process group that ends with this run. Taken back when the child was waited for.
#[derive(Debug)]
pub(crate) struct Group(i32);

impl Group {
    /// Registers the group that the child `pid` leads.
    pub(crate) fn new(pid: u32) -> Self {
        let pid = i32::try_from(pid).unwrap_or(0);
        groups().insert(pid);
        if stopped() {
            // The signal came between the spawn and this line.
            end_group(pid, Signal::KILL);
        }
        Self(pid)
    }

    pub(crate) fn id(&self) -> i32 {
        self.0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        groups().remove(&self.0);
    }
}
