// SPDX-License-Identifier: MIT OR Apache-2.0
//! The xenstore protocol, client side (`xen/io/xs_wire.h`, `docs/misc/xenstore.txt`).
//!
//! The module does no input or output of its own:
//!
//! - [`wire`] has the message header, the message types, the limits and the error names;
//! - [`path`] says which paths, tokens and node names may be sent;
//! - [`request`] encodes requests into a buffer of the caller;
//! - [`reply`] reads what replies carry;
//! - [`client`] gives requests their ids, puts incoming bytes together into messages and says which
//!   request a reply answers;
//! - [`ring`] moves bytes through the page that a guest shares with the store.
//!
//! User space that talks to `/dev/xen/xenbus` uses everything but [`ring`]; a bus driver that owns
//! the store's page uses all of it.
//!
//! Nothing that arrives is trusted: a length beyond [`wire::XENSTORE_PAYLOAD_MAX`], a reply that
//! nobody waits for or a watch event without its two strings ends the conversation with an error,
//! and never with a panic.

pub mod client;
pub mod path;
pub mod reply;
pub mod request;
pub mod ring;
pub mod wire;
