// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets and buffers over the simulated machine, and a back end that does what Linux' does.
//!
//! [`TxBack`] refuses what `xen-netback` refuses, with a panic: the front end under test is at fault.

mod back;

use std::vec::Vec;

use super::host::{Buffer, Fragment, Host, Packet};
use super::{RxQueue, RxRing, TxFeatures, TxQueue, TxRing};

use crate::grant::GrantRef;
use crate::host::Platform;
pub use crate::sim::{Frame, Sim, SimPage, SimRing};
pub use back::{RxBack, Sent, TxBack};

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimPacket {
    /// What the test knows it by.
    pub tag: u64,
    /// Its length in bytes: the sum of the pieces, unless the test says otherwise.
    pub len: u32,
    /// Its memory.
    pub pieces: Vec<Fragment>,
}

impl Packet for SimPacket {
    fn len(&self) -> u32 {
        self.len
    }

    fn fragments(&self) -> impl Iterator<Item = Fragment> {
        self.pieces.iter().copied()
    }
}

/// A page to receive into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimBuffer {
    /// What the test knows it by.
    pub tag: u64,
    /// Its frame.
    pub gfn: u64,
}

impl Buffer for SimBuffer {
    fn gfn(&self) -> u64 {
        self.gfn
    }
}

impl Host for Sim {
    type Packet = SimPacket;
    type Buffer = SimBuffer;

    fn abandon_piece(&self, gref: GrantRef, gfn: u64, packet: &SimPacket) {
        assert!(packet.fragments().any(|fragment| fragment.gfn == gfn));
        self.abandon(gref, gfn);
    }
}

impl Sim {
    /// A packet over new frames, one for each `(offset, len)` in bytes, filled with what follows from
    /// `tag`.
    pub fn packet(&self, tag: u64, pieces: &[(u32, u32)]) -> SimPacket {
        let mut at = 0u32;
        let mut whole = Vec::new();
        for &(offset, len) in pieces {
            let gfn = self.frame();
            self.with_frame(gfn, |frame| {
                for byte in frame.iter_mut().skip(offset as usize).take(len as usize) {
                    *byte = pattern(tag, at);
                    at = at.wrapping_add(1);
                }
            });
            whole.push(Fragment { gfn, offset, len });
        }
        SimPacket {
            tag,
            len: whole.iter().map(|piece| piece.len).sum(),
            pieces: whole,
        }
    }

    /// A buffer over a new frame.
    pub fn buffer(&self, tag: u64) -> SimBuffer {
        SimBuffer {
            tag,
            gfn: self.frame(),
        }
    }

    /// The bytes that a fragment covers.
    pub fn bytes(&self, gfn: u64, offset: u32, len: u32) -> Vec<u8> {
        let range = offset as usize..(offset + len) as usize;
        self.with_frame(gfn, |frame| frame[range].to_vec())
    }
}

/// Byte `at` of the packet `tag`.
pub fn pattern(tag: u64, at: u32) -> u8 {
    (tag as u8)
        .wrapping_mul(31)
        .wrapping_add((at as u8).wrapping_mul(7))
        .wrapping_add((at >> 8) as u8)
}

/// The whole packet `tag` of `len` bytes.
pub fn payload(tag: u64, len: u32) -> Vec<u8> {
    (0..len).map(|at| pattern(tag, at)).collect()
}

/// A transmit queue and its back end. All indexes start at `index`.
pub fn tx(sim: &Sim, features: TxFeatures, index: u32) -> (TxQueue<Sim>, TxBack) {
    let memory = SimRing::new(1);
    let ring = TxRing::starting_at(memory.clone(), index).expect("a page is a ring");
    let queue = TxQueue::new(sim.clone(), ring, features).expect("references");
    (queue, TxBack::new(sim, memory))
}

/// A receive queue and its back end. All indexes start at `index`.
pub fn rx(sim: &Sim, index: u32) -> (RxQueue<Sim>, RxBack) {
    let memory = SimRing::new(1);
    let ring = RxRing::starting_at(memory.clone(), index).expect("a page is a ring");
    let queue = RxQueue::new(sim.clone(), ring).expect("references");
    (queue, RxBack::new(sim, memory))
}
