// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grant tables, the granting side (`xen/include/public/grant_table.h`).
//!
//! A domain shares a page by filling in an entry of a table that it shares with Xen; the entry's index
//! is what it tells its peer. Which domain may map the page, and whether for reading only, stands in
//! the entry; Xen marks the entry while the peer has it mapped.
//!
//! - [`wire`] has the entries of both versions;
//! - [`table`] grants and ends access without ever overwriting what Xen marks;
//! - [`references`] keeps the entries that are free.
//!
//! Linux owns its table: there, only what a grant is called is left. A bus driver that owns the table has
//! all of it.

#[cfg(not(CONFIG_RUST))]
pub mod references;
#[cfg(not(CONFIG_RUST))]
pub mod table;
#[cfg(not(CONFIG_RUST))]
pub mod wire;

#[cfg(not(CONFIG_RUST))]
pub use references::References;
#[cfg(not(CONFIG_RUST))]
pub use table::{EndError, GrantError, GrantTable, TableV1, TableV2};

/// Index of an entry in the table of the granting domain (`grant_ref_t`).
pub type GrantRef = u32;

/// What a grant allows the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may read the page.
    ReadOnly,
    /// It may read and write the page.
    ReadWrite,
}
