// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every Portico front end needs, without an operating system.
//!
//! | module | holds |
//! |---|---|
//! | [`shared`] | memory that a peer can write, and barriers |
//! | [`ring`] | the shared request and response ring of Xen's split drivers |
//! | [`event`] | event channels, the receiving side |
//! | [`grant`] | grant tables, the granting side |
//! | [`xenstore`] | the store's wire protocol, client side |
//! | [`xenbus`] | device states and the hand-shake |
//! | [`host`] | what the engines ask of an operating system |
//! | [`block`] | the block front end: wire types, negotiation, engine |
//! | [`net`] | the net front end: wire types, negotiation, engines |
//!
//! The engines are sans-I/O: the operating system hands in requests and gets back completions. The
//! peer is never trusted: what it can write is copied once, checked, then used. Nothing here
//! allocates on the data path, and nothing panics on what a peer does.
//!
//! In the Linux kernel, which owns its grant table, event channels and connection to the store, the
//! modules for these are left out.
#![no_std]

#[cfg(any(test, loom, feature = "sim"))]
extern crate std;

pub mod block;
#[cfg(not(CONFIG_RUST))]
pub mod event;
pub mod grant;
pub mod host;
pub mod net;
pub mod ring;
pub mod shared;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod xenbus;
#[cfg(not(CONFIG_RUST))]
pub mod xenstore;

#[cfg(all(test, not(loom)))]
mod test_memory;
