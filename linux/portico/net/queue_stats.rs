// SPDX-License-Identifier: GPL-2.0-only

//! Statistics of each queue, as netlink's `qstats-get` has them.
//!
//! C header: [`include/net/netdev_queues.h`](srctree/include/net/netdev_queues.h)

use core::marker::PhantomData;
use kernel::prelude::*;
use portico_bindings as bindings;

use super::{device::NetDevice, operations::Operations};

/// What a queue has received since the device was made (`struct netdev_queue_stats_rx`).
#[derive(Clone, Copy, Debug, Default)]
pub struct RxQueueStats {
    /// Packets, also those that an XDP program has dropped or sent on.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Times that there was no memory to receive into.
    pub alloc_fail: u64,
}

/// What a queue has sent since the device was made (`struct netdev_queue_stats_tx`).
#[derive(Clone, Copy, Debug, Default)]
pub struct TxQueueStats {
    /// Packets, also those of XDP programs.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that the device was left to cut.
    pub gso_packets: u64,
    /// Times that the stack was stopped.
    pub stop: u64,
}

impl RxQueueStats {
    /// Sets what is counted here, and leaves all else as it is.
    fn write(self, to: &mut bindings::netdev_queue_stats_rx) {
        to.packets = self.packets;
        to.bytes = self.bytes;
        to.alloc_fail = self.alloc_fail;
    }
}

impl TxQueueStats {
    fn write(self, to: &mut bindings::netdev_queue_stats_tx) {
        to.packets = self.packets;
        to.bytes = self.bytes;
        to.hw_gso_packets = self.gso_packets;
        to.stop = self.stop;
    }
}

/// The C table, and the functions in it. The stack calls them under the RTNL, for devices made for `T` that
/// are registered, with structures that it has filled with ones.
pub(super) struct Table<T>(PhantomData<T>);

impl<T: Operations> Table<T> {
    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn rx(
        dev: *mut bindings::net_device,
        index: c_int,
        to: *mut bindings::netdev_queue_stats_rx,
    ) {
        // SAFETY: by the type's promises.
        let (dev, to) = unsafe { (NetDevice::<T>::from_raw(dev), &mut *to) };
        if let Some(queue) = usize::try_from(index).ok().and_then(|i| dev.queue(i)) {
            T::rx_stats(queue).write(to);
        }
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn tx(
        dev: *mut bindings::net_device,
        index: c_int,
        to: *mut bindings::netdev_queue_stats_tx,
    ) {
        // SAFETY: by the type's promises.
        let (dev, to) = unsafe { (NetDevice::<T>::from_raw(dev), &mut *to) };
        if let Some(queue) = usize::try_from(index).ok().and_then(|i| dev.queue(i)) {
            T::tx_stats(queue).write(to);
        }
    }

    /// What belongs to the device and to no queue that is in use now: that of the others.
    ///
    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn base(
        dev: *mut bindings::net_device,
        rx: *mut bindings::netdev_queue_stats_rx,
        tx: *mut bindings::netdev_queue_stats_tx,
    ) {
        // SAFETY: by the type's promises.
        unsafe {
            RxQueueStats::default().write(&mut *rx);
            TxQueueStats::default().write(&mut *tx);
            bindings::portico_netdev_add_unused_stats(dev, rx, tx);
        }
    }

    const TABLE: bindings::netdev_stat_ops = bindings::netdev_stat_ops {
        get_queue_stats_rx: Some(Self::rx),
        get_queue_stats_tx: Some(Self::tx),
        get_base_stats: Some(Self::base),
    };

    pub(super) const fn get() -> &'static bindings::netdev_stat_ops {
        &Self::TABLE
    }
}
