// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests and responses in the ring, in the `x86_64-abi` layout.
//!
//! Sectors on the wire are always 512 bytes, whatever `sector-size` says.

use static_assertions::const_assert_eq;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The value of the `protocol` key for these layouts (`XEN_IO_PROTO_ABI_X86_64`).
pub const PROTOCOL: &str = "x86_64-abi";

/// Bytes in a sector of the protocol.
pub const SECTOR_SIZE: u32 = 512;

/// `BLKIF_MAX_SEGMENTS_PER_REQUEST`: segments in a request that is not indirect.
pub const MAX_SEGMENTS: usize = 11;
/// `BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST`.
pub const MAX_INDIRECT_PAGES: usize = 8;
/// Segments described by one indirect page.
pub const SEGMENTS_PER_PAGE: usize = crate::shared::PAGE_SIZE / core::mem::size_of::<WireSegment>();

/// `BLKIF_OP_READ`.
pub const OP_READ: u8 = 0;
/// `BLKIF_OP_WRITE`.
pub const OP_WRITE: u8 = 1;
/// `BLKIF_OP_WRITE_BARRIER`: all writes before it are done first, all after it later. Whether its own
/// data is durable when it is answered, the protocol does not say.
pub const OP_WRITE_BARRIER: u8 = 2;
/// `BLKIF_OP_FLUSH_DISKCACHE`.
pub const OP_FLUSH_DISKCACHE: u8 = 3;
/// `BLKIF_OP_DISCARD`.
pub const OP_DISCARD: u8 = 5;
/// `BLKIF_OP_INDIRECT`: a read or write whose segments lie in pages of their own.
pub const OP_INDIRECT: u8 = 6;

/// `BLKIF_RSP_OKAY`.
pub const RSP_OKAY: i16 = 0;
/// `BLKIF_RSP_ERROR`.
pub const RSP_ERROR: i16 = -1;
/// `BLKIF_RSP_EOPNOTSUPP`.
pub const RSP_EOPNOTSUPP: i16 = -2;

/// `BLKIF_DISCARD_SECURE`.
pub const DISCARD_SECURE: u8 = 1;

/// `VDISK_CDROM` of the `info` key.
pub const VDISK_CDROM: u32 = 1;
/// `VDISK_REMOVABLE` of the `info` key.
pub const VDISK_REMOVABLE: u32 = 2;
/// `VDISK_READONLY` of the `info` key.
pub const VDISK_READONLY: u32 = 4;

/// `blkif_request_segment`: sectors `first_sect` to `last_sect`, both included, of a granted page.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct WireSegment {
    /// The granted page.
    pub gref: u32,
    /// First sector in the page, 0 to 7.
    pub first_sect: u8,
    /// Last sector in the page, `first_sect` to 7.
    pub last_sect: u8,
    /// Zero.
    pub pad: u16,
}
const_assert_eq!(core::mem::size_of::<WireSegment>(), 8);

/// The head of `blkif_request` for reads, writes, barriers and flushes; its segments follow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RequestHead {
    /// `BLKIF_OP_*`.
    pub operation: u8,
    /// Number of segments that follow, at most [`MAX_SEGMENTS`].
    pub nr_segments: u8,
    /// The device, as in the store's path.
    pub handle: u16,
    /// Zero.
    pub pad: u32,
    /// Echoed in the response.
    pub id: u64,
    /// Start on the disk, in sectors of 512 bytes.
    pub sector_number: u64,
}
const_assert_eq!(core::mem::size_of::<RequestHead>(), 24);

/// `blkif_request` with its segments: one entry of the ring.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Request {
    /// What is common.
    pub head: RequestHead,
    /// The first `head.nr_segments` are valid.
    pub seg: [WireSegment; MAX_SEGMENTS],
}
const_assert_eq!(core::mem::size_of::<Request>(), 112);

/// `blkif_request_discard`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RequestDiscard {
    /// [`OP_DISCARD`].
    pub operation: u8,
    /// [`DISCARD_SECURE`] or 0.
    pub flag: u8,
    /// The device.
    pub handle: u16,
    /// Zero.
    pub pad: u32,
    /// Echoed in the response.
    pub id: u64,
    /// Start on the disk, in sectors of 512 bytes.
    pub sector_number: u64,
    /// Length in sectors of 512 bytes.
    pub nr_sectors: u64,
}
const_assert_eq!(core::mem::size_of::<RequestDiscard>(), 32);

/// `blkif_request_indirect`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RequestIndirect {
    /// [`OP_INDIRECT`].
    pub operation: u8,
    /// [`OP_READ`] or [`OP_WRITE`].
    pub indirect_op: u8,
    /// Number of segments in the indirect pages.
    pub nr_segments: u16,
    /// Zero.
    pub pad: u32,
    /// Echoed in the response.
    pub id: u64,
    /// Start on the disk, in sectors of 512 bytes.
    pub sector_number: u64,
    /// The device.
    pub handle: u16,
    /// Zero.
    pub pad2: u16,
    /// The pages that hold the segments.
    pub indirect_grefs: [u32; MAX_INDIRECT_PAGES],
    /// Zero.
    pub pad3: u32,
}
const_assert_eq!(core::mem::size_of::<RequestIndirect>(), 64);
const_assert_eq!(core::mem::offset_of!(RequestIndirect, indirect_grefs), 28);

/// `blkif_response`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Response {
    /// The request's.
    pub id: u64,
    /// The request's.
    pub operation: u8,
    /// Unused.
    pub pad: u8,
    /// `BLKIF_RSP_*`.
    pub status: i16,
    /// Unused.
    pub pad2: u32,
}
const_assert_eq!(core::mem::size_of::<Response>(), 16);
const_assert_eq!(core::mem::offset_of!(Response, status), 10);

/// Entries of a ring of `pages` pages: 32 for one.
pub const fn ring_entries(pages: usize) -> u32 {
    crate::ring::ring_size::<Request, Response>(pages.saturating_mul(crate::shared::PAGE_SIZE))
}
const_assert_eq!(ring_entries(1), 32);
const_assert_eq!(ring_entries(16), 512);
