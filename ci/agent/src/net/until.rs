// SPDX-License-Identifier: MIT OR Apache-2.0
//! When a flow ends.

use crate::exec::Group;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a call on a socket may wait before it is looked whether there is reason to go on.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// How long the peer may take to say what came of it after an operation was stopped.
const AFTER_STOP: Duration = Duration::from_secs(5);

/// Tells flows when to end.
#[derive(Debug)]
pub(super) struct Until<'a> {
    deadline: Instant,
    group: Option<&'a Group>,
    ending: AtomicBool,
    aborted: AtomicBool,
}

impl<'a> Until<'a> {
    pub(super) fn new(deadline: Instant, group: Option<&'a Group>) -> Until<'a> {
        Until {
            deadline,
            group,
            ending: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
        }
    }

    /// Nothing more is to be sent, and nothing more will come than is on its way.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// The other side is gone.
    pub(super) fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
        self.end();
    }

    /// The whole operation was told to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.group.is_some_and(Group::is_stopped)
    }

    /// Whether to begin no more.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed) || self.is_late()
    }

    /// Fails when there is no more time, or nobody to wait for.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.aborted.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        match self.is_late() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }

    /// The same for what is waited for after an end that came from outside.
    pub(super) fn hurry(&mut self) {
        if self.is_stopped() {
            self.deadline = self.deadline.min(Instant::now() + AFTER_STOP);
        }
    }

    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }
}

/// Whether a call on a socket has only waited for its tick.
pub(super) fn only_waited(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
