// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lies in the control ring (`xen/include/public/io/netif.h`).

use core::mem::size_of;

use static_assertions::const_assert_eq;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS`.
pub const TYPE_GET_HASH_FLAGS: u16 = 1;
/// `XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS`.
pub const TYPE_SET_HASH_FLAGS: u16 = 2;
/// `XEN_NETIF_CTRL_TYPE_SET_HASH_KEY`.
pub const TYPE_SET_HASH_KEY: u16 = 3;
/// `XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE`.
pub const TYPE_GET_HASH_MAPPING_SIZE: u16 = 4;
/// `XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE`.
pub const TYPE_SET_HASH_MAPPING_SIZE: u16 = 5;
/// `XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING`.
pub const TYPE_SET_HASH_MAPPING: u16 = 6;
/// `XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM`.
pub const TYPE_SET_HASH_ALGORITHM: u16 = 7;
/// `XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE`.
pub const TYPE_GET_GREF_MAPPING_SIZE: u16 = 8;
/// `XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING`.
pub const TYPE_ADD_GREF_MAPPING: u16 = 9;
/// `XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING`.
pub const TYPE_DEL_GREF_MAPPING: u16 = 10;

/// `XEN_NETIF_CTRL_STATUS_SUCCESS`.
pub const STATUS_SUCCESS: u32 = 0;
/// `XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED`.
pub const STATUS_NOT_SUPPORTED: u32 = 1;
/// `XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER`.
pub const STATUS_INVALID_PARAMETER: u32 = 2;
/// `XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW`.
pub const STATUS_BUFFER_OVERFLOW: u32 = 3;

/// `XEN_NETIF_CTRL_HASH_ALGORITHM_NONE`: the back end chooses queues as it likes.
pub const HASH_ALGORITHM_NONE: u32 = 0;
/// `XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ`.
pub const HASH_ALGORITHM_TOEPLITZ: u32 = 1;

/// `XEN_NETIF_CTRL_HASH_TYPE_IPV4`.
pub const HASH_TYPE_IPV4: u32 = 1 << 0;
/// `XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP`.
pub const HASH_TYPE_IPV4_TCP: u32 = 1 << 1;
/// `XEN_NETIF_CTRL_HASH_TYPE_IPV6`.
pub const HASH_TYPE_IPV6: u32 = 1 << 2;
/// `XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP`.
pub const HASH_TYPE_IPV6_TCP: u32 = 1 << 3;
/// All that `netif.h` knows.
pub const HASH_TYPES: u32 =
    HASH_TYPE_IPV4 | HASH_TYPE_IPV4_TCP | HASH_TYPE_IPV6 | HASH_TYPE_IPV6_TCP;

/// `XEN_NETIF_CTRLF_GREF_readonly`.
pub const GREF_READONLY: u16 = 1 << 0;

/// `xen_netif_ctrl_request`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CtrlRequest {
    /// Echoed in the response.
    pub id: u16,
    /// `XEN_NETIF_CTRL_TYPE_*`.
    pub kind: u16,
    /// What the type needs.
    pub data: [u32; 3],
}
const_assert_eq!(size_of::<CtrlRequest>(), 16);
const_assert_eq!(core::mem::offset_of!(CtrlRequest, data), 4);

/// `xen_netif_ctrl_response`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CtrlResponse {
    /// The request's.
    pub id: u16,
    /// The request's.
    pub kind: u16,
    /// `XEN_NETIF_CTRL_STATUS_*`.
    pub status: u32,
    /// What the type says.
    pub data: u32,
}
const_assert_eq!(size_of::<CtrlResponse>(), 12);
const_assert_eq!(core::mem::offset_of!(CtrlResponse, status), 4);
const_assert_eq!(core::mem::offset_of!(CtrlResponse, data), 8);

/// `xen_netif_gref`: a grant that the back end is to keep mapped.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CtrlGref {
    /// The grant.
    pub gref: u32,
    /// [`GREF_READONLY`] or 0.
    pub flags: u16,
    /// `XEN_NETIF_CTRL_STATUS_*`, written by the back end. It is not believed: `data` of the response
    /// says how many were unmapped, and ending the grant says whether it was.
    pub status: u16,
}
const_assert_eq!(size_of::<CtrlGref>(), 8);
