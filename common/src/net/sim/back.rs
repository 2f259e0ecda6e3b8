// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other end of both rings.

use std::vec::Vec;

use zerocopy::{FromBytes, IntoBytes};

use crate::net::types::{Checksum, Gso, Hash, Meta};
use crate::net::wire::{self, ExtraInfo, RxRequest, RxResponse, TxRequest, TxResponse};
use crate::ring::BackRing;
use crate::shared::PAGE_SIZE;
use crate::sim::{Sim, SimRing};

/// A packet that came out of the transmit ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Its bytes, copied through the grants.
    pub bytes: Vec<u8>,
    /// Its data slots.
    pub slots: Vec<TxRequest>,
    /// Its extra information.
    pub extras: Vec<ExtraInfo>,
}

impl Sent {
    /// Extra information of a type.
    pub fn extra(&self, kind: u8) -> Option<&ExtraInfo> {
        self.extras.iter().find(|extra| extra.kind == kind)
    }

    /// How many responses it gets.
    pub fn responses(&self) -> usize {
        self.slots.len() + self.extras.len()
    }
}

/// The other end of a transmit ring.
pub struct TxBack {
    sim: Sim,
    /// The ring.
    pub ring: BackRing<SimRing, TxRequest, TxResponse>,
}

impl TxBack {
    /// Attaches to a ring.
    pub fn new(sim: &Sim, memory: SimRing) -> Self {
        Self {
            sim: sim.clone(),
            ring: BackRing::attach(memory).expect("an honest front end"),
        }
    }

    fn request(&mut self) -> Option<TxRequest> {
        self.ring.next_request().expect("an honest front end")
    }

    /// Takes the next packet and copies it.
    pub fn take(&mut self) -> Option<Sent> {
        let mut first = self.request()?;
        let mut sent = Sent::default();
        let mut more = first.flags & wire::NETTXF_EXTRA_INFO != 0;
        while more {
            let entry = self.request().expect("extra information follows");
            let extra = ExtraInfo::read_from_bytes(&entry.as_bytes()[..8]).expect("eight bytes");
            assert!((1..wire::EXTRA_TYPE_MAX).contains(&extra.kind));
            assert!(sent.extra(extra.kind).is_none(), "{extra:?} comes twice");
            more = extra.more();
            sent.extras.push(extra);
        }
        let list = [wire::EXTRA_TYPE_MCAST_ADD, wire::EXTRA_TYPE_MCAST_DEL];
        if list.iter().any(|&kind| sent.extra(kind).is_some()) {
            assert_eq!(first.flags, wire::NETTXF_EXTRA_INFO);
            sent.slots.push(first);
            return Some(sent);
        }
        let (total, mut rest) = (first.size, Vec::new());
        let mut more = first.flags & wire::NETTXF_MORE_DATA != 0;
        while more {
            let next = self.request().expect("data follows");
            assert_eq!(next.flags & !wire::NETTXF_MORE_DATA, 0);
            first.size = first.size.checked_sub(next.size).expect("sizes add up");
            more = next.flags & wire::NETTXF_MORE_DATA != 0;
            rest.push(next);
        }
        assert!(
            u32::from(first.size) >= wire::ETH_HLEN,
            "a first slot of {}",
            first.size
        );
        sent.slots.push(first);
        sent.slots.append(&mut rest);
        assert!(sent.slots.len() <= wire::NR_SLOTS_MIN);
        for slot in &sent.slots {
            assert!(
                slot.size > 0 && usize::from(slot.offset) + usize::from(slot.size) <= PAGE_SIZE
            );
            assert_eq!(
                self.sim.map(slot.gref, true),
                None,
                "a packet is to be read"
            );
            let gfn = self.sim.map(slot.gref, false).expect("a granted slot");
            let (offset, len) = (slot.offset.into(), slot.size.into());
            sent.bytes.append(&mut self.sim.bytes(gfn, offset, len));
            self.sim.unmap(slot.gref);
        }
        assert_eq!(sent.bytes.len(), usize::from(total));
        if let Some(extra) = sent.extra(wire::EXTRA_TYPE_GSO) {
            assert!(Gso::from_wire(extra.gso()).is_some(), "{extra:?}");
        }
        Some(sent)
    }

    /// Answers a data slot.
    pub fn answer(&mut self, id: u16, status: i16) {
        assert!(self.ring.put_response(&TxResponse { id, status }));
    }

    /// Answers all of a packet in order, as Linux does.
    pub fn answer_all(&mut self, sent: &Sent, status: i16) {
        for (nth, slot) in sent.slots.iter().enumerate() {
            self.answer(slot.id, status);
            if nth == 0 {
                for _ in &sent.extras {
                    self.answer(0, wire::RSP_NULL);
                }
            }
        }
    }

    /// Takes and answers all that is there; how many packets that were.
    pub fn serve(&mut self) -> usize {
        let mut packets = 0;
        while let Some(sent) = self.take() {
            self.answer_all(&sent, wire::RSP_OKAY);
            packets += 1;
        }
        packets
    }

    /// Publishes the answers. `true`: the front end waits for a notification.
    pub fn push(&mut self) -> bool {
        self.ring.push()
    }
}

/// The other end of a receive ring.
pub struct RxBack {
    sim: Sim,
    /// The ring.
    pub ring: BackRing<SimRing, RxRequest, RxResponse>,
    /// `xdp-headroom` of the front end, in bytes.
    pub headroom: u16,
}

impl RxBack {
    /// Attaches to a ring.
    pub fn new(sim: &Sim, memory: SimRing) -> Self {
        Self {
            sim: sim.clone(),
            ring: BackRing::attach(memory).expect("an honest front end"),
            headroom: 0,
        }
    }

    /// Takes the next buffer.
    pub fn request(&mut self) -> Option<RxRequest> {
        self.ring.next_request().expect("an honest front end")
    }

    /// Copies `bytes` to offset `at` of the buffer of `request`.
    pub fn copy(&self, request: &RxRequest, at: usize, bytes: &[u8]) {
        let gfn = self.sim.map(request.gref, true).expect("a granted buffer");
        self.sim.with_frame(gfn, |frame| {
            frame[at..at + bytes.len()].copy_from_slice(bytes)
        });
        self.sim.unmap(request.gref);
    }

    /// Puts a response.
    pub fn put(&mut self, response: RxResponse) {
        assert!(self.ring.put_response(&response));
    }

    /// Puts extra information in the place of a response.
    pub fn put_extra(&mut self, extra: ExtraInfo) {
        self.put(RxResponse::read_from_bytes(extra.as_bytes()).expect("they are of one size"));
    }

    /// Passes a packet on as Linux does: pages as full as they get, extra information behind the first.
    /// The ring has the buffers. Returns how many it took.
    pub fn give(&mut self, bytes: &[u8], meta: &Meta) -> usize {
        let mut extras: Vec<_> = meta
            .gso
            .iter()
            .map(|gso| ExtraInfo::of_gso(gso.to_wire()))
            .collect();
        if self.headroom > 0 {
            extras.push(ExtraInfo::of_xdp(self.headroom));
        }
        let hash = meta.hash.map(Hash::to_wire);
        extras.extend(hash.map(ExtraInfo::of_hash));
        let last = extras.len().saturating_sub(1);
        for extra in &mut extras[..last] {
            extra.flags = wire::EXTRA_FLAG_MORE;
        }
        let at = usize::from(self.headroom);
        let chunks: Vec<_> = bytes.chunks(PAGE_SIZE - at).collect();
        let mut taken = 0;
        for (nth, chunk) in chunks.iter().enumerate() {
            let request = self.request().expect("a buffer");
            self.copy(&request, at, chunk);
            let mut flags = 0;
            if nth == 0 {
                flags |= match meta.checksum {
                    Checksum::Unknown => 0,
                    Checksum::Validated => wire::NETRXF_DATA_VALIDATED,
                    Checksum::Blank => wire::NETRXF_CSUM_BLANK | wire::NETRXF_DATA_VALIDATED,
                };
                if !extras.is_empty() {
                    flags |= wire::NETRXF_EXTRA_INFO;
                }
            }
            if nth + 1 < chunks.len() {
                flags |= wire::NETRXF_MORE_DATA;
            }
            self.put(RxResponse {
                id: request.id,
                offset: 0,
                flags,
                status: (at + chunk.len()) as i16,
            });
            taken += 1;
            if nth == 0 {
                for &extra in &extras {
                    self.request().expect("a buffer");
                    self.put_extra(extra);
                    taken += 1;
                }
            }
        }
        taken
    }

    /// Publishes the answers. `true`: the front end waits for a notification.
    pub fn push(&mut self) -> bool {
        self.ring.push()
    }
}
