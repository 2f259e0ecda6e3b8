// SPDX-License-Identifier: GPL-2.0-only

//! The table of C functions that leads from the stack to [`Operations`].
//!
//! All functions here are called by the stack alone, which keeps these promises: the devices that it
//! passes were made by [`NetDevice::new`] for `T`, are registered, and live for the time of the call;
//! locks are held as `struct net_device_ops` says.

use core::{marker::PhantomData, ptr::NonNull};
use kernel::{error::from_result, prelude::*};
use portico_bindings as bindings;

use super::{device::NetDevice, features::Features, operations::Operations, skb::SkBuff};

pub(super) struct Vtable<T>(PhantomData<T>);

impl<T: Operations> Vtable<T> {
    /// # Safety
    ///
    /// See the module. RTNL.
    unsafe extern "C" fn open(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: by the module's promises.
        let this = unsafe { NetDevice::<T>::from_raw(dev) };
        from_result(|| {
            T::open(this)?;
            for queue in this.queues() {
                // SAFETY: disabled since it was added, or by `stop`.
                unsafe {
                    queue.pool.set_consumer(queue.napi());
                    bindings::napi_enable(queue.napi());
                }
                queue.schedule();
            }
            // SAFETY: by the module's promises.
            unsafe { bindings::portico_netdev_start_all(dev) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See the module. RTNL.
    unsafe extern "C" fn stop(dev: *mut bindings::net_device) -> c_int {
        // SAFETY: by the module's promises.
        let this = unsafe {
            bindings::portico_netdev_disable_all(dev);
            NetDevice::<T>::from_raw(dev)
        };
        for queue in this.queues() {
            // SAFETY: enabled by `open`.
            unsafe {
                bindings::napi_disable(queue.napi());
                queue.pool.set_consumer(core::ptr::null_mut());
            }
        }
        T::stop(this);
        0
    }

    /// # Safety
    ///
    /// See the module. The lock of the transmit queue that the packet names is held, softirqs are off.
    unsafe extern "C" fn start_xmit(
        skb: *mut bindings::sk_buff,
        dev: *mut bindings::net_device,
    ) -> bindings::netdev_tx_t {
        // SAFETY: by the module's promises.
        let (this, index) = unsafe { (NetDevice::<T>::from_raw(dev), (*skb).queue_mapping) };
        let Some(queue) = this.queue(usize::from(index)) else {
            // SAFETY: ownership came with the packet.
            unsafe { bindings::dev_kfree_skb_any_reason(skb, REASON) };
            return bindings::netdev_tx_NETDEV_TX_OK;
        };
        // SAFETY: the stack holds the lock of the packet's queue for the time of the call. The packet is
        // not null, and handed over.
        let result = unsafe {
            let (tx, txq) = queue.locked_tx();
            let skb = SkBuff::from_raw(NonNull::new_unchecked(skb));
            T::start_xmit(this, queue, tx, txq, skb)
        };
        match result {
            Ok(()) => bindings::netdev_tx_NETDEV_TX_OK,
            Err(skb) => {
                // The stack keeps it.
                let _ = skb.into_raw();
                bindings::netdev_tx_NETDEV_TX_BUSY
            }
        }
    }

    /// # Safety
    ///
    /// See the module.
    unsafe extern "C" fn get_stats64(
        dev: *mut bindings::net_device,
        stats: *mut bindings::rtnl_link_stats64,
    ) {
        // SAFETY: by the module's promises; the statistics are valid and zeroed.
        unsafe { T::stats(NetDevice::from_raw(dev)).add_to(&mut *stats) };
    }

    /// # Safety
    ///
    /// See the module. RTNL.
    unsafe extern "C" fn change_mtu(dev: *mut bindings::net_device, mtu: c_int) -> c_int {
        from_result(|| {
            let mtu = u32::try_from(mtu)?;
            // SAFETY: by the module's promises.
            unsafe {
                T::change_mtu(NetDevice::from_raw(dev), mtu)?;
                bindings::portico_netdev_set_mtu(dev, mtu);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See the module. RTNL.
    unsafe extern "C" fn fix_features(
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> bindings::netdev_features_t {
        // SAFETY: by the module's promises.
        let dev = unsafe { NetDevice::from_raw(dev) };
        T::fix_features(dev, Features::from_raw(features)).raw()
    }

    /// # Safety
    ///
    /// See the module. RTNL.
    unsafe extern "C" fn set_features(
        dev: *mut bindings::net_device,
        features: bindings::netdev_features_t,
    ) -> c_int {
        // SAFETY: by the module's promises.
        let dev = unsafe { NetDevice::from_raw(dev) };
        from_result(|| T::set_features(dev, Features::from_raw(features)).map(|()| 0))
    }

    /// # Safety
    ///
    /// See the module.
    unsafe extern "C" fn tx_timeout(dev: *mut bindings::net_device, queue: c_uint) {
        // SAFETY: by the module's promises.
        T::tx_timeout(unsafe { NetDevice::from_raw(dev) }, queue);
    }

    /// For netpoll: what an interrupt would do.
    ///
    /// # Safety
    ///
    /// See the module.
    unsafe extern "C" fn poll_controller(dev: *mut bindings::net_device) {
        // SAFETY: by the module's promises.
        for queue in unsafe { NetDevice::<T>::from_raw(dev) }.queues() {
            queue.schedule();
        }
    }

    const TABLE: bindings::net_device_ops = bindings::net_device_ops {
        ndo_open: Some(Self::open),
        ndo_stop: Some(Self::stop),
        ndo_start_xmit: Some(Self::start_xmit),
        ndo_get_stats64: Some(Self::get_stats64),
        ndo_set_mac_address: Some(bindings::eth_mac_addr),
        ndo_validate_addr: Some(bindings::eth_validate_addr),
        ndo_poll_controller: Some(Self::poll_controller),
        ndo_change_mtu: if T::HAS_CHANGE_MTU {
            Some(Self::change_mtu)
        } else {
            None
        },
        ndo_fix_features: if T::HAS_FIX_FEATURES {
            Some(Self::fix_features)
        } else {
            None
        },
        ndo_set_features: if T::HAS_SET_FEATURES {
            Some(Self::set_features)
        } else {
            None
        },
        ndo_tx_timeout: if T::HAS_TX_TIMEOUT {
            Some(Self::tx_timeout)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    pub(super) const fn get() -> &'static bindings::net_device_ops {
        &Self::TABLE
    }
}

const REASON: bindings::skb_drop_reason = bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED;
