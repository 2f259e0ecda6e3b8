// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's net queues against back ends made of Xen's macros, in one memory, across the wrap of the
//! indexes.
#![cfg(not(loom))]

#[cfg(not(xen_headers))]
#[test]
#[ignore = "xen/io/ring.h not found: install libxen-dev or set PORTICO_XEN_INCLUDE"]
fn against_xen_macros() {}

#[cfg(xen_headers)]
mod against_xen_macros {
    use std::collections::VecDeque;

    use portico_core::net::sim::{payload, Sim, SimRing};
    use portico_core::net::wire::{self, RxRequest, RxResponse, TxRequest};
    use portico_core::net::{
        Checksum, Gso, GsoType, Meta, Outcome, RxQueue, RxRing, TxFeatures, TxQueue, TxRing,
    };
    use portico_peers::c::net::{CRxBack, CTxBack};
    use proptest::prelude::*;

    const ALL: TxFeatures = TxFeatures {
        sg: true,
        gso_tcpv4: true,
        gso_tcpv6: true,
        hash: false,
        multicast: false,
    };

    fn meta(gso: bool) -> Meta {
        Meta {
            checksum: Checksum::Blank,
            gso: gso.then_some(Gso {
                kind: GsoType::TcpV6,
                size: 1440,
            }),
            hash: None,
        }
    }

    fn start() -> impl Strategy<Value = u32> {
        prop_oneof![Just(0), u32::MAX - 600..=u32::MAX, any::<u32>()]
    }

    /// What C took of a packet.
    fn bytes(sim: &Sim, request: &TxRequest, len: u32) -> Vec<u8> {
        let gfn = sim.map(request.gref, false).expect("a granted slot");
        let bytes = sim.bytes(gfn, request.offset.into(), len);
        sim.unmap(request.gref);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn packets_arrive_and_come_back(
            start in start(),
            rounds in prop::collection::vec(
                (
                    prop::collection::vec(
                        (prop::collection::vec((0u32..2000, 14u32..2000), 1..19), any::<bool>()),
                        0..16,
                    ),
                    0usize..300,
                ),
                1..30,
            ),
        ) {
            let sim = Sim::default();
            let memory = SimRing::new(1);
            let ring = TxRing::starting_at(memory.clone(), start).unwrap();
            let mut queue = TxQueue::new(sim.clone(), ring, ALL).unwrap();
            let mut back = CTxBack::attach(memory);
            let (mut sent, mut answers) = (VecDeque::new(), VecDeque::new());
            let (mut tag, mut returned) = (0, 0);
            for (packets, count) in rounds {
                for (pieces, gso) in packets {
                    let packet = sim.packet(tag, &pieces);
                    let len = packet.len;
                    if queue.submit(packet, &meta(gso)).is_ok() {
                        sent.push_back((tag, len, pieces.len(), gso));
                        tag += 1;
                    }
                }
                let notify = queue.push();
                if queue.must_reap() {
                    let reaped = queue.reap(false, |_, _| returned += 1).unwrap();
                    prop_assert_eq!(reaped.responses, 0);
                }
                let mut taken = 0;
                while let Some((tag, len, pieces, gso)) = sent.pop_front() {
                    let first = back.get().unwrap().expect("it was pushed");
                    taken += 1;
                    prop_assert_eq!(u32::from(first.size), len);
                    answers.push_back((first.id, wire::RSP_OKAY));
                    if gso {
                        back.get().unwrap().expect("extra information");
                        answers.push_back((0, wire::RSP_NULL));
                    }
                    prop_assert_eq!(first.flags & wire::NETTXF_EXTRA_INFO != 0, gso);
                    let (mut rest, mut first_len) = (Vec::new(), len);
                    for nth in 1..pieces {
                        let next = back.get().unwrap().expect("data");
                        first_len -= u32::from(next.size);
                        rest.extend(bytes(&sim, &next, next.size.into()));
                        let more = next.flags & wire::NETTXF_MORE_DATA != 0;
                        prop_assert_eq!(more, nth + 1 < pieces);
                        answers.push_back((next.id, wire::RSP_OKAY));
                    }
                    let mut whole = bytes(&sim, &first, first_len);
                    whole.append(&mut rest);
                    prop_assert_eq!(whole, payload(tag, len));
                }
                prop_assert_eq!(back.get(), Ok(None));
                // It slept, since it had looked last: so whatever came had to wake it.
                prop_assert_eq!(notify, taken > 0);
                prop_assert!(!back.final_check());
                for _ in 0..count.min(answers.len()) {
                    let (id, status) = answers.pop_front().expect("so many");
                    back.put(id, status);
                }
                let notify = back.push();
                let mut responses = 0;
                let reaped = queue.reap(false, |_, outcome| {
                    assert_eq!(outcome, Outcome::Sent);
                    returned += 1;
                });
                responses += reaped.unwrap().responses;
                prop_assert_eq!(notify, responses > 0);
            }
            queue.drain(|_| returned += 1);
            prop_assert_eq!(returned, tag);
            prop_assert_eq!(sim.grants(), 0);
        }

        #[test]
        fn frames_arrive(
            start in start(),
            rounds in prop::collection::vec(
                (prop::collection::vec((14u32..66_000, any::<bool>()), 0..8), 1u32..257),
                1..40,
            ),
        ) {
            let sim = Sim::default();
            let memory = SimRing::new(1);
            let ring = RxRing::starting_at(memory.clone(), start).unwrap();
            let mut queue = RxQueue::new(sim.clone(), ring).unwrap();
            let mut back = CRxBack::attach(memory);
            let mut buffers: VecDeque<RxRequest> = VecDeque::new();
            let (mut given, mut posted, mut out) = (Vec::new(), 0, 0);
            let mut got = Vec::new();
            for (frames, mut count) in rounds {
                queue.refill(|| {
                    count = count.checked_sub(1)?;
                    posted += 1;
                    Some(sim.buffer(posted))
                });
                let notify = queue.push();
                let known = buffers.len();
                while let Some(request) = back.get().unwrap() {
                    buffers.push_back(request);
                }
                prop_assert_eq!(notify, buffers.len() > known);
                prop_assert!(!back.final_check());
                let mut put = false;
                for (len, gso) in frames {
                    let slots = len.div_ceil(4096) as usize;
                    if buffers.len() < slots + usize::from(gso) {
                        break;
                    }
                    let tag = given.len() as u64;
                    for (nth, chunk) in payload(tag, len).chunks(4096).enumerate() {
                        let request = buffers.pop_front().expect("so many");
                        let gfn = sim.map(request.gref, true).expect("a granted buffer");
                        sim.with_frame(gfn, |frame| frame[..chunk.len()].copy_from_slice(chunk));
                        sim.unmap(request.gref);
                        let mut flags = 0;
                        if nth == 0 {
                            flags |= wire::NETRXF_CSUM_BLANK | wire::NETRXF_DATA_VALIDATED;
                            flags |= if gso { wire::NETRXF_EXTRA_INFO } else { 0 };
                        }
                        if nth + 1 < slots {
                            flags |= wire::NETRXF_MORE_DATA;
                        }
                        let status = chunk.len() as i16;
                        back.put(&RxResponse { id: request.id, offset: 0, flags, status });
                        if nth == 0 && gso {
                            buffers.pop_front().expect("so many");
                            back.put_gso(1440, wire::GSO_TYPE_TCPV6);
                        }
                    }
                    given.push((len, gso));
                    put = true;
                }
                prop_assert_eq!(back.push(), put);
                let received = queue.receive(u32::MAX, |frame| {
                    let (mut whole, known) = (Vec::new(), *frame.meta());
                    for piece in frame {
                        out += 1;
                        whole.extend(sim.bytes(piece.buffer.gfn, piece.offset, piece.len));
                    }
                    got.push((whole, known));
                });
                received.unwrap();
                prop_assert!(!queue.arm().unwrap());
            }
            prop_assert_eq!(got.len(), given.len());
            for (tag, ((whole, known), (len, gso))) in got.into_iter().zip(given).enumerate() {
                prop_assert_eq!(whole, payload(tag as u64, len));
                prop_assert_eq!(known, meta(gso));
            }
            queue.drain(|_| out += 1);
            prop_assert_eq!(out, posted);
            prop_assert_eq!(sim.grants(), 0);
        }
    }
}
