// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hypervisor's side of event channels and grant tables, as far as memory shared with a domain
//! shows it. Written from what Xen does, without the core's code.
//!
//! Xen's bit operations are full barriers on x86; here they are atomics with a fence behind them.

use portico_core::shared::{Ordering, Word};

use crate::memory::Memory;

#[cfg(loom)]
use loom::sync::atomic::fence;
#[cfg(not(loom))]
use std::sync::atomic::fence;

fn test_and_set(word: &Word, bits: u32) -> bool {
    let old = word.fetch_or(bits, Ordering::AcqRel);
    fence(Ordering::SeqCst);
    old & bits != 0
}

fn test_and_clear(word: &Word, bits: u32) -> bool {
    let old = word.fetch_and(!bits, Ordering::AcqRel);
    fence(Ordering::SeqCst);
    old & bits != 0
}

fn test(word: &Word, bits: u32) -> bool {
    word.load(Ordering::Acquire) & bits != 0
}

/// Sets the upcall flag in the `vcpu_info` at byte offset `at`.
fn upcall(info: &Memory, at: usize) {
    test_and_set(info.word(at), 1);
}

/// Xen's half of the 2-level ABI for one virtual CPU: `evtchn_2l.c`.
pub struct TwoLevel {
    /// The shared info page.
    pub info: Memory,
    /// Byte offset of the CPU's `vcpu_info`.
    pub vcpu: usize,
}

impl TwoLevel {
    fn bit(&self, base: usize, port: u32) -> (&Word, u32) {
        (
            self.info.word(base + port as usize / 32 * 4),
            1 << (port % 32),
        )
    }

    fn select(&self, port: u32) {
        let group = port / 64;
        let word = self.info.word(self.vcpu + 8 + group as usize / 32 * 4);
        if !test_and_set(word, 1 << (group % 32)) {
            upcall(&self.info, self.vcpu);
        }
    }

    /// `EVTCHNOP_send` of a peer.
    pub fn send(&self, port: u32) {
        let (pending, bit) = self.bit(2048, port);
        if test_and_set(pending, bit) {
            return;
        }
        let (mask, bit) = self.bit(2560, port);
        if !test(mask, bit) {
            self.select(port);
        }
    }

    /// `EVTCHNOP_unmask` of the domain.
    pub fn unmask(&self, port: u32) {
        let (mask, bit) = self.bit(2560, port);
        if !test_and_clear(mask, bit) {
            return;
        }
        let (pending, bit) = self.bit(2048, port);
        if test(pending, bit) {
            self.select(port);
        }
    }
}

const PENDING: u32 = 1 << 31;
const MASKED: u32 = 1 << 30;
const LINKED: u32 = 1 << 29;
const BUSY: u32 = 1 << 28;
const LINK: u32 = (1 << 17) - 1;

/// Xen's half of the FIFO ABI for one virtual CPU: `event_fifo.c`. Its queues are under a lock there, so
/// the methods take `&mut self` here.
pub struct Fifo {
    /// The event array.
    pub array: Memory,
    /// What holds control block and `vcpu_info`.
    pub control: Memory,
    /// Byte offset of the control block.
    pub block: usize,
    /// Byte offset of the CPU's `vcpu_info`.
    pub vcpu: usize,
    tails: [u32; 16],
    priority: fn(u32) -> u32,
}

impl Fifo {
    /// Empty queues; `priority` says to which one a port belongs.
    pub fn new(
        array: Memory,
        control: Memory,
        block: usize,
        vcpu: usize,
        priority: fn(u32) -> u32,
    ) -> Self {
        Self {
            array,
            control,
            block,
            vcpu,
            tails: [0; 16],
            priority,
        }
    }

    /// Writes `port` into the link of `tail` if that is still linked. Whether it was.
    fn link_behind(&self, tail: u32, port: u32) -> bool {
        let word = self.array.word(tail as usize * 4);
        let mut seen = word.load(Ordering::Relaxed);
        let mut busy = false;
        // After BUSY the domain can interfere four times at most, says Xen.
        for _ in 0..6 {
            if seen & LINKED == 0 {
                if busy {
                    word.fetch_and(!BUSY, Ordering::AcqRel);
                }
                return false;
            }
            let linked = seen & !(BUSY | LINK) | port;
            match word.compare_exchange(seen, linked, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(_) if !busy => {
                    busy = true;
                    seen = word.fetch_or(BUSY, Ordering::AcqRel) | BUSY;
                }
                Err(now) => seen = now,
            }
        }
        panic!("the domain changed a busy word more often than it may");
    }

    /// `EVTCHNOP_send` of a peer.
    pub fn send(&mut self, port: u32) {
        let word = self.array.word(port as usize * 4);
        test_and_set(word, PENDING);
        if test(word, MASKED) || test(word, LINKED) {
            return;
        }
        let priority = (self.priority)(port);
        if test_and_set(word, LINKED) {
            return;
        }
        let tail = &mut self.tails[priority as usize];
        let last = std::mem::replace(tail, port);
        // A port that is its own tail is linked only because of the line above.
        let linked = last != 0 && last != port && self.link_behind(last, port);
        if !linked {
            let head = self.control.word(self.block + 8 + priority as usize * 4);
            head.store(port, Ordering::Release);
            if !test_and_set(self.control.word(self.block), 1 << priority) {
                upcall(&self.control, self.vcpu);
            }
        }
    }

    /// `EVTCHNOP_unmask` of the domain.
    pub fn unmask(&mut self, port: u32) {
        let word = self.array.word(port as usize * 4);
        test_and_clear(word, MASKED);
        if test(word, PENDING) {
            self.send(port);
        }
    }
}

const READING: u32 = 1 << 3;
const WRITING: u32 = 1 << 4;

/// Whether a header lets `domid` map for reading, or for writing too.
fn permits(header: u32, domid: u16, write: bool) -> bool {
    header & 3 == 1 && header >> 16 == u32::from(domid) && !(write && header & 4 != 0)
}

/// Maps entry `gref` of a version 1 table for `domid`; its frame.
pub fn map_v1(table: &Memory, gref: usize, domid: u16, write: bool) -> Option<u32> {
    let head = table.word(gref * 8);
    let mut seen = head.load(Ordering::Acquire);
    loop {
        if !permits(seen, domid, write) {
            return None;
        }
        let marks = if write { READING | WRITING } else { READING };
        match head.compare_exchange(seen, seen | marks, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(table.word(gref * 8 + 4).load(Ordering::Relaxed)),
            Err(now) => seen = now,
        }
    }
}

/// Ends the mapping of [`map_v1`].
pub fn unmap_v1(table: &Memory, gref: usize) {
    test_and_clear(table.word(gref * 8), READING | WRITING);
}

/// Maps entry `gref` of a version 2 table, below frame 2^32, for `domid`; its frame.
pub fn map_v2(
    table: &Memory,
    status: &Memory,
    gref: usize,
    domid: u16,
    write: bool,
) -> Option<u32> {
    let head = table.word(gref * 16);
    if !permits(head.load(Ordering::Acquire), domid, write) {
        return None;
    }
    let (word, shift) = (status.word(gref / 2 * 4), gref % 2 * 16);
    let marks = (if write { READING | WRITING } else { READING }) << shift;
    // Mark first, then look again: the domain clears the flags first, then looks at the marks.
    test_and_set(word, marks);
    if !permits(head.load(Ordering::Acquire), domid, write) {
        test_and_clear(word, marks);
        return None;
    }
    Some(table.word(gref * 16 + 8).load(Ordering::Relaxed))
}

/// Ends the mapping of [`map_v2`].
pub fn unmap_v2(status: &Memory, gref: usize) {
    test_and_clear(
        status.word(gref / 2 * 4),
        (READING | WRITING) << (gref % 2 * 16),
    );
}
