// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a transmit queue is made from, and what it says.

/// What the back end takes beyond packets of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxFeatures {
    /// `feature-sg`: packets of several slots.
    pub sg: bool,
    /// `feature-gso-tcpv4`.
    pub gso_tcpv4: bool,
    /// `feature-gso-tcpv6`.
    pub gso_tcpv6: bool,
    /// The flow's hash is told: the Toeplitz hash was set up through the control ring.
    pub hash: bool,
    /// [`Offer::multicast`](crate::net::negotiate::Offer::multicast).
    pub multicast: bool,
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The ring has no room; a completion makes some.
    Ring,
    /// The back end does not offer what the packet needs.
    Unsupported,
    /// The packet has more fragments than fit in [`NR_SLOTS_MIN`](crate::net::wire::NR_SLOTS_MIN) slots.
    /// Copied together it fits. Or it is longer than [`COPY_MAX`](super::COPY_MAX) and was to be copied.
    TooLong,
    /// The packet is shorter than an Ethernet header, or has less than that in its first fragment, or
    /// is longer than [`MAX_TX_SIZE`](crate::net::wire::MAX_TX_SIZE), or its fragments do not add up to
    /// its length, or one is empty or leaves its page.
    Malformed,
    /// The queue was closed, or broke.
    Closed,
}

/// How a packet ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The back end took it.
    #[default]
    Sent,
    /// The back end dropped it.
    Dropped,
    /// The back end reported an error.
    Failed,
}

/// What [`TxQueue::reap`](super::TxQueue::reap) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Responses taken.
    pub responses: u32,
    /// Packets given back.
    pub packets: u32,
    /// Copied packets, which are not given back, for which the back end reported an error.
    pub copies_failed: u32,
}

/// Counters since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxStats {
    /// Packets written.
    pub packets: u64,
    /// Those of them that were copied.
    pub copied: u64,
    /// Slots written, those of extra information included.
    pub slots: u64,
    /// Packets that are cut by the other side.
    pub gso: u64,
    /// Submissions refused for want of room.
    pub ring_full: u64,
    /// Notifications that the back end asked for.
    pub notifications: u64,
    /// Slots that were published without one of their own.
    pub notifications_saved: u64,
    /// Packets that came back with another status than `NETIF_RSP_OKAY`.
    pub failed: u64,
    /// Multicast addresses that the back end did not take.
    pub multicast_failed: u64,
}
