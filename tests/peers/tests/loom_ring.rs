// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules against lost wake-ups, in every interleaving and with every stale value that the memory
//! model allows.
//!
//! A consumer runs as an interrupt handler does: it clears the pending notification, takes what is
//! there, and returns when `final_check` lets it. It runs again if a notification is pending. Whatever
//! the producer has pushed by its end must have been taken after that.
#![cfg(loom)]

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::Arc;
use loom::thread;
use portico_core::ring::{BackRing, FrontRing};
use portico_peers::memory::Memory;
use portico_peers::models::{catches, explore};

type Front = FrontRing<Memory, [u32; 1], [u32; 1]>;
type Back = BackRing<Memory, [u32; 1], [u32; 1]>;

/// A ring whose first request and response are through. A new ring asks for a notification of them,
/// so they alone could not be slept through.
fn ring(start: u32) -> (Front, Back) {
    let memory = Memory::new(1);
    let mut front = Front::starting_at(memory.clone(), start).unwrap();
    let mut back = Back::attach(memory).unwrap();
    front.next_entry().unwrap().set(0, &0_u32);
    assert!(front.push());
    assert_eq!(back.next_request(), Ok(Some([0])));
    assert!(back.put_response(&[0]));
    assert!(back.push());
    assert_eq!(front.next_response(), Ok(Some([0])));
    (front, back)
}

/// An event channel. Its operations order nothing else, so that no barrier of theirs helps the ring.
#[derive(Clone)]
struct Channel(Arc<AtomicBool>);

impl Channel {
    fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    fn notify_if(&self, wanted: bool) {
        if wanted {
            self.0.swap(true, Ordering::Relaxed);
        }
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The back end's handler: values must come in order, and `answer` each.
fn handle_requests(back: &mut Back, seen: &mut Vec<u32>, mut answer: impl FnMut(&mut Back, u32)) {
    loop {
        while let Some([value]) = back.next_request().unwrap() {
            seen.push(value);
            answer(back, value);
        }
        if !back.final_check().unwrap() {
            return;
        }
    }
}

/// The front end's handler.
fn handle_responses(front: &mut Front, seen: &mut Vec<u32>) {
    loop {
        while let Some([value]) = front.next_response().unwrap() {
            seen.push(value);
        }
        if !front.final_check().unwrap() {
            return;
        }
    }
}

/// A front end pushes `values` one by one while the back end handles them.
fn requests(start: u32, values: &'static [u32]) {
    let (mut front, mut back) = ring(start);
    let channel = Channel::new();
    let producer = thread::spawn({
        let channel = channel.clone();
        move || {
            for value in values {
                front.next_entry().unwrap().set(0, value);
                channel.notify_if(front.push());
            }
        }
    });
    let mut seen = Vec::new();
    handle_requests(&mut back, &mut seen, |_, _| ());
    if channel.take() {
        handle_requests(&mut back, &mut seen, |_, _| ());
    }
    producer.join().unwrap();
    if channel.take() {
        handle_requests(&mut back, &mut seen, |_, _| ());
    }
    assert_eq!(
        seen, values,
        "a request was slept through, or seen before it was written"
    );
}

/// A back end answers one by one while the front end handles the answers.
fn responses(start: u32, values: &'static [u32]) {
    let (mut front, mut back) = ring(start);
    for value in values {
        front.next_entry().unwrap().set(0, value);
    }
    let _ = front.push();
    while back.next_request().unwrap().is_some() {}
    let channel = Channel::new();
    let producer = thread::spawn({
        let channel = channel.clone();
        move || {
            for value in values {
                assert!(back.put_response(&[*value]));
                channel.notify_if(back.push());
            }
        }
    });
    let mut seen = Vec::new();
    handle_responses(&mut front, &mut seen);
    if channel.take() {
        handle_responses(&mut front, &mut seen);
    }
    producer.join().unwrap();
    if channel.take() {
        handle_responses(&mut front, &mut seen);
    }
    assert_eq!(
        seen, values,
        "a response was slept through, or seen before it was written"
    );
}

/// Both ways at once: a request goes over while an answer comes back, and both sides go to sleep.
fn round_trip(start: u32) {
    let (mut front, mut back) = ring(start);
    let (to_back, to_front) = (Channel::new(), Channel::new());
    let answering = thread::spawn({
        let (to_back, to_front) = (to_back.clone(), to_front.clone());
        move || {
            let mut seen = Vec::new();
            let mut answer = |back: &mut Back, value: u32| {
                assert!(back.put_response(&[value + 10]));
                to_front.notify_if(back.push());
            };
            handle_requests(&mut back, &mut seen, &mut answer);
            if to_back.take() {
                handle_requests(&mut back, &mut seen, &mut answer);
            }
            (back, seen)
        }
    });
    front.next_entry().unwrap().set(0, &1_u32);
    to_back.notify_if(front.push());
    let mut answers = Vec::new();
    handle_responses(&mut front, &mut answers);
    let (mut back, mut seen) = answering.join().unwrap();
    if to_back.take() {
        handle_requests(&mut back, &mut seen, |back, value| {
            assert!(back.put_response(&[value + 10]));
            to_front.notify_if(back.push());
        });
    }
    if to_front.take() {
        handle_responses(&mut front, &mut answers);
    }
    assert_eq!(seen, [1], "the request was slept through");
    assert_eq!(answers, [11], "the answer was slept through");
}

#[test]
fn no_request_is_slept_through() {
    explore(|| requests(0, &[7]));
    explore(|| requests(u32::MAX - 1, &[7, 8]));
}

#[test]
fn no_response_is_slept_through() {
    explore(|| responses(0, &[7]));
    explore(|| responses(u32::MAX - 1, &[7, 8]));
}

#[test]
fn no_round_trip_stalls() {
    explore(|| round_trip(u32::MAX));
}

/// The models see what they are for: without the full barrier each of them fails.
#[test]
fn a_missing_barrier_is_caught() {
    assert!(catches(|| requests(0, &[7])), "requests");
    assert!(catches(|| responses(0, &[7])), "responses");
    assert!(catches(|| round_trip(0)), "round trip");
}
