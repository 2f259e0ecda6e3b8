// SPDX-License-Identifier: GPL-2.0-only

//! Network devices.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/linux/etherdevice.h`](srctree/include/linux/etherdevice.h)

use core::{fmt, ops::RangeInclusive, ptr, ptr::NonNull};
use kernel::{
    device,
    error::to_result,
    prelude::*,
    sync::{
        atomic::{Atomic, Full},
        Arc,
    },
};
use portico_bindings as bindings;

use super::{
    attributes::Attributes, ethtool, features::Features, operations::Operations, queue::Queue,
    queue_stats, rtnl::Rtnl, vtable::Vtable, xdp::Slot,
};

/// Bytes of an Ethernet address.
pub const MAC_LEN: usize = 6;

/// What a device is like.
pub struct Setup<'a> {
    /// The device on its bus.
    pub parent: &'a device::Device,
    /// Number of queues, at most.
    pub queues: u16,
    /// Features that it has whatever the user says.
    pub fixed: Features,
    /// Features that the user can turn off and on. They are on at first.
    pub optional: Features,
    /// Features that the user can turn on and off. They are off at first.
    pub extra: Features,
    /// The least and the most MTU, in bytes.
    pub mtu: RangeInclusive<u32>,
    /// The stack cuts packets of as many bytes or more itself.
    pub gso_max: u32,
    /// Time after which a stopped queue is reported ([`Operations::tx_timeout`]), in milliseconds.
    pub watchdog_ms: u32,
}

/// A network device (`struct net_device`), with its queues and the driver's data.
///
/// The last reference must be dropped where one may sleep.
///
/// # Invariants
///
/// `dev` is an Ethernet device whose private part holds a pointer to this value. It is not up when the
/// value is dropped.
pub struct NetDevice<T: Operations> {
    /// Dropped by hand, before the device is freed.
    queues: KVec<Pin<KBox<Queue<T>>>>,
    dev: NonNull<bindings::net_device>,
    registered: Atomic<bool>,
    pub(super) xdp: Slot,
    data: T::Data,
}

// SAFETY: the C structure may be used by any thread, and all data is `Send` and `Sync`.
unsafe impl<T: Operations> Send for NetDevice<T> {}
// SAFETY: what is done through `&NetDevice` is synchronised by the stack.
unsafe impl<T: Operations> Sync for NetDevice<T> {}

/// An Ethernet device that is freed when dropped.
struct Allocated(NonNull<bindings::net_device>);

impl Drop for Allocated {
    fn drop(&mut self) {
        // SAFETY: allocated, not registered, and not used by anybody.
        unsafe { bindings::free_netdev(self.0.as_ptr()) };
    }
}

/// Programs may pass, drop, send back and redirect frames of several pages, and others may redirect here
/// those of one.
const XDP_FEATURES: u32 = bindings::netdev_xdp_act_NETDEV_XDP_ACT_BASIC
    | bindings::netdev_xdp_act_NETDEV_XDP_ACT_REDIRECT
    | bindings::netdev_xdp_act_NETDEV_XDP_ACT_NDO_XMIT
    | bindings::netdev_xdp_act_NETDEV_XDP_ACT_RX_SG;

/// Where the private part of a device begins: it holds one pointer.
const PRIV: usize = bindings::portico_net_offsets_PORTICO_NETDEV_PRIV as usize;

impl<T: Operations> NetDevice<T> {
    /// Makes a device, with the carrier off, that nobody sees yet. `queue` makes the parts of each queue.
    pub fn new<Q: PinInit<T::Queue, Error>>(
        setup: &Setup<'_>,
        data: T::Data,
        mut queue: impl FnMut(u16) -> Result<(T::Tx, Q)>,
    ) -> Result<Arc<Self>> {
        let count = u32::from(setup.queues);
        // SAFETY: allocation has no precondition.
        let dev = unsafe {
            bindings::alloc_etherdev_mqs(size_of::<*const Self>() as c_int, count, count)
        };
        let dev = NonNull::new(dev).ok_or(ENOMEM)?;
        let allocated = Allocated(dev);
        let c = bindings::portico_netdev_setup {
            ops: Vtable::<T>::get(),
            ethtool: ethtool::Table::<T>::get(),
            stat_ops: queue_stats::Table::<T>::get(),
            group: T::Attributes::group().cast(),
            // `Device` is a transparent wrapper.
            parent: ptr::from_ref(setup.parent).cast_mut().cast(),
            features: setup.fixed.union(setup.optional).raw(),
            hw_features: setup.optional.union(setup.extra).raw(),
            xdp_features: if T::HAS_XDP_CHANGE { XDP_FEATURES } else { 0 },
            min_mtu: *setup.mtu.start(),
            max_mtu: *setup.mtu.end(),
            gso_max: setup.gso_max,
            watchdog_ms: setup.watchdog_ms,
        };
        // SAFETY: nobody else uses the device yet; all tables are static.
        unsafe {
            bindings::portico_netdev_setup(dev.as_ptr(), &c);
            bindings::netif_carrier_off(dev.as_ptr());
        }
        let queues = KVec::with_capacity(usize::from(setup.queues), GFP_KERNEL)?;
        let mut this = Self {
            queues,
            dev,
            registered: Atomic::new(false),
            xdp: Slot::new(),
            data,
        };
        // From here on `this` frees it.
        core::mem::forget(allocated);
        for index in 0..setup.queues {
            let (tx, data) = queue(index)?;
            // SAFETY: not registered, and with so many queues; `drop` deletes the queue's context before it
            // frees the device.
            let queue = KBox::pin_init(unsafe { Queue::new(dev, index, tx, data) }, GFP_KERNEL)?;
            this.queues.push(queue, GFP_KERNEL)?;
        }
        let this = Arc::new(this, GFP_KERNEL)?;
        // INVARIANT: the private part has room for the pointer; the `Arc` does not move.
        // SAFETY: nobody else uses the device yet.
        unsafe {
            let private = dev.as_ptr().byte_add(PRIV).cast::<*const Self>();
            private.write(ptr::from_ref(&*this));
        }
        Ok(this)
    }

    /// The device that the C structure belongs to.
    ///
    /// # Safety
    ///
    /// `dev` was made by [`new`](Self::new) for `T`, and the value lives during `'a`: a callback runs.
    #[inline]
    pub(super) unsafe fn from_raw<'a>(dev: *mut bindings::net_device) -> &'a Self {
        // SAFETY: by the caller's promise and the invariants.
        unsafe { &**dev.byte_add(PRIV).cast::<*const Self>() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::net_device {
        self.dev.as_ptr()
    }

    /// A word of the C structure that others may change.
    ///
    /// # Safety
    ///
    /// `offset` is that of a field of type `F`, an integer.
    #[inline]
    unsafe fn field<F: Copy>(&self, offset: bindings::portico_net_offsets) -> F {
        // SAFETY: by the invariants and the caller's promise.
        unsafe {
            self.dev
                .as_ptr()
                .byte_add(offset as usize)
                .cast::<F>()
                .read_volatile()
        }
    }

    /// The driver's data of the device.
    #[inline]
    pub fn data(&self) -> &T::Data {
        &self.data
    }

    /// All queues, in use or not.
    pub fn queues(&self) -> impl ExactSizeIterator<Item = &Queue<T>> + Clone {
        self.queues.iter().map(|queue| &**queue)
    }

    /// One of the queues.
    #[inline]
    pub fn queue(&self, index: usize) -> Option<&Queue<T>> {
        self.queues.get(index).map(|queue| &**queue)
    }

    /// Shows the device to the world. Once. Takes the RTNL.
    ///
    /// # Errors
    ///
    /// `EBUSY` if that was done before, `ENOMEM`, or what the stack has against it.
    pub fn register(self: &Arc<Self>) -> Result<Registration<T>> {
        if self.registered.xchg(true, Full) {
            return Err(EBUSY);
        }
        // SAFETY: complete, and not registered before.
        to_result(unsafe { bindings::register_netdev(self.as_raw()) })?;
        Ok(Registration(self.clone()))
    }

    /// Says how many of the queues are in use. The interface may be up.
    pub fn set_real_queues(&self, _rtnl: &Rtnl, count: u16) -> Result {
        let count = u32::from(count);
        // SAFETY: by the invariants, under the RTNL.
        to_result(unsafe { bindings::netif_set_real_num_queues(self.as_raw(), count, count) })
    }

    /// Says how many of the queues are used for sending.
    pub fn set_real_tx_queues(&self, _rtnl: &Rtnl, count: u16) -> Result {
        // SAFETY: by the invariants, under the RTNL.
        to_result(unsafe {
            bindings::netif_set_real_num_tx_queues(self.as_raw(), u32::from(count))
        })
    }

    /// How many of the queues are in use for receiving.
    pub fn real_rx_queues(&self) -> u32 {
        // SAFETY: a `u32`.
        unsafe { self.field(bindings::portico_net_offsets_PORTICO_NETDEV_REAL_NUM_RX_QUEUES) }
    }

    /// How many of the queues are in use for sending.
    pub fn real_queues(&self) -> u32 {
        // SAFETY: a `u32`.
        unsafe { self.field(bindings::portico_net_offsets_PORTICO_NETDEV_REAL_NUM_TX_QUEUES) }
    }

    /// Sets the address.
    pub fn set_mac(&self, _rtnl: &Rtnl, mac: &[u8; MAC_LEN]) {
        // SAFETY: by the invariants, under the RTNL.
        unsafe { bindings::portico_netdev_set_mac(self.as_raw(), mac.as_ptr()) };
    }

    /// Copies the multicast addresses that somebody listens to, as many as `to` has room for, and says how
    /// many there are. `None`: somebody listens to all.
    pub fn multicast_addresses(&self, to: &mut [[u8; MAC_LEN]]) -> Option<usize> {
        let max = u32::try_from(to.len()).unwrap_or(u32::MAX);
        // SAFETY: by the invariants; there is room for `max` addresses.
        let count =
            unsafe { bindings::portico_netdev_multicast(self.as_raw(), to.as_mut_ptr(), max) };
        usize::try_from(count).ok()
    }

    /// Lets [`Operations::set_rx_mode`] be called again in a while, as after its failure.
    pub fn retry_rx_mode(&self, _rtnl: &Rtnl) {
        // SAFETY: by the invariants, under the RTNL.
        unsafe { bindings::netif_rx_mode_schedule_retry(self.as_raw()) };
    }

    /// The MTU in bytes.
    pub fn mtu(&self) -> u32 {
        // SAFETY: a `u32`.
        unsafe { self.field(bindings::portico_net_offsets_PORTICO_NETDEV_MTU) }
    }

    /// Sets the MTU, and tells nobody: for [`Operations::set_features`].
    pub fn force_mtu(&self, mtu: u32) {
        // SAFETY: a word.
        unsafe { bindings::portico_netdev_set_mtu(self.as_raw(), mtu) };
    }

    /// The features that are on.
    #[inline]
    pub fn features(&self) -> Features {
        // SAFETY: a `u64`.
        Features::from_raw(unsafe {
            self.field(bindings::portico_net_offsets_PORTICO_NETDEV_FEATURES)
        })
    }

    /// Whether the device has an XDP program.
    pub fn has_xdp(&self) -> bool {
        !self.xdp.get().is_null()
    }

    /// Whether its XDP program, if it has one, stands frames of several pages.
    pub fn xdp_takes_pages(&self, _rtnl: &Rtnl) -> bool {
        let program = self.xdp.get();
        // SAFETY: under the RTNL, it stays.
        program.is_null() || unsafe { bindings::portico_xdp_takes_pages(program) }
    }

    /// Asks [`Operations::fix_features`] anew.
    pub fn update_features(&self, _rtnl: &Rtnl) {
        // SAFETY: by the invariants, under the RTNL.
        unsafe { bindings::netdev_update_features(self.as_raw()) };
    }

    #[inline]
    fn state(&self) -> usize {
        // SAFETY: a word.
        unsafe { self.field(bindings::portico_net_offsets_PORTICO_NETDEV_STATE) }
    }

    /// Whether the other side is there.
    #[inline]
    pub fn has_carrier(&self) -> bool {
        self.state() >> bindings::portico_net_bits_PORTICO_LINK_STATE_NOCARRIER & 1 == 0
    }

    /// Says whether the other side is there.
    pub fn set_carrier(&self, on: bool) {
        // SAFETY: by the invariants; any context will do.
        unsafe {
            if on {
                bindings::netif_carrier_on(self.as_raw());
            } else {
                bindings::netif_carrier_off(self.as_raw());
            }
        }
    }

    /// Takes the device away from the stack for a while: its queues are stopped, and none of its
    /// callbacks that send run any more.
    pub fn detach(&self) {
        // SAFETY: by the invariants.
        unsafe {
            bindings::netif_device_detach(self.as_raw());
            bindings::portico_netdev_disable_all(self.as_raw());
        }
    }

    /// Gives it back: the queues go on.
    pub fn attach(&self) {
        // SAFETY: by the invariants.
        unsafe { bindings::netif_device_attach(self.as_raw()) };
    }

    /// Tells the network where this address is now. Takes the RTNL.
    pub fn notify_peers(&self) {
        // SAFETY: by the invariants.
        unsafe { bindings::netdev_notify_peers(self.as_raw()) };
    }
}

impl<T: Operations> fmt::Display for NetDevice<T> {
    /// The name, as it is now.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAME: usize = bindings::portico_net_offsets_PORTICO_NETDEV_NAME as usize;
        // SAFETY: an array of 16 bytes. Somebody may rename the device meanwhile: then it is part of
        // either name.
        let name: [u8; bindings::IFNAMSIZ as usize] = unsafe {
            self.dev
                .as_ptr()
                .byte_add(NAME)
                .cast::<[u8; 16]>()
                .read_volatile()
        };
        for byte in name.iter().take_while(|byte| **byte != 0) {
            fmt::Write::write_char(f, char::from(*byte))?;
        }
        Ok(())
    }
}

impl<T: Operations> Drop for NetDevice<T> {
    fn drop(&mut self) {
        for queue in self.queues.iter() {
            // SAFETY: the device is down, or was never up, and nobody else has it.
            unsafe { queue.del() };
        }
        // Their pools are gone before the device is.
        self.queues.clear();
        // SAFETY: unregistered or never registered, and nobody else has it.
        unsafe { bindings::free_netdev(self.as_raw()) };
    }
}

/// A device that is registered. Dropping this takes it down and unregisters it: takes the RTNL, and
/// waits until nobody uses the device.
pub struct Registration<T: Operations>(Arc<NetDevice<T>>);

impl<T: Operations> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: registered, once.
        unsafe { bindings::unregister_netdev(self.0.as_raw()) };
    }
}
