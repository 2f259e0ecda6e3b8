// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab: everything between a fresh machine and a verdict.
//!
//! The host side makes sysroots, kernel metadata, modules and static binaries, each cached by its
//! inputs; the guest side boots Xen, dom0 and guests on them.

pub mod cache;
pub mod context;
pub mod progress;
pub mod root;
pub mod run;
pub mod stop;
