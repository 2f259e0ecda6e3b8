// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels, the receiving side (`xen/include/public/event_channel.h`, `xen.h`).
//!
//! Xen and a domain share memory that says which ports have an event pending and which are masked. It
//! has one of two shapes:
//!
//! - [`two_level`]: bitmaps of 4096 ports, with a selector for each virtual CPU;
//! - [`fifo`]: a word for each of up to 131072 ports, linked by Xen into queues of 16 priorities for
//!   each virtual CPU.
//!
//! An [`upcall`] scans for events that are pending and not masked. The event is taken off before its
//! handler runs, so one that arrives while the handler looks for the cause is not lost; and of several
//! CPUs that find it, one gets it. Sending, binding and the other hypercalls are the owner's.
//!
//! Linux owns its event channels and does not use this module; a bus driver that owns them does.

pub mod fifo;
pub mod two_level;
pub mod upcall;
pub mod wire;

/// Number of an event channel within its domain (`evtchn_port_t`). 0 is never a channel.
pub type Port = u32;

/// What is left to do after the mask of a port was taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a pending event is lost without the hypercall"]
pub enum Unmasked {
    /// Nothing.
    Done,
    /// An event came while the port was masked: `EVTCHNOP_unmask` delivers it.
    Hypercall,
}
