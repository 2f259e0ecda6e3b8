// SPDX-License-Identifier: GPL-2.0-only

//! The parameters of the module: those of the stock driver, and `poll_queues`.

use kernel::{cpu::nr_cpu_ids, prelude::*};
use portico::module_param;
use portico_core::block::{
    negotiate::{Params, MAX_RING_PAGE_ORDER},
    wire::MAX_SEGMENTS,
};

module_param! {
    static MAX_INDIRECT_SEGMENTS: uint = 32;
    name: "max_indirect_segments",
    permissions: 0o444,
    description: "Maximum amount of segments in indirect requests (default is 32)",
}

module_param! {
    static MAX_QUEUES: uint = 4;
    name: "max_queues",
    permissions: 0o444,
    description: "Maximum number of hardware queues/rings used per virtual disk",
}

module_param! {
    static POLL_QUEUES: uint = 0;
    name: "poll_queues",
    permissions: 0o444,
    description: "Number of hardware queues/rings per virtual disk that are polled, beside max_queues",
}

module_param! {
    static MAX_RING_PAGE_ORDER_PARAM: int = 0;
    name: "max_ring_page_order",
    permissions: 0o444,
    description: "Maximum order of pages to be used for the shared ring",
}

module_param! {
    static TRUSTED: bool = true;
    name: "trusted",
    permissions: 0o644,
    description: "Is the backend trusted",
}

module_param! {
    static FEATURE_PERSISTENT: bool = true;
    name: "feature_persistent",
    permissions: 0o644,
    description: "Enables the persistent grants feature",
}

/// Puts what is out of range right, and says so. Once, when the module is loaded.
pub(crate) fn check() {
    let cpus = nr_cpu_ids();
    if MAX_QUEUES.get() > cpus {
        pr_info!(
            "max_queues {} is more than there are CPUs: {cpus}\n",
            MAX_QUEUES.get()
        );
        MAX_QUEUES.set(cpus);
    }
    if POLL_QUEUES.get() > cpus {
        pr_info!(
            "poll_queues {} is more than there are CPUs: {cpus}\n",
            POLL_QUEUES.get()
        );
        POLL_QUEUES.set(cpus);
    }
    let order = MAX_RING_PAGE_ORDER_PARAM.get();
    if u32::try_from(order).map_or(true, |order| order > MAX_RING_PAGE_ORDER) {
        pr_info!("max_ring_page_order {order} is out of range: {MAX_RING_PAGE_ORDER}\n");
        MAX_RING_PAGE_ORDER_PARAM.set(MAX_RING_PAGE_ORDER as i32);
    }
    if MAX_INDIRECT_SEGMENTS.get() < MAX_SEGMENTS as u32 {
        MAX_INDIRECT_SEGMENTS.set(MAX_SEGMENTS as u32);
    }
}

/// Rings of a device that its interrupts serve, and those that are polled, at most.
pub(crate) fn queues() -> (u32, u32) {
    (MAX_QUEUES.get().max(1), POLL_QUEUES.get())
}

/// The parameters as they are now. `trusted`: whether the device's own key trusts the back end.
pub(crate) fn now(trusted: bool) -> Params {
    let (interrupt, poll) = queues();
    Params {
        max_indirect_segments: MAX_INDIRECT_SEGMENTS.get(),
        max_queues: interrupt.saturating_add(poll),
        max_ring_page_order: u32::try_from(MAX_RING_PAGE_ORDER_PARAM.get()).unwrap_or(0),
        feature_persistent: FEATURE_PERSISTENT.get(),
        trusted: trusted && TRUSTED.get(),
    }
}
