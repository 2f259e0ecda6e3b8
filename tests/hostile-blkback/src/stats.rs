// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the back end has seen.

use serde::Serialize;

/// Counters of one queue since it was connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests taken from the ring.
    pub requests: u64,
    /// Reads, direct or indirect.
    pub reads: u64,
    /// Writes, direct or indirect, without barriers.
    pub writes: u64,
    /// Barriers.
    pub barriers: u64,
    /// Flushes.
    pub flushes: u64,
    /// Discards, secure or not.
    pub discards: u64,
    /// Discards that asked to be secure.
    pub secure_discards: u64,
    /// Requests with another operation.
    pub unknown: u64,
    /// Indirect requests.
    pub indirect: u64,
    /// The most segments that a request had.
    pub max_segments: u64,
    /// Sectors of 512 bytes read.
    pub sectors_read: u64,
    /// Sectors of 512 bytes written.
    pub sectors_written: u64,
    /// Sectors of 512 bytes discarded.
    pub sectors_discarded: u64,
    /// Requests answered with an error because they were wrong or could not be done.
    pub errors: u64,
    /// Notifications received.
    pub notified: u64,
    /// Notifications sent.
    pub notifies: u64,
    /// Publications of answers for which the front end needed no notification.
    pub notifies_saved: u64,
    /// Pages mapped.
    pub mapped: u64,
    /// Pages that were mapped already, as persistent grants.
    pub persistent_hits: u64,
    /// Different pages mapped as persistent grants now.
    pub persistent: u64,
    /// Answers given.
    pub responses: u64,
}
