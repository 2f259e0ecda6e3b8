// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a queue is made from, and what it says.

use core::fmt;

use crate::block::host::GrantRef;
use crate::ring::RingError;

/// What the back end takes now. Features are lost at run time when it answers `BLKIF_RSP_EOPNOTSUPP`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `feature-flush-cache`.
    pub flush: bool,
    /// `feature-barrier`.
    pub barrier: bool,
    /// `feature-discard`.
    pub discard: bool,
    /// `discard-secure`.
    pub secure: bool,
}

/// How a queue is made.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The device's number in the store, low 16 bits.
    pub handle: u16,
    /// Segments in one ring request: [`wire::MAX_SEGMENTS`], or more with indirect segments.
    pub max_segments: usize,
    /// Pages are granted once and data is copied through them.
    pub persistent: bool,
    /// Data is copied through own pages, so that the back end sees the request's bytes alone.
    pub bounce: bool,
    /// Pages to copy through, if either of the two is set; at least `max_segments` are taken.
    pub pool_pages: usize,
    /// What the back end offers.
    pub features: Features,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The ring has no room; a completion makes some.
    Ring,
    /// No page to copy through; a completion frees some.
    Pages,
    /// The host has no grant reference; a completion, or another device, frees some.
    Grants,
    /// The back end does not offer the operation.
    Unsupported,
    /// A segment is not made of whole sectors within one page, or the request has none.
    Malformed,
    /// The queue was closed, or broke.
    Closed,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// The back end reported an error.
    Failed,
    /// The back end does not know the operation; the feature is off from now on.
    Unsupported,
    /// The back end does not know the operation, but the request can be sent in another way: submit
    /// it again.
    Retry,
}

/// What a back end did against the protocol. The queue is broken after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The ring's indexes are wrong.
    Ring(RingError),
    /// The response's id is not of a waiting request.
    Id {
        /// What the response said.
        id: u64,
    },
    /// The response's operation is not the request's.
    Operation {
        /// The request.
        id: u64,
        /// What was asked.
        sent: u8,
        /// What was answered.
        got: u8,
    },
    /// The request is answered, but its memory is still mapped.
    Held {
        /// The request.
        id: u64,
        /// One of its grants.
        gref: GrantRef,
    },
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
            Self::Id { id } => write!(f, "response id {id:#x} is of no waiting request"),
            Self::Operation { id, sent, got } => {
                write!(
                    f,
                    "response to request {id:#x} has operation {got}, not {sent}"
                )
            }
            Self::Held { id, gref } => {
                write!(
                    f,
                    "request {id:#x} is answered, but grant {gref} is still in use"
                )
            }
        }
    }
}

/// Counters since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Ring requests written.
    pub requests: u64,
    /// Ring requests with indirect segments.
    pub indirect: u64,
    /// Segments in ring requests.
    pub segments: u64,
    /// Submissions refused for want of a ring entry, a page or a grant.
    pub ring_full: u64,
    /// Notifications that the back end asked for.
    pub notifications: u64,
    /// Ring requests that were published without one of their own.
    pub notifications_saved: u64,
    /// Pages used again with their grant.
    pub persistent_hits: u64,
    /// Grants made for data.
    pub grants: u64,
    /// Segments copied.
    pub bounces: u64,
    /// Flushes and barriers written.
    pub flushes: u64,
    /// Discards written.
    pub discards: u64,
    /// Responses with another status than `BLKIF_RSP_OKAY`.
    pub failed: u64,
}

/// What [`Queue::reap`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Responses taken.
    pub responses: u32,
    /// A flush that follows a write was published, and the back end waits for a notification.
    pub notify: bool,
}

/// A ring request that waits for its response.
#[derive(Clone, Copy, Debug)]
pub struct Pending<'a, I> {
    /// The id on the wire.
    pub id: u64,
    /// `BLKIF_OP_*`, for an indirect request that of its data.
    pub operation: u8,
    /// Start on the disk, in sectors of 512 bytes.
    pub sector: u64,
    /// The request that it is part of.
    pub io: Option<&'a I>,
}
