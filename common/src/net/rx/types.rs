// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a receive queue says.

/// What [`RxQueue::receive`](super::RxQueue::receive) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Frames handed over.
    pub frames: u32,
    /// Responses taken.
    pub responses: u32,
}

/// Counters since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxStats {
    /// Frames handed over.
    pub frames: u64,
    /// Their fragments.
    pub fragments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that were put together by the other side.
    pub gso: u64,
    /// Buffers granted.
    pub buffers: u64,
    /// Buffers put back into the ring as they were, with their grant.
    pub reposted: u64,
    /// Frames dropped because the back end reported an error.
    pub failed: u64,
    /// Frames dropped because they make no sense.
    pub malformed: u64,
    /// Notifications that the back end asked for.
    pub notifications: u64,
    /// Buffers that were published without one of their own.
    pub notifications_saved: u64,
}
