// SPDX-License-Identifier: MIT OR Apache-2.0
//! The number that names a virtual disk (`docs/man/xen-vbd-interface.7`).
//!
//! The number says which disk of which naming scheme is meant, and perhaps a partition that is a disk of
//! its own. Whatever the scheme, a front end shows all as `xvd`.

use core::fmt;

/// Set in a number of the extended scheme.
const EXTENDED: u32 = 1 << 28;

/// Major numbers of the old schemes: `xvd`, and the IDE and SCSI disks that it stands for.
const XENVBD: u32 = 202;
const IDE0: u32 = 3;
const IDE1: u32 = 22;
const SCSI0: u32 = 8;
const SCSI1: u32 = 65;
const SCSI7: u32 = 71;
const SCSI8: u32 = 128;
const SCSI15: u32 = 135;

/// Minor numbers have this many bits.
const MINOR_BITS: u32 = 20;

/// How a number was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `xvd`, also in the extended range.
    Xen,
    /// `hd`.
    Ide,
    /// `sd`.
    Scsi,
}

/// A virtual disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vdev {
    /// How the number was written.
    pub scheme: Scheme,
    /// 0 for `xvda`.
    pub disk: u32,
    /// 0 for the whole disk.
    pub partition: u32,
    /// Minor numbers that belong to one disk: 16, or 256 in the extended range.
    pub parts: u32,
}

impl Vdev {
    /// Decodes the value of `virtual-device` or `virtual-device-ext`. `None`: no such disk can be.
    pub fn decode(number: u64) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        if number >= EXTENDED << 1 {
            return None;
        }
        if number & EXTENDED != 0 {
            let minor = number & !EXTENDED;
            let (disk, partition) = (minor >> 8, minor & 0xff);
            let vdev = Self {
                scheme: Scheme::Xen,
                disk,
                partition,
                parts: 256,
            };
            return (minor >> MINOR_BITS == 0).then_some(vdev);
        }
        let (major, minor) = (number >> 8, number & 0xff);
        let sixteen = (minor >> 4, minor & 15);
        let (scheme, (disk, partition)) = match major {
            XENVBD => (Scheme::Xen, sixteen),
            IDE0 => (Scheme::Ide, (minor >> 6, minor & 63)),
            IDE1 => (Scheme::Ide, ((minor >> 6) + 2, minor & 63)),
            SCSI0 => (Scheme::Scsi, sixteen),
            SCSI1..=SCSI7 => (
                Scheme::Scsi,
                (sixteen.0 + (major - SCSI1 + 1) * 16, sixteen.1),
            ),
            SCSI8..=SCSI15 => (
                Scheme::Scsi,
                (sixteen.0 + (major - SCSI8 + 8) * 16, sixteen.1),
            ),
            _ => return None,
        };
        (partition < 16).then_some(Self {
            scheme,
            disk,
            partition,
            parts: 16,
        })
    }

    /// The first minor number.
    pub fn minor(&self) -> u32 {
        self.disk * self.parts + self.partition
    }

    /// How many minor numbers it takes: one if it is a partition.
    pub fn minors(&self) -> u32 {
        if self.partition == 0 {
            self.parts
        } else {
            1
        }
    }
}

impl fmt::Display for Vdev {
    /// The name: `xvda`, `xvdb3`, `xvdaa`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("xvd")?;
        letters(self.disk, f)?;
        match self.partition {
            0 => Ok(()),
            partition => write!(f, "{partition}"),
        }
    }
}

/// `a` to `z`, then `aa` and on.
fn letters(disk: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(more) = (disk / 26).checked_sub(1) {
        letters(more, f)?;
    }
    write!(f, "{}", char::from(b'a' + (disk % 26) as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn name(number: u64) -> Option<(std::string::String, u32, u32)> {
        Vdev::decode(number).map(|vdev| (vdev.to_string(), vdev.minor(), vdev.minors()))
    }

    #[test]
    fn every_scheme_has_its_names_and_minors() {
        for (number, expected) in [
            (51712, Some(("xvda", 0, 16))),
            (51713, Some(("xvda1", 1, 1))),
            (51728, Some(("xvdb", 16, 16))),
            (51952, Some(("xvdp", 240, 16))),
            (768, Some(("xvda", 0, 16))),
            (769, Some(("xvda1", 1, 1))),
            (832, Some(("xvdb", 16, 16))),
            (5632, Some(("xvdc", 32, 16))),
            (2048, Some(("xvda", 0, 16))),
            (2065, Some(("xvdb1", 17, 1))),
            (16640, Some(("xvdq", 256, 16))),
            (32768, Some(("xvddy", 2048, 16))),
            (34800, Some(("xvdiv", 4080, 16))),
            (1 << 28, Some(("xvda", 0, 256))),
            (1 << 28 | 26 << 8, Some(("xvdaa", 26 * 256, 256))),
            (1 << 28 | 702 << 8 | 3, Some(("xvdaaa3", 702 * 256 + 3, 1))),
            (1 << 28 | 4095 << 8, Some(("xvdfan", 4095 * 256, 256))),
            (1 << 28 | 4096 << 8, None),
            (1 << 29, None),
            (1 << 32 | 51712, None),
            (0, None),
            (9 << 8, None),
            (IDE0 as u64 * 256 + 17, None),
        ] {
            let expected = expected.map(|(name, minor, minors)| (name.to_string(), minor, minors));
            assert_eq!(name(number), expected, "{number:#x}");
        }
    }
}
