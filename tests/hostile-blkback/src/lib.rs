// SPDX-License-Identifier: MIT OR Apache-2.0
//! A block back end (`xen/include/public/io/blkif.h`) that is correct and complete, and that does what a
//! script of faults tells it to do wrong.
//!
//! All but one module do without Xen, so that the same back end and the same scripts drive a
//! guest's driver in the lab and the front-end engine on the host:
//!
//! | module | holds |
//! |---|---|
//! | [`options`] | what kind of disk it is and what the back end offers |
//! | [`script`] | faults, and the events at which they happen |
//! | [`catalogue`] | a script for each fault |
//! | [`random`] | scripts from a seed |
//! | [`inject`] | which faults are due now |
//! | [`disk`] | the data |
//! | [`memory`] | what the back end asks of the world: mapped pages, rings, notifications |
//! | [`execute`] | one request, done right |
//! | [`queue`] | one ring, served, with its faults |
//! | [`stats`] | what was seen |
//! | [`xen`] | all of it on dom0's real interfaces |

pub mod catalogue;
pub mod disk;
pub mod execute;
pub mod inject;
pub mod memory;
pub mod options;
pub mod queue;
pub mod random;
pub mod script;
pub mod stats;
pub mod xen;
