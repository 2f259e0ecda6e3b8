// SPDX-License-Identifier: GPL-2.0-only

//! The parameters of the module: those of the stock driver.

use kernel::cpu::nr_cpu_ids;
use portico::module_param;
use portico_core::net::negotiate::Params;

/// Queues of a device if the user does not say, at most.
const MAX_QUEUES_DEFAULT: u32 = 8;

/// Queues that a device can have, at most.
pub(crate) const MAX_QUEUES_LIMIT: u32 = 64;

module_param! {
    static MAX_QUEUES: uint = 0;
    name: "max_queues",
    permissions: 0o644,
    description: "Maximum number of queues per virtual interface",
}

module_param! {
    static TRUSTED: bool = true;
    name: "trusted",
    permissions: 0o644,
    description: "Is the backend trusted",
}

/// Puts the default in place, so that it can be seen. Once, when the module is loaded.
pub(crate) fn check() {
    if MAX_QUEUES.get() == 0 {
        MAX_QUEUES.set(MAX_QUEUES_DEFAULT.min(nr_cpu_ids()));
    }
}

/// Whether the user trusts all back ends.
pub(crate) fn trusted() -> bool {
    TRUSTED.get()
}

/// The parameters as they are now.
pub(crate) fn now() -> Params {
    Params {
        max_queues: MAX_QUEUES.get().clamp(1, MAX_QUEUES_LIMIT),
        ctrl: true,
    }
}
