// SPDX-License-Identifier: GPL-2.0-only

//! Safe abstractions for Xen front-end drivers on Linux.

pub mod event;
pub mod grant;
pub mod host;
pub mod memory;
pub mod xen;
pub mod xenbus;

const __LOG_PREFIX: &[u8] = b"portico\0";
