// SPDX-License-Identifier: MIT OR Apache-2.0
//! What kind of disk it is and what the back end offers: the keys of `blkif.h` that a back end writes.

use portico_core::block::wire::{VDISK_CDROM, VDISK_READONLY, VDISK_REMOVABLE};
use serde::{Deserialize, Serialize};

/// A disk and its back end's offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Size in sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes in a logical sector.
    pub sector_size: u32,
    /// Bytes in a physical sector, if said.
    pub physical_sector_size: Option<u32>,
    /// `VDISK_READONLY`; writes fail.
    pub read_only: bool,
    /// `VDISK_CDROM`.
    pub cdrom: bool,
    /// `VDISK_REMOVABLE`.
    pub removable: bool,
    /// `feature-flush-cache`: offered, said not to be there, or not mentioned.
    pub flush_cache: Option<bool>,
    /// `feature-barrier`, likewise.
    pub barrier: Option<bool>,
    /// `feature-discard`.
    pub discard: bool,
    /// `discard-granularity`, in bytes.
    pub discard_granularity: Option<u32>,
    /// `discard-alignment`, in bytes.
    pub discard_alignment: Option<u32>,
    /// `discard-secure`.
    pub discard_secure: bool,
    /// `feature-persistent`.
    pub persistent: bool,
    /// `feature-max-indirect-segments`; 0: not mentioned.
    pub max_indirect_segments: u16,
    /// `max-ring-page-order`; 0: not mentioned.
    pub max_ring_page_order: u32,
    /// `multi-queue-max-queues`; 0: not mentioned.
    pub max_queues: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            sectors: 64 << 11,
            sector_size: 512,
            physical_sector_size: None,
            read_only: false,
            cdrom: false,
            removable: false,
            flush_cache: Some(true),
            barrier: None,
            discard: false,
            discard_granularity: None,
            discard_alignment: None,
            discard_secure: false,
            persistent: false,
            max_indirect_segments: 256,
            max_ring_page_order: 4,
            max_queues: 4,
        }
    }
}

impl Options {
    /// The value of the `info` key.
    pub fn info(&self) -> u32 {
        let bit = |on: bool, bit| if on { bit } else { 0 };
        bit(self.cdrom, VDISK_CDROM)
            | bit(self.removable, VDISK_REMOVABLE)
            | bit(self.read_only, VDISK_READONLY)
    }

    /// What the back end says before the front end chooses.
    pub fn offers(&self) -> Vec<(&'static str, String)> {
        let mut keys = Vec::new();
        let mut say = |key, value: Option<u64>| keys.extend(value.map(|v| (key, v.to_string())));
        say("feature-flush-cache", self.flush_cache.map(u64::from));
        say("feature-barrier", self.barrier.map(u64::from));
        if self.discard {
            say("feature-discard", Some(1));
            say(
                "discard-granularity",
                self.discard_granularity.map(u64::from),
            );
            say("discard-alignment", self.discard_alignment.map(u64::from));
            say("discard-secure", Some(self.discard_secure.into()));
        }
        say("feature-persistent", Some(self.persistent.into()));
        say(
            "feature-max-indirect-segments",
            some(self.max_indirect_segments.into()),
        );
        say("max-ring-page-order", some(self.max_ring_page_order.into()));
        say("multi-queue-max-queues", some(self.max_queues.into()));
        keys
    }

    /// What the back end says of the disk before it is Connected.
    pub fn geometry(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![
            ("sectors", self.sectors.to_string()),
            ("info", self.info().to_string()),
            ("sector-size", self.sector_size.to_string()),
        ];
        keys.extend(
            self.physical_sector_size
                .map(|v| ("physical-sector-size", v.to_string())),
        );
        keys
    }
}

fn some(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_is_not_mentioned() {
        let bare = Options {
            flush_cache: None,
            max_indirect_segments: 0,
            max_ring_page_order: 0,
            max_queues: 0,
            ..Options::default()
        };
        assert_eq!(bare.offers(), [("feature-persistent", "0".to_string())]);
        let all = Options {
            barrier: Some(false),
            discard: true,
            discard_granularity: Some(4096),
            ..Options::default()
        };
        assert!(all.offers().contains(&("feature-barrier", "0".into())));
        assert!(all
            .offers()
            .contains(&("discard-granularity", "4096".into())));
    }

    #[test]
    fn info_has_the_bits_of_blkif() {
        let disk = Options {
            read_only: true,
            cdrom: true,
            ..Options::default()
        };
        assert_eq!(disk.info(), 5);
    }
}
