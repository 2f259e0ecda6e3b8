// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen's macros, compiled in C (`c/ring.c`).

pub mod net;

use std::ffi::{c_char, c_int, c_uint, c_void, CStr};
use std::mem::size_of;

use portico_core::block::wire::{Request, Response};
use portico_core::shared::SharedMemory;

use crate::memory::Memory;
use crate::sides::{Back, Front, Overflow};

/// Room for a `blkif_front_ring_t` or `blkif_back_ring_t`; C asserts that it suffices.
#[repr(C)]
struct PeerRing([u64; 4]);

#[repr(C)]
struct Fact {
    name: *const c_char,
    value: u64,
}

extern "C" {
    fn peer_front_init(ring: *mut PeerRing, memory: *mut c_void, size: usize, start: u32);
    fn peer_front_free(ring: *mut PeerRing) -> c_uint;
    fn peer_front_put(ring: *mut PeerRing, request: *const Request) -> c_int;
    fn peer_front_push(ring: *mut PeerRing) -> c_int;
    fn peer_front_get(ring: *mut PeerRing, response: *mut Response) -> c_int;
    fn peer_front_final_check(ring: *mut PeerRing) -> c_int;
    fn peer_back_attach(ring: *mut PeerRing, memory: *mut c_void, size: usize);
    fn peer_back_get(ring: *mut PeerRing, request: *mut Request) -> c_int;
    fn peer_back_put(ring: *mut PeerRing, response: *const Response);
    fn peer_back_push(ring: *mut PeerRing) -> c_int;
    fn peer_back_final_check(ring: *mut PeerRing) -> c_int;
    fn peer_back_answer(ring: *mut PeerRing) -> c_int;
    fn peer_front_submit(ring: *mut PeerRing, id: u64, batch: c_uint) -> c_int;
    fn peer_front_reap(ring: *mut PeerRing) -> u64;
    static peer_facts: Fact;
    fn peer_xsd_error(index: c_uint, number: *mut c_int) -> *const c_char;
}

/// One side's private state, and the memory that keeps the pointer in it valid.
struct Side {
    ring: PeerRing,
    _memory: Memory,
}

// SAFETY: the state is plain data with a pointer into the memory next to it, which C reaches from any
// thread alike.
unsafe impl Send for Side {}

impl Side {
    fn new(memory: &Memory, init: impl FnOnce(*mut PeerRing, *mut c_void, usize)) -> Self {
        let mut side = Self {
            ring: PeerRing([0; 4]),
            _memory: memory.clone(),
        };
        init(
            &mut side.ring,
            memory.as_ptr().as_ptr().cast(),
            memory.len(),
        );
        side
    }
}

/// A front end made of `FRONT_RING_*` and `RING_*`.
pub struct CFront(Side);

impl Front for CFront {
    fn create(memory: &Memory, start: u32) -> Self {
        Self(Side::new(memory, |ring, memory, size| {
            // SAFETY: `ring` has room, as C asserts, and `memory` is `size` bytes that the side owns.
            unsafe { peer_front_init(ring, memory, size, start) }
        }))
    }
    fn free(&self) -> u32 {
        let mut copy = PeerRing(self.0.ring.0);
        // SAFETY: an initialised ring; the macro reads private fields only.
        unsafe { peer_front_free(&mut copy) }
    }
    fn put(&mut self, request: &Request) -> bool {
        // SAFETY: an initialised ring, and a request of the size that `layout` compares.
        unsafe { peer_front_put(&mut self.0.ring, request) != 0 }
    }
    fn push(&mut self) -> bool {
        // SAFETY: an initialised ring.
        unsafe { peer_front_push(&mut self.0.ring) != 0 }
    }
    fn get(&mut self) -> Result<Option<Response>, Overflow> {
        let mut response = Response::default();
        // SAFETY: an initialised ring, and room for a response.
        let got = unsafe { peer_front_get(&mut self.0.ring, &mut response) };
        taken(got, response)
    }
    fn final_check(&mut self) -> Result<bool, Overflow> {
        // SAFETY: an initialised ring.
        Ok(unsafe { peer_front_final_check(&mut self.0.ring) } != 0)
    }
}

/// A back end made of `BACK_RING_*` and `RING_*`.
pub struct CBack(Side);

impl Back for CBack {
    fn attach(memory: &Memory) -> Self {
        Self(Side::new(memory, |ring, memory, size| {
            // SAFETY: `ring` has room, as C asserts, and `memory` is `size` bytes that the side owns.
            unsafe { peer_back_attach(ring, memory, size) }
        }))
    }
    fn get(&mut self) -> Result<Option<Request>, Overflow> {
        let mut request = Request::default();
        // SAFETY: an initialised ring, and room for a request.
        let got = unsafe { peer_back_get(&mut self.0.ring, &mut request) };
        taken(got, request)
    }
    fn put(&mut self, response: &Response) {
        // SAFETY: an initialised ring, and a response of the size that `layout` compares.
        unsafe { peer_back_put(&mut self.0.ring, response) }
    }
    fn push(&mut self) -> bool {
        // SAFETY: an initialised ring.
        unsafe { peer_back_push(&mut self.0.ring) != 0 }
    }
    fn final_check(&mut self) -> Result<bool, Overflow> {
        // SAFETY: an initialised ring.
        Ok(unsafe { peer_back_final_check(&mut self.0.ring) } != 0)
    }
}

fn taken<T>(got: c_int, value: T) -> Result<Option<T>, Overflow> {
    match got {
        0 => Ok(None),
        1 => Ok(Some(value)),
        _ => Err(Overflow),
    }
}

/// For benchmarks: many steps in one call.
impl CFront {
    /// Fills `batch` requests from `id` on in place and publishes them. `true`: notify.
    pub fn submit(&mut self, id: u64, batch: u32) -> bool {
        // SAFETY: an initialised ring.
        unsafe { peer_front_submit(&mut self.0.ring, id, batch) != 0 }
    }

    /// Takes all responses; a sum over what was seen.
    pub fn reap(&mut self) -> u64 {
        // SAFETY: an initialised ring.
        unsafe { peer_front_reap(&mut self.0.ring) }
    }
}

/// For benchmarks: many steps in one call.
impl CBack {
    /// Takes all requests, answers them in order, publishes. `true`: notify.
    pub fn answer(&mut self) -> bool {
        // SAFETY: an initialised ring.
        unsafe { peer_back_answer(&mut self.0.ring) != 0 }
    }
}

/// A size, offset or number as the C compiler sees it, by its expression in C.
pub fn facts() -> Vec<(&'static str, u64)> {
    let mut facts = Vec::new();
    let mut next = &raw const peer_facts;
    loop {
        // SAFETY: `next` points into the array, whose end is the entry without a name.
        let fact = unsafe { &*next };
        if fact.name.is_null() {
            return facts;
        }
        // SAFETY: a string literal.
        let name = unsafe { CStr::from_ptr(fact.name) };
        facts.push((name.to_str().expect("C identifiers are ASCII"), fact.value));
        // SAFETY: this was not the last entry.
        next = unsafe { next.byte_add(size_of::<Fact>()) };
    }
}

/// Names and numbers of the store's errors, as the header lists them.
pub fn xsd_errors() -> Vec<(&'static str, i32)> {
    let entry = |index| {
        let mut number = 0;
        // SAFETY: any index is answered, with null beyond the end.
        let name = unsafe { peer_xsd_error(index, &mut number) };
        // SAFETY: a string literal if it is not null.
        let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })?;
        Some((name.to_str().expect("error names are ASCII"), number))
    };
    (0..).map_while(entry).collect()
}
