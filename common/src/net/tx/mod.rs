// SPDX-License-Identifier: MIT OR Apache-2.0
//! The transmit ring of a net front end: packets go in, completions come out.
//!
//! The queue owns a packet from [`TxQueue::submit`] until it hands it to the closure of
//! [`TxQueue::reap`] or [`TxQueue::drain`], exactly once: when every slot of it is answered.
//!
//! A short packet can be copied instead, into memory that is granted for as long as the queue lives
//! ([`TxQueue::submit_copy`]). It needs no grant of its own, shows the back end nothing that lies beside
//! it, and is done with at once. So nobody waits for its response: while only such packets are under way
//! the back end is not asked to notify. With the first other one it has to be ([`TxQueue::must_reap`]).
//!
//! Each piece of a packet has an id, which is the index of a [slot](Slot) here, and a grant for reading.
//! A response is believed only if its slot waits. Ids have 16 bits and no room for a generation: a
//! response that comes twice is found out while nothing waits under its id, and else ends a later
//! packet early, whose pages the back end then has lost. Extra information has no id; its responses
//! are counted.

mod complete;
mod copy;
mod submit;
mod types;

use super::host::{Host, Packet};
use super::types::Violation;
use super::wire::{TxRequest, TxResponse, NR_SLOTS_MIN};
use copy::CopyPage;

use crate::grant::GrantRef;
use crate::host::{NoMemory, NO_REF};
use crate::ring::{EntryMut, FrontRing};

pub use copy::COPY_MAX;
pub use types::{Busy, Outcome, Reaped, TxFeatures, TxStats};

/// The transmit ring. It is made before the back end is told of it.
pub type TxRing<M> = FrontRing<M, TxRequest, TxResponse>;

type Entry<'a, M> = EntryMut<'a, M, TxRequest, TxResponse>;

/// Slots of the longest packet: its data, and how it is cut, and its hash.
pub const MAX_SLOTS: u32 = NR_SLOTS_MIN as u32 + 2;

/// No slot.
const NONE: u16 = u16::MAX;
/// In [`Slot::fragment`]: nothing waits.
const IDLE: u8 = 0;
/// In [`Slot::fragment`]: a change of the multicast list waits. This and what is greater grants nothing
/// that ends with the response; it would be negative, if it had a sign.
const MULTICAST: u8 = 0x80;
/// In [`Slot::fragment`]: a packet that was copied waits.
const COPY: u8 = 0x81;

/// What waits under an id.
struct Slot<P> {
    /// Claimed for as long as the queue lives; it grants something while a fragment waits.
    gref: u32,
    /// While idle the next idle slot; else the slot that holds the packet, which may be this one.
    link: u16,
    /// Which fragment of the packet waits, counted from 1; or [`IDLE`], [`MULTICAST`] or [`COPY`].
    fragment: u8,
    left: Left,
    packet: Option<P>,
}

impl<P> Slot<P> {
    /// Whether its reference grants a fragment.
    #[inline(always)]
    fn grants(&self) -> bool {
        // One comparison for all that do not.
        self.fragment as i8 > IDLE as i8
    }
}

/// With the packet: how many fragments are not yet answered, and above [`Left::COUNT`] the worst
/// [`Outcome`] so far. In one byte, so that a slot has 16.
#[derive(Clone, Copy)]
struct Left(u8);

impl Left {
    const COUNT: u8 = 0x1f;
    const DROPPED: u8 = 0x40;
    const FAILED: u8 = 0x80;

    fn outcome(self) -> Outcome {
        match self.0 & !Self::COUNT {
            0 => Outcome::Sent,
            Self::DROPPED => Outcome::Dropped,
            _ => Outcome::Failed,
        }
    }
}
const _: () = assert!(NR_SLOTS_MIN <= Left::COUNT as usize);

/// The transmit ring and all that belongs to it.
pub struct TxQueue<H: Host> {
    host: H,
    ring: TxRing<H::Ring>,
    slots: H::Array<Slot<H::Packet>>,
    /// What short packets are copied into, if that was asked for.
    copies: Option<H::Array<CopyPage<H::Page>>>,
    /// The first idle slot.
    idle: u16,
    /// Packets inside, which somebody waits for.
    held: u32,
    /// Those of them whose first fragment is answered and others are not: the ring has room again, but the
    /// id is still theirs.
    partly: u32,
    /// The back end was asked for a notification.
    asked: bool,
    /// Slots of extra information that are not answered.
    extras: u32,
    features: TxFeatures,
    /// Responses until the back end notifies.
    coalesce: u32,
    /// No packet is taken any more.
    closed: bool,
    /// No response is believed any more either.
    broken: bool,
    /// A violation that a submission met: the next look at the ring tells of it.
    untold: Option<Violation>,
    stats: TxStats,
}

impl<H: Host> TxQueue<H> {
    /// Makes a queue over a new ring, which may be published already. It claims a grant reference for
    /// each entry.
    pub fn new(host: H, ring: TxRing<H::Ring>, features: TxFeatures) -> Result<Self, NoMemory> {
        let entries = ring.size().min(u32::from(NONE)) as usize;
        let slots = host.array(entries, |index| {
            Ok(Slot {
                gref: NO_REF,
                link: if index + 1 < entries {
                    (index + 1) as u16
                } else {
                    NONE
                },
                fragment: IDLE,
                left: Left(0),
                packet: None,
            })
        })?;
        let mut queue = Self {
            host,
            ring,
            slots,
            copies: None,
            idle: 0,
            held: 0,
            partly: 0,
            // A new ring asks for the first response.
            asked: true,
            extras: 0,
            features,
            coalesce: 1,
            closed: false,
            broken: false,
            untold: None,
            stats: TxStats::default(),
        };
        // Claimed last: from here on dropping the queue releases them.
        for slot in queue.slots.iter_mut() {
            slot.gref = queue.host.claim().ok_or(NoMemory)?;
        }
        Ok(queue)
    }

    /// What the back end takes.
    pub fn features(&self) -> TxFeatures {
        self.features
    }

    /// Whether the flow's hash is told from now on.
    pub fn set_hash(&mut self, hash: bool) {
        self.features.hash = hash;
    }

    /// Lets the back end notify not before `responses` responses after a [`reap`](Self::reap) that left
    /// packets inside, or all that are due by then. 1 at first.
    ///
    /// One response that is late then holds back the news of all others: as long as
    /// [`is_coalescing`](Self::is_coalescing), somebody has to look for them after a while.
    pub fn set_coalesce(&mut self, responses: u32) {
        self.coalesce = responses.max(1);
    }

    /// The counters.
    pub fn stats(&self) -> TxStats {
        self.stats
    }

    /// Slots that can still be written: there are entries in the ring, and ids.
    #[inline]
    pub fn room(&self) -> u32 {
        self.ring.free().saturating_sub(self.partly)
    }

    /// Whether there is room for the longest packet.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.room() >= MAX_SLOTS
    }

    /// Whether slots were written and not yet pushed.
    #[inline]
    pub fn has_unpushed(&self) -> bool {
        self.ring.unpushed() != 0
    }

    /// Whether somebody waits for a packet whose end the back end was not asked to tell of: then
    /// [`reap`](Self::reap) is due, after [`push`](Self::push).
    #[inline]
    pub fn must_reap(&self) -> bool {
        self.held != 0 && !self.asked
    }

    /// Whether the back end was asked to tell of responses, but only of several together.
    #[inline]
    pub fn is_coalescing(&self) -> bool {
        self.asked && self.coalesce > 1 && self.ring.outstanding() > 1
    }

    /// Slots that were pushed and whose response was not taken.
    #[inline]
    pub fn outstanding(&self) -> u32 {
        self.ring.outstanding()
    }

    /// Whether the back end has yet to answer to [`multicast`](Self::multicast).
    pub fn multicast_waits(&self) -> bool {
        self.slots.iter().any(|slot| slot.fragment == MULTICAST)
    }

    /// Whether the back end broke the protocol.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Takes no further packet; those inside may be completed.
    pub fn close(&mut self) {
        self.closed = true;
    }

    fn violated(&mut self, violation: Violation) -> Violation {
        self.broken = true;
        self.closed = true;
        violation
    }

    /// Breaks off and hands every packet that the queue holds to `lost`, exactly once. No grant is
    /// left: what the back end still has mapped is left to the host, which frees it later.
    pub fn drain(&mut self, mut lost: impl FnMut(H::Packet)) {
        self.closed = true;
        self.broken = true;
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else {
                continue;
            };
            let grants = slot.grants();
            let gref = core::mem::replace(&mut slot.gref, NO_REF);
            let fragment = core::mem::replace(&mut slot.fragment, IDLE);
            if gref == NO_REF {
                continue;
            }
            if !grants {
                self.host.release(gref);
                continue;
            }
            let head = usize::from(slot.link);
            if self.host.try_release(gref) {
                continue;
            }
            if let Some(packet) = self.slots.get(head).and_then(|head| head.packet.as_ref()) {
                abandon(&self.host, gref, packet, fragment);
            }
        }
        self.end_copies();
        for slot in self.slots.iter_mut() {
            if let Some(packet) = slot.packet.take() {
                lost(packet);
            }
        }
    }
}

impl<H: Host> Drop for TxQueue<H> {
    fn drop(&mut self) {
        self.drain(drop);
    }
}

/// Leaves a fragment that the back end has still mapped to the host.
fn abandon<H: Host>(host: &H, gref: GrantRef, packet: &H::Packet, fragment: u8) {
    let nth = usize::from(fragment.wrapping_sub(1));
    let gfn = packet.fragments().nth(nth);
    host.abandon_piece(gref, gfn.map_or(0, |fragment| fragment.gfn), packet);
}
