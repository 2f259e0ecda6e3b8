// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::BTreeMap;
use std::vec::Vec;

use super::{run, Ending, Memory, Rng, ENTRIES, REQ_PROD, RSP_PROD};
use crate::grant::Access;
use crate::host::SharedPage;
use crate::net::host::Fragment;
use crate::net::sim::{Sim, SimPacket, SimRing};
use crate::net::tx::COPY_MAX;
use crate::net::{
    Busy, Checksum, Gso, GsoType, Hash, HashType, Meta, Outcome, TxFeatures, TxQueue, TxRing,
    Violation,
};
use crate::ring::RingError;

const NULL: u32 = 1;

#[test]
fn a_transmit_queue() {
    use Ending::*;
    run(script, &[Served, Producer, Id, Null, Held]);
}

/// A data slot that waits.
#[derive(Clone, Copy)]
struct Waiting {
    /// `None`: a change of the multicast list, or a copy.
    tag: Option<u64>,
    gref: u32,
}

/// What the protocol makes of the ring.
struct Model {
    sim: Sim,
    memory: Memory,
    /// Requests below it were written, and published.
    written: u32,
    published: u32,
    /// Responses below it were taken.
    taken: u32,
    waiting: BTreeMap<u16, Waiting>,
    /// Packets inside: slots that wait, the worst status, the frames, the first slot's id.
    packets: BTreeMap<u64, (usize, Outcome, Vec<u64>, u16)>,
    extras: u32,
    /// Frames for copies.
    pages: Vec<u64>,
}

impl Model {
    /// Reads what the engine wrote for a packet that it took, and checks every bit of it.
    fn submitted(&mut self, packet: &SimPacket, meta: &Meta, hash: bool) {
        let first = self.memory.word(self.written, 2) as u16;
        let mut at = self.written;
        let mut next = |memory: &Memory| {
            at = at.wrapping_add(1);
            [0, 1, 2].map(|nth| memory.word(at.wrapping_sub(1), nth))
        };
        let extras = [meta.gso.is_some(), hash && meta.hash.is_some()];
        for (nth, piece) in packet.pieces.iter().enumerate() {
            let [gref, offset_flags, id_size] = next(&self.memory);
            let more = nth + 1 < packet.pieces.len();
            let mut flags = u32::from(more) << 2;
            if nth == 0 {
                flags |= match meta.checksum {
                    Checksum::Unknown => 0,
                    Checksum::Validated => 2,
                    Checksum::Blank => 3,
                };
                flags |= u32::from(extras.contains(&true)) << 3;
            }
            assert_eq!(offset_flags, piece.offset | flags << 16);
            let size = if nth == 0 { packet.len } else { piece.len };
            assert_eq!(id_size >> 16, size);
            let granted = self.sim.granted(gref).expect("a granted slot");
            assert_eq!((granted.0, granted.1), (piece.gfn, Access::ReadOnly));
            let tag = Some(packet.tag);
            let old = self.waiting.insert(id_size as u16, Waiting { tag, gref });
            assert!(old.is_none(), "an id twice");
            if nth > 0 {
                continue;
            }
            if let Some(gso) = meta.gso {
                let [head, rest, _] = next(&self.memory);
                let kind = 1 + u32::from(gso.kind == GsoType::TcpV6);
                let more = u32::from(extras[1]);
                assert_eq!(head, 1 | more << 8 | u32::from(gso.size) << 16);
                assert_eq!(rest, kind);
                self.extras += 1;
            }
            if let (true, Some(hash)) = (extras[1], meta.hash) {
                let [head, rest, _] = next(&self.memory);
                assert_eq!(head, 4 | (hash.kind as u32) << 16 | 1 << 24);
                assert_eq!(rest, hash.value);
                self.extras += 1;
            }
        }
        self.written = at;
        let frames = packet.pieces.iter().map(|piece| piece.gfn).collect();
        let state = (packet.pieces.len(), Outcome::Sent, frames, first);
        self.packets.insert(packet.tag, state);
    }

    fn multicast(&mut self) {
        let id = self.memory.word(self.written, 2) as u16;
        assert_eq!(self.memory.word(self.written, 0), 0);
        self.written = self.written.wrapping_add(2);
        self.extras += 1;
        let old = self.waiting.insert(id, Waiting { tag: None, gref: 0 });
        assert!(old.is_none(), "an id twice");
    }

    fn copied(&mut self, bytes: &[u8], hash: bool) {
        let [gref, offset_flags, id_size] =
            [0, 1, 2].map(|nth| self.memory.word(self.written, nth));
        let (gfn, access, _) = self.sim.granted(gref).expect("a granted slot");
        assert!(self.pages.contains(&gfn) && access == Access::ReadOnly);
        assert_eq!(offset_flags >> 16, u32::from(hash) << 3);
        assert_eq!(id_size >> 16, bytes.len() as u32);
        let got = self.sim.bytes(gfn, offset_flags & 0xffff, id_size >> 16);
        assert_eq!(got, bytes);
        self.written = self.written.wrapping_add(1 + u32::from(hash));
        self.extras += u32::from(hash);
        let waiting = Waiting { tag: None, gref: 0 };
        let old = self.waiting.insert(id_size as u16, waiting);
        assert!(old.is_none(), "an id twice");
    }

    /// What comes back, and what breaks the queue.
    fn expect(&mut self) -> (Vec<(u64, Outcome)>, Option<Violation>) {
        let (mut done, prod) = (Vec::new(), self.memory.load(RSP_PROD));
        let limit = self.published.wrapping_sub(self.taken);
        if prod.wrapping_sub(self.taken) > limit {
            let cons = self.taken;
            let error = RingError::Producer { prod, cons, limit };
            return (done, Some(Violation::Ring(error)));
        }
        while self.taken != prod {
            let response = self.memory.word(self.taken, 0);
            self.taken = self.taken.wrapping_add(1);
            let (id, status) = (response as u16, response >> 16);
            if status == NULL {
                let Some(left) = self.extras.checked_sub(1) else {
                    return (done, Some(Violation::Null));
                };
                self.extras = left;
                continue;
            }
            let Some(&Waiting { tag, gref }) = self.waiting.get(&id) else {
                return (done, Some(Violation::Id { id }));
            };
            let mapped = self.sim.granted(gref).is_some_and(|(_, _, n)| n > 0);
            if tag.is_some() && mapped {
                return (done, Some(Violation::Held { id, gref }));
            }
            self.waiting.remove(&id);
            let Some(tag) = tag else { continue };
            let (left, worst, ..) = self.packets.get_mut(&tag).expect("it is inside");
            *left -= 1;
            *worst = match (status as u16 as i16, *worst) {
                (0, worst) => worst,
                (-2, Outcome::Sent | Outcome::Dropped) => Outcome::Dropped,
                _ => Outcome::Failed,
            };
            if *left == 0 {
                done.push((tag, *worst));
                self.packets.remove(&tag);
            }
        }
        (done, None)
    }

    /// Entries of the ring that are free.
    fn free(&self) -> u32 {
        ENTRIES - self.written.wrapping_sub(self.taken)
    }

    /// Packets whose first slot is answered and others are not: they keep its id.
    fn partly(&self) -> u32 {
        let answered = |(tag, packet): &(&u64, &(_, _, _, u16))| {
            let waiting = self.waiting.get(&packet.3);
            waiting.and_then(|waiting| waiting.tag) != Some(**tag)
        };
        self.packets.iter().filter(answered).count() as u32
    }

    /// Ids that are free.
    fn ids(&self) -> u32 {
        ENTRIES - self.waiting.len() as u32 - self.partly()
    }

    /// Whether no data was passed off as extra information, whose ids then stay taken.
    fn is_honest(&self) -> bool {
        self.waiting.len() as u32 + self.extras == ENTRIES - self.free()
    }

    /// No frame is granted but those of packets inside, and those for copies.
    fn check_grants(&self) {
        let mut inside = self.pages.clone();
        for (_, _, frames, _) in self.packets.values() {
            inside.extend(frames);
        }
        inside.sort_unstable();
        for gfn in self.sim.granted_frames() {
            assert!(inside.binary_search(&gfn).is_ok(), "frame {gfn} is granted");
        }
    }
}

fn packet(rng: &mut Rng, sim: &Sim, tag: u64) -> SimPacket {
    let count = rng.pick(&[1, 1, 1, 2, 3, 17, 18, 19]);
    let piece = |rng: &mut Rng| {
        let offset = rng.below(4096) as u32;
        let len = match rng.below(40) {
            0 => rng.pick(&[0, 13, 4097, u32::MAX]),
            1 => 4096,
            _ => 14 + rng.below(2000) as u32,
        };
        let fits = if rng.one_in(40) {
            offset
        } else {
            offset.min(4096u32.saturating_sub(len))
        };
        Fragment {
            gfn: sim.frame(),
            offset: fits,
            len,
        }
    };
    let pieces: Vec<_> = (0..count).map(|_| piece(rng)).collect();
    let len = pieces
        .iter()
        .fold(0, |sum: u32, piece| sum.wrapping_add(piece.len));
    let len = if rng.one_in(30) {
        len ^ 1 << rng.below(20)
    } else {
        len
    };
    SimPacket { tag, len, pieces }
}

fn meta(rng: &mut Rng) -> Meta {
    let checksum = rng.pick(&[Checksum::Unknown, Checksum::Validated, Checksum::Blank]);
    let gso = Gso {
        kind: rng.pick(&[GsoType::TcpV4, GsoType::TcpV6]),
        size: rng.pick(&[1448, 1, u16::MAX, 0]),
    };
    let hash = Hash {
        kind: rng.pick(&[HashType::Ipv4, HashType::Ipv6Tcp]),
        value: rng.number() as u32,
    };
    Meta {
        checksum,
        gso: rng.one_in(3).then_some(gso),
        hash: rng.one_in(3).then_some(hash),
    }
}

/// Whether the engine must take the packet.
fn fits(packet: &SimPacket, meta: &Meta, hash: bool, room: u32) -> Option<Busy> {
    let total: u64 = packet.pieces.iter().map(|piece| u64::from(piece.len)).sum();
    let good = |piece: &Fragment| piece.len != 0 && piece.offset as u64 + piece.len as u64 <= 4096;
    let malformed = !(14..=0xffff).contains(&packet.len)
        || total != u64::from(packet.len)
        || !packet.pieces.iter().all(good)
        || packet.pieces[0].len < 14
        || meta.gso.is_some_and(|gso| gso.size == 0);
    let extras = u32::from(meta.gso.is_some()) + u32::from(hash && meta.hash.is_some());
    if malformed {
        Some(Busy::Malformed)
    } else if packet.pieces.len() > 18 {
        Some(Busy::TooLong)
    } else if packet.pieces.len() as u32 + extras > room {
        Some(Busy::Ring)
    } else {
        None
    }
}

/// The back end: it answers what it has seen, or anything.
struct Back {
    produced: u32,
    /// Ids it has seen and not answered; `None` for extra information.
    seen: Vec<Option<u16>>,
    mapped: Vec<u32>,
    /// How often it does as it likes: once in so many times.
    wild: u64,
}

impl Back {
    fn act(&mut self, rng: &mut Rng, model: &Model) {
        let (sim, memory) = (&model.sim, &model.memory);
        for _ in 0..rng.below(30) {
            if self.seen.is_empty() {
                break;
            }
            let nth = rng.below(self.seen.len() as u64) as usize;
            let mut answer = self.seen.swap_remove(nth);
            let mut status = rng.pick(&[0, 0, 0, 0, 0, 0, 0xffff, 0xfffe, 77]);
            if rng.one_in(self.wild) {
                match rng.below(6) {
                    0 => answer = Some(rng.number() as u16),
                    1 => answer = Some(rng.below(256) as u16),
                    2 => status = NULL,
                    3 => answer = None,
                    4 => {
                        if let Some(waiting) = answer.and_then(|id| model.waiting.get(&id)) {
                            if sim.map(waiting.gref, false).is_some() {
                                self.mapped.push(waiting.gref);
                            }
                        }
                    }
                    _ => status = rng.below(0x10000) as u32,
                }
            }
            let word = match answer {
                Some(id) => u32::from(id) | status << 16,
                None => NULL << 16 | rng.below(0x10000) as u32,
            };
            memory.set(self.produced, &[word]);
            self.produced = self.produced.wrapping_add(1);
        }
        memory.store(RSP_PROD, self.produced);
        if rng.one_in(self.wild * 4) {
            let by = rng.pick(&[1, 2, 255, 256, 257, 1 << 31, u32::MAX, u32::MAX - 1]);
            memory.store(RSP_PROD, self.produced.wrapping_add(by));
        }
        if rng.one_in(self.wild * 4) {
            memory.store(64 + 4 * rng.below(768) as usize, rng.number() as u32);
        }
        if rng.one_in(4) {
            if let Some(gref) = self.mapped.pop() {
                sim.unmap(gref);
            }
        }
    }

    /// It looks at what was published since.
    fn look(&mut self, model: &Model, from: u32) {
        assert_eq!(model.memory.load(REQ_PROD), model.published);
        let ids: Vec<u16> = model.waiting.keys().copied().collect();
        let mut at = from;
        while at != model.published {
            // Extra information is told apart by what waits; a wrong guess does no harm.
            let id = model.memory.word(at, 2) as u16;
            let data = ids.contains(&id) && !self.seen.contains(&Some(id));
            self.seen.push(data.then_some(id));
            at = at.wrapping_add(1);
        }
    }
}

fn script(seed: u64) -> Ending {
    let rng = &mut Rng(seed);
    let sim = Sim::default();
    let start = rng.start();
    let memory = SimRing::new(1);
    let ring = TxRing::starting_at(memory.clone(), start).expect("a ring");
    let features = TxFeatures {
        sg: true,
        gso_tcpv4: true,
        gso_tcpv6: true,
        hash: rng.one_in(2),
        multicast: true,
    };
    let mut queue = TxQueue::new(sim.clone(), ring, features).expect("references");
    let mut model = Model {
        sim: sim.clone(),
        memory: Memory::new(memory, 12),
        written: start,
        published: start,
        taken: start,
        waiting: BTreeMap::new(),
        packets: BTreeMap::new(),
        extras: 0,
        pages: Vec::new(),
    };
    if rng.one_in(2) {
        queue.allow_copies().expect("references");
        model.pages = sim.granted_frames();
    }
    let mut back = Back {
        produced: start,
        seen: Vec::new(),
        mapped: Vec::new(),
        wild: rng.pick(&[10, 100, 1 << 40]),
    };
    queue.set_coalesce(rng.pick(&[0, 1, 8, u32::MAX]));
    let (mut tag, mut ending) = (0, Ending::Served);
    let mut returned = Vec::new();
    for _ in 0..20 + rng.below(60) {
        match rng.below(9) {
            0..=3 => {
                let (packet, meta) = (packet(rng, &sim, tag), meta(rng));
                let (free, room) = (model.free(), queue.room());
                assert_eq!(room, free.saturating_sub(model.partly()));
                let fit = fits(&packet, &meta, features.hash, free);
                let safe = fits(&packet, &meta, features.hash, room).is_none();
                match (queue.submit(packet.clone(), &meta), fit) {
                    (Ok(()), None) => {
                        model.submitted(&packet, &meta, features.hash);
                        tag += 1;
                    }
                    (Err((back, busy)), Some(why)) => {
                        assert_eq!(back, packet);
                        // A packet with several flaws may be refused for any.
                        let flaws = [why, Busy::Ring, Busy::TooLong];
                        assert!(flaws.contains(&busy), "{busy:?}, not {why:?}");
                    }
                    (Err((_, Busy::Ring)), None) => {
                        assert!(packet.pieces.len() as u32 > model.ids());
                        assert!(!safe || !model.is_honest());
                    }
                    (result, fit) => panic!("{:?}, not {fit:?}", result.map_err(|e| e.1)),
                }
            }
            4 => {
                if queue
                    .multicast([rng.number() as u8 | 1; 6], rng.one_in(2))
                    .is_ok()
                {
                    model.multicast();
                }
            }
            5 => {
                let from = model.published;
                let _ = queue.push();
                model.published = model.written;
                back.look(&model, from);
            }
            6 => back.act(rng, &model),
            7 => {
                let bytes: Vec<u8> = (0..10 + rng.below(260))
                    .map(|_| rng.number() as u8)
                    .collect();
                let hash = rng.one_in(2);
                let meta = Meta {
                    hash: hash.then_some(Hash {
                        kind: HashType::Ipv4,
                        value: 5,
                    }),
                    ..Meta::default()
                };
                let len = bytes.len() as u32;
                let hash = hash && features.hash;
                let fits = !model.pages.is_empty()
                    && (14..=COPY_MAX).contains(&len)
                    && model.free() > u32::from(hash)
                    && model.ids() > 0;
                let copied = queue.submit_copy(len, &meta, |page, at| {
                    page.write(at, &bytes);
                    true
                });
                assert_eq!(copied.is_ok(), fits, "{copied:?}");
                if fits {
                    model.copied(&bytes, hash);
                }
            }
            _ => {
                let (done, violation) = model.expect();
                let mut got = Vec::new();
                let result = if rng.one_in(2) {
                    queue.reap(rng.one_in(2), |packet, outcome| {
                        got.push((packet.tag, outcome))
                    })
                } else {
                    queue.poll(|packet, outcome| got.push((packet.tag, outcome)))
                };
                assert_eq!((got, result.err()), (done.clone(), violation));
                returned.extend(done.iter().map(|done| done.0));
                if let Some(violation) = violation {
                    assert!(queue.is_broken());
                    ending = violation.into();
                    break;
                }
            }
        }
        model.check_grants();
    }
    queue.drain(|packet| {
        assert!(model.packets.remove(&packet.tag).is_some());
        returned.push(packet.tag);
    });
    assert!(model.packets.is_empty());
    drop(queue);
    returned.sort_unstable();
    assert!(returned.into_iter().eq(0..tag), "each packet once");
    assert_eq!(sim.grants(), sim.abandoned());
    for gref in back.mapped {
        sim.unmap(gref);
    }
    assert_eq!((sim.grants(), sim.claimed()), (0, 0));
    ending
}
