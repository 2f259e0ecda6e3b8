// SPDX-License-Identifier: GPL-2.0-only

//! The driver as the network stack sees it.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
};
use portico::{
    event::{Handler, Verdict},
    net::{
        Channels, DriverInfo, Features, Flag, Names, NetDevice, Operations, Poll, Polled, Queue,
        Rings, RssSizes, Rtnl, RxQueueStats, SkBuff, SpinLockBh, Stats, TxQueue, TxQueueStats,
        Values, XdpFrames, XdpKind,
    },
    new_spinlock_bh,
    xenbus::{Device, State},
};
use portico_core::net::{
    negotiate::{Offer, DEFAULT_MTU},
    toeplitz::KEY_LEN,
    wire::{RX_ENTRIES, TX_ENTRIES},
};

use crate::{
    attributes::{RxbufCur, RxbufMax, RxbufMin},
    counters::{self, Counters},
    multicast,
    rx::{self, RxLink},
    spread::{self, Control, Wanted, TABLE_LEN},
    tx::{self, TxLink},
    xdp,
};

/// The driver.
pub(crate) struct Net;

/// Answers after which the back end tells of them, if the user does not say. Each is of a piece of a packet; of
/// a long packet there are 18.
const TX_FRAMES: u32 = 32;

/// What the device has beside its queues.
#[pin_data]
pub(crate) struct Shared {
    pub(crate) xenbus: ARef<Device>,
    /// What the back end offers.
    #[pin]
    pub(crate) offer: Mutex<Offer>,
    /// What the back end was last asked about multicast packets (`request-multicast-control`); `None`: it cannot be
    /// asked now.
    #[pin]
    pub(crate) asked: Mutex<Option<bool>>,
    /// Answers after which the back end tells of them.
    pub(crate) tx_frames: Atomic<u32>,
    /// How received packets are to be spread.
    #[pin]
    pub(crate) wanted: Mutex<Wanted>,
    #[pin]
    pub(crate) control: Mutex<Option<Control>>,
}

impl Shared {
    pub(crate) fn new(xenbus: ARef<Device>, queues: u32) -> impl PinInit<Self> {
        pin_init!(Self {
            xenbus,
            offer <- new_mutex!(Offer::default(), "Shared::offer"),
            asked <- new_mutex!(None, "Shared::asked"),
            tx_frames: Atomic::new(TX_FRAMES),
            wanted <- new_mutex!(Wanted::new(queues), "Shared::wanted"),
            control <- new_mutex!(None, "Shared::control"),
        })
    }
}

/// What a queue has beside what its transmit lock protects.
#[pin_data]
pub(crate) struct NetQueue {
    pub(crate) counters: Counters,
    /// Answers were found since the last event of the transmit ring.
    pub(crate) tx_worked: Flag,
    /// Likewise, of the receive ring.
    pub(crate) rx_worked: Flag,
    /// The back end broke the protocol.
    pub(crate) broken: Flag,
    #[pin]
    pub(crate) rx: SpinLockBh<RxLink>,
}

impl NetQueue {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            counters: Counters::default(),
            tx_worked: Flag::default(),
            rx_worked: Flag::default(),
            broken: Flag::default(),
            rx <- new_spinlock_bh!(RxLink::Down, "NetQueue::rx"),
        }? Error)
    }
}

/// What the events of a channel tell of.
#[derive(Clone, Copy)]
pub(crate) enum Events {
    Tx,
    Rx,
    Both,
}

/// Listens to the back end on one queue.
pub(crate) struct Listener {
    pub(crate) net: Arc<NetDevice<Net>>,
    pub(crate) queue: u16,
    pub(crate) events: Events,
}

impl Handler for Listener {
    fn handle(&self) -> Verdict {
        let Some(queue) = self.net.queue(usize::from(self.queue)) else {
            return Verdict::Silence;
        };
        let data = queue.data();
        if data.broken.get() {
            return Verdict::Silence;
        }
        // A notification is asked for once all answers were taken. So between two of them there was
        // at least the answer that the first one told of.
        let take = |flag: &Flag| {
            let worked = flag.get();
            flag.set(false);
            worked
        };
        let worked = match self.events {
            Events::Tx => take(&data.tx_worked),
            Events::Rx => take(&data.rx_worked),
            Events::Both => take(&data.tx_worked) | take(&data.rx_worked),
        };
        queue.schedule();
        if worked {
            Verdict::Handled
        } else {
            Verdict::Spurious
        }
    }
}

#[vtable]
impl Operations for Net {
    type Data = Pin<KBox<Shared>>;
    type Queue = NetQueue;
    type Tx = TxLink;

    type Attributes = (RxbufMin, RxbufMax, RxbufCur);

    const POOL_SIZE: u32 = RX_ENTRIES;

    fn open(dev: &NetDevice<Self>) -> Result {
        if dev.queues().any(|queue| queue.data().broken.get()) {
            return Err(ENODEV);
        }
        Ok(())
    }

    fn stop(_dev: &NetDevice<Self>) {}

    #[inline]
    fn start_xmit(
        _dev: &NetDevice<Self>,
        queue: &Queue<Self>,
        link: &mut TxLink,
        stack: TxQueue<'_>,
        skb: SkBuff,
    ) -> Result<(), SkBuff> {
        tx::start_xmit(queue, link, stack, skb)
    }

    fn poll_tx(queue: &Queue<Self>, link: &mut TxLink, stack: TxQueue<'_>) {
        tx::make_room(queue, link, stack);
    }

    #[inline]
    fn poll(
        dev: &NetDevice<Self>,
        queue: &Queue<Self>,
        poll: &Poll<'_, Self>,
        budget: u32,
    ) -> Polled {
        tx::poll(queue, poll.bh_off());
        rx::poll(dev, queue, poll, budget)
    }

    fn stats(dev: &NetDevice<Self>) -> Stats {
        counters::total(dev)
    }

    fn rx_stats(queue: &Queue<Self>) -> RxQueueStats {
        counters::received(queue)
    }

    fn tx_stats(queue: &Queue<Self>) -> TxQueueStats {
        counters::sent(queue)
    }

    fn change_mtu(dev: &NetDevice<Self>, rtnl: &Rtnl, mtu: u32) -> Result {
        if !dev.xdp_takes_pages(rtnl) && mtu > xdp::MAX_MTU {
            return Err(EINVAL);
        }
        if mtu > DEFAULT_MTU && !dev.features().contains(Features::SG) {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn fix_features(dev: &NetDevice<Self>, features: Features) -> Features {
        let offer = *dev.data().offer.lock();
        let mut fixed = features;
        for (offered, feature) in [
            (offer.sg, Features::SG),
            (offer.ip_csum, Features::IP_CSUM),
            (offer.ipv6_csum, Features::IPV6_CSUM),
            (offer.gso_tcpv4, Features::TSO),
            (offer.gso_tcpv6, Features::TSO6),
            (offer.ctrl_ring, Features::RXHASH),
        ] {
            if !offered {
                fixed = fixed.without(feature);
            }
        }
        fixed
    }

    fn set_features(dev: &NetDevice<Self>, features: Features) -> Result {
        if !features.contains(Features::SG) && dev.mtu() > DEFAULT_MTU {
            dev_info!(
                dev.data().xenbus,
                "{}: the MTU goes down to {DEFAULT_MTU}: packets cannot be scattered\n",
                format_args!("{dev}")
            );
            dev.force_mtu(DEFAULT_MTU);
        }
        let hash = features.contains(Features::RXHASH);
        if hash != dev.features().contains(Features::RXHASH) {
            let mut wanted = dev.data().wanted.lock();
            // Otherwise it is told when it is connected.
            if dev.data().xenbus.state() == State::Connected {
                if hash {
                    spread::apply(dev, &wanted)?;
                } else {
                    spread::end(dev);
                }
            }
            wanted.on = hash;
        }
        Ok(())
    }

    fn set_rx_mode(dev: &NetDevice<Self>, rtnl: &Rtnl) -> Result {
        multicast::update(dev, rtnl)
    }

    fn tx_timeout(dev: &NetDevice<Self>, index: u32) {
        let Some(queue) = dev.queue(index as usize) else {
            return;
        };
        queue.data().counters.tx_timeouts.add(1);
        match tx::recover(queue) {
            Some((0, owed)) => dev_warn!(
                dev.data().xenbus,
                "{}: queue {index} is stopped: the back end owes {owed} responses\n",
                format_args!("{dev}")
            ),
            Some((reaped, _)) => dev_warn!(
                dev.data().xenbus,
                "{}: queue {index}: {reaped} responses had come without a notification\n",
                format_args!("{dev}")
            ),
            None => {}
        }
        queue.schedule();
    }

    fn xdp_change(
        dev: &NetDevice<Self>,
        program: Option<XdpKind>,
    ) -> Result<(), (Error, &'static CStr)> {
        xdp::change(dev, program)
    }

    fn xdp_xmit(
        _dev: &NetDevice<Self>,
        queue: &Queue<Self>,
        link: &mut TxLink,
        stack: TxQueue<'_>,
        frames: &mut XdpFrames<'_>,
    ) {
        tx::xdp_xmit(queue, link, stack, frames);
    }

    fn driver_info(dev: &NetDevice<Self>) -> DriverInfo<'_> {
        DriverInfo {
            driver: c"xen-netfront",
            bus_info: dev.data().xenbus.name(),
        }
    }

    fn counter_names(dev: &NetDevice<Self>, names: &mut Names<'_>) {
        counters::names(dev, names);
    }

    fn counters(dev: &NetDevice<Self>, values: &mut Values<'_>) {
        counters::values(dev, values);
    }

    fn rings(_dev: &NetDevice<Self>) -> Rings {
        Rings {
            rx: RX_ENTRIES,
            tx: TX_ENTRIES,
            rx_max: RX_ENTRIES,
            tx_max: TX_ENTRIES,
        }
    }

    /// A ring is a page, so there is but one size. With this, whoever sets the sizes as they are succeeds.
    fn set_rings(_dev: &NetDevice<Self>, _rx: u32, _tx: u32) -> Result {
        Err(EINVAL)
    }

    fn tx_frames(dev: &NetDevice<Self>) -> u32 {
        dev.data().tx_frames.load(Relaxed)
    }

    fn set_tx_frames(dev: &NetDevice<Self>, frames: u32) -> Result {
        if !(1..=TX_ENTRIES).contains(&frames) {
            return Err(EINVAL);
        }
        dev.data().tx_frames.store(frames, Relaxed);
        for queue in dev.queues() {
            tx::set_coalesce(queue, frames);
        }
        Ok(())
    }

    fn rss_sizes(dev: &NetDevice<Self>) -> RssSizes {
        if dev.data().offer.lock().ctrl_ring {
            RssSizes {
                key: KEY_LEN as u32,
                table: TABLE_LEN as u32,
            }
        } else {
            RssSizes::default()
        }
    }

    fn rss(dev: &NetDevice<Self>, key: &mut [u8], table: &mut [u32]) -> Result {
        let wanted = dev.data().wanted.lock();
        for (to, from) in key.iter_mut().zip(&wanted.key) {
            *to = *from;
        }
        for (to, from) in table.iter_mut().zip(&wanted.table) {
            *to = *from;
        }
        Ok(())
    }

    fn set_rss(dev: &NetDevice<Self>, key: Option<&[u8]>, table: Option<&[u32]>) -> Result {
        let mut wanted = dev.data().wanted.lock();
        let mut new = wanted.clone();
        new.on = true;
        for (to, from) in new.key.iter_mut().zip(key.unwrap_or_default()) {
            *to = *from;
        }
        for (to, from) in new.table.iter_mut().zip(table.unwrap_or_default()) {
            *to = *from;
        }
        spread::apply(dev, &new)?;
        *wanted = new;
        Ok(())
    }

    fn channels(dev: &NetDevice<Self>) -> Channels {
        Channels {
            combined: dev.real_queues(),
            max_combined: dev.real_rx_queues(),
        }
    }

    /// The back end spreads what it sends over all that it knows of; only sending is changed.
    fn set_channels(dev: &NetDevice<Self>, rtnl: &Rtnl, combined: u32) -> Result {
        dev.set_real_tx_queues(rtnl, u16::try_from(combined)?)
    }
}
