// SPDX-License-Identifier: GPL-2.0-only

//! How the back end spreads what it sends over the queues: its own way, or by the Toeplitz hash with a key
//! and a table that the user sets (`ethtool -X`) and the control ring carries.
//!
//! The hash costs a slot of the receive ring for each frame, so it is off until somebody asks for it.

use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use portico::{
    event::{Handler, Notifier, Verdict},
    host::Host,
    net::{random_key, NetDevice, Outgoing},
};
use portico_core::net::{
    ctrl::{Command, Ctrl, Spread, HASH_ALGORITHM_NONE, HASH_TYPES},
    toeplitz::KEY_LEN,
};

use crate::net::Net;

/// How long the back end may take for a command, in milliseconds.
const COMMAND_MS: u32 = 1000;

/// Entries of the table: as many as Linux' back end takes.
pub(crate) const TABLE_LEN: usize = 128;

/// What the user has set.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) on: bool,
    pub(crate) key: [u8; KEY_LEN],
    pub(crate) table: [u32; TABLE_LEN],
}

impl Wanted {
    /// Off, with a key and a table to begin with.
    pub(crate) fn new(queues: u32) -> Self {
        let mut key = [0; KEY_LEN];
        random_key(&mut key);
        let mut table = [0; TABLE_LEN];
        for (entry, index) in table.iter_mut().zip(0u32..) {
            *entry = index % queues.max(1);
        }
        Self {
            on: false,
            key,
            table,
        }
    }
}

/// The control ring, connected.
pub(crate) struct Control {
    pub(crate) ctrl: Ctrl<Host<Outgoing>>,
    pub(crate) notifier: Notifier,
}

/// Answers are looked for by whoever waits.
pub(crate) struct ControlListener;

impl Handler for ControlListener {
    fn handle(&self) -> Verdict {
        // Commands are few, so a delay after some events does no harm.
        Verdict::Spurious
    }
}

impl Control {
    /// Sends a command and waits for the answer.
    fn run(&mut self, command: &Command<'_>) -> Result {
        if self.ctrl.is_waiting() {
            // The answer to the last one was late. What it says, nobody waits for any more.
            match self.answer() {
                Ok(()) | Err(EINVAL) => {}
                Err(error) => return Err(error),
            }
        }
        match self.ctrl.send(command) {
            Ok(true) => self.notifier.notify(),
            Ok(false) => {}
            Err(_) => return Err(EIO),
        }
        self.answer()
    }

    /// Waits for the answer to the command that was sent.
    fn answer(&mut self) -> Result {
        for _ in 0..COMMAND_MS {
            match self.ctrl.take() {
                Ok(Some(Ok(_))) => return Ok(()),
                Ok(Some(Err(refused))) => {
                    pr_warn!(
                        "the back end refuses a control command: {}\n",
                        format_args!("{refused}")
                    );
                    return Err(EINVAL);
                }
                Ok(None) => fsleep(Delta::from_millis(1)),
                Err(violation) => {
                    pr_err!(
                        "control ring: {}: not used any more\n",
                        format_args!("{violation}")
                    );
                    return Err(EIO);
                }
            }
        }
        Err(ETIMEDOUT)
    }
}

/// Tells the back end what is wanted.
pub(crate) fn apply(dev: &NetDevice<Net>, wanted: &Wanted) -> Result {
    let queues = dev.real_rx_queues().max(1);
    let mut table = wanted.table;
    // There may be fewer queues than when the table was set.
    for entry in table.iter_mut() {
        *entry %= queues;
    }
    let spread = Spread {
        flags: HASH_TYPES,
        key: &wanted.key,
        mapping: &table,
    };
    let mut control = dev.data().control.lock();
    let control = (*control).as_mut().ok_or(ENODEV)?;
    for command in spread.commands() {
        control.run(&command)?;
    }
    Ok(())
}

/// Tells the back end to spread packets in its own way.
pub(crate) fn end(dev: &NetDevice<Net>) {
    let mut control = dev.data().control.lock();
    let Some(control) = (*control).as_mut() else {
        return;
    };
    // One that does not answer goes on with the hash, which does no harm.
    let _ = control.run(&Command::SetHashAlgorithm(HASH_ALGORITHM_NONE));
}

/// Tells it again, after it was connected anew.
pub(crate) fn restore(dev: &NetDevice<Net>) {
    let wanted = dev.data().wanted.lock();
    if wanted.on {
        if let Err(error) = apply(dev, &wanted) {
            dev_warn!(
                dev.data().xenbus,
                "packets are spread in the back end's way: {error:?}\n"
            );
        }
    }
}
