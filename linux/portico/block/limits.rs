// SPDX-License-Identifier: GPL-2.0-only

//! What a disk can do.
//!
//! C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use portico_bindings as bindings;

// `block_helpers.c` checks these values.
const WRITE_CACHE: bindings::blk_features_t = 1 << 0;
const FUA: bindings::blk_features_t = 1 << 1;

/// Limits of a disk (`struct queue_limits`). Sectors are of 512 bytes.
///
/// What is not set is the block layer's default. The block layer checks the whole when the disk is
/// made or the limits are changed; [`NewDisk::new`] and [`GenDisk::update_limits`] return its verdict.
///
/// [`NewDisk::new`]: super::NewDisk::new
/// [`GenDisk::update_limits`]: super::GenDisk::update_limits
#[derive(Clone)]
pub struct Limits(bindings::queue_limits);

impl Limits {
    /// The defaults: 512-byte blocks, no write cache, no discard.
    pub fn new() -> Self {
        Self(pin_init::zeroed())
    }

    pub(super) fn as_raw(&mut self) -> *mut bindings::queue_limits {
        &raw mut self.0
    }

    fn feature(&mut self, feature: bindings::blk_features_t, on: bool) -> &mut Self {
        if on {
            self.0.features |= feature;
        } else {
            self.0.features &= !feature;
        }
        self
    }

    /// Smallest unit that can be addressed, in bytes: a power of two, 512 to 65536.
    pub fn logical_block_size(&mut self, bytes: u32) -> &mut Self {
        self.0.logical_block_size = bytes;
        self
    }

    /// Smallest unit that is written without reading, in bytes: a power of two, at least the logical
    /// block size.
    pub fn physical_block_size(&mut self, bytes: u32) -> &mut Self {
        self.0.physical_block_size = bytes;
        self
    }

    /// Longest read or write, in sectors; at least 8 (a page).
    pub fn max_hw_sectors(&mut self, sectors: u32) -> &mut Self {
        self.0.max_hw_sectors = sectors;
        self
    }

    /// Most segments of a read or write.
    pub fn max_segments(&mut self, segments: u16) -> &mut Self {
        self.0.max_segments = segments;
        self
    }

    /// Longest segment, in bytes; at least a page.
    pub fn max_segment_size(&mut self, bytes: u32) -> &mut Self {
        self.0.max_segment_size = bytes;
        self
    }

    /// No segment crosses a multiple of `mask + 1` bytes, a power of two of at least a page.
    pub fn segment_boundary_mask(&mut self, mask: usize) -> &mut Self {
        self.0.seg_boundary_mask = mask;
        self
    }

    /// Segments start at, and have lengths of, multiples of `mask + 1` bytes.
    pub fn dma_alignment(&mut self, mask: u32) -> &mut Self {
        self.0.dma_alignment = mask;
        self
    }

    /// Longest discard, in sectors; 0 for none.
    pub fn max_discard_sectors(&mut self, sectors: u32) -> &mut Self {
        self.0.max_hw_discard_sectors = sectors;
        self
    }

    /// Unit that is freed as a whole, and the offset of the first such unit, in bytes.
    pub fn discard_granularity(&mut self, bytes: u32, alignment: u32) -> &mut Self {
        self.0.discard_granularity = bytes;
        self.0.discard_alignment = alignment;
        self
    }

    /// Longest secure erase, in sectors; 0 for none.
    pub fn max_secure_erase_sectors(&mut self, sectors: u32) -> &mut Self {
        self.0.max_secure_erase_sectors = sectors;
        self
    }

    /// Completed writes may be lost until [`Op::Flush`](super::Op::Flush). Without it, the driver
    /// sees no flush.
    pub fn write_cache(&mut self, on: bool) -> &mut Self {
        self.feature(WRITE_CACHE, on)
    }

    /// Writes can be asked to be durable when they complete. Without it, the block layer sends a
    /// flush after them.
    pub fn fua(&mut self, on: bool) -> &mut Self {
        self.feature(FUA, on)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
