// SPDX-License-Identifier: GPL-2.0-only

//! Safe abstractions for Xen front-end drivers on Linux.
//!
//! Written as if for `rust/kernel`: what that crate lacks (xenbus, grants, event channels, requests of
//! blk-mq, parameters with files) is here, over bindings of our own, which share all types with its.
//! Every `unsafe` of the Linux side is in this crate; the drivers forbid it. The protocols are not
//! here: they are in [`portico_core`], which knows no operating system.
//!
//! | module | holds |
//! |---|---|
//! | [`block`] | blk-mq: tag sets, owned requests, batches, disks |
//! | [`net`] | network devices: queues, owned packets, NAPI, page pools, statistics |
//! | [`xenbus`] | the bus: driver, device, store, transactions |
//! | [`grant`] | memory that the other end may use: ring, pages |
//! | [`event`] | event channels, with late end-of-interrupt |
//! | [`host`] | the kernel as the core's block engine sees it |
//! | [`param`] | module parameters with files in sysfs |
//! | [`work`] | delayed work that is cancelled when dropped |
//! | [`memory`] | allocation that does not wait for I/O |
//! | [`piece`] | memory in pieces of a page |
//! | [`xen`] | what kind of domain this is |
//!
//! # A driver
//!
//! ```ignore
//! use kernel::{device::Core, new_spinlock_irq, prelude::*, sync::{Arc, SpinLockIrq}};
//! use portico::{event, grant::RingPages, xenbus::{self, Device, State}};
//!
//! /// What the interrupt, the requests and the bus share.
//! #[pin_data]
//! struct Shared {
//!     #[pin]
//!     queue: SpinLockIrq<Queue>,
//! }
//!
//! impl event::Handler for Shared {
//!     fn handle(&self) -> event::Verdict {
//!         match self.queue.lock().reap() {
//!             Ok(0) => event::Verdict::Spurious,
//!             Ok(_) => event::Verdict::Handled,
//!             Err(_broken) => event::Verdict::Silence,
//!         }
//!     }
//! }
//!
//! /// What exists per device. The lock is one that may sleep.
//! #[pin_data]
//! struct Front {
//!     #[pin]
//!     link: Mutex<Option<Link>>,
//! }
//!
//! struct Link {
//!     channel: event::Channel<Shared>,
//!     shared: Arc<Shared>,
//! }
//!
//! impl xenbus::Driver for Front {
//!     const TYPES: &'static [&'static str] = &["vbd"];
//!     type Data = Self;
//!
//!     fn probe(_dev: &Device<Core<'_>>) -> impl PinInit<Self, Error> {
//!         try_pin_init!(Self { link <- new_mutex!(None) })
//!     }
//!
//!     fn otherend_changed(dev: &Device<Core<'_>>, this: Pin<&Self>, state: State) {
//!         if state == State::InitWait {
//!             let ring = RingPages::new(dev, 1)?; // and its `grefs()` go to the store
//!             let shared = Arc::pin_init(Shared::new(ring), GFP_KERNEL)?;
//!             let channel = event::Channel::new(dev, format_args!("front"), shared.clone())?;
//!             dev.transaction(|node| {
//!                 node.write("event-channel", channel.port())
//!             })?;
//!             dev.switch_state(State::Initialised);
//!             *this.link.lock() = Some(Link { channel, shared });
//!         }
//!     }
//!
//!     fn resume(dev: &Device<Core<'_>>, this: Pin<&Self>) -> Result {
//!         *this.link.lock() = None;
//!         Ok(())
//!     }
//!
//!     fn remove(dev: &Device<Core<'_>>, this: Pin<&Self>) {
//!         *this.link.lock() = None;
//!     }
//! }
//!
//! portico::module_xenbus_driver! {
//!     type: Front,
//!     name: "front",
//!     authors: ["..."],
//!     description: "...",
//!     license: "GPL",
//!     alias: ["xen:vbd"],
//! }
//! ```
//!
//! # Locks
//!
//! What both `queue_rq` and an event handler touch is in a [`kernel::sync::SpinLockIrq`]: its `lock()`
//! disables interrupts for as long as the guard lives, nests, and is right in both places. Nothing that
//! sleeps (the store, `RingPages::new`, dropping an [`event::Channel`] or a [`work::Delayed`]) is done
//! under it.
//!
//! A ring is dropped after the channel whose handler uses it: [`event::Channel`] owns its handler, and
//! waits for it when dropped.
//!
//! # What the kernel crate has already
//!
//! - A file in debugfs is [`kernel::debugfs::Dir::read_callback_file`], with an `Arc` of the
//!   device as its data and a function that formats its counters.
//! - A driver with more to set up than one registration implements [`kernel::InPlaceModule`] itself and
//!   holds a [`kernel::driver::Registration`]`<`[`xenbus::Adapter`]`<T>>`.
//!
//! # No panic
//!
//! No code here or in a driver leads to a panic: slices are taken with `get`, and what is computed
//! wraps (Kbuild builds without overflow checks). `nm` on a module shows no `core::panicking`.

pub mod block;
pub mod event;
pub mod grant;
pub mod host;
mod layout;
pub mod memory;
pub mod net;
pub mod param;
pub mod piece;
mod text;
pub mod work;
pub mod xen;
pub mod xenbus;

#[doc(hidden)]
pub use portico_bindings as bindings;

const __LOG_PREFIX: &[u8] = b"portico\0";
