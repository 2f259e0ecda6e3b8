// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets from the guest.

use crate::script::Fault;
use crate::side::Side;
use crate::stats::Stats;
use hostile_back::memory::{Guest, Pages, RingPages, PAGE};
use portico_core::net::wire::*;
use portico_core::ring::RingError;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes in front of a ring's first entry (`ring.h`), and in an entry.
const HEADER: usize = 64;
const ENTRY: usize = size_of::<TxRequest>();

/// The most mappings that a fault keeps beyond their packets.
const KEEP_MAX: usize = 1024;

/// A packet as it lies in the ring.
#[derive(Debug, Default)]
pub struct Packet {
    /// Data slots; the size of the first is its own, not that of the whole.
    pub slots: Vec<TxRequest>,
    /// Extra information.
    pub extras: Vec<ExtraInfo>,
}

/// A packet's bytes with what the guest says of them.
#[derive(Debug)]
pub struct Sent {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// `NETTXF_*` of its first slot.
    pub flags: u16,
    /// It is one to be cut into segments.
    pub gso: bool,
}

/// The transmit ring.
pub struct Transmit<G: Guest> {
    /// The ring.
    pub side: Side<G, TxRequest, TxResponse>,
    /// Entries of a packet that is not complete yet.
    partial: Vec<TxRequest>,
    /// Answers that are held back, and until when.
    held: Vec<(u64, Vec<TxResponse>)>,
    /// Mappings that a fault keeps, and until when.
    kept: Vec<(Option<u64>, G::Pages)>,
    last_id: u16,
}

impl<G: Guest> Transmit<G> {
    /// On a ring.
    pub fn new(side: Side<G, TxRequest, TxResponse>) -> Self {
        Transmit {
            side,
            partial: Vec::new(),
            held: Vec::new(),
            kept: Vec::new(),
            last_id: 0,
        }
    }

    /// When something must be done though no notification comes.
    pub fn next_due(&self) -> Option<u64> {
        let held = self.held.iter().map(|(due, _)| *due);
        held.chain(self.kept.iter().filter_map(|(until, _)| *until))
            .min()
    }

    /// Gives the answers, and ends the mappings, whose time has come.
    pub fn release(&mut self, now: u64) {
        for (due, answers) in std::mem::take(&mut self.held) {
            if due > now {
                self.held.push((due, answers));
                continue;
            }
            answers.iter().for_each(|answer| self.side.put(answer));
        }
        self.kept
            .retain(|(until, _)| until.is_none_or(|until| until > now));
    }

    /// The next packet that is there as a whole.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, RingError> {
        loop {
            if let Some(packet) = whole(&self.partial) {
                self.partial.clear();
                return Ok(Some(packet));
            }
            match self.side.ring.next_request()? {
                Some(entry) => self.partial.push(entry),
                None => return Ok(None),
            }
        }
    }

    /// Copies a packet and answers it, with what faults make of the answer.
    pub fn take(
        &mut self,
        now: u64,
        packet: &Packet,
        faults: &[Fault],
        stats: &mut Stats,
    ) -> Option<Sent> {
        stats.transmitted += 1;
        stats.extras += packet.extras.len() as u64;
        stats.max_slots = stats.max_slots.max(packet.slots.len() as u64);
        let mut pages = Vec::new();
        let bytes = self.copy(packet, &mut pages);
        match &bytes {
            Some(bytes) => stats.transmitted_bytes += bytes.len() as u64,
            None => stats.errors += 1,
        }
        let status = match bytes {
            Some(_) => RSP_OKAY,
            None => RSP_ERROR,
        };
        self.keep(now, pages, faults);
        self.answer(now, packet, status, faults, stats);
        let gso = packet.extras.iter().any(|e| e.kind == EXTRA_TYPE_GSO);
        Some(Sent {
            bytes: bytes?,
            flags: packet.slots.first()?.flags,
            gso,
        })
    }

    fn copy(&self, packet: &Packet, pages: &mut Vec<G::Pages>) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for slot in &packet.slots {
            let (from, len) = (usize::from(slot.offset), usize::from(slot.size));
            if from + len > PAGE {
                return None;
            }
            if len == 0 && packet.extras.iter().any(is_list) {
                // There is no grant.
                continue;
            }
            let page = self.side.guest().map(&[slot.gref], false)?;
            let at = bytes.len();
            bytes.resize(at + len, 0);
            page.read(from, &mut bytes[at..]);
            pages.push(page);
        }
        Some(bytes)
    }

    fn keep(&mut self, now: u64, pages: Vec<G::Pages>, faults: &[Fault]) {
        let keep = faults.iter().find_map(|fault| match fault {
            Fault::TxKeepGrants(ms) => Some(ms.map(|ms| now.saturating_add(ms))),
            _ => None,
        });
        if let Some(until) = keep {
            let room = KEEP_MAX.saturating_sub(self.kept.len());
            let kept = pages.into_iter().take(room).map(|page| (until, page));
            self.kept.extend(kept);
        }
    }

    fn answer(
        &mut self,
        now: u64,
        packet: &Packet,
        status: i16,
        faults: &[Fault],
        stats: &mut Stats,
    ) {
        let mut answers = Vec::new();
        for (nth, slot) in packet.slots.iter().enumerate() {
            answers.push(TxResponse {
                id: slot.id,
                status,
            });
            if nth == 0 {
                answers.extend(packet.extras.iter().map(|_| TxResponse {
                    id: 0,
                    status: RSP_NULL,
                }));
            }
        }
        let Some(right) = answers.first().copied() else {
            return;
        };
        let (mut due, mut flip) = (now, None);
        let list = packet.extras.iter().any(is_list);
        for fault in faults {
            match *fault {
                Fault::TxId(add) => answers[0].id = answers[0].id.wrapping_add(add),
                Fault::TxOldId => answers[0].id = self.last_id,
                Fault::TxTwice => answers.push(right),
                Fault::TxNever => due = u64::MAX,
                Fault::TxLate(ms) => due = now.saturating_add(ms),
                Fault::TxStatus(status) => answers[0].status = status,
                Fault::TxMulticast(Some(status)) if list => answers[0].status = status,
                Fault::TxMulticast(None) if list => due = u64::MAX,
                Fault::TxNull => answers.push(TxResponse {
                    id: 0,
                    status: RSP_NULL,
                }),
                Fault::TxExtraStatus(status) => answers
                    .iter_mut()
                    .filter(|answer| answer.status == RSP_NULL)
                    .for_each(|answer| answer.status = status),
                Fault::TxFlip(ms) => flip = Some(ms),
                _ => {}
            }
        }
        self.last_id = right.id;
        if due > now {
            if due < u64::MAX {
                self.held.push((due, answers));
            }
            return;
        }
        if flip.is_some() {
            self.side.publish(stats);
        }
        answers.iter().for_each(|answer| self.side.put(answer));
        if let Some(ms) = flip {
            self.flip(right, Duration::from_millis(ms));
            self.side.publish(stats);
        }
    }

    /// Rewrites the slot of the answer that is published next, from another thread, which has begun when
    /// this returns.
    fn flip(&self, right: TxResponse, time: Duration) {
        let ring = self.side.ring.memory().clone();
        let index = self.side.next_published() & self.side.ring.size().wrapping_sub(1);
        let slot = HEADER + index as usize * ENTRY;
        let right = u32::from(right.id) | u32::from(right.status as u16) << 16;
        let (begun, wait) = mpsc::channel();
        std::thread::spawn(move || {
            let end = Instant::now() + time;
            let mut wrong = 1u32;
            drop::<mpsc::Sender<()>>(begun);
            while Instant::now() < end {
                for _ in 0..64 {
                    ring.store(slot, right ^ wrong);
                    ring.store(slot, right);
                    wrong = wrong.rotate_left(1);
                }
            }
        });
        // The other end is dropped when the thread begins.
        let _: Result<(), _> = wait.recv();
    }
}

/// Whether it changes the multicast list.
fn is_list(extra: &ExtraInfo) -> bool {
    matches!(extra.kind, EXTRA_TYPE_MCAST_ADD | EXTRA_TYPE_MCAST_DEL)
}

/// A packet from its entries, if all of them are there.
fn whole(entries: &[TxRequest]) -> Option<Packet> {
    let mut rest = entries.iter();
    let mut first = *rest.next()?;
    let mut packet = Packet::default();
    let mut more = first.flags & NETTXF_EXTRA_INFO != 0;
    while more {
        let entry = rest.next()?.as_bytes();
        let extra = ExtraInfo::read_from_bytes(entry.get(..size_of::<ExtraInfo>())?).ok()?;
        more = extra.more();
        packet.extras.push(extra);
    }
    let mut slots = Vec::new();
    let mut more = first.flags & NETTXF_MORE_DATA != 0;
    while more {
        let slot = *rest.next()?;
        // The first slot says the size of the whole; sizes that do not add up leave it none.
        first.size = first.size.saturating_sub(slot.size);
        more = slot.flags & NETTXF_MORE_DATA != 0;
        slots.push(slot);
    }
    if packet.extras.iter().any(is_list) {
        // A wish about multicast: no data.
        first.size = 0;
    }
    packet.slots.push(first);
    packet.slots.extend(slots);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_whole_when_its_last_slot_is_there() {
        let slot = |flags, size| TxRequest {
            flags,
            size,
            ..TxRequest::default()
        };
        let mut extra = slot(0, 0);
        extra.as_mut_bytes()[0] = EXTRA_TYPE_GSO;
        let entries = [
            slot(NETTXF_EXTRA_INFO | NETTXF_MORE_DATA, 3000),
            extra,
            slot(NETTXF_MORE_DATA, 1000),
            slot(0, 500),
        ];
        for part in 0..4 {
            assert!(whole(&entries[..part]).is_none());
        }
        let packet = whole(&entries).unwrap();
        let sizes: Vec<u16> = packet.slots.iter().map(|slot| slot.size).collect();
        assert_eq!(sizes, [1500, 1000, 500]);
        assert_eq!(packet.extras[0].kind, EXTRA_TYPE_GSO);
    }
}
