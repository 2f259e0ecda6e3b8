// SPDX-License-Identifier: MIT OR Apache-2.0
//! The block front end (`xen/include/public/io/blkif.h`), complete but for the operating system.
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | what lies in the ring |
//! | [`host`] | what the engine asks of an operating system |
//! | [`negotiate`] | the store's keys: what the back end offers, what the front end chooses and says |
//! | [`vdev`] | the number that names a disk |
//! | [`queue`] | one ring: requests in, completions out |
//! | `sim` (tests, feature `sim`) | a simulated machine under a queue |
//! | [`pool`] | the pages that data is copied through, with their persistent grants |

pub mod host;
pub mod negotiate;
pub mod pool;
pub mod queue;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;
pub mod vdev;
pub mod wire;

pub use host::{Access, GrantRef, Host, Io, NoMemory, Op, Segment, SharedPage};
pub use queue::{Busy, Features, Outcome, Pending, Queue, Reaped, Ring, Setup, Stats, Violation};
