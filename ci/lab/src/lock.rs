// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks between runs.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{bail, Context as _, Result};
use rustix::fs::{flock, FlockOperation};
use rustix::io::{fcntl_setfd, FdFlags};

use crate::progress::Progress;
use crate::stop;

/// An exclusive lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file `path`, waiting for another run that holds it, and saying so.
    ///
    /// # Errors
    ///
    /// When the file cannot be made or the run is stopped while it waits.
    pub fn take(path: &Path, what: &str, progress: &Progress) -> Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(|| format!("opening the lock {}", path.display()))?;
        let mut told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // Tools inherit the lock: those of a run that was killed still write.
                    fcntl_setfd(&file, FdFlags::empty())?;
                    return Ok(Self { _file: file });
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => bail!("locking {}: {error}", path.display()),
            }
            if !told {
                progress.say(format!("waiting for another run, which is at {what}"));
                told = true;
            }
            stop::check()?;
            thread::sleep(Duration::from_millis(200));
        }
    }
}
