// SPDX-License-Identifier: MIT OR Apache-2.0
//! The back end in front of a simulated guest that plays the front end by hand: what an honest one says,
//! and that each fault is one.

use hostile_back::sim::{Ring, SimGuest};
use hostile_netback::options::Options;
use hostile_netback::queue::Queue;
use hostile_netback::script::{Event, Fault, Injector, Op, Rule};
use portico_core::grant::Access;
use portico_core::host::Platform as _;
use portico_core::net::wire::*;
use portico_core::ring::FrontRing;
use portico_core::sim::Sim;
use std::cell::Cell;
use std::rc::Rc;

/// Receive buffers that the guest gives.
const BUFFERS: u32 = 64;

struct Guest {
    sim: Sim,
    tx: FrontRing<Ring, TxRequest, TxResponse>,
    rx: FrontRing<Ring, RxRequest, RxResponse>,
    queue: Queue<SimGuest>,
    injector: Injector,
    options: Options,
    notified: Rc<Cell<u64>>,
    /// Frames of the receive buffers, by their ids.
    buffers: Vec<u64>,
    now: u64,
}

impl Guest {
    fn new(options: Options, faults: Vec<(Event, Fault)>) -> Self {
        let sim = Sim::default();
        let rings = [Ring::new(1), Ring::new(1)];
        let tx = FrontRing::new(rings[0].clone()).unwrap();
        let mut rx: FrontRing<Ring, RxRequest, RxResponse> =
            FrontRing::new(rings[1].clone()).unwrap();
        let mut buffers = Vec::new();
        for id in 0..BUFFERS {
            let gfn = sim.frame();
            let gref = sim.claim().unwrap();
            sim.grant(gref, gfn, Access::ReadWrite);
            let request = RxRequest {
                id: id as u16,
                pad: 0,
                gref,
            };
            rx.next_entry().unwrap().set(0, &request);
            buffers.push(gfn);
        }
        // The back end is not asleep: it is called.
        let _ = rx.push();
        let notified = Rc::new(Cell::new(0));
        let guest = Rc::new(SimGuest {
            sim: sim.clone(),
            notified: Rc::clone(&notified),
        });
        let [one, other] = rings;
        let queue = Queue::new((Rc::clone(&guest), one), (guest, other)).unwrap();
        let rules = faults.into_iter().map(|(at, fault)| Rule { at, fault });
        Guest {
            sim,
            tx,
            rx,
            queue,
            injector: Injector::new(rules.collect()),
            options,
            notified,
            buffers,
            now: 0,
        }
    }

    /// Sends a datagram in two slots and has it served; returns the frame.
    fn send(&mut self, id: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 42];
        frame[6..12].copy_from_slice(&[0, 0x16, 0x3e, 0, 0, 9]);
        frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
        frame[23] = 17;
        frame[26..30].copy_from_slice(&[10, 79, 0, 2]);
        frame[30..34].copy_from_slice(&self.options.address);
        frame[34..38].copy_from_slice(&[0x30, 0x39, 0, 7]);
        frame.extend_from_slice(payload);
        let (head, rest) = frame.split_at(42);
        for (nth, piece) in [head, rest].into_iter().enumerate() {
            let gfn = self.sim.frame();
            self.sim.with_frame(gfn, |page| {
                page[100..100 + piece.len()].copy_from_slice(piece)
            });
            let gref = self.sim.claim().unwrap();
            self.sim.grant(gref, gfn, Access::ReadOnly);
            let (flags, size) = match nth {
                0 => (NETTXF_MORE_DATA | NETTXF_CSUM_BLANK, frame.len()),
                _ => (0, piece.len()),
            };
            let request = TxRequest {
                gref,
                offset: 100,
                flags,
                id: id + nth as u16,
                size: size as u16,
            };
            self.tx.next_entry().unwrap().set(0, &request);
        }
        let _ = self.tx.push();
        self.serve();
        frame
    }

    fn serve(&mut self) {
        let device = self
            .queue
            .serve(self.now, &self.options, &mut self.injector)
            .unwrap();
        assert_eq!(device, []);
    }

    fn sent(&mut self) -> Vec<(u16, i16)> {
        let mut all = Vec::new();
        while let Ok(Some(response)) = self.tx.next_response() {
            all.push((response.id, response.status));
        }
        all
    }

    fn received(&mut self) -> Vec<RxResponse> {
        let mut all = Vec::new();
        while let Ok(Some(response)) = self.rx.next_response() {
            all.push(response);
        }
        all
    }

    /// Bytes of the buffers that responses are about.
    fn bytes(&self, responses: &[RxResponse]) -> Vec<u8> {
        let piece = |response: &RxResponse| {
            let gfn = self.buffers[usize::from(response.id)];
            let len = response.status as usize;
            self.sim.with_frame(gfn, |page| page[..len].to_vec())
        };
        responses.iter().flat_map(piece).collect()
    }
}

/// With one fault at the first packet of a direction.
fn with(op: Op, fault: Fault) -> Guest {
    let mut guest = Guest::new(Options::default(), vec![(Event::Op(op, 0), fault)]);
    guest.send(7, b"something");
    guest
}

#[test]
fn an_honest_one_sends_every_byte_back() {
    let options = Options {
        piece: 50,
        ..Options::default()
    };
    let mut guest = Guest::new(options, vec![]);
    let payload: Vec<u8> = (0..120).collect();
    let frame = guest.send(7, &payload);
    assert_eq!(guest.sent(), [(7, RSP_OKAY), (8, RSP_OKAY)]);
    let responses = guest.received();
    let flags: Vec<u16> = responses.iter().map(|r| r.flags).collect();
    let more = NETRXF_MORE_DATA;
    let first = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED | more;
    assert_eq!(flags, [first, more, more, 0]);
    let bytes = guest.bytes(&responses);
    assert_eq!(bytes.len(), frame.len());
    assert_eq!(bytes[..6], [0, 0x16, 0x3e, 0, 0, 9]);
    assert_eq!(bytes[34..38], [0, 7, 0x30, 0x39]);
    assert_eq!(bytes[42..], payload);
    assert!(guest.notified.get() > 0);
    // Nothing of it stays mapped.
    let sim = guest.sim.clone();
    drop(guest);
    assert!((0..1000).all(|gref| sim.granted(gref).is_none_or(|(_, _, mapped)| mapped == 0)));
}

#[test]
fn answers_to_packets_are_wrong_as_asked_for() {
    let sent = |fault| with(Op::Transmit, fault).sent();
    assert_eq!(sent(Fault::TxId(70)), [(77, 0), (8, 0)]);
    assert_eq!(sent(Fault::TxNever), []);
    assert_eq!(sent(Fault::TxStatus(77)), [(7, 77), (8, 0)]);
    for one_too_many in [Fault::TxTwice, Fault::TxNull] {
        // With nothing else in the ring, there is no request for it.
        let mut guest = with(Op::Transmit, one_too_many);
        assert!(guest.tx.next_response().is_err());
    }
    let mut guest = with(Op::Transmit, Fault::TxLate(20));
    assert_eq!(guest.sent(), []);
    guest.now = 20;
    guest.serve();
    assert_eq!(guest.sent(), [(7, 0), (8, 0)]);
}

#[test]
fn kept_grants_are_let_go_in_time() {
    let mut guest = with(Op::Transmit, Fault::TxKeepGrants(Some(50)));
    let held = |guest: &Guest| {
        (0..1000)
            .filter(|gref| guest.sim.granted(*gref).is_some_and(|(_, _, n)| n > 0))
            .count()
    };
    assert_eq!(held(&guest), 2);
    guest.now = 51;
    guest.serve();
    assert_eq!(held(&guest), 0);
}

#[test]
fn frames_are_wrong_as_asked_for() {
    let first = |fault| with(Op::Receive, fault).received()[0];
    assert_eq!(first(Fault::RxId(77)).id, 77);
    assert_eq!(first(Fault::RxOffset(4096)).offset, 4096);
    assert_eq!(first(Fault::RxStatus(-2)).status, -2);
    assert_eq!(first(Fault::RxShort(13)).status, 13);
    assert_ne!(
        first(Fault::RxFlags(NETRXF_MORE_DATA)).flags & NETRXF_MORE_DATA,
        0
    );
    let endless = with(Op::Receive, Fault::RxEndless).received();
    assert_eq!(endless.len(), BUFFERS as usize);
    assert!(endless.iter().all(|r| r.flags & NETRXF_MORE_DATA != 0));
    let extra = Fault::RxExtra {
        kind: EXTRA_TYPE_GSO,
        flags: EXTRA_FLAG_MORE,
        bytes: [0; 6],
    };
    let responses = with(Op::Receive, extra).received();
    assert_eq!(responses.len(), 2);
    assert_ne!(responses[0].flags & NETRXF_EXTRA_INFO, 0);
    assert_eq!(
        responses[1].id.to_ne_bytes(),
        [EXTRA_TYPE_GSO, EXTRA_FLAG_MORE]
    );
    assert_eq!(with(Op::Receive, Fault::RxSkip).received(), []);
    assert_eq!(with(Op::Receive, Fault::RxRepeat(4)).received().len(), 5);
}

#[test]
fn indexes_are_shown_wrong() {
    for fault in [Fault::TxAhead(1000), Fault::TxBack(1000)] {
        assert!(with(Op::Transmit, fault).tx.next_response().is_err());
    }
    for fault in [Fault::RxAhead(1000), Fault::RxBack(1000)] {
        assert!(with(Op::Transmit, fault).rx.next_response().is_err());
    }
}
