// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of the sources and of what was built, that no compiler makes.

pub mod panics;
pub mod sizes;
pub mod source;
pub mod symbols;
