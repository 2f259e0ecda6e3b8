// SPDX-License-Identifier: GPL-2.0-only

//! One device: its hand-shake, its connection, its life and death.

use kernel::{
    b_str,
    device::Core,
    new_mutex,
    prelude::*,
    str::BStr,
    sync::{aref::ARef, atomic::Relaxed, Arc, Mutex},
    time::{delay::fsleep, Delta},
};
use portico::{
    event::Channel,
    grant::RingPages,
    host::Host,
    memory::NoIo,
    net::{Features, NetDevice, Outgoing, Registration, Rtnl, Setup},
    work::Delayed,
    xenbus::{Device, Node, State},
};
use portico_core::{
    grant::GrantRef,
    net::{
        ctrl::{Ctrl, CtrlRing},
        negotiate::{self, CtrlKeys, Offer, Ports, QueueKeys, Shape, DEFAULT_MTU},
        wire::{MAX_TX_SIZE, TX_ENTRIES},
        RxQueue, RxRing, TxQueue, TxRing,
    },
};

use crate::{
    multicast,
    net::{Events, Listener, Net, NetQueue, Shared},
    params::{self, MAX_QUEUES_LIMIT},
    rx::{RxLink, RxLive},
    spread::{self, Control, ControlListener},
    tx::{TxLink, TxLive},
    works::{Again, Attend},
    xdp,
};

/// How long the back end may take for a step of its own, in milliseconds.
pub(crate) const ANSWER_MS: u32 = 5000;
/// Time between two looks, in milliseconds.
const LOOK_MS: u32 = 10;
/// Time after which a stopped queue is looked after.
const WATCHDOG_MS: u32 = 5000;
/// Bytes that the stack lets be under way at least: what fits a ring. The back end answers when whoever gets a
/// packet is done with it, and that may be a reassembly that waits for the packets behind it. So BQL counts, but
/// limits nothing until `limit_min` in sysfs is lowered.
const LEAST_UNDER_WAY: u32 = TX_ENTRIES * 4096;
/// The least MTU, in bytes.
const MIN_MTU: u32 = 68;

/// The number of the device, as its interrupts are called by: that of its name on the bus.
fn number<'a>(dev: &'a Device<Core<'_>>) -> &'a BStr {
    let name = BStr::from_bytes(dev.name().to_bytes());
    name.strip_prefix(b_str!("vif-")).unwrap_or(name)
}

/// The channels of a pair of rings.
enum Wires {
    Shared(Channel<Listener>),
    Split {
        tx: Channel<Listener>,
        rx: Channel<Listener>,
    },
}

impl Wires {
    fn new(
        dev: &Device<Core<'_>>,
        net: &Arc<NetDevice<Net>>,
        queue: u16,
        split: bool,
    ) -> Result<Self> {
        let number = number(dev);
        let channel = |events, way| {
            let listener = Listener {
                net: net.clone(),
                queue,
                events,
            };
            let listener = Arc::new(listener, GFP_KERNEL)?;
            Channel::new(dev, fmt!("vif{number}-q{queue}{way}"), listener)
        };
        Ok(if split {
            Self::Split {
                tx: channel(Events::Tx, "-tx")?,
                rx: channel(Events::Rx, "-rx")?,
            }
        } else {
            Self::Shared(channel(Events::Both, "")?)
        })
    }

    fn tx(&self) -> &Channel<Listener> {
        match self {
            Self::Shared(channel) => channel,
            Self::Split { tx, .. } => tx,
        }
    }

    fn rx(&self) -> &Channel<Listener> {
        match self {
            Self::Shared(channel) => channel,
            Self::Split { rx, .. } => rx,
        }
    }

    fn ports(&self) -> Ports {
        match self {
            Self::Shared(channel) => Ports::Shared(channel.port()),
            Self::Split { tx, rx } => Ports::Split {
                tx: tx.port(),
                rx: rx.port(),
            },
        }
    }
}

/// A pair of rings that the back end is to be told of.
struct Pair {
    tx: TxRing<RingPages>,
    rx: RxRing<RingPages>,
}

impl Pair {
    fn new(dev: &Device<Core<'_>>) -> Result<Self> {
        Ok(Self {
            tx: TxRing::new(RingPages::new(dev, 1)?).map_err(|_| EINVAL)?,
            rx: RxRing::new(RingPages::new(dev, 1)?).map_err(|_| EINVAL)?,
        })
    }

    fn keys(&self, wires: &Wires) -> Result<QueueKeys> {
        Ok(QueueKeys {
            tx_ring_ref: first(self.tx.memory())?,
            rx_ring_ref: first(self.rx.memory())?,
            ports: wires.ports(),
        })
    }
}

/// The grant of a ring of one page.
fn first(pages: &RingPages) -> Result<GrantRef> {
    pages.grefs().first().copied().ok_or(EINVAL)
}

/// Removes what another driver, or an earlier connection to a back end that offered more, may have left.
fn forget(node: &Node<'_>) -> Result {
    for key in [
        "multi-queue-num-queues",
        "event-channel",
        "event-channel-tx",
        "event-channel-rx",
        "ctrl-ring-ref",
        "event-channel-ctrl",
        "xdp-headroom",
        negotiate::REQUEST_MULTICAST,
    ] {
        node.remove(key)?;
    }
    for queue in 0..MAX_QUEUES_LIMIT {
        if node
            .read(format_args!("queue-{queue}/tx-ring-ref"))?
            .is_none()
        {
            break;
        }
        node.remove(format_args!("queue-{queue}"))?;
    }
    Ok(())
}

#[derive(Default)]
struct Connection {
    wires: KVec<Wires>,
    control: Option<Channel<ControlListener>>,
    /// The device is shown.
    registration: Option<Registration<Net>>,
}

/// One device, as all that serve it see it.
#[pin_data]
pub(crate) struct Front {
    pub(crate) dev: ARef<Device>,
    pub(crate) net: Arc<NetDevice<Net>>,
    #[pin]
    connection: Mutex<Connection>,
}

impl Front {
    pub(crate) fn new(dev: &Device<Core<'_>>) -> Result<Arc<Self>> {
        // If the driver was unbound and comes back, so does the back end.
        dev.switch_state(State::Initialising);
        let queues = params::now().max_queues;
        let setup = Setup {
            parent: dev.as_ref(),
            queues: u16::try_from(queues)?,
            fixed: Features::RXCSUM | Features::GSO_ROBUST,
            optional: Features::SG
                | Features::IP_CSUM
                | Features::IPV6_CSUM
                | Features::TSO
                | Features::TSO6,
            // It costs a slot for each frame.
            extra: Features::RXHASH,
            mtu: MIN_MTU..=MAX_TX_SIZE,
            gso_max: MAX_TX_SIZE,
            watchdog_ms: WATCHDOG_MS,
        };
        let shared = KBox::pin_init(Shared::new(dev.into(), queues), GFP_KERNEL)?;
        let net = NetDevice::new(&setup, shared, |_| Ok((TxLink::Down, NetQueue::new())))?;
        Arc::pin_init(
            pin_init!(Self {
                dev: dev.into(),
                net,
                connection <- new_mutex!(Connection::default(), "Front::connection"),
            }),
            GFP_KERNEL,
        )
    }

    /// Makes the rings, tells the back end of them, and shows the device or brings it back.
    pub(crate) fn connect(
        &self,
        dev: &Device<Core<'_>>,
        attend: &Arc<Delayed<Attend>>,
        again: &Arc<Delayed<Again>>,
    ) -> Result {
        let _no_io = NoIo::enter();
        let net = &self.net;
        let refused = |error| {
            dev_err!(
                dev,
                "{}: the interface is refused\n",
                format_args!("{error}")
            );
            EINVAL
        };
        let own = negotiate::Device::read(&dev.node()).map_err(refused)?;
        let offer = Offer::read(&dev.otherend_keys()?).map_err(refused)?;
        let shape = Shape::choose(&params::now(), &offer, net.queues().len() as u32);
        let headroom = xdp::headroom(net.has_xdp());
        let bounce = !(own.trusted && params::trusted());

        let mut connection = self.connection.lock();
        connection.wires.clear();
        let mut pairs = KVec::new();
        for queue in 0..shape.queues as u16 {
            pairs.push(Pair::new(dev)?, GFP_KERNEL)?;
            let wires = Wires::new(dev, net, queue, shape.split_event_channels)?;
            connection.wires.push(wires, GFP_KERNEL)?;
        }
        connection.control = None;
        let pages = if shape.ctrl {
            let ring = CtrlRing::new(RingPages::new(dev, 1)?).map_err(|_| EINVAL)?;
            let listener = Arc::new(ControlListener, GFP_KERNEL)?;
            let channel = Channel::new(dev, fmt!("vif{}-ctrl", number(dev)), listener)?;
            let notifier = channel.notifier();
            connection.control = Some(channel);
            Some((ring, notifier))
        } else {
            None
        };
        multicast::end(net);
        dev.transaction(|node| {
            forget(node)?;
            let ctrl = match (&pages, &connection.control) {
                (Some((ring, _)), Some(channel)) => Some(CtrlKeys {
                    ring_ref: first(ring.memory())?,
                    port: channel.port(),
                }),
                _ => None,
            };
            let mut keys = KVec::new();
            for (pair, wires) in pairs.iter().zip(connection.wires.iter()) {
                keys.push(pair.keys(wires)?, GFP_KERNEL)?;
            }
            negotiate::publish(&shape, keys.into_iter(), ctrl, headroom, |key, value| {
                node.write(key, value)
            })
        })?;

        let control = match pages {
            Some((ring, notifier)) => Some(Control {
                ctrl: Ctrl::new(Host::<Outgoing>::new(dev), ring).map_err(|_| ENOMEM)?,
                notifier,
            }),
            None => None,
        };
        *net.data().control.lock() = control;
        let frames = net.data().tx_frames.load(Relaxed);
        for queue in net.queues() {
            queue.data().broken.set(false);
        }
        let mut rings = pairs.into_iter();
        for (queue, wires) in net.queues().zip(connection.wires.iter()) {
            let Some(pair) = rings.next() else {
                break;
            };
            let mut tx = TxQueue::new(Host::<Outgoing>::new(dev), pair.tx, offer.tx_features())
                .map_err(|_| ENOMEM)?;
            tx.allow_copies().map_err(|_| ENOMEM)?;
            let rx = RxQueue::new(Host::<Outgoing>::new(dev), pair.rx).map_err(|_| ENOMEM)?;
            let notifier = wires.tx().notifier();
            let tx = TxLive::new(tx, notifier, bounce, frames, attend.clone(), again.clone());
            let notifier = wires.rx().notifier();
            let rx = RxLive::new(rx, notifier, bounce, attend.clone(), again.clone());
            let data = queue.data();
            data.tx_worked.set(true);
            data.rx_worked.set(true);
            let before = {
                let mut guard = queue.lock_tx();
                let (link, stack) = guard.parts();
                stack.reset(LEAST_UNDER_WAY);
                core::mem::replace(link, TxLink::Live(tx))
            };
            drop(before);
            let before = core::mem::replace(&mut *data.rx.lock(), RxLink::Live(rx));
            drop(before);
            queue.set_irq(Some(wires.rx().irq()));
        }
        *net.data().offer.lock() = offer;
        {
            let rtnl = Rtnl::lock();
            net.set_real_queues(&rtnl, shape.queues as u16)?;
            if connection.registration.is_none() {
                net.set_mac(&rtnl, &own.mac);
                net.force_mtu(if offer.sg {
                    own.mtu
                } else {
                    own.mtu.min(DEFAULT_MTU)
                });
            }
        }
        if connection.registration.is_none() {
            connection.registration = Some(net.register()?);
        }
        net.update_features(&Rtnl::lock());
        dev.switch_state(State::Connected);
        net.attach();
        net.set_carrier(negotiate::carrier(&dev.otherend_keys()?));
        for queue in net.queues() {
            queue.schedule();
        }
        dev_info!(
            dev,
            "{}: {} queue(s), {} event channels; bounce buffer: {}\n",
            format_args!("{}", **net),
            shape.queues,
            if shape.split_event_channels {
                "split"
            } else {
                "shared"
            },
            if bounce { "enabled" } else { "disabled" },
        );
        Ok(())
    }

    /// Takes the device from the stack: nothing is sent any more.
    pub(crate) fn give_up(&self) {
        self.net.set_carrier(false);
        self.net.detach();
    }

    /// Gives up the rings: nothing that the back end could still reach is left.
    pub(crate) fn tear_down(&self) {
        let (wires, channel) = {
            // Not in the middle of a connection: that would bring back what is given up here.
            let mut connection = self.connection.lock();
            self.give_up();
            for queue in self.net.queues() {
                queue.set_irq(None);
            }
            (
                core::mem::take(&mut connection.wires),
                connection.control.take(),
            )
        };
        drop((wires, channel));
        let control = self.net.data().control.lock().take();
        drop(control);
        for queue in self.net.queues() {
            let tx = {
                let mut guard = queue.lock_tx();
                let (link, stack) = guard.parts();
                stack.reset(LEAST_UNDER_WAY);
                if let TxLink::Live(live) = &*link {
                    let gso = live.ring().stats().gso;
                    queue.data().counters.tx_gso_before.add(gso);
                }
                core::mem::replace(link, TxLink::Down)
            };
            drop(tx);
            let rx = core::mem::replace(&mut *queue.data().rx.lock(), RxLink::Down);
            drop(rx);
        }
    }

    /// Says good-bye to the back end, which lets go of the rings.
    pub(crate) fn close(&self, dev: &Device<Core<'_>>) {
        let gone = |state| matches!(state, State::Closed | State::Unknown);
        self.withdraw(dev);
        if dev.state() != State::Closed {
            if !gone(dev.otherend_state()) {
                dev.switch_state(State::Closing);
                let seen = || {
                    let state = dev.otherend_state();
                    state == State::Closing || gone(state)
                };
                if !wait(ANSWER_MS, seen) {
                    dev_warn!(dev, "the back end does not answer: it is left alone\n");
                }
            }
            dev.closed();
        }
        wait(ANSWER_MS, || gone(dev.otherend_state()));
    }

    /// Takes back what the stock driver does not know of, after [`give_up`](Self::give_up). It must not be left
    /// to that driver, or to the next kernel: Linux' back end connects to nothing where it cannot map the control
    /// ring, and sends no multicast packets where it is to filter them.
    pub(crate) fn withdraw(&self, dev: &Device<Core<'_>>) {
        multicast::end(&self.net);
        for key in [
            "ctrl-ring-ref",
            "event-channel-ctrl",
            negotiate::REQUEST_MULTICAST,
        ] {
            // The toolstack may have removed them all.
            if !matches!(dev.read(key), Ok(Some(_))) {
                continue;
            }
            if let Err(error) = dev.remove(key) {
                dev_warn!(dev, "{key} stays in the store: {error:?}\n");
            }
        }
    }

    /// Unregisters the device, if it is shown.
    pub(crate) fn unregister(&self) {
        let registration = self.connection.lock().registration.take();
        drop(registration);
    }

    /// The back end is connected: tells it how to spread packets, and the network where the address is.
    pub(crate) fn connected(&self, dev: &Device<Core<'_>>) {
        if let Ok(keys) = dev.otherend_keys() {
            self.net.set_carrier(negotiate::carrier(&keys));
        }
        spread::restore(&self.net);
        if self.net.has_carrier() {
            self.net.notify_peers();
        }
        multicast::connected(&self.net);
    }
}

/// Waits until `done` is true, looking every now and then; `false` if that took too long.
pub(crate) fn wait(milliseconds: u32, done: impl Fn() -> bool) -> bool {
    for _ in 0..milliseconds / LOOK_MS {
        if done() {
            return true;
        }
        fsleep(Delta::from_millis(i64::from(LOOK_MS)));
    }
    done()
}
