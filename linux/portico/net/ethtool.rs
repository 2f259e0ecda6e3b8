// SPDX-License-Identifier: GPL-2.0-only

//! What `ethtool` shows.
//!
//! C headers: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h),
//! [`include/uapi/linux/ethtool.h`](srctree/include/uapi/linux/ethtool.h)

use core::fmt::{self, Write};
use core::{marker::PhantomData, slice};
use kernel::{error::from_result, prelude::*};
use portico_bindings as bindings;

use super::{device::NetDevice, operations::Operations, rss::Rss, rtnl::Rtnl};

/// `ETHTOOL_COALESCE_TX_MAX_FRAMES`.
const TX_MAX_FRAMES: u32 = 1 << 5;

const NAME_LEN: usize = bindings::ETH_GSTRING_LEN as usize;

/// Who drives the device.
#[derive(Clone, Copy)]
pub struct DriverInfo<'a> {
    /// Name of the driver.
    pub driver: &'a CStr,
    /// Where the device is.
    pub bus_info: &'a CStr,
}

/// Sizes of rings, in entries.
#[derive(Clone, Copy, Debug)]
pub struct Rings {
    /// Of that for receiving, as it is.
    pub rx: u32,
    /// Of that for sending, as it is.
    pub tx: u32,
    /// Of that for receiving, at most.
    pub rx_max: u32,
    /// Of that for sending, at most.
    pub tx_max: u32,
}

/// Numbers of queues that both send and receive.
#[derive(Clone, Copy, Debug)]
pub struct Channels {
    /// As it is.
    pub combined: u32,
    /// At most.
    pub max_combined: u32,
}

/// The names of counters.
pub struct Names<'a> {
    /// Where they go; `None`: they are counted only.
    to: Option<&'a mut [u8]>,
    count: usize,
}

impl Names<'_> {
    /// Adds a name of at most 31 bytes.
    pub fn add(&mut self, name: fmt::Arguments<'_>) {
        let at = self.count * NAME_LEN;
        self.count += 1;
        let Some(to) = self
            .to
            .as_mut()
            .and_then(|to| to.get_mut(at..at + NAME_LEN))
        else {
            return;
        };
        // What does not fit is left out.
        let _ = Name { to, len: 0 }.write_fmt(name);
    }
}

struct Name<'a> {
    to: &'a mut [u8],
    len: usize,
}

impl Write for Name<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // The last byte ends it.
            if self.len + 1 >= self.to.len() {
                return Err(fmt::Error);
            }
            if let Some(to) = self.to.get_mut(self.len) {
                *to = byte;
            }
            self.len += 1;
        }
        Ok(())
    }
}

/// The values of counters.
pub struct Values<'a> {
    to: &'a mut [u64],
    count: usize,
}

impl Values<'_> {
    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        if let Some(to) = self.to.get_mut(self.count) {
            *to = value;
        }
        self.count += 1;
    }
}

/// The C table of a device's ethtool operations, and the functions in it. The stack calls them under the
/// RTNL, for devices made for `T` that are registered, with valid pointers.
pub(super) struct Table<T>(PhantomData<T>);

fn copy_text(to: &mut [c_char], text: &CStr) {
    // The last byte ends it, and so does the first one behind the text.
    let room = to.len().saturating_sub(1);
    let bytes = text.to_bytes().iter().copied().take(room);
    for (to, byte) in to.iter_mut().zip(Iterator::chain(bytes, [0])) {
        *to = byte as c_char;
    }
}

impl<T: Operations> Table<T> {
    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn get_drvinfo(
        dev: *mut bindings::net_device,
        info: *mut bindings::ethtool_drvinfo,
    ) {
        // SAFETY: by the type's promises.
        let (dev, info) = unsafe { (NetDevice::<T>::from_raw(dev), &mut *info) };
        let from = T::driver_info(dev);
        copy_text(&mut info.driver, from.driver);
        copy_text(&mut info.bus_info, from.bus_info);
    }

    fn count(dev: &NetDevice<T>) -> usize {
        let mut names = Names { to: None, count: 0 };
        T::counter_names(dev, &mut names);
        names.count
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn get_sset_count(dev: *mut bindings::net_device, set: c_int) -> c_int {
        if set != bindings::ethtool_stringset_ETH_SS_STATS as c_int {
            return EOPNOTSUPP.to_errno();
        }
        // SAFETY: by the type's promises.
        Self::count(unsafe { NetDevice::from_raw(dev) }) as c_int
    }

    /// # Safety
    ///
    /// See the type. `data` has room for as many names as `get_sset_count` says.
    unsafe extern "C" fn get_strings(dev: *mut bindings::net_device, set: u32, data: *mut u8) {
        if set != bindings::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        // SAFETY: by the type's promises.
        let dev = unsafe { NetDevice::<T>::from_raw(dev) };
        let count = Self::count(dev);
        // SAFETY: zeroed memory of that size, by the caller's promise.
        let to = unsafe { slice::from_raw_parts_mut(data, count * NAME_LEN) };
        T::counter_names(
            dev,
            &mut Names {
                to: Some(to),
                count: 0,
            },
        );
    }

    /// # Safety
    ///
    /// See the type. `data` has room for as many values as `get_sset_count` says.
    unsafe extern "C" fn get_ethtool_stats(
        dev: *mut bindings::net_device,
        stats: *mut bindings::ethtool_stats,
        data: *mut u64,
    ) {
        // SAFETY: by the type's promises.
        let (dev, count) = unsafe { (NetDevice::<T>::from_raw(dev), (*stats).n_stats as usize) };
        // SAFETY: zeroed memory of that size, by the caller's promise.
        let to = unsafe { slice::from_raw_parts_mut(data, count) };
        T::counters(dev, &mut Values { to, count: 0 });
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn get_ringparam(
        dev: *mut bindings::net_device,
        to: *mut bindings::ethtool_ringparam,
        _kernel: *mut bindings::kernel_ethtool_ringparam,
        _extack: *mut bindings::netlink_ext_ack,
    ) {
        // SAFETY: by the type's promises.
        let (dev, to) = unsafe { (NetDevice::<T>::from_raw(dev), &mut *to) };
        let rings = T::rings(dev);
        to.rx_pending = rings.rx;
        to.tx_pending = rings.tx;
        to.rx_max_pending = rings.rx_max;
        to.tx_max_pending = rings.tx_max;
    }

    /// # Safety
    ///
    /// See the type. The stack has checked the numbers against those of `get_ringparam`.
    unsafe extern "C" fn set_ringparam(
        dev: *mut bindings::net_device,
        from: *mut bindings::ethtool_ringparam,
        _kernel: *mut bindings::kernel_ethtool_ringparam,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: by the type's promises.
        let (dev, from) = unsafe { (NetDevice::<T>::from_raw(dev), &*from) };
        from_result(|| T::set_rings(dev, from.rx_pending, from.tx_pending).map(|()| 0))
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn get_channels(
        dev: *mut bindings::net_device,
        to: *mut bindings::ethtool_channels,
    ) {
        // SAFETY: by the type's promises.
        let (dev, to) = unsafe { (NetDevice::<T>::from_raw(dev), &mut *to) };
        let channels = T::channels(dev);
        to.max_combined = channels.max_combined;
        to.combined_count = channels.combined;
    }

    /// # Safety
    ///
    /// See the type. The stack has checked the numbers against those of `get_channels`.
    unsafe extern "C" fn set_channels(
        dev: *mut bindings::net_device,
        from: *mut bindings::ethtool_channels,
    ) -> c_int {
        // SAFETY: by the type's promises.
        let (dev, combined) = unsafe { (NetDevice::<T>::from_raw(dev), (*from).combined_count) };
        // SAFETY: the stack holds it for the time of the call.
        let rtnl = unsafe { Rtnl::held() };
        from_result(|| T::set_channels(dev, &rtnl, combined).map(|()| 0))
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn get_coalesce(
        dev: *mut bindings::net_device,
        to: *mut bindings::ethtool_coalesce,
        _kernel: *mut bindings::kernel_ethtool_coalesce,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: by the type's promises.
        let (dev, to) = unsafe { (NetDevice::<T>::from_raw(dev), &mut *to) };
        to.tx_max_coalesced_frames = T::tx_frames(dev);
        0
    }

    /// # Safety
    ///
    /// See the type.
    unsafe extern "C" fn set_coalesce(
        dev: *mut bindings::net_device,
        from: *mut bindings::ethtool_coalesce,
        _kernel: *mut bindings::kernel_ethtool_coalesce,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: by the type's promises.
        let (dev, from) = unsafe { (NetDevice::<T>::from_raw(dev), &*from) };
        from_result(|| T::set_tx_frames(dev, from.tx_max_coalesced_frames).map(|()| 0))
    }

    const TABLE: bindings::ethtool_ops = bindings::ethtool_ops {
        supported_coalesce_params: TX_MAX_FRAMES,
        get_coalesce: Some(Self::get_coalesce),
        set_coalesce: Some(Self::set_coalesce),
        get_rxfh_key_size: if T::HAS_SET_RSS {
            Some(Rss::<T>::key_size)
        } else {
            None
        },
        get_rxfh_indir_size: if T::HAS_SET_RSS {
            Some(Rss::<T>::table_size)
        } else {
            None
        },
        get_rxfh: if T::HAS_SET_RSS {
            Some(Rss::<T>::get)
        } else {
            None
        },
        set_rxfh: if T::HAS_SET_RSS {
            Some(Rss::<T>::set)
        } else {
            None
        },
        get_rx_ring_count: Some(Rss::<T>::ring_count),
        get_drvinfo: Some(Self::get_drvinfo),
        get_link: Some(bindings::ethtool_op_get_link),
        get_ts_info: Some(bindings::ethtool_op_get_ts_info),
        get_sset_count: Some(Self::get_sset_count),
        get_strings: Some(Self::get_strings),
        get_ethtool_stats: Some(Self::get_ethtool_stats),
        get_ringparam: Some(Self::get_ringparam),
        set_ringparam: Some(Self::set_ringparam),
        get_channels: Some(Self::get_channels),
        set_channels: Some(Self::set_channels),
        ..pin_init::zeroed()
    };

    pub(super) const fn get() -> &'static bindings::ethtool_ops {
        &Self::TABLE
    }
}
