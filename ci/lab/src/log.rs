// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the log of a tool tells: its end, and what to do about a well-known trouble.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

/// Lines of a log that an error shows.
const TAIL: usize = 15;

/// The last line of a log that is being written.
pub(crate) fn last_line(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(400))).ok()?;
    BufReader::new(file)
        .split(b'\n')
        .map_while(std::result::Result::ok)
        .filter(|line| !line.is_empty())
        .last()
        .map(|line| String::from_utf8_lossy(&line).into_owned())
}

/// The last lines of a text that are not blank.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(TAIL);
    lines[from..].join("\n")
}

/// Adds what to do to the end of a log that shows a well-known trouble.
pub(crate) fn explain(text: &str) -> String {
    const KNOWN: &[(&str, &str)] = &[
        (
            "No space left on device",
            "the disk is full: free some space, or set XDG_CACHE_HOME to a folder on a larger disk",
        ),
        (
            "Could not resolve",
            "the package mirror could not be reached: check the network, then run again",
        ),
        (
            "Temporary failure resolving",
            "the package mirror could not be reached: check the network, then run again",
        ),
        (
            "Could not connect",
            "the package mirror could not be reached: check the network, then run again",
        ),
        (
            "Network is unreachable",
            "the package mirror could not be reached: check the network, then run again",
        ),
        (
            "NO_PUBKEY",
            "the keys of the distribution's archive are too old: install the newest debian-archive-keyring",
        ),
    ];
    let hint = KNOWN.iter().find(|(sign, _)| text.contains(sign));
    match hint {
        Some((_, hint)) => format!("{text}\n{hint}"),
        None => text.to_owned(),
    }
}
