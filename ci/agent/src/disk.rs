// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content of disks: a reproducible pattern, its check, and a hash. All I/O is direct, so that it is
//! the device that answers and not the page cache.

use crate::proto::{Checked, Fault, FaultKind, Pattern};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Instant;

const PAGE: usize = 4096;
/// Bytes a system call.
const PIECE: usize = 1 << 20;

/// A buffer whose start is a multiple of a page, as direct I/O wants it.
struct Aligned {
    bytes: Vec<u8>,
    from: usize,
}

impl Aligned {
    fn new() -> Aligned {
        let bytes = vec![0; PIECE + PAGE];
        let from = bytes.as_ptr().align_offset(PAGE);
        Aligned { bytes, from }
    }

    fn piece(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.from..self.from + len]
    }
}

/// The word at a position (counted in words of 8 bytes).
fn word(seed: u64, at: u64) -> u64 {
    // The finaliser of splitmix64: every bit of the position reaches every bit of the word.
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash that any changed, lost or moved word changes; not one against malice.
struct Hash(u64);

impl Hash {
    fn push(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks_exact(8) {
            let mut raw = [0; 8];
            raw.copy_from_slice(chunk);
            self.0 = (self.0 ^ u64::from_le_bytes(raw))
                .wrapping_mul(0x2545_f491_4f6c_dd1d)
                .rotate_left(29);
        }
    }

    fn text(&self) -> String {
        format!("{:016x}", self.0)
    }
}

fn open(path: &str, write: bool) -> Result<File, Fault> {
    let mut options = OpenOptions::new();
    options.read(!write).write(write).create(false);
    options
        .clone()
        .custom_flags(libc::O_DIRECT)
        .open(path)
        // A file on tmpfs knows no direct I/O and needs none.
        .or_else(|e| match e.raw_os_error() {
            Some(libc::EINVAL) => options.open(path),
            _ => Err(e),
        })
        .map_err(|e| Fault::os(path, &e))
}

fn each(
    what: &Pattern,
    deadline: Instant,
    mut step: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> Result<(), Fault> {
    let page = PAGE as u64;
    if what.offset % page != 0 || what.len % page != 0 {
        return Err(Fault::new(
            FaultKind::BadRequest,
            format!(
                "range {}+{} is not one of whole 4096-byte blocks",
                what.offset, what.len
            ),
        ));
    }
    let mut buffer = Aligned::new();
    let mut done = 0;
    while done < what.len {
        if Instant::now() > deadline {
            return Err(Fault::new(
                FaultKind::Timeout,
                format!("{}: {done} of {} bytes done", what.path, what.len),
            ));
        }
        let len = (what.len - done).min(PIECE as u64);
        let at = what.offset + done;
        step(buffer.piece(len as usize), at)
            .map_err(|e| Fault::os(format_args!("{} at byte {at}", what.path), &e))?;
        done += len;
    }
    Ok(())
}

/// Writes the pattern and flushes the device.
pub fn fill(what: &Pattern, deadline: Instant) -> Result<(), Fault> {
    let file = open(&what.path, true)?;
    each(what, deadline, |piece, at| {
        for (i, chunk) in piece.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&word(what.seed, at / 8 + i as u64).to_le_bytes());
        }
        file.write_all_at(piece, at)
    })?;
    file.sync_all()
        .map_err(|e| Fault::os(format_args!("flush of {}", what.path), &e))
}

/// Reads and compares with the pattern.
pub fn check(what: &Pattern, deadline: Instant) -> Result<Checked, Fault> {
    let file = open(&what.path, false)?;
    let mut hash = Hash(0);
    let (mut wrong_words, mut first_wrong) = (0, None);
    each(what, deadline, |piece, at| {
        file.read_exact_at(piece, at)?;
        hash.push(piece);
        for (i, chunk) in piece.chunks_exact(8).enumerate() {
            if chunk != word(what.seed, at / 8 + i as u64).to_le_bytes() {
                wrong_words += 1;
                first_wrong.get_or_insert(at + 8 * i as u64);
            }
        }
        Ok(())
    })?;
    Ok(Checked {
        bytes: what.len,
        wrong_words,
        first_wrong,
        digest: hash.text(),
    })
}

/// Hashes a range.
pub fn digest(path: &str, offset: u64, len: u64, deadline: Instant) -> Result<String, Fault> {
    let file = open(path, false)?;
    let mut hash = Hash(0);
    let range = Pattern {
        path: path.to_owned(),
        seed: 0,
        offset,
        len,
    };
    each(&range, deadline, |piece, at| {
        file.read_exact_at(piece, at)?;
        hash.push(piece);
        Ok(())
    })?;
    Ok(hash.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_changed_word_is_found_where_it_is() {
        let path = std::env::temp_dir().join(format!("portico-disk-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        file.set_len(3 << 20).unwrap();
        let what = Pattern {
            path: path.to_str().unwrap().to_owned(),
            seed: 5,
            offset: 4096,
            len: (2 << 20) + 4096,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        fill(&what, deadline).unwrap();
        let good = check(&what, deadline).unwrap();
        assert_eq!((good.wrong_words, good.first_wrong), (0, None));
        assert_eq!(
            good.digest,
            digest(&what.path, what.offset, what.len, deadline).unwrap()
        );

        file.write_all_at(&[0], (1 << 20) + 16).unwrap();
        let bad = check(&what, deadline).unwrap();
        assert_eq!(
            (bad.wrong_words, bad.first_wrong),
            (1, Some((1 << 20) + 16))
        );
        assert_ne!(bad.digest, good.digest);
        std::fs::remove_file(path).unwrap();
    }
}
