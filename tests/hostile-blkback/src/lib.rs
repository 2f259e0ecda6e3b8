// SPDX-License-Identifier: MIT OR Apache-2.0
//! A block back end (`xen/include/public/io/blkif.h`) that is correct and complete, and that does what a
//! script of faults tells it to do wrong.
//!
//! What it shares with other back ends is in `hostile_back`. All but one module do without Xen, so that the same back end and the same scripts drive a
//! guest's driver in the lab and the front-end engine on the host:
//!
//! | module | holds |
//! |---|---|
//! | [`options`] | what kind of disk it is and what the back end offers |
//! | [`script`] | faults, and the events at which they happen |
//! | [`catalogue`] | a script for each fault |
//! | [`random`] | scripts from a seed |
//! | [`disk`] | the data |
//! | [`execute`] | one request, done right |
//! | [`queue`] | one ring, served, with its faults |
//! | [`stats`] | what was seen |
//! | [`vdev`] | names and numbers of disks |
//! | [`xen`] | all of it on dom0's real interfaces |

pub mod catalogue;
pub mod disk;
pub mod execute;
pub mod options;
pub mod queue;
pub mod random;
pub mod script;
pub mod stats;
pub mod vdev;
pub mod xen;
