// SPDX-License-Identifier: MIT OR Apache-2.0
//! The archive that Linux takes as initramfs: cpio in its "newc" format
//! (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;
use std::io::{self, Write};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Writes an archive, front to back. Folders above an entry are made as needed.
pub(super) struct Archive<W: Write> {
    output: W,
    written: u64,
    entries: u32,
    names: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// Begins an archive.
    pub(super) fn new(output: W) -> Self {
        Self {
            output,
            written: 0,
            entries: 0,
            names: BTreeSet::new(),
        }
    }

    /// A folder.
    ///
    /// # Errors
    ///
    /// Those of the output, as with all that follow.
    pub(super) fn folder(&mut self, name: &str) -> io::Result<()> {
        let name = relative(name);
        if name.is_empty() || self.names.contains(name) {
            return Ok(());
        }
        self.parents(name)?;
        self.entry(name, FOLDER, &[], (0, 0))
    }

    /// A file with its permission bits. One of the same name that is there already stays.
    pub(super) fn file(&mut self, name: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.once(name, FILE | (permissions & 0o7777), content, (0, 0))
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.once(name, LINK, target.as_bytes(), (0, 0))
    }

    /// A character device.
    pub(super) fn device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        self.once(name, CHARACTER_DEVICE, &[], (major, minor))
    }

    /// Ends the archive and gives the output back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[], (0, 0))?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn once(&mut self, name: &str, mode: u32, data: &[u8], device: (u32, u32)) -> io::Result<()> {
        let name = relative(name);
        if self.names.contains(name) {
            return Ok(());
        }
        self.parents(name)?;
        self.entry(name, mode, data, device)
    }

    fn parents(&mut self, name: &str) -> io::Result<()> {
        match name.rsplit_once('/') {
            Some((parent, _)) => self.folder(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8], device: (u32, u32)) -> io::Result<()> {
        let size = u32::try_from(data.len())
            .map_err(|_| io::Error::other(format!("{name} is too large for an initramfs")))?;
        self.names.insert(name.to_owned());
        self.entries += 1;
        let fields = [
            self.entries,
            mode,
            0, // uid
            0, // gid
            1, // links
            0, // time
            size,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0, // check sum, not used in this format
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad()?;
        self.put(data)?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.output.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.put(&[0; 3][..missing as usize])
    }
}

fn relative(name: &str) -> &str {
    name.trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_come_once() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b/c", 0o755, b"hello").unwrap();
        archive.file("a/b/c", 0o755, b"other").unwrap();
        archive.link("a/d", "b/c").unwrap();
        archive.device("dev/console", 5, 1).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let names = [
            "a\0",
            "a/b\0",
            "a/b/c\0",
            "a/d\0",
            "dev\0",
            "dev/console\0",
            "TRAILER!!!\0",
        ];
        assert_eq!(text.matches("070701").count(), names.len());
        let mut from = 0;
        for name in names {
            from += text[from..].find(name).unwrap();
        }
        assert!(text.contains("hello") && !text.contains("other"));
    }
}
