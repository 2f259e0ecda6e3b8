// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network traffic between two agents, checked byte by byte where it arrives.
//!
//! ```text
//! asking agent ── control: a TCP connection, JSON lines ── the other agent's server
//!              ── flows: TCP connections or UDP sockets ──
//! ```
//!
//! Both sides do the same: they run their ends of the flows, tell each other when theirs are done and
//! what came of them. [`content`] makes the bytes, [`stream`], [`datagrams`] and [`requests`] move them,
//! [`session`] is the conversation and [`play`] what comes of it. [`link`], [`watch`] and [`xdp`] are about interfaces.

mod content;
mod datagrams;
pub mod link;
mod play;
mod requests;
mod session;
mod socket;
mod stream;
mod until;
pub mod watch;
mod wire;
pub mod xdp;

pub use session::{exchange, serve};
