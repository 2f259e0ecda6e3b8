// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries of the table, as `grant_table.h` has them.

use bitflags::bitflags;
use core::mem::offset_of;
use static_assertions::const_assert_eq;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::GrantRef;

/// Entries at the start of the table that belong to the tool stack.
pub const GNTTAB_NR_RESERVED_ENTRIES: u32 = 8;
/// The console's ring.
pub const GNTTAB_RESERVED_CONSOLE: GrantRef = 0;
/// The store's ring.
pub const GNTTAB_RESERVED_XENSTORE: GrantRef = 1;

/// `GTF_*`: kind of an entry, what it allows, and what Xen marks in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gtf(u16);

// The form without a type of its own: that would bring a parser of text, which can panic.
bitflags! {
    impl Gtf: u16 {
        /// `GTF_permit_access`: the kind that lets a domain map and copy. No kind at all is
        /// `GTF_invalid`.
        const PERMIT_ACCESS = 1;
        /// `GTF_type_mask`: both bits of the kind.
        const TYPE_MASK = 3;
        /// `GTF_readonly`: only for reading.
        const READONLY = 1 << 2;
        /// `GTF_reading`: mapped or being copied from. Written by Xen.
        const READING = 1 << 3;
        /// `GTF_writing`: mapped for writing or being copied to. Written by Xen.
        const WRITING = 1 << 4;
        /// Bits of this header's other kinds and of Xen's future.
        const _ = !0;
    }
}

impl Gtf {
    /// What Xen sets while a peer uses the entry.
    pub const IN_USE: Self = Self::READING.union(Self::WRITING);
}

/// `struct grant_entry_header`, what entries of both versions begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantEntryHeader {
    /// [`Gtf`]. Written by this domain; in version 1 by Xen too.
    pub flags: u16,
    /// Whom access is granted.
    pub domid: u16,
}
const_assert_eq!(size_of::<GrantEntryHeader>(), 4);

/// `struct grant_entry_v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantEntryV1 {
    /// [`Gtf`].
    pub flags: u16,
    /// Whom access is granted.
    pub domid: u16,
    /// Frame number of the page; 16 TiB are within reach.
    pub frame: u32,
}
const_assert_eq!(size_of::<GrantEntryV1>(), 8);
const_assert_eq!(offset_of!(GrantEntryV1, frame), 4);

/// `union grant_entry_v2` in its shape `full_page`: access to a whole page. The two other shapes, for
/// copying from a part of a page and through another domain's grant, have no user here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GrantEntryV2FullPage {
    /// Flags without Xen's marks, which stand in the status frames.
    pub hdr: GrantEntryHeader,
    /// Padding.
    pub pad0: u32,
    /// Frame number of the page.
    pub frame: u64,
}
const_assert_eq!(size_of::<GrantEntryV2FullPage>(), 16);
const_assert_eq!(offset_of!(GrantEntryV2FullPage, frame), 8);

/// `grant_status_t`: [`Gtf::IN_USE`] of one version 2 entry. Written by Xen.
pub type GrantStatus = u16;
const_assert_eq!(size_of::<GrantStatus>(), 2);
