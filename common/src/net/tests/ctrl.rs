// SPDX-License-Identifier: MIT OR Apache-2.0

use std::vec;
use std::vec::Vec;

use crate::net::ctrl::{
    self, Command, Ctrl, CtrlBusy, CtrlGref, CtrlRequest, CtrlResponse, CtrlRing, CtrlViolation,
    Refused, Spread,
};
use crate::net::sim::{Sim, SimRing};
use crate::ring::{BackRing, RingError};

/// Linux' back end of a control ring.
struct Back {
    sim: Sim,
    ring: BackRing<SimRing, CtrlRequest, CtrlResponse>,
    queues: u32,
    algorithm: u32,
    flags: u32,
    key: Vec<u8>,
    mapping: Vec<u32>,
    grefs: Vec<CtrlGref>,
}

impl Back {
    fn read(&self, gref: u32, len: u32, write: bool) -> Vec<u8> {
        let gfn = self.sim.map(gref, write).expect("a granted page");
        let bytes = self.sim.bytes(gfn, 0, len);
        self.sim.unmap(gref);
        bytes
    }

    fn grefs(&self, request: &CtrlRequest) -> Vec<CtrlGref> {
        let [_, gref, count] = request.data;
        let bytes = self.read(gref, count * 8, true);
        let word = |at: &[u8]| u32::from_ne_bytes(at.try_into().unwrap());
        let gref = |entry: &[u8]| CtrlGref {
            gref: word(&entry[..4]),
            flags: word(&entry[4..]) as u16,
            status: 0,
        };
        bytes.chunks(8).map(gref).collect()
    }

    fn serve_one(&mut self) -> bool {
        let Some(request) = self.ring.next_request().expect("an honest front end") else {
            return false;
        };
        let [a, b, c] = request.data;
        let (mut status, mut data) = (ctrl::STATUS_SUCCESS, 0);
        match request.kind {
            ctrl::TYPE_SET_HASH_ALGORITHM if a <= 1 => self.algorithm = a,
            ctrl::TYPE_GET_HASH_FLAGS if self.algorithm == 1 => data = ctrl::HASH_TYPES,
            ctrl::TYPE_GET_HASH_FLAGS => status = ctrl::STATUS_NOT_SUPPORTED,
            ctrl::TYPE_SET_HASH_FLAGS if self.algorithm == 1 && a & !ctrl::HASH_TYPES == 0 => {
                self.flags = a;
            }
            ctrl::TYPE_SET_HASH_KEY if b <= 40 => self.key = self.read(a, b, false),
            ctrl::TYPE_GET_HASH_MAPPING_SIZE => data = 2048,
            ctrl::TYPE_SET_HASH_MAPPING_SIZE if a <= 2048 => self.mapping = vec![0; a as usize],
            ctrl::TYPE_SET_HASH_MAPPING if (b + c) as usize <= self.mapping.len() => {
                let bytes = self.read(a, b * 4, false);
                for (nth, word) in bytes.chunks(4).enumerate() {
                    let queue = u32::from_ne_bytes(word.try_into().unwrap());
                    if queue >= self.queues {
                        status = ctrl::STATUS_INVALID_PARAMETER;
                    }
                    self.mapping[c as usize + nth] = queue;
                }
            }
            ctrl::TYPE_GET_GREF_MAPPING_SIZE if a < self.queues => data = 512,
            ctrl::TYPE_ADD_GREF_MAPPING => self.grefs = self.grefs(&request),
            ctrl::TYPE_DEL_GREF_MAPPING => data = self.grefs(&request).len() as u32,
            _ => status = ctrl::STATUS_INVALID_PARAMETER,
        }
        assert!(self.ring.put_response(&CtrlResponse {
            id: request.id,
            kind: request.kind,
            status,
            data,
        }));
        true
    }
}

fn new() -> (Sim, Ctrl<Sim>, Back) {
    let sim = Sim::default();
    let memory = SimRing::new(1);
    let ring = CtrlRing::new(memory.clone()).unwrap();
    let back = Back {
        sim: sim.clone(),
        ring: BackRing::attach(memory).unwrap(),
        queues: 4,
        algorithm: 0,
        flags: 0,
        key: Vec::new(),
        mapping: Vec::new(),
        grefs: Vec::new(),
    };
    (sim.clone(), Ctrl::new(sim, ring).unwrap(), back)
}

fn ask(ctrl: &mut Ctrl<Sim>, back: &mut Back, command: &Command<'_>) -> Result<u32, Refused> {
    let notify = ctrl.send(command).unwrap();
    assert!(ctrl.is_waiting());
    assert_eq!(ctrl.send(command), Err(CtrlBusy::Waiting));
    assert_eq!(ctrl.take().unwrap(), None);
    assert!(back.serve_one());
    assert!(!back.ring.final_check().unwrap() && notify);
    assert!(back.ring.push(), "the front end waits");
    let answer = ctrl.take().unwrap().expect("an answer");
    assert!(!ctrl.is_waiting() && back.sim.grants() == 0);
    answer
}

#[test]
fn received_packets_are_spread() {
    let (sim, mut ctrl, mut back) = new();
    let mapping: Vec<u32> = (0..1500).map(|nth| nth % 3).collect();
    let key: Vec<u8> = (0..40).collect();
    let spread = Spread {
        flags: ctrl::HASH_TYPE_IPV4 | ctrl::HASH_TYPE_IPV6_TCP,
        key: &key,
        mapping: &mapping,
    };
    let commands: Vec<_> = spread.commands().collect();
    assert_eq!(commands.len(), 6);
    for command in &commands {
        assert_eq!(ask(&mut ctrl, &mut back, command), Ok(0), "{command:?}");
    }
    assert_eq!((back.algorithm, back.flags), (1, spread.flags));
    assert_eq!((&back.key, &back.mapping), (&key, &mapping));
    let wrong = Command::SetHashMapping {
        offset: 0,
        queues: &[4],
    };
    assert_eq!(
        ask(&mut ctrl, &mut back, &wrong),
        Err(Refused::InvalidParameter)
    );
    assert_eq!(
        ask(&mut ctrl, &mut back, &Command::GetHashFlags),
        Ok(ctrl::HASH_TYPES)
    );
    assert_eq!(
        ask(&mut ctrl, &mut back, &Command::GetHashMappingSize),
        Ok(2048)
    );
    let off = Command::SetHashAlgorithm(ctrl::HASH_ALGORITHM_NONE);
    assert_eq!(ask(&mut ctrl, &mut back, &off), Ok(0));
    assert_eq!(
        ask(&mut ctrl, &mut back, &Command::GetHashFlags),
        Err(Refused::NotSupported)
    );
    drop(ctrl);
    assert_eq!((sim.grants(), sim.claimed()), (0, 0));
}

#[test]
fn grants_are_told() {
    let (_, mut ctrl, mut back) = new();
    let size = Command::GetGrefMappingSize { queue: 3 };
    assert_eq!(ask(&mut ctrl, &mut back, &size), Ok(512));
    let grefs = [8, 9, 12].map(|gref| CtrlGref {
        gref,
        flags: ctrl::GREF_READONLY,
        status: 0,
    });
    let (queue, grefs) = (3, &grefs[..]);
    let add = Command::AddGrefMapping { queue, grefs };
    assert_eq!(ask(&mut ctrl, &mut back, &add), Ok(0));
    assert_eq!(back.grefs, grefs);
    let del = Command::DelGrefMapping { queue, grefs };
    assert_eq!(ask(&mut ctrl, &mut back, &del), Ok(3));
}

#[test]
fn what_does_not_fit_a_page_is_not_sent() {
    let (sim, mut ctrl, mut back) = new();
    for long in [
        Command::SetHashKey(&[0; 4097]),
        Command::SetHashMapping {
            offset: 0,
            queues: &[0; ctrl::MAX_MAPPING + 1],
        },
        Command::AddGrefMapping {
            queue: 0,
            grefs: &[CtrlGref::default(); ctrl::MAX_GREFS + 1],
        },
    ] {
        assert_eq!(ctrl.send(&long), Err(CtrlBusy::TooLong));
        assert!(!ctrl.is_waiting() && sim.grants() == 0);
    }
    assert!(!back.serve_one());
}

/// A key waits to be taken; what `wrong` does to its answer breaks the ring.
fn breaks(wrong: impl FnOnce(&Sim, &mut Back, CtrlRequest), violation: CtrlViolation) {
    let (sim, mut ctrl, mut back) = new();
    let _ = ctrl.send(&Command::SetHashKey(&[7; 40])).unwrap();
    let request = back.ring.next_request().unwrap().unwrap();
    wrong(&sim, &mut back, request);
    let _ = back.ring.push();
    assert_eq!(ctrl.take(), Err(violation));
    assert_eq!(ctrl.take(), Ok(None));
    assert_eq!(ctrl.send(&Command::GetHashFlags), Err(CtrlBusy::Closed));
    drop(ctrl);
    assert_eq!(sim.grants(), sim.abandoned());
    assert_eq!(sim.claimed(), sim.abandoned());
}

#[test]
fn wrong_answers_break_the_ring() {
    let answer = |back: &mut Back, id, kind| {
        let response = CtrlResponse {
            id,
            kind,
            ..CtrlResponse::default()
        };
        assert!(back.ring.put_response(&response));
    };
    breaks(
        |_, back, request| answer(back, 1, request.kind),
        CtrlViolation::Unexpected { id: 1, kind: 3 },
    );
    breaks(
        |_, back, request| answer(back, request.id, 4),
        CtrlViolation::Unexpected { id: 0, kind: 4 },
    );
    breaks(
        |sim, back, request| {
            sim.map(request.data[0], false).unwrap();
            answer(back, request.id, request.kind);
        },
        CtrlViolation::Held { gref: 9 },
    );
    breaks(
        |_, back, _| back.ring.set_rsp_prod(2),
        CtrlViolation::Ring(RingError::Producer {
            prod: 2,
            cons: 0,
            limit: 1,
        }),
    );
}

#[test]
fn an_unknown_status_is_a_refusal() {
    let (_, mut ctrl, mut back) = new();
    for (status, refused) in [
        (3, Refused::BufferOverflow),
        (4, Refused::Unknown(4)),
        (u32::MAX, Refused::Unknown(u32::MAX)),
    ] {
        let _ = ctrl.send(&Command::GetHashFlags).unwrap();
        let CtrlRequest { id, kind, .. } = back.ring.next_request().unwrap().unwrap();
        assert!(back.ring.put_response(&CtrlResponse {
            id,
            kind,
            status,
            data: 0
        }));
        let _ = back.ring.push();
        assert_eq!(ctrl.take(), Ok(Some(Err(refused))));
    }
}
