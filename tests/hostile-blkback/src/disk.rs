// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data of the disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where the data is kept.
#[derive(Debug)]
pub enum Disk {
    /// In this process.
    Memory(Vec<u8>),
    /// In a file or block device.
    File(File),
}

impl Disk {
    /// A disk of zeros in memory. `sectors` is in 512 bytes.
    pub fn memory(sectors: u64) -> Self {
        Disk::Memory(vec![0; sectors as usize * 512])
    }

    /// Reads `to.len()` bytes from byte `at` on.
    pub fn read(&self, at: u64, to: &mut [u8]) -> io::Result<()> {
        match self {
            Disk::Memory(data) => {
                to.copy_from_slice(part(data.len(), at, to.len()).map(|range| &data[range])?);
                Ok(())
            }
            Disk::File(file) => file.read_exact_at(to, at),
        }
    }

    /// Writes `from` to byte `at` on.
    pub fn write(&mut self, at: u64, from: &[u8]) -> io::Result<()> {
        match self {
            Disk::Memory(data) => {
                let range = part(data.len(), at, from.len())?;
                data[range].copy_from_slice(from);
                Ok(())
            }
            Disk::File(file) => file.write_all_at(from, at),
        }
    }

    /// Makes all that was written durable.
    pub fn flush(&self) -> io::Result<()> {
        match self {
            Disk::Memory(_) => Ok(()),
            Disk::File(file) => file.sync_data(),
        }
    }

    /// Makes `len` bytes from byte `at` on read as zeros.
    pub fn discard(&mut self, at: u64, len: u64) -> io::Result<()> {
        const PIECE: u64 = 1 << 16;
        let zeros = [0; PIECE as usize];
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(PIECE);
            self.write(at + done, &zeros[..piece as usize])?;
            done += piece;
        }
        Ok(())
    }
}

fn part(size: usize, at: u64, len: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(at).ok();
    let end = start.and_then(|start| start.checked_add(len));
    match (start, end) {
        (Some(start), Some(end)) if end <= size => Ok(start..end),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_its_end() {
        let mut disk = Disk::memory(8);
        disk.write(512, &[7; 1024]).unwrap();
        let mut got = [1; 512];
        disk.read(1024, &mut got).unwrap();
        assert_eq!(got, [7; 512]);
        disk.discard(1024, 512).unwrap();
        disk.read(1024, &mut got).unwrap();
        assert_eq!(got, [0; 512]);
        assert!(disk.read(8 * 512 - 511, &mut got).is_err());
        assert!(disk.read(u64::MAX, &mut got).is_err());
        assert!(disk.write(8 * 512, &[0]).is_err());
    }
}
