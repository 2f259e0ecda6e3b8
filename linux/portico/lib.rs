// SPDX-License-Identifier: GPL-2.0-only

//! Safe abstractions for Xen front-end drivers on Linux.

pub mod event;
pub mod grant;
pub mod host;
mod layout;
pub mod memory;
pub mod param;
pub mod work;
pub mod xen;
pub mod xenbus;

#[doc(hidden)]
pub use portico_bindings as bindings;

const __LOG_PREFIX: &[u8] = b"portico\0";
