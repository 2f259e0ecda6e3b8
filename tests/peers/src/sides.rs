// SPDX-License-Identifier: MIT OR Apache-2.0
//! A front and a back end of a block ring, whoever implements them.

use portico_core::block::wire::{Request, Response};
use portico_core::ring::{BackRing, FrontRing, RingError};

use crate::memory::Memory;

/// The peer's producer index cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// The front end's steps.
pub trait Front: Send {
    /// An empty ring in zeroed memory whose indexes start at `start`.
    fn create(memory: &Memory, start: u32) -> Self;
    /// Entries that are free.
    fn free(&self) -> u32;
    /// Writes a request; `false`: the ring is full.
    fn put(&mut self, request: &Request) -> bool;
    /// Publishes. `true`: notify.
    fn push(&mut self) -> bool;
    /// Takes a response.
    fn get(&mut self) -> Result<Option<Response>, Overflow>;
    /// Asks for a notification. `true`: there is something already.
    fn final_check(&mut self) -> Result<bool, Overflow>;
}

/// The back end's steps.
pub trait Back: Send {
    /// Attaches to a ring that a front end has made.
    fn attach(memory: &Memory) -> Self;
    /// Takes a request.
    fn get(&mut self) -> Result<Option<Request>, Overflow>;
    /// Writes a response for a request that was taken.
    fn put(&mut self, response: &Response);
    /// Publishes. `true`: notify.
    fn push(&mut self) -> bool;
    /// Asks for a notification. `true`: there is something already.
    fn final_check(&mut self) -> Result<bool, Overflow>;
}

/// The core's front end.
pub type RustFront = FrontRing<Memory, Request, Response>;
/// The core's back end.
pub type RustBack = BackRing<Memory, Request, Response>;

fn overflow(_: RingError) -> Overflow {
    Overflow
}

impl Front for RustFront {
    fn create(memory: &Memory, start: u32) -> Self {
        Self::starting_at(memory.clone(), start).expect("a page holds a ring")
    }
    fn free(&self) -> u32 {
        self.free()
    }
    fn put(&mut self, request: &Request) -> bool {
        let Some(mut entry) = self.next_entry() else {
            return false;
        };
        entry.set(0, request);
        true
    }
    fn push(&mut self) -> bool {
        self.push()
    }
    fn get(&mut self) -> Result<Option<Response>, Overflow> {
        self.next_response().map_err(overflow)
    }
    fn final_check(&mut self) -> Result<bool, Overflow> {
        self.final_check().map_err(overflow)
    }
}

impl Back for RustBack {
    fn attach(memory: &Memory) -> Self {
        Self::attach(memory.clone()).expect("a front end has made the ring")
    }
    fn get(&mut self) -> Result<Option<Request>, Overflow> {
        self.next_request().map_err(overflow)
    }
    fn put(&mut self, response: &Response) {
        assert!(
            self.put_response(response),
            "no request waits for a response"
        );
    }
    fn push(&mut self) -> bool {
        self.push()
    }
    fn final_check(&mut self) -> Result<bool, Overflow> {
        self.final_check().map_err(overflow)
    }
}
