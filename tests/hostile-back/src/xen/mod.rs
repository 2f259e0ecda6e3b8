// SPDX-License-Identifier: MIT OR Apache-2.0
//! A back end on dom0's real interfaces.

pub mod backend;
pub mod commands;
pub mod device;
pub mod guest;
pub mod nodes;
pub mod usage;
