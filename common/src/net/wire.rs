// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lies in the transmit and receive rings (`xen/include/public/io/netif.h`; XDP as in Linux'
//! `include/xen/interface/io/netif.h`). The control ring's entries are in [`ctrl`](super::ctrl).

use static_assertions::const_assert_eq;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use core::mem::{offset_of, size_of};

/// `XEN_NETIF_NR_SLOTS_MIN`: data slots of one packet that every back end takes.
pub const NR_SLOTS_MIN: usize = 18;
/// `XEN_NETIF_MAX_TX_SIZE`: bytes in a packet that is sent.
pub const MAX_TX_SIZE: u32 = 0xffff;
/// `XEN_NETIF_MAX_XDP_HEADROOM`: bytes.
pub const MAX_XDP_HEADROOM: u16 = 0x7fff;
/// Bytes in an Ethernet header. Back ends refuse a packet whose first slot has less.
pub const ETH_HLEN: u32 = 14;

/// `NETTXF_csum_blank`: the checksum field of the transport header is to be filled in.
pub const NETTXF_CSUM_BLANK: u16 = 1 << 0;
/// `NETTXF_data_validated`: the data needs no check.
pub const NETTXF_DATA_VALIDATED: u16 = 1 << 1;
/// `NETTXF_more_data`: the packet goes on in the next data slot.
pub const NETTXF_MORE_DATA: u16 = 1 << 2;
/// `NETTXF_extra_info`: [`ExtraInfo`] follows.
pub const NETTXF_EXTRA_INFO: u16 = 1 << 3;

/// `NETRXF_data_validated`: the data needs no check.
pub const NETRXF_DATA_VALIDATED: u16 = 1 << 0;
/// `NETRXF_csum_blank`: the checksum field of the transport header is not filled in.
pub const NETRXF_CSUM_BLANK: u16 = 1 << 1;
/// `NETRXF_more_data`: the packet goes on in the next data slot.
pub const NETRXF_MORE_DATA: u16 = 1 << 2;
/// `NETRXF_extra_info`: [`ExtraInfo`] follows.
pub const NETRXF_EXTRA_INFO: u16 = 1 << 3;
/// `NETRXF_gso_prefix`: deprecated, and never asked for.
pub const NETRXF_GSO_PREFIX: u16 = 1 << 4;

/// `NETIF_RSP_DROPPED`.
pub const RSP_DROPPED: i16 = -2;
/// `NETIF_RSP_ERROR`.
pub const RSP_ERROR: i16 = -1;
/// `NETIF_RSP_OKAY`.
pub const RSP_OKAY: i16 = 0;
/// `NETIF_RSP_NULL`: the slot held [`ExtraInfo`], which is not answered.
pub const RSP_NULL: i16 = 1;

/// `XEN_NETIF_EXTRA_TYPE_GSO`.
pub const EXTRA_TYPE_GSO: u8 = 1;
/// `XEN_NETIF_EXTRA_TYPE_MCAST_ADD`.
pub const EXTRA_TYPE_MCAST_ADD: u8 = 2;
/// `XEN_NETIF_EXTRA_TYPE_MCAST_DEL`.
pub const EXTRA_TYPE_MCAST_DEL: u8 = 3;
/// `XEN_NETIF_EXTRA_TYPE_HASH`.
pub const EXTRA_TYPE_HASH: u8 = 4;
/// `XEN_NETIF_EXTRA_TYPE_XDP`.
pub const EXTRA_TYPE_XDP: u8 = 5;
/// `XEN_NETIF_EXTRA_TYPE_MAX`: types are below it, and not 0.
pub const EXTRA_TYPE_MAX: u8 = 6;
/// `XEN_NETIF_EXTRA_FLAG_MORE`: another one follows.
pub const EXTRA_FLAG_MORE: u8 = 1 << 0;

/// `XEN_NETIF_GSO_TYPE_TCPV4`.
pub const GSO_TYPE_TCPV4: u8 = 1;
/// `XEN_NETIF_GSO_TYPE_TCPV6`.
pub const GSO_TYPE_TCPV6: u8 = 2;

/// `netif_tx_request`: a piece of a packet that is sent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TxRequest {
    /// The page that holds it.
    pub gref: u32,
    /// Offset in the page, in bytes.
    pub offset: u16,
    /// `NETTXF_*`.
    pub flags: u16,
    /// Echoed in the response.
    pub id: u16,
    /// Length in bytes: of the whole packet in its first slot, else of the piece.
    pub size: u16,
}
const_assert_eq!(size_of::<TxRequest>(), 12);
const_assert_eq!(offset_of!(TxRequest, offset), 4);
const_assert_eq!(offset_of!(TxRequest, flags), 6);
const_assert_eq!(offset_of!(TxRequest, id), 8);
const_assert_eq!(offset_of!(TxRequest, size), 10);

/// `netif_tx_response`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TxResponse {
    /// The request's; without meaning when `status` is [`RSP_NULL`].
    pub id: u16,
    /// `NETIF_RSP_*`.
    pub status: i16,
}
const_assert_eq!(size_of::<TxResponse>(), 4);
const_assert_eq!(offset_of!(TxResponse, status), 2);

/// `netif_rx_request`: a page to receive into.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RxRequest {
    /// Echoed in the response.
    pub id: u16,
    /// Zero.
    pub pad: u16,
    /// The page.
    pub gref: u32,
}
const_assert_eq!(size_of::<RxRequest>(), 8);
const_assert_eq!(offset_of!(RxRequest, gref), 4);

/// `netif_rx_response`: a piece of a packet that was received.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RxResponse {
    /// The request's.
    pub id: u16,
    /// Offset in the page, in bytes.
    pub offset: u16,
    /// `NETRXF_*`.
    pub flags: u16,
    /// Negative: `NETIF_RSP_*`; else the length of the piece in bytes.
    pub status: i16,
}
const_assert_eq!(size_of::<RxResponse>(), 8);
const_assert_eq!(offset_of!(RxResponse, offset), 2);
const_assert_eq!(offset_of!(RxResponse, flags), 4);
const_assert_eq!(offset_of!(RxResponse, status), 6);

/// `netif_extra_info`: takes the place of a request or a response behind the first slot of a packet.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ExtraInfo {
    /// `XEN_NETIF_EXTRA_TYPE_*`.
    pub kind: u8,
    /// `XEN_NETIF_EXTRA_FLAG_*`.
    pub flags: u8,
    /// `u`: [`gso`](Self::gso), [`mcast`](Self::mcast), [`hash`](Self::hash) or [`xdp`](Self::xdp).
    pub u: [u8; 6],
}
const_assert_eq!(size_of::<ExtraInfo>(), 8);
const_assert_eq!(offset_of!(ExtraInfo, flags), 1);
const_assert_eq!(offset_of!(ExtraInfo, u), 2);

/// `u.gso` of [`ExtraInfo`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraGso {
    /// Payload of a segment in bytes, at most.
    pub size: u16,
    /// `XEN_NETIF_GSO_TYPE_*`.
    pub kind: u8,
    /// `XEN_NETIF_GSO_FEAT_*`: none is defined.
    pub features: u16,
}

/// `u.hash` of [`ExtraInfo`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraHash {
    /// `_XEN_NETIF_CTRL_HASH_TYPE_*`.
    pub kind: u8,
    /// `XEN_NETIF_CTRL_HASH_ALGORITHM_*`.
    pub algorithm: u8,
    /// The hash.
    pub value: u32,
}

impl ExtraInfo {
    /// `XEN_NETIF_EXTRA_TYPE_GSO`.
    #[inline]
    pub const fn of_gso(gso: ExtraGso) -> Self {
        let [size0, size1] = gso.size.to_ne_bytes();
        let [features0, features1] = gso.features.to_ne_bytes();
        Self {
            kind: EXTRA_TYPE_GSO,
            flags: 0,
            u: [size0, size1, gso.kind, 0, features0, features1],
        }
    }

    /// `XEN_NETIF_EXTRA_TYPE_MCAST_ADD`, or `_DEL`.
    pub const fn of_mcast(kind: u8, addr: [u8; 6]) -> Self {
        Self {
            kind,
            flags: 0,
            u: addr,
        }
    }

    /// `XEN_NETIF_EXTRA_TYPE_HASH`.
    #[inline]
    pub const fn of_hash(hash: ExtraHash) -> Self {
        let [v0, v1, v2, v3] = hash.value.to_le_bytes();
        Self {
            kind: EXTRA_TYPE_HASH,
            flags: 0,
            u: [hash.kind, hash.algorithm, v0, v1, v2, v3],
        }
    }

    /// `XEN_NETIF_EXTRA_TYPE_XDP`; `headroom` in bytes.
    pub const fn of_xdp(headroom: u16) -> Self {
        let [h0, h1] = headroom.to_ne_bytes();
        Self {
            kind: EXTRA_TYPE_XDP,
            flags: 0,
            u: [h0, h1, 0, 0, 0, 0],
        }
    }

    /// Whether another one follows.
    #[inline]
    pub const fn more(&self) -> bool {
        self.flags & EXTRA_FLAG_MORE != 0
    }

    /// `u.gso`.
    #[inline]
    pub const fn gso(&self) -> ExtraGso {
        let [size0, size1, kind, _, features0, features1] = self.u;
        ExtraGso {
            size: u16::from_ne_bytes([size0, size1]),
            kind,
            features: u16::from_ne_bytes([features0, features1]),
        }
    }

    /// `u.mcast.addr`.
    pub const fn mcast(&self) -> [u8; 6] {
        self.u
    }

    /// `u.hash`.
    #[inline]
    pub const fn hash(&self) -> ExtraHash {
        let [kind, algorithm, v0, v1, v2, v3] = self.u;
        ExtraHash {
            kind,
            algorithm,
            value: u32::from_le_bytes([v0, v1, v2, v3]),
        }
    }

    /// `u.xdp.headroom`, in bytes.
    #[inline]
    pub const fn xdp(&self) -> u16 {
        let [h0, h1, ..] = self.u;
        u16::from_ne_bytes([h0, h1])
    }
}

/// Entries of the transmit ring, which is one page.
pub const TX_ENTRIES: u32 =
    crate::ring::ring_size::<TxRequest, TxResponse>(crate::shared::PAGE_SIZE);
const_assert_eq!(TX_ENTRIES, 256);
/// Entries of the receive ring, which is one page.
pub const RX_ENTRIES: u32 =
    crate::ring::ring_size::<RxRequest, RxResponse>(crate::shared::PAGE_SIZE);
const_assert_eq!(RX_ENTRIES, 256);
