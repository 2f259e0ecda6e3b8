// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lab: everything between a fresh machine and a verdict.
//!
//! The host side makes sysroots, kernel metadata, modules and static binaries, each cached by its
//! inputs; the guest side boots Xen, dom0 and guests on them.

pub mod apt;
pub mod bench;
pub mod cache;
pub mod checks;
pub mod context;
pub mod doctor;
pub mod image;
pub mod kernel;
pub mod lock;
pub mod log;
pub mod machine;
pub mod metadata;
pub mod mirror;
pub mod modules;
pub mod part;
pub mod progress;
pub mod report;
pub mod root;
pub mod run;
pub mod scenario;
pub mod selftests;
pub mod setup;
pub mod stage;
pub mod statics;
pub mod stop;
pub mod sysroot;
pub mod tools;
