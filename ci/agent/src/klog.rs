// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel log, from `/dev/kmsg`.

use crate::proto::{Fault, KernelLog, LogLine};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

/// Most text of one answer; what comes after is there to be asked for next.
const ANSWER_MAX: usize = 96 * 1024;

/// Records from a sequence number on.
pub fn read(since: u64) -> Result<KernelLog, Fault> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg")
        .map_err(|e| Fault::os("/dev/kmsg", &e))?;
    let mut log = KernelLog {
        next: since,
        lines: Vec::new(),
    };
    let mut record = [0; 8192];
    let mut size = 0;
    while size < ANSWER_MAX {
        let len = match file.read(&mut record) {
            Ok(len) => len,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            // Records were overwritten while we read: go on with the oldest one left.
            Err(e) if e.raw_os_error() == Some(libc::EPIPE) => continue,
            Err(e) => return Err(Fault::os("/dev/kmsg", &e)),
        };
        let Some((sequence, line)) = parse(&String::from_utf8_lossy(&record[..len])) else {
            continue;
        };
        if sequence >= since {
            log.next = sequence + 1;
            size += line.text.len() + 48;
            log.lines.push(line);
        }
    }
    Ok(log)
}

/// `6,1234,5678901,-;text`, then lines of properties that begin with a blank.
fn parse(record: &str) -> Option<(u64, LogLine)> {
    let (prefix, rest) = record.split_once(';')?;
    let mut fields = prefix.split(',');
    let priority: u32 = fields.next()?.parse().ok()?;
    let sequence = fields.next()?.parse().ok()?;
    let at_us = fields.next()?.parse().ok()?;
    Some((
        sequence,
        LogLine {
            level: (priority & 7) as u8,
            at_us,
            text: rest.lines().next().unwrap_or_default().to_owned(),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_taken_apart() {
        let (sequence, line) =
            parse("30,17,90210,-;systemd: hello; there\n SUBSYSTEM=x\n").unwrap();
        assert_eq!((sequence, line.level, line.at_us), (17, 6, 90210));
        assert_eq!(line.text, "systemd: hello; there");
        assert!(parse("garbage").is_none());
    }
}
