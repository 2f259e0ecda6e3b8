// SPDX-License-Identifier: MIT OR Apache-2.0
//! Independent peers for the ring of portico-core.
//!
//! - [`memory`]: pages that two sides share, also under loom;
//! - [`sides`]: a front and a back end as traits, with the core's ring behind them;
//! - [`xen`]: the hypervisor's side of event channels and grant tables;
//! - `models`: runs loom models, with the core's barrier and without it;
//! - `c`: the same with Xen's own macros from `xen/io/ring.h`, compiled in C.
//!
//! The tests in `tests/` pair them in all ways. Those named `loom_*` run with
//! `RUSTFLAGS="--cfg loom" cargo test -p portico-peers --release`.

#[cfg(xen_headers)]
pub mod c;
pub mod memory;
#[cfg(loom)]
pub mod models;
pub mod sides;
pub mod xen;
