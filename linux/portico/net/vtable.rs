// SPDX-License-Identifier: GPL-2.0-only

//! The table of C functions that leads from the stack to [`Operations`].
//!
//! All functions here are called by the stack alone, which keeps these promises: the devices that it
//! passes were made by [`NetDevice::new`] for `T`, are registered, and live for the time of the call;
//! locks are held as `struct net_device_ops` says.

use core::{marker::PhantomData, ptr::NonNull};
use kernel::{error::from_result, prelude::*};
use portico_bindings as bindings;

use super::{
    device::NetDevice,
    features::Features,
    operations::Operations,
    rtnl::Rtnl,
    skb::SkBuff,
    xdp::{XdpFrames, XdpKind},
};

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
                    bindings::portico_netdev_set_napi(dev, u32::from(queue.index()), queue.napi());
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
                bindings::portico_netdev_set_napi(
                    dev,
                    u32::from(queue.index()),
                    core::ptr::null_mut(),
                );
                bindings::napi_disable(queue.napi());
                queue.pool.set_consumer(core::ptr::null_mut());
            }
        }
        T::stop(this);
        0
    }

    /// # Safety
    ///
    /// See the module. The lock of the transmit queue that the packet names is held, softirqs or interrupts are off.
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
                T::change_mtu(NetDevice::from_raw(dev), &Rtnl::held(), mtu)?;
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
    /// See the module. RTNL.
    unsafe extern "C" fn set_rx_mode(
        dev: *mut bindings::net_device,
        _unicast: *mut bindings::netdev_hw_addr_list,
        _multicast: *mut bindings::netdev_hw_addr_list,
    ) -> c_int {
        // SAFETY: by the module's promises.
        let (dev, rtnl) = unsafe { (NetDevice::from_raw(dev), Rtnl::held()) };
        from_result(|| T::set_rx_mode(dev, &rtnl).map(|()| 0))
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

    /// # Safety
    ///
    /// See the module. RTNL. `bpf` is valid.
    unsafe extern "C" fn bpf(
        dev: *mut bindings::net_device,
        bpf: *mut bindings::netdev_bpf,
    ) -> c_int {
        // SAFETY: by the module's promises.
        let (this, bpf) = unsafe { (NetDevice::<T>::from_raw(dev), &mut *bpf) };
        if bpf.command != bindings::bpf_netdev_command_XDP_SETUP_PROG {
            return EINVAL.to_errno();
        }
        // SAFETY: that is the part of this command.
        let setup = unsafe { bpf.__bindgen_anon_1.__bindgen_anon_1.as_ref() };
        let (program, extack) = (setup.prog, setup.extack);
        if program.is_null() {
            // SAFETY: under the RTNL.
            unsafe { this.xdp.set(core::ptr::null_mut()) };
        }
        let kind = (!program.is_null()).then(|| {
            // SAFETY: it is not null, so it is valid.
            match unsafe { bindings::portico_xdp_takes_pages(program) } {
                true => XdpKind::ManyPages,
                false => XdpKind::OnePage,
            }
        });
        match T::xdp_change(this, kind) {
            Ok(()) => {
                // SAFETY: under the RTNL. The reference came with the program.
                unsafe { this.xdp.set(program) };
                0
            }
            // It is out, and that cannot fail.
            Err(_) if program.is_null() => 0,
            Err((error, message)) => {
                if !extack.is_null() {
                    // SAFETY: valid, and the text is static.
                    unsafe { (*extack)._msg = message.as_char_ptr() };
                }
                error.to_errno()
            }
        }
    }

    /// # Safety
    ///
    /// See the module. Softirqs are off. `frames` leads to `n` frames; those that are counted in the result
    /// are handed over.
    unsafe extern "C" fn xdp_xmit(
        dev: *mut bindings::net_device,
        n: c_int,
        frames: *mut *mut bindings::xdp_frame,
        flags: u32,
    ) -> c_int {
        if flags & !bindings::XDP_XMIT_FLUSH != 0 {
            return EINVAL.to_errno();
        }
        // SAFETY: by the module's promises.
        let this = unsafe { NetDevice::<T>::from_raw(dev) };
        let cpu = kernel::cpu::CpuId::current().as_u32();
        let queues = this.real_queues().max(1);
        let Some(queue) = this.queue((cpu % queues) as usize) else {
            return ENODEV.to_errno();
        };
        let n = usize::try_from(n).unwrap_or(0);
        // SAFETY: by the caller's promises. What the stack redirects here is in one piece: the device does
        // not say that it takes more.
        let mut frames = unsafe { XdpFrames::new(core::slice::from_raw_parts(frames, n)) };
        let mut guard = queue.lock_tx();
        let (tx, txq) = guard.parts();
        T::xdp_xmit(this, queue, tx, txq, &mut frames);
        frames.taken() as c_int
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
        ndo_set_rx_mode_async: if T::HAS_SET_RX_MODE {
            Some(Self::set_rx_mode)
        } else {
            None
        },
        ndo_tx_timeout: if T::HAS_TX_TIMEOUT {
            Some(Self::tx_timeout)
        } else {
            None
        },
        ndo_bpf: if T::HAS_XDP_CHANGE {
            Some(Self::bpf)
        } else {
            None
        },
        ndo_xdp_xmit: if T::HAS_XDP_XMIT {
            Some(Self::xdp_xmit)
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
