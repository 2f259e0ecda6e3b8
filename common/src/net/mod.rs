// SPDX-License-Identifier: MIT OR Apache-2.0
//! The net front end (`xen/include/public/io/netif.h`), complete but for the operating system.
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | what lies in the transmit and receive rings |
//! | [`host`] | what the engines ask of an operating system |
//! | [`negotiate`] | the store's keys: what the back end offers, what the front end chooses and says |
//! | [`tx`] | the transmit ring: packets in, completions out |
//! | [`rx`] | the receive ring: buffers in, packets out |
//! | [`multicast`] | which multicast packets the back end sends |
//! | [`ctrl`] | the control ring: how the back end spreads packets over the queues |
//! | [`toeplitz`] | the hash by which it does |
//! | `sim` (tests, feature `sim`) | a simulated machine and back end under the queues |

pub mod ctrl;
pub mod host;
pub mod multicast;
pub mod negotiate;
pub mod rx;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tests;
pub mod toeplitz;
pub mod tx;
mod types;
pub mod wire;

pub use host::{Buffer, Fragment, Host, Packet};
pub use multicast::{MulticastList, MULTICAST_MAX};
pub use rx::{Frame, Received, RxFragment, RxQueue, RxRing, RxStats};
pub use tx::{Busy, Outcome, Reaped, TxFeatures, TxQueue, TxRing, TxStats};
pub use types::{Checksum, Gso, GsoType, Hash, HashType, Meta, Violation};
