// SPDX-License-Identifier: GPL-2.0-only

//! How received packets are spread over the queues (`ethtool -x` and `-X`).
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use core::{marker::PhantomData, slice};
use kernel::{error::from_result, prelude::*};
use portico_bindings as bindings;

use super::{device::NetDevice, operations::Operations};

/// `ETH_RSS_HASH_TOP`: the Toeplitz hash.
const TOEPLITZ: u8 = 1 << bindings::ETH_RSS_HASH_TOP_BIT;

/// The numbers of what a device knows.
#[derive(Clone, Copy, Debug, Default)]
pub struct RssSizes {
    /// Bytes of the key.
    pub key: u32,
    /// Entries of the table.
    pub table: u32,
}

/// Fills in the key that the machine's devices share, made up at boot.
pub fn random_key(key: &mut [u8]) {
    // SAFETY: the slice may be written.
    unsafe { bindings::netdev_rss_key_fill(key.as_mut_ptr().cast(), key.len()) };
}

/// The C functions of ethtool; see [`super::ethtool::Table`].
pub(super) struct Rss<T>(PhantomData<T>);

/// # Safety
///
/// `at` is null or leads to `len` elements that are the caller's during `'a`.
unsafe fn slice_mut<'a, E>(at: *mut E, len: u32) -> Option<&'a mut [E]> {
    // SAFETY: by the caller's promise.
    (!at.is_null() && len != 0).then(|| unsafe { slice::from_raw_parts_mut(at, len as usize) })
}

impl<T: Operations> Rss<T> {
    /// # Safety
    ///
    /// `dev` is a registered device made for `T`.
    pub(super) unsafe extern "C" fn key_size(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: by the caller's promise.
        T::rss_sizes(unsafe { NetDevice::from_raw(dev) }).key
    }

    /// # Safety
    ///
    /// As above.
    pub(super) unsafe extern "C" fn table_size(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: by the caller's promise.
        T::rss_sizes(unsafe { NetDevice::from_raw(dev) }).table
    }

    /// # Safety
    ///
    /// As above.
    pub(super) unsafe extern "C" fn ring_count(dev: *mut bindings::net_device) -> u32 {
        // SAFETY: by the caller's promise.
        unsafe { NetDevice::<T>::from_raw(dev) }.real_rx_queues()
    }

    /// # Safety
    ///
    /// As above; `param` is valid, with room for what the sizes say.
    pub(super) unsafe extern "C" fn get(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_rxfh_param,
    ) -> c_int {
        // SAFETY: by the caller's promise.
        let (dev, param) = unsafe { (NetDevice::<T>::from_raw(dev), &mut *param) };
        // SAFETY: as above.
        let (key, table) = unsafe {
            (
                slice_mut(param.key, param.key_size),
                slice_mut(param.indir, param.indir_size),
            )
        };
        param.hfunc = TOEPLITZ;
        from_result(|| {
            T::rss(dev, key.unwrap_or_default(), table.unwrap_or_default())?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As above.
    pub(super) unsafe extern "C" fn set(
        dev: *mut bindings::net_device,
        param: *mut bindings::ethtool_rxfh_param,
        _extack: *mut bindings::netlink_ext_ack,
    ) -> c_int {
        // SAFETY: by the caller's promise.
        let (dev, param) = unsafe { (NetDevice::<T>::from_raw(dev), &mut *param) };
        if param.hfunc != 0 && param.hfunc != TOEPLITZ {
            return EOPNOTSUPP.to_errno();
        }
        // SAFETY: as above.
        let (key, table) = unsafe {
            (
                slice_mut(param.key, param.key_size),
                slice_mut(param.indir, param.indir_size),
            )
        };
        from_result(|| {
            T::set_rss(dev, key.as_deref(), table.as_deref())?;
            Ok(0)
        })
    }
}
