// SPDX-License-Identifier: GPL-2.0-only

//! What a driver does for the stack.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use kernel::prelude::*;

use super::{
    attributes::Attributes,
    device::NetDevice,
    ethtool::{Channels, DriverInfo, Names, Rings, Values},
    features::Features,
    napi::Poll,
    queue::{Queue, TxQueue},
    queue_stats::{RxQueueStats, TxQueueStats},
    rss::RssSizes,
    rtnl::Rtnl,
    skb::SkBuff,
    stats::Stats,
    xdp::{XdpFrames, XdpKind},
};

/// What a poll has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// There is more to do: poll again.
    More,
    /// So many packets, less than the budget, and now an event will tell of further ones.
    Done(u32),
}

/// A driver of a network device, seen by the stack: one implementation for each kind of device, with
/// static methods.
///
/// # Which callbacks run at the same time
///
/// Under the RTNL, so one at a time, and they may sleep: [`open`](Self::open), [`stop`](Self::stop),
/// [`change_mtu`](Self::change_mtu), [`fix_features`](Self::fix_features),
/// [`set_features`](Self::set_features), [`set_rx_mode`](Self::set_rx_mode), those of ethtool.
/// [`start_xmit`](Self::start_xmit) runs under the lock of its transmit queue, [`poll`](Self::poll) once per
/// queue; both with softirqs or interrupts off.
#[vtable]
pub trait Operations: Sized + 'static {
    /// Data of the device.
    type Data: Send + Sync;
    /// Data of a queue that locks what it has to.
    type Queue: Send + Sync;
    /// Data of a queue that the lock of the transmit queue protects.
    type Tx: Send;

    /// Files of the device, beside the stack's own.
    type Attributes: Attributes<Self>;

    /// How many pages a queue keeps at hand for what it receives.
    const POOL_SIZE: u32;

    /// The interface goes up. Afterwards the queues are polled, each of them once at once.
    fn open(dev: &NetDevice<Self>) -> Result;

    /// The interface has gone down: no poll runs any more.
    fn stop(dev: &NetDevice<Self>);

    /// Takes a packet.
    ///
    /// # Errors
    ///
    /// The packet, if there is no room for it although the queue was not stopped: it comes again.
    fn start_xmit(
        dev: &NetDevice<Self>,
        queue: &Queue<Self>,
        tx: &mut Self::Tx,
        txq: TxQueue<'_>,
        skb: SkBuff,
    ) -> Result<(), SkBuff>;

    /// Makes room in the transmit queue, for whoever cannot wait for [`poll`](Self::poll): netpoll, which has
    /// interrupts disabled.
    fn poll_tx(queue: &Queue<Self>, tx: &mut Self::Tx, txq: TxQueue<'_>);

    /// Receives up to `budget` packets, not 0, and looks after what was sent.
    fn poll(
        dev: &NetDevice<Self>,
        queue: &Queue<Self>,
        poll: &Poll<'_, Self>,
        budget: u32,
    ) -> Polled;

    /// What was sent and received since the device was made.
    fn stats(dev: &NetDevice<Self>) -> Stats;

    /// What a queue has received since the device was made.
    fn rx_stats(queue: &Queue<Self>) -> RxQueueStats;

    /// What a queue has sent since the device was made.
    fn tx_stats(queue: &Queue<Self>) -> TxQueueStats;

    /// The MTU is about to be changed to one between the least and the most.
    fn change_mtu(dev: &NetDevice<Self>, rtnl: &Rtnl, mtu: u32) -> Result {
        let _ = (dev, rtnl, mtu);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Takes out of `features` what cannot be.
    fn fix_features(dev: &NetDevice<Self>, features: Features) -> Features {
        let _ = (dev, features);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// The features are about to be changed to these.
    fn set_features(dev: &NetDevice<Self>, features: Features) -> Result {
        let _ = (dev, features);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// What is to be received has changed, such as [`NetDevice::multicast_addresses`]; or the interface went
    /// up. After an error the stack tries again, for some seconds.
    fn set_rx_mode(dev: &NetDevice<Self>, rtnl: &Rtnl) -> Result {
        let _ = (dev, rtnl);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Queue `queue` has been stopped for too long. Softirq context.
    fn tx_timeout(dev: &NetDevice<Self>, queue: u32) {
        let _ = (dev, queue);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// An XDP program is about to be put in place or, with `None`, was taken out. Fails with what the user is
    /// told. Without this and [`xdp_xmit`](Self::xdp_xmit) there are no programs.
    fn xdp_change(
        dev: &NetDevice<Self>,
        program: Option<XdpKind>,
    ) -> Result<(), (Error, &'static CStr)> {
        let _ = (dev, program);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Sends frames that programs have redirected here, and tells the device of them.
    fn xdp_xmit(
        dev: &NetDevice<Self>,
        queue: &Queue<Self>,
        tx: &mut Self::Tx,
        txq: TxQueue<'_>,
        frames: &mut XdpFrames<'_>,
    ) {
        let _ = (dev, queue, tx, txq, frames);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// The driver (`ethtool -i`); the version is the kernel's.
    fn driver_info(dev: &NetDevice<Self>) -> DriverInfo<'_>;

    /// Names of the counters (`ethtool -S`), as many and in the order of [`counters`](Self::counters).
    fn counter_names(dev: &NetDevice<Self>, names: &mut Names<'_>);

    /// The counters.
    fn counters(dev: &NetDevice<Self>, values: &mut Values<'_>);

    /// The sizes of the rings (`ethtool -g`).
    fn rings(dev: &NetDevice<Self>) -> Rings;

    /// Changes the sizes of the rings for receiving and for sending (`ethtool -G`). They are not what they
    /// are, and not more than at most.
    fn set_rings(dev: &NetDevice<Self>, rx: u32, tx: u32) -> Result;

    /// After how many packets sent an event tells of them, at the latest (`ethtool -c`, `tx-frames`).
    fn tx_frames(dev: &NetDevice<Self>) -> u32;

    /// Changes that.
    fn set_tx_frames(dev: &NetDevice<Self>, frames: u32) -> Result;

    /// What is known of spreading what is received: all 0 if it cannot be changed.
    fn rss_sizes(dev: &NetDevice<Self>) -> RssSizes {
        let _ = dev;
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Reads the key and the table that are set. The slices are as long as
    /// [`rss_sizes`](Self::rss_sizes) says, or empty.
    fn rss(dev: &NetDevice<Self>, key: &mut [u8], table: &mut [u32]) -> Result {
        let _ = (dev, key, table);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Sets the key, or the table, or both. The stack has checked the entries.
    fn set_rss(dev: &NetDevice<Self>, key: Option<&[u8]>, table: Option<&[u32]>) -> Result {
        let _ = (dev, key, table);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// The queues (`ethtool -l`).
    fn channels(dev: &NetDevice<Self>) -> Channels;

    /// Changes the number of queues (`ethtool -L`).
    fn set_channels(dev: &NetDevice<Self>, rtnl: &Rtnl, combined: u32) -> Result;
}
