// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's ELF file, which lies compressed in the bootable image (Linux
//! `Documentation/arch/x86/boot.rst`). Under an emulator, booting it saves unpacking it every time.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};

use crate::cache::{Cache, Inputs};
use crate::progress::Progress;
use crate::root::Root;

/// Offsets in the set-up header.
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The ELF file of the kernel `image`, unpacked into the cache.
///
/// # Errors
///
/// When the image is not one of the known forms or cannot be unpacked.
pub(super) fn unpacked(
    image: &Path,
    root: &Root,
    cache: &Cache,
    progress: &Progress,
) -> Result<PathBuf> {
    let inputs = Inputs::new(1).with("image", &super::stamp(image)?);
    let entry = cache.entry("vmlinux", &inputs, progress, |folder| {
        let data = fs::read(image).with_context(|| format!("reading {}", image.display()))?;
        let payload = payload(&data).with_context(|| format!("{}", image.display()))?;
        let packed = folder.join("payload");
        fs::write(&packed, payload)?;
        root.bind(folder, "/work")
            .enter("sh", "unpack the kernel")
            .args(["-c", "zstd -q -d /work/payload -o /work/vmlinux"])
            .output()?;
        fs::remove_file(packed)?;
        Ok(())
    })?;
    Ok(entry.join("vmlinux"))
}

/// The compressed part, without the four bytes of its unpacked size that follow it.
fn payload(image: &[u8]) -> Result<&[u8]> {
    let number = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let sectors = match image.get(SETUP_SECTORS) {
        Some(0) => 4,
        Some(n) => usize::from(*n),
        None => bail!("too short for a kernel image"),
    };
    let range = number(PAYLOAD_OFFSET)
        .zip(number(PAYLOAD_LENGTH))
        .and_then(|(offset, length)| {
            let from = (sectors + 1) * 512 + offset;
            image.get(from..(from + length).checked_sub(4)?)
        });
    match range {
        Some(payload) if payload.starts_with(b"\x28\xb5\x2f\xfd") => Ok(payload),
        Some(_) => bail!("its kernel is not packed with zstd, which is all that is known here"),
        None => bail!("its header points outside of the file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_where_the_header_says() {
        let mut image = vec![0; 2048];
        image[SETUP_SECTORS] = 1;
        image[PAYLOAD_OFFSET] = 16;
        image[PAYLOAD_LENGTH] = 12;
        image[1040..1044].copy_from_slice(b"\x28\xb5\x2f\xfd");
        assert_eq!(payload(&image).unwrap().len(), 8);
        image[PAYLOAD_LENGTH + 3] = 1;
        assert!(payload(&image).is_err());
        assert!(payload(&[]).is_err());
    }
}
