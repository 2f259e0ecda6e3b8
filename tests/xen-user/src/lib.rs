// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's user-space interfaces on Linux, for programs that run in dom0: event channels
//! (`/dev/xen/evtchn`), mapped grants (`/dev/xen/gntdev`), xenstore (`/dev/xen/xenbus`) and the few
//! hypercalls (`/dev/xen/privcmd`) that tell what a domain uses.
//!
//! Memory that a guest can write is only reached through [`SharedPages`], whose accesses are volatile
//! and bounded; everything here is safe to call with any value that a guest may have chosen.
//!
//! Sources: Linux `include/uapi/xen/{evtchn,gntdev,privcmd}.h`, Xen
//! `xen/include/public/{domctl,event_channel,grant_table,memory}.h` and `io/xs_wire.h` of Xen 4.20.

mod domain;
mod error;
mod evtchn;
mod gntdev;
mod hypercall;
mod pages;
mod store;
mod sys;
mod usage;

pub use domain::{cpu_time_ns, domain_info, DomainInfo};
pub use error::{Error, Result};
pub use evtchn::{EventChannels, Port};
pub use gntdev::{Gntdev, Grants, RingPages, UnmapNotify};
pub use hypercall::Privcmd;
pub use pages::SharedPages;
pub use store::{Access, Permission, Store, WatchEvent};
pub use sys::{poll_readable, Readable};
pub use usage::{event_channels, grant_entries, EventChannelUse, GrantUse};
