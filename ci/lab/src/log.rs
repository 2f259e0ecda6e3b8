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

/// Adds what to do to a text that shows a well-known trouble, once.
#[must_use]
pub fn explain(text: &str) -> String {
    const DISK: &str =
        "the disk is full: free some space, or set XDG_CACHE_HOME to a folder on a larger disk";
    const NETWORK: &str =
        "the package mirror could not be reached: check the network, then run again";
    const KEYS: &str = "the keys of the distribution's archive are too old: install the newest \
                        debian-archive-keyring";
    const KNOWN: &[(&str, &str)] = &[
        ("No space left on device", DISK),
        ("Disk quota exceeded", DISK),
        ("Could not resolve", NETWORK),
        ("Temporary failure resolving", NETWORK),
        ("Could not connect", NETWORK),
        ("Connection timed out", NETWORK),
        ("Network is unreachable", NETWORK),
        ("NO_PUBKEY", KEYS),
    ];
    let hint = KNOWN.iter().find(|(sign, _)| text.contains(sign));
    match hint {
        Some((_, hint)) if !text.contains(hint) => format!("{text}\n{hint}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_troubles_are_explained_once() {
        let full = "writing x: No space left on device (os error 28)";
        let told = explain(full);
        assert!(told.starts_with(full) && told.contains("free some space"));
        assert_eq!(explain(&told), told);
        assert_eq!(explain("fine"), "fine");
    }

    #[test]
    fn the_end_of_a_text_is_kept() {
        let text: String = (0..40).map(|n| format!("{n}\n\n")).collect();
        assert!(tail(&text).starts_with("25\n26\n"));
    }
}
