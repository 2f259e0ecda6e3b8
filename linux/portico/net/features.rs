// SPDX-License-Identifier: GPL-2.0-only

//! What a device does in the stack's stead.
//!
//! C header: [`include/linux/netdev_features.h`](srctree/include/linux/netdev_features.h)

use core::ops::{BitOr, BitOrAssign};
use portico_bindings as bindings;

/// A set of features (`netdev_features_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(bindings::netdev_features_t);

macro_rules! features {
    ($($(#[$meta:meta])* $name:ident = $bit:ident;)*) => {
        impl Features {
            $($(#[$meta])* pub const $name: Self = Self(1 << bindings::$bit);)*
        }
    };
}

features! {
    /// Packets in several pieces of memory.
    SG = NETIF_F_SG_BIT;
    /// Checksums of TCP and UDP over IPv4.
    IP_CSUM = NETIF_F_IP_CSUM_BIT;
    /// Checksums of TCP and UDP over IPv6.
    IPV6_CSUM = NETIF_F_IPV6_CSUM_BIT;
    /// TCP segmentation over IPv4.
    TSO = NETIF_F_TSO_BIT;
    /// TCP segmentation over IPv6.
    TSO6 = NETIF_F_TSO6_BIT;
    /// Segmentation of packets from sources that are not trusted.
    GSO_ROBUST = NETIF_F_GSO_ROBUST_BIT;
    /// The checksums of received packets are checked.
    RXCSUM = NETIF_F_RXCSUM_BIT;
    /// Received packets come with a hash.
    RXHASH = NETIF_F_RXHASH_BIT;
}

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);

    pub(super) const fn from_raw(raw: bindings::netdev_features_t) -> Self {
        Self(raw)
    }

    pub(super) const fn raw(self) -> bindings::netdev_features_t {
        self.0
    }

    /// All of both sets.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Features {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}
