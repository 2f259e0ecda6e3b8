// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of virtual devices.

use anyhow::{bail, Result};

/// The number of a virtual device: `xvda` and so on, or the number itself
/// (`docs/man/xen-vbd-interface.7`).
pub fn vdev(name: &str) -> Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let letters = name
        .strip_prefix("xvd")
        .filter(|rest| !rest.is_empty() && rest.len() <= 4);
    let disk = letters.and_then(|letters| {
        letters.bytes().try_fold(0u32, |n, letter| {
            letter
                .is_ascii_lowercase()
                .then(|| n * 26 + u32::from(letter - b'a') + 1)
        })
    });
    match disk {
        Some(disk @ 1..=16) => Ok(202 << 8 | (disk - 1) << 4),
        Some(disk) => Ok(1 << 28 | (disk - 1) << 8),
        None => bail!("{name:?} is neither a number nor xvda, xvdb, …"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_devices_have_the_numbers_of_the_vbd_interface() {
        assert_eq!(vdev("xvda").unwrap(), 51712);
        assert_eq!(vdev("xvdp").unwrap(), 51952);
        assert_eq!(vdev("xvdq").unwrap(), 1 << 28 | 16 << 8);
        assert_eq!(vdev("xvdaa").unwrap(), 1 << 28 | 26 << 8);
        assert_eq!(vdev("768").unwrap(), 768);
        for bad in ["", "xvd", "xvdA", "sda", "xvdaaaaa", "-1"] {
            assert!(vdev(bad).is_err(), "{bad}");
        }
    }
}
