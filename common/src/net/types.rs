// SPDX-License-Identifier: MIT OR Apache-2.0
//! What both directions say about a packet, and what a back end can do wrong.

use core::fmt;

use super::wire::{self, ExtraGso, ExtraHash};
use crate::grant::GrantRef;
use crate::ring::RingError;

/// What is known of the checksum of a packet's transport header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: it is in the packet, and whoever wants to know checks it.
    #[default]
    Unknown,
    /// It is in the packet and right, or the data needs no check.
    Validated,
    /// Its field holds the sum of the pseudo header alone; the data needs no check.
    Blank,
}

/// The protocol of a packet that is longer than the wire takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoType {
    /// `XEN_NETIF_GSO_TYPE_TCPV4`.
    TcpV4,
    /// `XEN_NETIF_GSO_TYPE_TCPV6`.
    TcpV6,
}

/// How a packet that is longer than the wire takes is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Its protocol.
    pub kind: GsoType,
    /// Payload of a segment in bytes; not zero.
    pub size: u16,
}

impl Gso {
    #[inline]
    pub(super) fn to_wire(self) -> ExtraGso {
        ExtraGso {
            size: self.size,
            kind: match self.kind {
                GsoType::TcpV4 => wire::GSO_TYPE_TCPV4,
                GsoType::TcpV6 => wire::GSO_TYPE_TCPV6,
            },
            features: 0,
        }
    }

    #[inline]
    pub(super) fn from_wire(gso: ExtraGso) -> Option<Self> {
        let kind = match gso.kind {
            wire::GSO_TYPE_TCPV4 => GsoType::TcpV4,
            wire::GSO_TYPE_TCPV6 => GsoType::TcpV6,
            _ => return None,
        };
        (gso.size != 0).then_some(Self {
            kind,
            size: gso.size,
        })
    }
}

/// What a hash was calculated over (`_XEN_NETIF_CTRL_HASH_TYPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HashType {
    /// Addresses of IPv4.
    Ipv4 = 0,
    /// Addresses and ports of TCP over IPv4.
    Ipv4Tcp = 1,
    /// Addresses of IPv6.
    Ipv6 = 2,
    /// Addresses and ports of TCP over IPv6.
    Ipv6Tcp = 3,
}

/// The Toeplitz hash of a packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// What it was calculated over.
    pub kind: HashType,
    /// The hash.
    pub value: u32,
}

impl Hash {
    #[inline]
    pub(super) fn to_wire(self) -> ExtraHash {
        ExtraHash {
            kind: self.kind as u8,
            algorithm: super::ctrl::HASH_ALGORITHM_TOEPLITZ as u8,
            value: self.value,
        }
    }

    #[inline]
    pub(super) fn from_wire(hash: ExtraHash) -> Option<Self> {
        let kind = match hash.kind {
            0 => HashType::Ipv4,
            1 => HashType::Ipv4Tcp,
            2 => HashType::Ipv6,
            3 => HashType::Ipv6Tcp,
            _ => return None,
        };
        let toeplitz = u32::from(hash.algorithm) == super::ctrl::HASH_ALGORITHM_TOEPLITZ;
        toeplitz.then_some(Self {
            kind,
            value: hash.value,
        })
    }
}

/// What is known of a packet beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Its checksum.
    pub checksum: Checksum,
    /// How it is cut, if it is longer than the wire takes.
    pub gso: Option<Gso>,
    /// Its flow's hash.
    pub hash: Option<Hash>,
}

/// What a back end did against the protocol. The queue is broken after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The ring's indexes are wrong.
    Ring(RingError),
    /// The response's id is not of a waiting request; in the receive ring, not of the request whose
    /// slot it took.
    Id {
        /// What the response said.
        id: u16,
    },
    /// More slots are marked as extra information than were sent.
    Null,
    /// The request is answered, but its memory is still mapped.
    Held {
        /// The request.
        id: u16,
        /// Its grant.
        gref: GrantRef,
    },
    /// A received packet has more slots than a packet can have, so that its end cannot be trusted.
    TooLong,
}

impl From<RingError> for Violation {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(error) => write!(f, "{error}"),
            Self::Id { id } => write!(f, "response id {id} is of no waiting request"),
            Self::Null => write!(f, "more null responses than slots of extra information"),
            Self::Held { id, gref } => {
                write!(
                    f,
                    "request {id} is answered, but grant {gref} is still in use"
                )
            }
            Self::TooLong => write!(f, "a packet has more slots than the protocol allows"),
        }
    }
}
