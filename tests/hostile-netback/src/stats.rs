// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the back end has seen.

use serde::Serialize;

/// Counters of one pair of rings since it was connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Packets from the guest.
    pub transmitted: u64,
    /// Their bytes.
    pub transmitted_bytes: u64,
    /// The most slots that one had.
    pub max_slots: u64,
    /// Slots with extra information among them.
    pub extras: u64,
    /// Packets that were wrong, or whose pages could not be mapped.
    pub errors: u64,
    /// Packets that the host behind answered.
    pub reflected: u64,
    /// Frames passed to the guest.
    pub received: u64,
    /// Buffers that the guest gave.
    pub buffers: u64,
    /// Frames that were dropped because the guest gave no buffers.
    pub dropped: u64,
    /// Notifications received.
    pub notified: u64,
    /// Notifications sent.
    pub notifies: u64,
    /// Publications for which the front end needed no notification.
    pub notifies_saved: u64,
}
