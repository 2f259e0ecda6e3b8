// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the words lie, and the bits of a FIFO event word.

use bitflags::bitflags;
use core::mem::offset_of;
use static_assertions::const_assert_eq;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `EVTCHN_2L_NR_CHANNELS` of a 64-bit domain.
pub const EVTCHN_2L_NR_CHANNELS: u32 = 4096;

/// `vcpu_info` of `xen.h`, as far as events go (64-bit domain).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VcpuInfo {
    /// Non-zero: there is something to scan for. Set by Xen, cleared by the domain.
    pub evtchn_upcall_pending: u8,
    /// Holds upcalls back; HVM domains have their interrupt flag for it.
    pub evtchn_upcall_mask: u8,
    /// Padding.
    pub pad0: [u8; 6],
    /// Bit n: something may be pending in the n-th 64 ports. Set by Xen, cleared by the domain.
    pub evtchn_pending_sel: u64,
    /// `arch_vcpu_info` and `vcpu_time_info`, of no concern here.
    pub rest: [u64; 6],
}
const_assert_eq!(size_of::<VcpuInfo>(), 64);
const_assert_eq!(offset_of!(VcpuInfo, evtchn_pending_sel), 8);

/// Virtual CPUs whose [`VcpuInfo`] lies in the shared info page (`XEN_LEGACY_MAX_VCPUS`); others
/// register a place of their own.
pub const XEN_LEGACY_MAX_VCPUS: usize = 32;

/// `shared_info` of `xen.h`, as far as events go (64-bit domain).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SharedInfo {
    /// By virtual CPU.
    pub vcpu_info: [VcpuInfo; XEN_LEGACY_MAX_VCPUS],
    /// A bit for each port. Set by Xen, cleared by the domain.
    pub evtchn_pending: [u64; 64],
    /// A bit for each port. Written by the domain; `EVTCHNOP_unmask` clears one.
    pub evtchn_mask: [u64; 64],
}
const_assert_eq!(offset_of!(SharedInfo, evtchn_pending), 2048);
const_assert_eq!(offset_of!(SharedInfo, evtchn_mask), 2560);

/// `EVTCHN_FIFO_PRIORITY_MAX`: served first.
pub const EVTCHN_FIFO_PRIORITY_MAX: u32 = 0;
/// `EVTCHN_FIFO_PRIORITY_DEFAULT`.
pub const EVTCHN_FIFO_PRIORITY_DEFAULT: u32 = 7;
/// `EVTCHN_FIFO_PRIORITY_MIN`: served last.
pub const EVTCHN_FIFO_PRIORITY_MIN: u32 = 15;
/// `EVTCHN_FIFO_MAX_QUEUES`.
pub const EVTCHN_FIFO_MAX_QUEUES: usize = 16;
/// `EVTCHN_FIFO_LINK_MASK`: the next port in the queue.
pub const EVTCHN_FIFO_LINK_MASK: u32 = (1 << 17) - 1;
/// `EVTCHN_FIFO_NR_CHANNELS`.
pub const EVTCHN_FIFO_NR_CHANNELS: u32 = 1 << 17;

/// `event_word_t`: its flags; the lowest 17 bits are the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventWord(u32);

// The form without a type of its own: that would bring a parser of text, which can panic.
bitflags! {
    impl EventWord: u32 {
        /// `EVTCHN_FIFO_PENDING`. Set by Xen, cleared by the domain.
        const PENDING = 1 << 31;
        /// `EVTCHN_FIFO_MASKED`. Written by the domain; `EVTCHNOP_unmask` clears it.
        const MASKED = 1 << 30;
        /// `EVTCHN_FIFO_LINKED`: in a queue. Set by Xen, cleared by the domain.
        const LINKED = 1 << 29;
        /// `EVTCHN_FIFO_BUSY`: Xen is about to link behind it, the domain leaves the mask alone.
        const BUSY = 1 << 28;
        /// The link, and bits without a meaning today.
        const _ = !0;
    }
}

/// `struct evtchn_fifo_control_block`, one for each virtual CPU.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EvtchnFifoControlBlock {
    /// Bit n: the queue of priority n is not empty. Set by Xen, cleared by the domain.
    pub ready: u32,
    /// Reserved.
    pub rsvd: u32,
    /// First port of each queue. Written by Xen when it links to an empty queue.
    pub head: [u32; EVTCHN_FIFO_MAX_QUEUES],
}
const_assert_eq!(size_of::<EvtchnFifoControlBlock>(), 72);
const_assert_eq!(offset_of!(EvtchnFifoControlBlock, head), 8);
