// SPDX-License-Identifier: MIT OR Apache-2.0
//! Two threads on one ring, each asleep unless it was notified: a lost wake-up is a test that stops.
#![cfg(not(loom))]

use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use portico_core::block::wire::{Request, RequestHead, Response, WireSegment};
use portico_peers::memory::Memory;
use portico_peers::sides::{Back, Front, RustBack, RustFront};

/// Requests per pair: the indexes, which start half as far below the end, wrap in the middle.
const REQUESTS: u64 = if cfg!(miri) { 500 } else { 200_000 };

/// An event channel: notifications that nobody waits for merge into one.
#[derive(Default)]
struct Channel {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    pending: bool,
    sent: u64,
}

impl Channel {
    fn notify(&self) {
        let mut state = self.state.lock().unwrap();
        state.pending = true;
        state.sent += 1;
        self.bell.notify_one();
    }

    fn wait(&self, who: &str) {
        let state = self.state.lock().unwrap();
        let patience = Duration::from_secs(60);
        let (mut state, out) = self
            .bell
            .wait_timeout_while(state, patience, |state| !state.pending)
            .unwrap();
        assert!(!out.timed_out(), "the {who} end sleeps and nobody wakes it");
        state.pending = false;
    }
}

/// A short sequence without a visible pattern, the same in every run.
struct Bursts(u64);

impl Bursts {
    fn next(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit + 1
    }
}

fn request(id: u64) -> Request {
    let head = RequestHead {
        operation: (id & 1) as u8,
        nr_segments: 11,
        id,
        sector_number: !id,
        ..RequestHead::default()
    };
    let seg = std::array::from_fn(|n| WireSegment {
        gref: id as u32 ^ n as u32,
        ..WireSegment::default()
    });
    Request { head, seg }
}

/// How often each side asked for a notification before it might sleep.
struct Asked {
    front: u64,
    back: u64,
}

fn front_end(front: &mut impl Front, to_back: &Channel, to_front: &Channel) -> u64 {
    let (mut sent, mut received, mut asked) = (0, 0, 0);
    let mut waiting = std::collections::BTreeSet::new();
    let mut bursts = Bursts(1);
    while received < REQUESTS {
        for _ in 0..bursts.next(40) {
            if sent == REQUESTS || !front.put(&request(sent)) {
                break;
            }
            waiting.insert(sent);
            sent += 1;
        }
        if front.push() {
            to_back.notify();
        }
        while let Some(response) = front.get().unwrap() {
            assert!(
                waiting.remove(&response.id),
                "id {} was not asked for",
                response.id
            );
            assert_eq!(response.operation, (response.id & 1) as u8);
            assert_eq!(response.status, -2);
            received += 1;
        }
        let can_send = sent < REQUESTS && front.free() > 0;
        if received < REQUESTS && !can_send {
            asked += 1;
            if !front.final_check().unwrap() {
                to_front.wait("front");
            }
        }
    }
    asked
}

fn back_end(back: &mut impl Back, to_back: &Channel, to_front: &Channel) -> u64 {
    let (mut answered, mut asked) = (0, 0);
    let mut held = Vec::new();
    let mut bursts = Bursts(2);
    while answered < REQUESTS {
        let burst = bursts.next(40);
        while held.len() < burst as usize {
            let Some(got) = back.get().unwrap() else {
                break;
            };
            assert_eq!(got, request(got.head.id), "request torn or stale");
            held.push(got.head);
        }
        let drained = held.is_empty();
        // Out of order, as a disk would.
        while !held.is_empty() {
            let head = held.swap_remove((bursts.next(64) % held.len() as u64) as usize);
            let answer = Response {
                id: head.id,
                operation: head.operation,
                status: -2,
                ..Response::default()
            };
            back.put(&answer);
            answered += 1;
        }
        if back.push() {
            to_front.notify();
        }
        if drained {
            asked += 1;
            if !back.final_check().unwrap() {
                to_back.wait("back");
            }
        }
    }
    asked
}

fn stress<F: Front, B: Back>() {
    let memory = Memory::new(1);
    let mut front = F::create(&memory, u32::MAX - (REQUESTS / 2) as u32);
    let mut back = B::attach(&memory);
    let (to_back, to_front) = (Channel::default(), Channel::default());
    let asked = thread::scope(|scope| {
        let back = scope.spawn(|| back_end(&mut back, &to_back, &to_front));
        let front = front_end(&mut front, &to_back, &to_front);
        Asked {
            front,
            back: back.join().unwrap(),
        }
    });
    // Each question of one side lets the other notify once; a new ring comes with one question.
    let sent = |channel: &Channel| channel.state.lock().unwrap().sent;
    let (to_back, to_front) = (sent(&to_back), sent(&to_front));
    println!(
        "{REQUESTS} requests: {to_back} notifications to the back end, {to_front} to the front end"
    );
    assert!(
        to_back <= asked.back + 1,
        "{to_back} notifications for {} questions",
        asked.back
    );
    assert!(
        to_front <= asked.front + 1,
        "{to_front} notifications for {} questions",
        asked.front
    );
}

#[test]
fn rust_with_rust() {
    stress::<RustFront, RustBack>();
}

#[cfg(xen_headers)]
#[test]
fn rust_front_with_c_back() {
    stress::<RustFront, portico_peers::c::CBack>();
}

#[cfg(xen_headers)]
#[test]
fn c_front_with_rust_back() {
    stress::<portico_peers::c::CFront, RustBack>();
}

/// The yardstick: if this one fails, the test is wrong.
#[cfg(xen_headers)]
#[test]
fn c_with_c() {
    stress::<portico_peers::c::CFront, portico_peers::c::CBack>();
}
