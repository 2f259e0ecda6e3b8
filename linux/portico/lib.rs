// SPDX-License-Identifier: GPL-2.0-only

//! Safe abstractions for Xen front-end drivers on Linux.

#[doc(hidden)]
pub use portico_bindings as bindings;

/// Tests.
pub fn hello() {
    kernel::pr_info!("hello\n");
}

const __LOG_PREFIX: &[u8] = b"portico\0";
