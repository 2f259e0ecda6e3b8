// SPDX-License-Identifier: MIT OR Apache-2.0
//! What back ends share that do wrong what a script says: the format of scripts, which faults are due,
//! and a device's life on Xen. What a device does, its back end adds.
//!
//! All but one module do without Xen, so that the same back end and the same scripts can drive a
//! guest's driver in the lab and a front-end engine on the host:
//!
//! | module | holds |
//! |---|---|
//! | [`script`] | faults, and the events at which they happen |
//! | [`inject`] | which faults are due now |
//! | [`random`] | numbers from a seed |
//! | [`memory`] | what a back end asks of the world: mapped pages, rings, notifications |
//! | `sim` | a simulated guest, with the feature of that name |
//! | [`xen`] | the device on dom0's real interfaces |

pub mod inject;
pub mod memory;
pub mod random;
pub mod script;
#[cfg(feature = "sim")]
pub mod sim;
pub mod xen;
