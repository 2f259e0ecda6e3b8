// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands on standard input, one JSON value per line.

use serde::de::DeserializeOwned;
use serde::Deserialize;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

/// What can be asked of a running back end.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command<F> {
    /// Report the counters.
    Stats,
    /// Ask the front end to let go, and end.
    Detach,
    /// End at once, and remove the nodes.
    Quit,
    /// Do something wrong now.
    Fault(F),
    /// What only this kind of back end knows.
    #[serde(untagged)]
    Own(Value),
}

/// Standard input, line by line.
pub struct Commands {
    stdin: File,
    buffer: Vec<u8>,
    open: bool,
}

impl Commands {
    /// Begins to listen.
    pub fn open() -> io::Result<Self> {
        // Without the standard library's buffer, which could hold lines that no wait sees.
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Commands {
            stdin: stdin.into(),
            buffer: Vec::new(),
            open: true,
        })
    }

    /// The descriptor to wait for, until standard input ends.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.open.then(|| self.stdin.as_fd())
    }

    /// The commands that have come. A line that is none is given back as text.
    pub fn read<F: DeserializeOwned>(&mut self) -> Vec<Result<Command<F>, String>> {
        let mut piece = [0; 4096];
        match self.stdin.read(&mut piece) {
            Ok(got) if got > 0 => self.buffer.extend(&piece[..got]),
            _ => self.open = false,
        }
        let mut commands = Vec::new();
        while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if !line.trim().is_empty() {
                commands
                    .push(serde_json::from_str(&line).map_err(|e| format!("{}: {e}", line.trim())));
            }
        }
        commands
    }
}
