// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames to the guest.

use crate::script::Fault;
use crate::side::Side;
use crate::stats::Stats;
use hostile_back::memory::{Guest, Pages, PAGE};
use hostile_back::random::Rng;
use portico_core::net::wire::*;
use portico_core::ring::RingError;
use std::collections::VecDeque;
use zerocopy::{FromBytes, IntoBytes};

/// The most frames that wait for buffers.
const WAITING_MAX: usize = 512;

/// The most mappings that a fault keeps beyond their frames.
const KEEP_MAX: usize = 1024;

/// What takes a buffer.
enum Entry {
    Data {
        bytes: Vec<u8>,
        response: RxResponse,
    },
    Extra(ExtraInfo),
    /// Nothing is said of the buffer.
    Skip,
}

/// A frame that waits for buffers.
struct Waiting {
    entries: Vec<Entry>,
    /// It goes on as long as there are buffers.
    endless: Option<Entry>,
    keep: Option<Option<u64>>,
}

/// The receive ring.
pub struct Receive<G: Guest> {
    /// The ring.
    pub side: Side<G, RxRequest, RxResponse>,
    buffers: VecDeque<RxRequest>,
    waiting: VecDeque<Waiting>,
    kept: Vec<(Option<u64>, G::Pages)>,
}

impl<G: Guest> Receive<G> {
    /// On a ring.
    pub fn new(side: Side<G, RxRequest, RxResponse>) -> Self {
        Receive {
            side,
            buffers: VecDeque::new(),
            waiting: VecDeque::new(),
            kept: Vec::new(),
        }
    }

    /// When something must be done though no notification comes.
    pub fn next_due(&self) -> Option<u64> {
        self.kept.iter().filter_map(|(until, _)| *until).min()
    }

    /// Ends the mappings whose time has come.
    pub fn release(&mut self, now: u64) {
        self.kept
            .retain(|(until, _)| until.is_none_or(|until| until > now));
    }

    /// Takes a frame for the guest, with what faults make of it. `piece`: bytes in a slot at most.
    pub fn pass(
        &mut self,
        frame: Vec<u8>,
        flags: u16,
        piece: u16,
        now: u64,
        faults: &[Fault],
        stats: &mut Stats,
    ) {
        let mut times = 1;
        for fault in faults {
            if let Fault::RxRepeat(more) = fault {
                times += more.min(&4096);
            }
        }
        for _ in 0..times {
            if self.waiting.len() >= WAITING_MAX {
                stats.dropped += 1;
                continue;
            }
            let waiting = build(frame.clone(), flags, piece, now, faults);
            self.waiting.push_back(waiting);
        }
    }

    /// Fills buffers with what waits for them.
    pub fn fill(&mut self, stats: &mut Stats) -> Result<(), RingError> {
        loop {
            while let Some(buffer) = self.side.ring.next_request()? {
                stats.buffers += 1;
                self.buffers.push_back(buffer);
            }
            let ready = |w: &Waiting, buffers: usize| match w.endless {
                Some(_) => buffers > 0,
                None => w.entries.len() <= buffers,
            };
            while self
                .waiting
                .front()
                .is_some_and(|waiting| ready(waiting, self.buffers.len()))
            {
                if let Some(waiting) = self.waiting.pop_front() {
                    stats.received += 1;
                    self.give(waiting);
                }
            }
            self.side.publish(stats);
            // Only who waits for buffers wants to hear of them.
            if self.waiting.is_empty() || !self.side.ring.final_check()? {
                return Ok(());
            }
        }
    }

    fn give(&mut self, waiting: Waiting) {
        for entry in &waiting.entries {
            let Some(buffer) = self.buffers.pop_front() else {
                return;
            };
            self.put(buffer, entry, waiting.keep);
        }
        if let Some(entry) = &waiting.endless {
            while let Some(buffer) = self.buffers.pop_front() {
                self.put(buffer, entry, waiting.keep);
            }
        }
    }

    fn put(&mut self, buffer: RxRequest, entry: &Entry, keep: Option<Option<u64>>) {
        match entry {
            Entry::Data { bytes, response } => {
                let mut response = *response;
                response.id = response.id.wrapping_add(buffer.id);
                match self.side.guest().map(&[buffer.gref], true) {
                    Some(page) => {
                        page.write(0, bytes);
                        if let Some(until) = keep {
                            if self.kept.len() < KEEP_MAX {
                                self.kept.push((until, page));
                            }
                        }
                    }
                    None => response.status = RSP_ERROR,
                }
                self.side.put(&response);
            }
            Entry::Extra(extra) => {
                if let Ok(response) = RxResponse::read_from_bytes(extra.as_bytes()) {
                    self.side.put(&response);
                }
            }
            Entry::Skip => {}
        }
    }
}

fn build(mut frame: Vec<u8>, flags: u16, piece: u16, now: u64, faults: &[Fault]) -> Waiting {
    let mut extras = Vec::new();
    let mut keep = None;
    for fault in faults {
        match *fault {
            Fault::RxShort(len) => frame.truncate(len.into()),
            Fault::RxGarbage(seed) => {
                let mut rng = Rng::new(seed);
                // The addresses stay, so that it is not dropped unread.
                frame
                    .iter_mut()
                    .skip(12)
                    .for_each(|byte| *byte = rng.number() as u8);
            }
            Fault::RxExtra { kind, flags, bytes } => extras.push(ExtraInfo {
                kind,
                flags,
                u: bytes,
            }),
            Fault::RxKeepGrants(ms) => keep = Some(ms.map(|ms| now.saturating_add(ms))),
            _ => {}
        }
    }
    let size = usize::from(piece).clamp(ETH_HLEN as usize, PAGE);
    let mut pieces: Vec<Vec<u8>> = frame.chunks(size).map(<[u8]>::to_vec).collect();
    if pieces.is_empty() {
        pieces.push(Vec::new());
    }
    let last = pieces.len() - 1;
    let mut entries = Vec::new();
    for (nth, bytes) in pieces.into_iter().enumerate() {
        let more = if nth < last { NETRXF_MORE_DATA } else { 0 };
        let own = if nth == 0 { flags } else { 0 };
        let extra = if nth == 0 && !extras.is_empty() {
            NETRXF_EXTRA_INFO
        } else {
            0
        };
        let response = RxResponse {
            id: 0,
            offset: 0,
            flags: more | own | extra,
            status: bytes.len() as i16,
        };
        entries.push(Entry::Data { bytes, response });
        if nth == 0 {
            entries.extend(extras.iter().copied().map(Entry::Extra));
        }
    }
    let mut endless = None;
    for fault in faults {
        let Some(Entry::Data { response, .. }) = entries.first_mut() else {
            break;
        };
        match *fault {
            Fault::RxId(add) => response.id = add,
            Fault::RxOffset(offset) => response.offset = offset,
            Fault::RxFlags(turned) => response.flags ^= turned,
            Fault::RxStatus(status) => response.status = status,
            Fault::RxEndless => {
                response.flags |= NETRXF_MORE_DATA;
                endless = Some(Entry::Data {
                    bytes: vec![0; 64],
                    response: RxResponse {
                        flags: NETRXF_MORE_DATA,
                        status: 64,
                        ..RxResponse::default()
                    },
                });
            }
            Fault::RxEndlessExtra => {
                response.flags |= NETRXF_EXTRA_INFO;
                endless = Some(Entry::Extra(ExtraInfo {
                    kind: EXTRA_TYPE_HASH,
                    flags: EXTRA_FLAG_MORE,
                    u: [0; 6],
                }));
            }
            Fault::RxSkip => entries[0] = Entry::Skip,
            _ => {}
        }
    }
    Waiting {
        entries,
        endless,
        keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(waiting: &Waiting) -> Vec<u16> {
        let of = |entry: &Entry| match entry {
            Entry::Data { response, .. } => response.flags,
            _ => 0xffff,
        };
        waiting.entries.iter().map(of).collect()
    }

    #[test]
    fn a_long_frame_is_a_chain() {
        let waiting = build(vec![7; 1000], NETRXF_DATA_VALIDATED, 400, 0, &[]);
        let more = NETRXF_MORE_DATA;
        assert_eq!(flags(&waiting), [NETRXF_DATA_VALIDATED | more, more, 0]);
    }

    #[test]
    fn faults_are_of_the_first_slot() {
        let extra = Fault::RxExtra {
            kind: 9,
            flags: 0,
            bytes: [0; 6],
        };
        let faults = [extra, Fault::RxStatus(5000), Fault::RxEndless];
        let waiting = build(vec![7; 60], 0, 4096, 0, &faults);
        let wanted = NETRXF_EXTRA_INFO | NETRXF_MORE_DATA;
        assert_eq!(flags(&waiting), [wanted, 0xffff]);
        assert!(waiting.endless.is_some());
    }
}
