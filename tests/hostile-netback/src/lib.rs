// SPDX-License-Identifier: MIT OR Apache-2.0
//! A network back end (`xen/include/public/io/netif.h`) that does what a script of faults tells it to do
//! wrong. Behind it is one host, which answers ARP, pings, and UDP with the same bytes: enough for the
//! guest to see that its packets arrive whole, both ways.
//!
//! | module | holds |
//! |---|---|
//! | [`options`] | what the back end offers |
//! | [`script`] | faults, and the events at which they happen |
//! | [`catalogue`] | a script for each fault |
//! | [`random`] | scripts from a seed |
//! | [`reflect`] | the host behind it |
//! | [`side`] | one ring, with the faults of any ring |
//! | [`transmit`], [`receive`] | packets from and to the guest, with their faults |
//! | [`queue`] | a pair of rings, served |
//! | [`stats`] | what was seen |
//! | [`xen`] | all of it on dom0's real interfaces |

pub mod catalogue;
pub mod options;
pub mod queue;
pub mod random;
pub mod receive;
pub mod reflect;
pub mod script;
pub mod side;
pub mod stats;
pub mod transmit;
pub mod xen;
