// SPDX-License-Identifier: MIT OR Apache-2.0
//! The back end's side of net rings in C (`c/net.c`).

use std::ffi::{c_int, c_uint, c_void};

use portico_core::net::wire::{RxRequest, RxResponse, TxRequest};
use portico_core::shared::SharedMemory;

use super::{taken, PeerRing};
use crate::sides::Overflow;

extern "C" {
    fn peer_tx_attach(ring: *mut PeerRing, memory: *mut c_void, size: usize);
    fn peer_tx_get(ring: *mut PeerRing, request: *mut TxRequest) -> c_int;
    fn peer_tx_put(ring: *mut PeerRing, id: u16, status: i16);
    fn peer_tx_push(ring: *mut PeerRing) -> c_int;
    fn peer_tx_final_check(ring: *mut PeerRing) -> c_int;
    fn peer_tx_answer(ring: *mut PeerRing) -> c_int;
    fn peer_rx_attach(ring: *mut PeerRing, memory: *mut c_void, size: usize);
    fn peer_rx_get(ring: *mut PeerRing, request: *mut RxRequest) -> c_int;
    fn peer_rx_put(ring: *mut PeerRing, response: *const RxResponse);
    fn peer_rx_put_gso(ring: *mut PeerRing, size: u16, kind: u8);
    fn peer_rx_push(ring: *mut PeerRing) -> c_int;
    fn peer_rx_final_check(ring: *mut PeerRing) -> c_int;
    fn peer_rx_give(ring: *mut PeerRing, frames: c_uint, slots: c_uint) -> c_int;
}

/// The other end of a transmit ring.
pub struct CTxBack<M> {
    ring: PeerRing,
    _memory: M,
}

impl<M: SharedMemory> CTxBack<M> {
    /// Attaches to a ring that a front end has made.
    pub fn attach(memory: M) -> Self {
        let mut ring = PeerRing([0; 4]);
        // SAFETY: `ring` has room, as C asserts, and the memory is `len` bytes that the side owns.
        unsafe { peer_tx_attach(&mut ring, memory.as_ptr().as_ptr().cast(), memory.len()) };
        Self {
            ring,
            _memory: memory,
        }
    }

    /// Takes a request.
    pub fn get(&mut self) -> Result<Option<TxRequest>, Overflow> {
        let mut request = TxRequest::default();
        // SAFETY: an initialised ring, and room for a request.
        let got = unsafe { peer_tx_get(&mut self.ring, &mut request) };
        taken(got, request)
    }

    /// Writes a response for a request that was taken.
    pub fn put(&mut self, id: u16, status: i16) {
        // SAFETY: an initialised ring.
        unsafe { peer_tx_put(&mut self.ring, id, status) }
    }

    /// Publishes. `true`: notify.
    pub fn push(&mut self) -> bool {
        // SAFETY: an initialised ring.
        unsafe { peer_tx_push(&mut self.ring) != 0 }
    }

    /// Asks for a notification. `true`: there is something already.
    pub fn final_check(&mut self) -> bool {
        // SAFETY: an initialised ring.
        unsafe { peer_tx_final_check(&mut self.ring) != 0 }
    }

    /// For benchmarks: takes all packets, answers them in order, publishes. `true`: notify.
    pub fn answer(&mut self) -> bool {
        // SAFETY: an initialised ring.
        unsafe { peer_tx_answer(&mut self.ring) != 0 }
    }
}

/// The other end of a receive ring.
pub struct CRxBack<M> {
    ring: PeerRing,
    _memory: M,
}

impl<M: SharedMemory> CRxBack<M> {
    /// Attaches to a ring that a front end has made.
    pub fn attach(memory: M) -> Self {
        let mut ring = PeerRing([0; 4]);
        // SAFETY: `ring` has room, as C asserts, and the memory is `len` bytes that the side owns.
        unsafe { peer_rx_attach(&mut ring, memory.as_ptr().as_ptr().cast(), memory.len()) };
        Self {
            ring,
            _memory: memory,
        }
    }

    /// Takes a request.
    pub fn get(&mut self) -> Result<Option<RxRequest>, Overflow> {
        let mut request = RxRequest::default();
        // SAFETY: an initialised ring, and room for a request.
        let got = unsafe { peer_rx_get(&mut self.ring, &mut request) };
        taken(got, request)
    }

    /// Writes a response for a request that was taken.
    pub fn put(&mut self, response: &RxResponse) {
        // SAFETY: an initialised ring, and a response of the size that `layout` compares.
        unsafe { peer_rx_put(&mut self.ring, response) }
    }

    /// Writes how the frame is cut in the place of a response.
    pub fn put_gso(&mut self, size: u16, kind: u8) {
        // SAFETY: an initialised ring.
        unsafe { peer_rx_put_gso(&mut self.ring, size, kind) }
    }

    /// Publishes. `true`: notify.
    pub fn push(&mut self) -> bool {
        // SAFETY: an initialised ring.
        unsafe { peer_rx_push(&mut self.ring) != 0 }
    }

    /// Asks for a notification. `true`: there is something already.
    pub fn final_check(&mut self) -> bool {
        // SAFETY: an initialised ring.
        unsafe { peer_rx_final_check(&mut self.ring) != 0 }
    }

    /// For benchmarks: passes on `frames` frames of `slots` pages each and publishes; with more than
    /// one page a frame has a slot of extra information, too. `None`: there are not enough buffers.
    pub fn give(&mut self, frames: u32, slots: u32) -> Option<bool> {
        // SAFETY: an initialised ring.
        let notify = unsafe { peer_rx_give(&mut self.ring, frames, slots) };
        (notify >= 0).then_some(notify != 0)
    }
}
