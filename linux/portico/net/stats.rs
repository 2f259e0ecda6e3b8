// SPDX-License-Identifier: GPL-2.0-only

//! Counters.
//!
//! C headers: [`include/linux/u64_stats_sync.h`](srctree/include/linux/u64_stats_sync.h),
//! [`include/uapi/linux/if_link.h`](srctree/include/uapi/linux/if_link.h)

use core::cell::UnsafeCell;
use portico_bindings as bindings;

/// A counter that one context at a time adds to, usually under a lock, and that anybody reads. No atomic
/// operation: on a 64-bit machine a word is read and written as a whole, as with C's `u64_stats_t`.
#[derive(Default)]
pub struct Counter(UnsafeCell<u64>);

// SAFETY: the word is accessed as a whole. Concurrent additions would lose counts, no more.
unsafe impl Sync for Counter {}

impl Counter {
    /// Adds to it.
    #[inline]
    pub fn add(&self, more: u64) {
        let word = self.0.get();
        // SAFETY: the cell is valid and aligned.
        unsafe { word.write_volatile(word.read_volatile().wrapping_add(more)) };
    }

    /// The count.
    #[inline]
    pub fn get(&self) -> u64 {
        // SAFETY: the cell is valid and aligned.
        unsafe { self.0.get().read_volatile() }
    }
}

/// A flag that anybody sets and reads, without order towards anything else.
#[derive(Default)]
pub struct Flag(UnsafeCell<bool>);

// SAFETY: the byte is accessed as a whole; either value will do for a reader that is early.
unsafe impl Sync for Flag {}

impl Flag {
    /// Whether it is set.
    #[inline]
    pub fn get(&self) -> bool {
        // SAFETY: the cell is valid.
        unsafe { self.0.get().read_volatile() }
    }

    /// Sets it, or takes it back.
    #[inline]
    pub fn set(&self, on: bool) {
        // SAFETY: the cell is valid.
        unsafe { self.0.get().write_volatile(on) };
    }
}

/// What [`Operations::stats`](super::Operations::stats) fills in (`struct rtnl_link_stats64`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Packets received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets that were received and are bad.
    pub rx_errors: u64,
    /// Packets that were received and not passed on.
    pub rx_dropped: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets that were not sent.
    pub tx_dropped: u64,
}

impl Stats {
    pub(super) fn add_to(&self, stats: &mut bindings::rtnl_link_stats64) {
        for (to, from) in [
            (&mut stats.rx_packets, self.rx_packets),
            (&mut stats.rx_bytes, self.rx_bytes),
            (&mut stats.rx_errors, self.rx_errors),
            (&mut stats.rx_dropped, self.rx_dropped),
            (&mut stats.tx_packets, self.tx_packets),
            (&mut stats.tx_bytes, self.tx_bytes),
            (&mut stats.tx_errors, self.tx_errors),
            (&mut stats.tx_dropped, self.tx_dropped),
        ] {
            *to = to.wrapping_add(from);
        }
    }
}
