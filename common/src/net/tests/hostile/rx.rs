// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::BTreeMap;
use std::vec::Vec;

use super::{run, Ending, Memory, Rng, ENTRIES, RSP_PROD};
use crate::grant::Access;
use crate::net::sim::{Sim, SimBuffer, SimRing};
use crate::net::{Checksum, Gso, GsoType, HashType, Meta, RxQueue, RxRing, Violation};
use crate::ring::RingError;

const VALIDATED: u32 = 1;
const BLANK: u32 = 2;
const MORE: u32 = 4;
const EXTRA: u32 = 8;

#[test]
fn a_receive_queue() {
    use Ending::*;
    run(script, &[Served, Producer, Id, Held, TooLong]);
}

/// A buffer in the ring.
#[derive(Clone, Copy)]
struct Posted {
    tag: u64,
    gfn: u64,
    gref: u32,
}

/// A frame as it must arrive: its buffers' tags, with offset and length of the data.
#[derive(Clone, Debug, PartialEq)]
struct Arrived {
    pieces: Vec<(u64, u32, u32)>,
    meta: Meta,
}

/// What is read of one frame.
enum Read {
    Partial,
    Violation(Violation),
    /// Slots, data slots among them with offset and length, what is known, and whether it is good.
    Whole {
        slots: u32,
        data: Vec<(u32, u32, u32)>,
        meta: Meta,
        good: bool,
    },
}

/// What the protocol makes of the ring.
struct Model {
    sim: Sim,
    memory: Memory,
    written: u32,
    published: u32,
    taken: u32,
    /// The producer index when it was last looked at: as soon as something is missed, and not before.
    seen: u32,
    /// By index in the ring.
    posted: BTreeMap<u32, Posted>,
}

impl Model {
    /// Reads what the engine wrote since, for buffers in the order of `tags`.
    fn wrote(&mut self, buffers: &[(u64, u64)]) {
        for &(tag, gfn) in buffers {
            let index = self.written;
            let (id, gref) = (self.memory.word(index, 0), self.memory.word(index, 1));
            assert_eq!(id, index % ENTRIES);
            let granted = self.sim.granted(gref).expect("a granted buffer");
            assert_eq!((granted.0, granted.1), (gfn, Access::ReadWrite));
            assert!(!self.posted.values().any(|posted| posted.gref == gref));
            self.posted.insert(index, Posted { tag, gfn, gref });
            self.written = index.wrapping_add(1);
        }
    }

    /// Whether the response `ahead` is there.
    fn sees(&mut self, ahead: u32) -> Result<bool, Read> {
        if self.seen.wrapping_sub(self.taken) <= ahead {
            let (prod, cons) = (self.memory.load(RSP_PROD), self.taken);
            let limit = self.published.wrapping_sub(cons);
            if prod.wrapping_sub(cons) > limit {
                let error = RingError::Producer { prod, cons, limit };
                return Err(Read::Violation(Violation::Ring(error)));
            }
            self.seen = prod;
        }
        Ok(self.seen.wrapping_sub(self.taken) > ahead)
    }

    fn read(&mut self) -> Read {
        match self.try_read() {
            Ok(read) | Err(read) => read,
        }
    }

    fn try_read(&mut self) -> Result<Read, Read> {
        if !self.sees(0)? {
            return Err(Read::Partial);
        }
        let first = self.data_slot(0)?;
        let flags = first.2;
        let mut meta = Meta {
            checksum: if flags & BLANK != 0 {
                Checksum::Blank
            } else if flags & VALIDATED != 0 {
                Checksum::Validated
            } else {
                Checksum::Unknown
            },
            gso: None,
            hash: None,
        };
        let (mut nth, mut kinds, mut headroom, mut good) = (1, Vec::new(), None, true);
        let mut more = flags & EXTRA != 0;
        while more {
            if !self.sees(nth)? {
                return Err(Read::Partial);
            }
            if nth == 6 {
                return Err(Read::Violation(Violation::TooLong));
            }
            let (_, low, high) = self.slot(nth);
            let (kind, a) = (low as u8, low >> 16);
            more = low >> 8 & 1 != 0;
            let again = kinds.contains(&kind);
            match kind {
                _ if again => good = false,
                1 => {
                    let kind = match high as u8 {
                        1 => Some(GsoType::TcpV4),
                        2 => Some(GsoType::TcpV6),
                        _ => None,
                    };
                    let size = a as u16;
                    meta.gso = kind.filter(|_| size > 0).map(|kind| Gso { kind, size });
                    good &= meta.gso.is_some();
                }
                4 => {
                    let of = [
                        HashType::Ipv4,
                        HashType::Ipv4Tcp,
                        HashType::Ipv6,
                        HashType::Ipv6Tcp,
                    ];
                    let kind = of.get((a & 0xff) as usize).filter(|_| a >> 8 == 1);
                    meta.hash = kind.map(|&kind| crate::net::Hash { kind, value: high });
                }
                5 => headroom = Some(a),
                _ => good = false,
            }
            kinds.push(kind);
            nth += 1;
        }
        let mut slots = Vec::from([first]);
        while slots.last().is_some_and(|slot| slot.2 & MORE != 0) {
            if !self.sees(nth)? {
                return Err(Read::Partial);
            }
            let slot = self.data_slot(nth)?;
            if slots.len() == 18 {
                return Err(Read::Violation(Violation::TooLong));
            }
            slots.push(slot);
            nth += 1;
        }
        let (mut data, mut total) = (Vec::new(), 0);
        for (index, offset, _, status) in slots {
            let (mut offset, mut len) = (i64::from(offset), i64::from(status));
            if let (0, Some(headroom)) = (offset, headroom) {
                offset = i64::from(headroom);
                len -= offset;
            }
            good &= status > 0 && len > 0 && offset + len <= 4096;
            total += len;
            data.push((index, offset as u32, len as u32));
        }
        Ok(Read::Whole {
            slots: nth,
            data,
            meta,
            good: good && total >= 14,
        })
    }

    /// Index and words of a slot.
    fn slot(&self, nth: u32) -> (u32, u32, u32) {
        let index = self.taken.wrapping_add(nth);
        (
            index,
            self.memory.word(index, 0),
            self.memory.word(index, 1),
        )
    }

    /// Index, offset, flags and status of a data slot, if its id is right.
    fn data_slot(&self, nth: u32) -> Result<(u32, u32, u32, i16), Read> {
        let (index, low, high) = self.slot(nth);
        let id = low as u16;
        if u32::from(id) == index % ENTRIES {
            Ok((index, low >> 16, high & 0xffff, (high >> 16) as u16 as i16))
        } else {
            Err(Read::Violation(Violation::Id { id }))
        }
    }

    /// What arrives, which buffers go back into the ring in what order, and what breaks the queue.
    fn expect(&mut self, budget: u32) -> (Vec<Arrived>, Vec<(u64, u64)>, Option<Violation>) {
        let (mut arrived, mut reposted) = (Vec::new(), Vec::new());
        while (arrived.len() as u32) < budget {
            let (slots, data, meta, good) = match self.read() {
                Read::Partial => break,
                Read::Violation(violation) => return (arrived, reposted, Some(violation)),
                Read::Whole {
                    slots,
                    data,
                    meta,
                    good,
                } => (slots, data, meta, good),
            };
            if good {
                for (index, ..) in &data {
                    let gref = self.posted[index].gref;
                    if self.sim.granted(gref).is_some_and(|(_, _, n)| n > 0) {
                        let id = (index % ENTRIES) as u16;
                        return (arrived, reposted, Some(Violation::Held { id, gref }));
                    }
                }
                let piece = |&(index, offset, len): &(u32, u32, u32)| {
                    (self.posted[&index].tag, offset, len)
                };
                let pieces = data.iter().map(piece).collect();
                arrived.push(Arrived { pieces, meta });
            }
            for nth in 0..slots {
                let index = self.taken.wrapping_add(nth);
                let posted = self.posted.remove(&index).expect("it was published");
                if !good || !data.iter().any(|piece| piece.0 == index) {
                    reposted.push((posted.tag, posted.gfn));
                }
            }
            self.taken = self.taken.wrapping_add(slots);
        }
        (arrived, reposted, None)
    }

    fn check_grants(&self) {
        let mut granted = self.sim.granted_frames();
        let mut inside: Vec<u64> = self.posted.values().map(|posted| posted.gfn).collect();
        granted.sort_unstable();
        inside.sort_unstable();
        assert_eq!(granted, inside);
    }
}

/// The back end.
struct Back {
    produced: u32,
    mapped: Vec<u32>,
    wild: u64,
    headroom: u32,
}

impl Back {
    /// A frame as Linux passes it on, a few words a slot, with faults.
    fn frame(&self, rng: &mut Rng) -> Vec<[u32; 2]> {
        let count = rng.pick(&[1, 1, 1, 1, 2, 3, 17, 18]);
        let mut extras = Vec::new();
        if rng.one_in(3) {
            extras.push([1 | 1448 << 16, rng.pick(&[1, 2])]);
        }
        if self.headroom > 0 {
            extras.push([5 | self.headroom << 16, 0]);
        }
        if rng.one_in(4) {
            let kind = rng.below(5) as u32;
            extras.push([4 | kind << 16 | 1 << 24, rng.number() as u32]);
        }
        let mut slots = Vec::new();
        for nth in 0..count {
            let mut flags = rng.pick(&[0, VALIDATED, VALIDATED | BLANK]);
            if nth + 1 < count {
                flags |= MORE;
            }
            if nth == 0 && !extras.is_empty() {
                flags |= EXTRA;
            }
            let len = if nth + 1 < count {
                4096
            } else {
                self.headroom + 14 + rng.below(2000) as u32
            };
            slots.push([0, flags | len << 16]);
            if nth == 0 {
                let last = extras.len().wrapping_sub(1);
                for (nth, extra) in extras.iter_mut().enumerate() {
                    extra[0] |= u32::from(nth != last) << 8;
                    slots.push(*extra);
                }
            }
        }
        // Ids: the slots' own, which the caller knows.
        if rng.one_in(self.wild) {
            let nth = rng.below(slots.len() as u64) as usize;
            let slot = &mut slots[nth];
            match rng.below(10) {
                8 => slots.iter_mut().for_each(|slot| slot[1] |= MORE),
                9 => slots.iter_mut().for_each(|slot| slot[0] |= 1 << 8),
                0 => slot[1] = slot[1] & 0xffff | rng.pick(&[0u32, 13, 0xffff, 0x8000, 4097]) << 16,
                1 => slot[0] |= rng.pick(&[1u32, 4000, 4096, 0xffff]) << 16,
                2 => slot[1] ^= 1 << rng.below(5),
                3 => slot[0] ^= rng.number() as u32 & 0x01ff,
                4 => *slot = [rng.number() as u32, rng.number() as u32],
                5 => slot[0] ^= 1 << rng.below(32),
                6 => slot[1] ^= 1 << rng.below(32),
                _ => {
                    slots.remove(nth);
                }
            }
        }
        slots
    }

    fn act(&mut self, rng: &mut Rng, model: &Model) {
        let (sim, memory) = (&model.sim, &model.memory);
        for _ in 0..rng.below(6) {
            let frame = self.frame(rng);
            let room = model.published.wrapping_sub(self.produced);
            if frame.len() as u32 > room || room > ENTRIES {
                break;
            }
            for [low, high] in frame {
                // What has a type of extra information in its low byte keeps it; data gets its id.
                let data = low as u16 == 0;
                let id = if data { self.produced % ENTRIES } else { 0 };
                memory.set(self.produced, &[low ^ id, high]);
                self.produced = self.produced.wrapping_add(1);
            }
            if rng.one_in(3) {
                // What is there is seen by and by.
                memory.store(RSP_PROD, self.produced.wrapping_sub(rng.below(2) as u32));
                return;
            }
        }
        memory.store(RSP_PROD, self.produced);
        if rng.one_in(self.wild * 4) {
            let by = rng.pick(&[1, 2, 255, 256, 257, 1 << 31, u32::MAX, u32::MAX - 1]);
            memory.store(RSP_PROD, self.produced.wrapping_add(by));
        }
        if rng.one_in(self.wild * 4) {
            memory.store(64 + 4 * rng.below(512) as usize, rng.number() as u32);
        }
        if rng.one_in(self.wild) {
            if let Some(posted) = model.posted.get(&model.taken) {
                if sim.map(posted.gref, true).is_some() {
                    self.mapped.push(posted.gref);
                }
            }
        }
        if rng.one_in(4) {
            if let Some(gref) = self.mapped.pop() {
                sim.unmap(gref);
            }
        }
    }
}

fn script(seed: u64) -> Ending {
    let rng = &mut Rng(seed ^ 1 << 40);
    let sim = Sim::default();
    let start = rng.start();
    let memory = SimRing::new(1);
    let ring = RxRing::starting_at(memory.clone(), start).expect("a ring");
    let mut queue = RxQueue::new(sim.clone(), ring).expect("references");
    let mut model = Model {
        sim: sim.clone(),
        memory: Memory::new(memory, 8),
        written: start,
        published: start,
        taken: start,
        seen: start,
        posted: BTreeMap::new(),
    };
    let mut back = Back {
        produced: start,
        mapped: Vec::new(),
        wild: rng.pick(&[5, 30, 1 << 40]),
        headroom: rng.pick(&[0, 0, 256]),
    };
    let (mut tags, mut ending) = (0, Ending::Served);
    let mut out = Vec::new();
    for _ in 0..20 + rng.below(60) {
        match rng.below(4) {
            0 => {
                let mut left = rng.pick(&[1, 10, 300]);
                let mut posted = Vec::new();
                let missing = queue.refill(|| {
                    left = u32::checked_sub(left, 1)?;
                    let buffer = SimBuffer {
                        tag: tags,
                        gfn: sim.frame(),
                    };
                    tags += 1;
                    posted.push((buffer.tag, buffer.gfn));
                    Some(buffer)
                });
                model.wrote(&posted);
                assert_eq!(missing, ENTRIES - model.posted.len() as u32);
            }
            1 => {
                let _ = queue.push();
                model.published = model.written;
            }
            2 => back.act(rng, &model),
            _ => {
                let budget = rng.pick(&[0, 1, 64]);
                let (arrived, reposted, violation) = model.expect(budget);
                let mut got = Vec::new();
                let result = queue.receive(budget, |frame| {
                    let meta = *frame.meta();
                    let all = !rng.one_in(20);
                    let mut pieces = Vec::new();
                    let mut left = frame.len();
                    while left > 0 && (all || left > 1) {
                        let piece = frame.next().expect("as many as it says");
                        // The back end has no access to what arrived.
                        let first = pieces.is_empty();
                        assert!(!first || !sim.granted_frames().contains(&piece.buffer.gfn));
                        pieces.push((piece.buffer.tag, piece.offset, piece.len));
                        left -= 1;
                    }
                    got.push(Arrived { pieces, meta });
                });
                assert_eq!(result.as_ref().err().copied(), violation);
                assert_eq!(got.len(), arrived.len());
                for (got, mut arrived) in got.into_iter().zip(arrived) {
                    out.extend(arrived.pieces.iter().map(|piece| piece.0));
                    // What the sink left was dropped.
                    arrived.pieces.truncate(got.pieces.len());
                    assert_eq!(got, arrived);
                }
                if let Some(violation) = violation {
                    assert!(queue.is_broken());
                    ending = violation.into();
                    break;
                }
                model.wrote(&reposted);
                if result.is_ok_and(|received| received.frames < budget) && rng.one_in(2) {
                    // Nothing changed meanwhile, so there is nothing but what waits for its rest.
                    assert_eq!(queue.arm(), Ok(false));
                }
            }
        }
        model.check_grants();
    }
    queue.drain(|buffer| out.push(buffer.tag));
    drop(queue);
    out.sort_unstable();
    assert!(out.into_iter().eq(0..tags), "each buffer once");
    assert_eq!(sim.grants(), sim.abandoned());
    for gref in back.mapped {
        sim.unmap(gref);
    }
    assert_eq!((sim.grants(), sim.claimed()), (0, 0));
    ending
}
