// SPDX-License-Identifier: GPL-2.0-only

//! The disk beside its requests.

use core::fmt::Write;
use kernel::{
    prelude::*,
    sync::{Arc, ArcBorrow},
    uaccess::{UserPtr, UserSlice},
};
use portico::block::{AttributeText, DiskOperations, Geometry, Limits};
use portico_core::{
    block::{
        negotiate::{Ability, Disk},
        wire::SECTOR_SIZE,
        Features,
    },
    shared::PAGE_SIZE,
};

/// What the disk says of itself when it is asked.
pub(crate) struct DiskData {
    pub(crate) cdrom: bool,
    pub(crate) serial: KVec<u8>,
}

pub(crate) struct BlkDisk;

const CDROMMULTISESSION: u32 = 0x5310;
const CDROM_GET_CAPABILITY: u32 = 0x5331;
/// Bytes of `struct cdrom_multisession`.
const MULTISESSION_LEN: usize = 8;

#[vtable]
impl DiskOperations for BlkDisk {
    type OwnerModule = crate::Module;
    type Data = Arc<DiskData>;

    /// There is none, but it covers the disk.
    fn getgeo(_data: ArcBorrow<'_, DiskData>, capacity: u64) -> Geometry {
        let (heads, sectors) = (255u8, 63u8);
        let cylinders = capacity / (u64::from(heads) * u64::from(sectors));
        Geometry {
            heads,
            sectors,
            cylinders: u16::try_from(cylinders).unwrap_or(u16::MAX),
        }
    }

    fn ioctl(data: ArcBorrow<'_, DiskData>, cmd: u32, arg: usize) -> Result<c_int> {
        match cmd {
            // One session, which starts at 0.
            CDROMMULTISESSION => {
                let mut to = UserSlice::new(UserPtr::from_addr(arg), MULTISESSION_LEN).writer();
                to.write_slice(&[0; MULTISESSION_LEN]).map(|()| 0)
            }
            CDROM_GET_CAPABILITY if data.cdrom => Ok(0),
            CDROM_GET_CAPABILITY => Err(EINVAL),
            _ => Err(ENOTTY),
        }
    }

    fn serial(data: ArcBorrow<'_, DiskData>, out: &mut AttributeText) -> Result {
        let serial = core::str::from_utf8(&data.serial).unwrap_or_default();
        writeln!(out, "{serial}").map_err(|_| EINVAL)
    }
}

/// Puts what the back end can do into the limits of the disk.
pub(crate) fn set_limits(limits: &mut Limits, disk: &Disk, ability: &Ability) {
    let segments = ability.max_segments;
    limits
        .logical_block_size(disk.sector_size)
        .physical_block_size(disk.physical_sector_size)
        .max_segments(u16::try_from(segments).unwrap_or(u16::MAX))
        .max_hw_sectors(segments * (PAGE_SIZE as u32 / SECTOR_SIZE))
        // A segment is what one grant covers.
        .max_segment_size(PAGE_SIZE as u32)
        .segment_boundary_mask(PAGE_SIZE - 1)
        .dma_alignment(SECTOR_SIZE - 1);
    set_features(limits, &ability.features);
    if ability.features.discard {
        let granularity = match ability.discard_granularity {
            0 => disk.physical_sector_size,
            granularity => granularity,
        };
        limits.discard_granularity(granularity, ability.discard_alignment);
    }
}

/// Puts what the back end takes now into the limits of the disk.
pub(crate) fn set_features(limits: &mut Limits, features: &Features) {
    let all_if = |on| if on { u32::MAX } else { 0 };
    limits
        .write_cache(features.flush || features.barrier)
        // A barrier is not known to make its own data durable: a flush, where there is one, is.
        .fua(features.barrier && !features.flush)
        .max_discard_sectors(all_if(features.discard))
        .max_secure_erase_sectors(all_if(features.secure));
}
