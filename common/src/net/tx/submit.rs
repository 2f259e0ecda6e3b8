// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way in: a packet becomes slots of the ring.

use core::mem::offset_of;

use super::{Busy, Entry, Left, Slot, TxFeatures, TxQueue, IDLE, MULTICAST, NONE};
use crate::grant::Access;
use crate::host::{Platform, NO_REF};
use crate::net::host::{Fragment, Host, Packet};
use crate::net::types::{Checksum, GsoType, Meta, Violation};
use crate::net::wire::{self, ExtraInfo, TxRequest};
use crate::ring::Draft;
use crate::shared::{SharedMemory, PAGE_SIZE};

impl<H: Host> TxQueue<H> {
    /// Writes a packet into the ring. The back end sees it after [`push`](Self::push).
    ///
    /// A packet that is not taken comes back with the reason, and nothing has changed, unless the back end
    /// uses a grant that it was not told of: then the queue is broken, and [`reap`](Self::reap) says so.
    #[inline]
    pub fn submit(&mut self, packet: H::Packet, meta: &Meta) -> Result<(), (H::Packet, Busy)> {
        if self.closed {
            return Err((packet, Busy::Closed));
        }
        let head = self.idle;
        let draft = self.ring.draft();
        let room = draft.left();
        let mut writer = Writer::<H> {
            host: &self.host,
            slots: &mut self.slots,
            draft,
            idle: head,
            head,
        };
        let written = writer.packet(&packet, meta, &self.features);
        let slots = room.wrapping_sub(writer.draft.left());
        self.idle = writer.idle;
        match written {
            Ok(count) => {
                self.ring.commit(slots);
                self.extras = self.extras.wrapping_add(slots.wrapping_sub(count));
                if let Some(slot) = self.slots.get_mut(usize::from(head)) {
                    slot.left = Left(count as u8);
                    slot.packet = Some(packet);
                }
                self.held = self.held.wrapping_add(1);
                self.stats.packets += 1;
                self.stats.gso += u64::from(meta.gso.is_some());
                Ok(())
            }
            Err(busy) => {
                self.take_back(&packet, head);
                self.stats.ring_full += u64::from(busy == Busy::Ring);
                Err((packet, busy))
            }
        }
    }

    /// Publishes what was submitted. `true`: notify the back end. Afterwards
    /// [`must_reap`](Self::must_reap) may say that there is more to do.
    #[inline]
    #[must_use = "the back end may sleep until it is notified"]
    pub fn push(&mut self) -> bool {
        let pushed = u64::from(self.ring.unpushed());
        if pushed == 0 || self.broken {
            return false;
        }
        let notify = self.ring.push();
        self.stats.slots += pushed;
        self.stats.notifications += u64::from(notify);
        self.stats.notifications_saved += pushed - u64::from(notify);
        notify
    }

    /// Tells the back end to pass packets to the multicast address `addr`, or to no longer do so. It
    /// does not say which addresses it failed to take, but [`TxStats`](super::TxStats) counts them.
    pub fn multicast(&mut self, addr: [u8; 6], pass: bool) -> Result<(), Busy> {
        if self.closed {
            return Err(Busy::Closed);
        }
        if !self.features.multicast {
            return Err(Busy::Unsupported);
        }
        let id = self.idle;
        let slot = self.slots.get_mut(usize::from(id)).ok_or(Busy::Ring)?;
        let mut draft = self.ring.draft();
        let (Some(mut first), Some(mut second)) = (draft.next_entry(), draft.next_entry()) else {
            return Err(Busy::Ring);
        };
        let request = TxRequest {
            gref: NO_REF,
            flags: wire::NETTXF_EXTRA_INFO,
            id,
            ..TxRequest::default()
        };
        let kind = if pass {
            wire::EXTRA_TYPE_MCAST_ADD
        } else {
            wire::EXTRA_TYPE_MCAST_DEL
        };
        first.set(0, &request);
        second.set(0, &ExtraInfo::of_mcast(kind, addr));
        self.ring.commit(2);
        self.extras = self.extras.wrapping_add(1);
        self.idle = slot.link;
        slot.link = id;
        slot.fragment = MULTICAST;
        slot.left = Left(1);
        Ok(())
    }

    /// Ends the grants that were made for a packet before it turned out not to fit, whose ids begin with
    /// `head`.
    #[cold]
    fn take_back(&mut self, packet: &H::Packet, head: u16) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else {
                continue;
            };
            // Fragments of other packets that wait have another head.
            if !slot.grants() || slot.link != head {
                continue;
            }
            if !self.host.end(slot.gref) {
                // It was never told of the grant. What it holds is left to the host.
                let (id, gref) = (index as u16, slot.gref);
                super::abandon(&self.host, gref, packet, slot.fragment);
                slot.gref = NO_REF;
                self.closed = true;
                self.broken = true;
                self.untold = Some(Violation::Held { id, gref });
            }
            slot.fragment = IDLE;
            slot.link = self.idle;
            self.idle = index as u16;
        }
        debug_assert!(head == NONE || self.idle != NONE);
    }
}

/// What is needed of a queue to write a packet. The ring takes it over when it is whole.
struct Writer<'a, H: Host> {
    host: &'a H,
    slots: &'a mut [Slot<H::Packet>],
    draft: Draft<'a, <H as Platform>::Ring, TxRequest, wire::TxResponse>,
    /// The first idle slot.
    idle: u16,
    /// The slot of the first fragment.
    head: u16,
}

impl<H: Host> Writer<'_, H> {
    /// Writes the packet's slots; the number of its fragments. After an error some are written.
    #[inline(always)]
    fn packet(
        &mut self,
        packet: &H::Packet,
        meta: &Meta,
        features: &TxFeatures,
    ) -> Result<u32, Busy> {
        let total = packet.len();
        if !(wire::ETH_HLEN..=wire::MAX_TX_SIZE).contains(&total) {
            return Err(Busy::Malformed);
        }
        let mut flags = flags(meta, features);
        let mut fragments = packet.fragments();
        let first = fragments.next().ok_or(Busy::Malformed)?;
        if first.len < wire::ETH_HLEN {
            return Err(Busy::Malformed);
        }
        let next = fragments.next();
        if next.is_some() {
            if !features.sg {
                return Err(Busy::Unsupported);
            }
            flags |= wire::NETTXF_MORE_DATA;
        }
        self.fragment(&first, 1, flags, total as u16)?;
        if flags & wire::NETTXF_EXTRA_INFO != 0 {
            extras(&mut self.draft, meta, features)?;
        }
        let (count, sum) = match next {
            None => (1, first.len),
            Some(second) => self.rest(second, fragments, first.len)?,
        };
        if sum == total {
            Ok(count)
        } else {
            Err(Busy::Malformed)
        }
    }

    /// Writes the second fragment and those that follow; how many there are then, and their length with
    /// `sum`.
    #[inline]
    fn rest(
        &mut self,
        mut fragment: Fragment,
        mut fragments: impl Iterator<Item = Fragment>,
        mut sum: u32,
    ) -> Result<(u32, u32), Busy> {
        let mut count = 1;
        loop {
            if count == wire::NR_SLOTS_MIN as u32 {
                return Err(Busy::TooLong);
            }
            count += 1;
            let more = wire::NETTXF_MORE_DATA;
            let mut entry = self.fragment(&fragment, count as u8, more, fragment.len as u16)?;
            sum = sum.wrapping_add(fragment.len);
            let Some(next) = fragments.next() else {
                // It was the last one.
                let flags = 0;
                entry.set(
                    offset_of!(TxRequest, offset),
                    &[fragment.offset as u16, flags],
                );
                return Ok((count, sum));
            };
            fragment = next;
        }
    }

    /// Grants a fragment and writes its slot.
    #[inline(always)]
    fn fragment(
        &mut self,
        fragment: &Fragment,
        number: u8,
        flags: u16,
        size: u16,
    ) -> Result<Entry<'_, H::Ring>, Busy> {
        let &Fragment { gfn, offset, len } = fragment;
        let page = PAGE_SIZE as u32;
        if len == 0 || offset > page || len > page - offset {
            return Err(Busy::Malformed);
        }
        let id = self.idle;
        let slot = self.slots.get_mut(usize::from(id)).ok_or(Busy::Ring)?;
        let mut entry = self.draft.next_entry().ok_or(Busy::Ring)?;
        let gref = slot.gref;
        let request = TxRequest {
            gref,
            offset: offset as u16,
            flags,
            id,
            size,
        };
        entry.set(0, &request);
        self.idle = slot.link;
        slot.link = self.head;
        slot.fragment = number;
        self.host.grant(gref, gfn, Access::ReadOnly);
        Ok(entry)
    }
}

/// The flags of a packet's first slot, but for [`wire::NETTXF_MORE_DATA`].
#[inline(always)]
pub(super) fn flags(meta: &Meta, features: &TxFeatures) -> u16 {
    let checksum = match meta.checksum {
        Checksum::Unknown => 0,
        Checksum::Validated => wire::NETTXF_DATA_VALIDATED,
        Checksum::Blank => wire::NETTXF_CSUM_BLANK | wire::NETTXF_DATA_VALIDATED,
    };
    if meta.gso.is_some() || (features.hash && meta.hash.is_some()) {
        checksum | wire::NETTXF_EXTRA_INFO
    } else {
        checksum
    }
}

/// Writes the slots of extra information.
#[inline]
pub(super) fn extras<M: SharedMemory>(
    draft: &mut Draft<'_, M, TxRequest, wire::TxResponse>,
    meta: &Meta,
    features: &TxFeatures,
) -> Result<(), Busy> {
    let hash = meta.hash.filter(|_| features.hash);
    if let Some(gso) = meta.gso {
        let offered = match gso.kind {
            GsoType::TcpV4 => features.gso_tcpv4,
            GsoType::TcpV6 => features.gso_tcpv6,
        };
        if !offered {
            return Err(Busy::Unsupported);
        }
        if gso.size == 0 {
            return Err(Busy::Malformed);
        }
        let mut extra = ExtraInfo::of_gso(gso.to_wire());
        if hash.is_some() {
            extra.flags = wire::EXTRA_FLAG_MORE;
        }
        draft.next_entry().ok_or(Busy::Ring)?.set(0, &extra);
    }
    if let Some(hash) = hash {
        let extra = ExtraInfo::of_hash(hash.to_wire());
        draft.next_entry().ok_or(Busy::Ring)?.set(0, &extra);
    }
    Ok(())
}
