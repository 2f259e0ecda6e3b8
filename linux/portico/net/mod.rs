// SPDX-License-Identifier: GPL-2.0-only

//! Network devices with queues that are polled (NAPI).
//!
//! A driver implements [`Operations`], makes a [`NetDevice`] and registers it:
//!
//! ```ignore
//! struct Hole;
//!
//! #[vtable]
//! impl Operations for Hole {
//!     type Data = ();
//!     type Queue = ();
//!     type Tx = ();
//!     // ...
//!     fn start_xmit(
//!         _dev: &NetDevice<Self>,
//!         _queue: &Queue<Self>,
//!         _tx: &mut (),
//!         txq: TxQueue<'_>,
//!         skb: SkBuff,
//!     ) -> Result<(), SkBuff> {
//!         for piece in skb.pieces() {
//!             // Send `piece.len()` bytes at `piece.offset()` of the frame `piece.gfn()`.
//!         }
//!         let _tell_the_device = txq.sent(skb.len());
//!         txq.completed(1, skb.len());
//!         skb.consume();
//!         Ok(())
//!     }
//! }
//!
//! let device = NetDevice::<Hole>::new(&setup, (), |_index| Ok(((), ())))?;
//! let registration = device.register()?;
//! ```
//!
//! # Who may touch what
//!
//! What sending works on ([`Operations::Tx`]) is under the lock of the stack's transmit queue: the stack
//! holds it in `start_xmit`, others take it with [`Queue::lock_tx`]. What receiving works on is the
//! driver's, in a [`SpinLockBh`] of the queue's data: it is taken once per poll. The first is taken
//! inside of the second, not the other way round.
//!
//! All queues that a device can have exist as long as it does, and all are enabled while it is up; how
//! many are in use can change ([`NetDevice::set_real_queues`]). An event handler keeps the device
//! alive with an `Arc` and calls [`Queue::schedule`], whatever the device's state.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

mod attributes;
mod device;
mod ethtool;
mod features;
pub(crate) mod held;
mod lock;
mod napi;
mod new_skb;
mod operations;
mod outgoing;
mod page_pool;
mod queue;
mod queue_stats;
mod rss;
mod rtnl;
mod skb;
mod stats;
mod vtable;
mod xdp;
mod xdp_buff;

pub use self::{
    attributes::{Attribute, Attributes},
    device::{NetDevice, Registration, Setup, MAC_LEN},
    ethtool::{Channels, DriverInfo, Names, Rings, Values},
    features::Features,
    held::Keeper,
    lock::SpinLockBh,
    napi::Poll,
    new_skb::NewSkb,
    operations::{Operations, Polled},
    outgoing::{Copied, Outgoing},
    page_pool::PoolPage,
    queue::{irqs_disabled, BhOff, Queue, TxGuard, TxQueue},
    queue_stats::{RxQueueStats, TxQueueStats},
    rss::{random_key, RssSizes},
    rtnl::Rtnl,
    skb::{Pieces, SkBuff},
    stats::{Counter, Flag, Stats},
    xdp::{Program, XdpFrame, XdpFrames, XdpKind, XdpVerdict, XDP_HEADROOM, XDP_MAX_LEN},
    xdp_buff::XdpBuff,
};

pub use crate::text::AttributeText;
