// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way in: a packet becomes slots of the ring.

use super::{Busy, Outcome, TxQueue, IDLE, MULTICAST, NONE};
use crate::grant::Access;
use crate::host::NO_REF;
use crate::net::host::{Fragment, Host, Packet};
use crate::net::types::{Checksum, GsoType, Meta};
use crate::net::wire::{self, ExtraInfo, TxRequest};
use crate::shared::PAGE_SIZE;

impl<H: Host> TxQueue<H> {
    /// Writes a packet into the ring. The back end sees it after [`push`](Self::push).
    ///
    /// A packet that is not taken comes back with the reason, and nothing has changed.
    #[inline]
    pub fn submit(&mut self, packet: H::Packet, meta: &Meta) -> Result<(), (H::Packet, Busy)> {
        if self.closed {
            return Err((packet, Busy::Closed));
        }
        let (head, written) = (self.idle, self.ring.unpushed());
        match self.write(&packet, meta) {
            Ok(count) => {
                if let Some(slot) = self.slots.get_mut(usize::from(head)) {
                    slot.left = count;
                    slot.outcome = Outcome::Sent;
                    slot.packet = Some(packet);
                }
                self.stats.packets += 1;
                self.stats.gso += u64::from(meta.gso.is_some());
                Ok(())
            }
            Err(busy) => {
                self.roll_back(&packet, head, written);
                self.stats.ring_full += u64::from(busy == Busy::Ring);
                Err((packet, busy))
            }
        }
    }

    /// Publishes what was submitted. `true`: notify the back end.
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

    /// Writes the packet's slots; the number of its fragments. After an error some are written.
    #[inline]
    fn write(&mut self, packet: &H::Packet, meta: &Meta) -> Result<u8, Busy> {
        let total = packet.len();
        if !(wire::ETH_HLEN..=wire::MAX_TX_SIZE).contains(&total) {
            return Err(Busy::Malformed);
        }
        let mut flags = match meta.checksum {
            Checksum::Unknown => 0,
            Checksum::Validated => wire::NETTXF_DATA_VALIDATED,
            Checksum::Blank => wire::NETTXF_CSUM_BLANK | wire::NETTXF_DATA_VALIDATED,
        };
        let extras = meta.gso.is_some() || (self.features.hash && meta.hash.is_some());
        if extras {
            flags |= wire::NETTXF_EXTRA_INFO;
        }
        let head = self.idle;
        let mut fragments = packet.fragments();
        let first = fragments.next().ok_or(Busy::Malformed)?;
        if first.len < wire::ETH_HLEN {
            return Err(Busy::Malformed);
        }
        let mut next = fragments.next();
        if next.is_some() {
            if !self.features.sg {
                return Err(Busy::Unsupported);
            }
            flags |= wire::NETTXF_MORE_DATA;
        }
        self.write_fragment(&first, head, 1, flags, total as u16)?;
        if extras {
            self.write_extras(meta)?;
        }
        let (mut count, mut sum) = (1u8, first.len);
        while let Some(fragment) = next {
            if usize::from(count) == wire::NR_SLOTS_MIN {
                return Err(Busy::TooLong);
            }
            count = count.wrapping_add(1);
            next = fragments.next();
            let flags = if next.is_some() {
                wire::NETTXF_MORE_DATA
            } else {
                0
            };
            self.write_fragment(&fragment, head, count, flags, fragment.len as u16)?;
            sum = sum.wrapping_add(fragment.len);
        }
        if sum == total {
            Ok(count)
        } else {
            Err(Busy::Malformed)
        }
    }

    /// Grants a fragment and writes its slot.
    #[inline(always)]
    fn write_fragment(
        &mut self,
        fragment: &Fragment,
        head: u16,
        number: u8,
        flags: u16,
        size: u16,
    ) -> Result<(), Busy> {
        let &Fragment { gfn, offset, len } = fragment;
        let page = PAGE_SIZE as u32;
        if len == 0 || offset > page || len > page - offset {
            return Err(Busy::Malformed);
        }
        let id = self.idle;
        let slot = self.slots.get_mut(usize::from(id)).ok_or(Busy::Ring)?;
        let mut entry = self.ring.next_entry().ok_or(Busy::Ring)?;
        entry.set(
            0,
            &TxRequest {
                gref: slot.gref,
                offset: offset as u16,
                flags,
                id,
                size,
            },
        );
        self.idle = slot.link;
        slot.link = head;
        slot.fragment = number;
        self.host.grant(slot.gref, gfn, Access::ReadOnly);
        Ok(())
    }

    /// Writes the slots that follow the first one.
    #[inline]
    fn write_extras(&mut self, meta: &Meta) -> Result<(), Busy> {
        let hash = meta.hash.filter(|_| self.features.hash);
        if let Some(gso) = meta.gso {
            let offered = match gso.kind {
                GsoType::TcpV4 => self.features.gso_tcpv4,
                GsoType::TcpV6 => self.features.gso_tcpv6,
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
            self.write_extra(&extra)?;
        }
        match hash {
            Some(hash) => self.write_extra(&ExtraInfo::of_hash(hash.to_wire())),
            None => Ok(()),
        }
    }

    #[inline]
    fn write_extra(&mut self, extra: &ExtraInfo) -> Result<(), Busy> {
        let mut entry = self.ring.next_entry().ok_or(Busy::Ring)?;
        entry.set(0, extra);
        self.extras = self.extras.wrapping_add(1);
        Ok(())
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
        if self.ring.free() < 2 {
            return Err(Busy::Ring);
        }
        let (request, kind) = (
            TxRequest {
                gref: NO_REF,
                flags: wire::NETTXF_EXTRA_INFO,
                id,
                ..TxRequest::default()
            },
            if pass {
                wire::EXTRA_TYPE_MCAST_ADD
            } else {
                wire::EXTRA_TYPE_MCAST_DEL
            },
        );
        if let Some(mut entry) = self.ring.next_entry() {
            entry.set(0, &request);
        }
        self.idle = slot.link;
        slot.link = id;
        slot.fragment = MULTICAST;
        slot.left = 1;
        slot.outcome = Outcome::Sent;
        self.write_extra(&ExtraInfo::of_mcast(kind, addr))
    }

    /// Takes back what [`write`](Self::write) has written of a packet: all slots since `written`, whose
    /// ids begin with `head`.
    #[cold]
    fn roll_back(&mut self, packet: &H::Packet, head: u16, written: u32) {
        let slots = self.ring.unpushed().wrapping_sub(written);
        self.ring.unwrite(slots);
        let mut ids = 0u32;
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else {
                continue;
            };
            // Fragments of other packets that wait have another head.
            if slot.fragment == IDLE || slot.fragment == MULTICAST || slot.link != head {
                continue;
            }
            ids = ids.saturating_add(1);
            if !self.host.end(slot.gref) {
                // It was never told of the grant. What it holds is left to the host.
                let nth = usize::from(slot.fragment.wrapping_sub(1));
                let gfn = packet.fragments().nth(nth);
                let gfn = gfn.map_or(0, |fragment| fragment.gfn);
                self.host.abandon(slot.gref, gfn);
                slot.gref = NO_REF;
                self.closed = true;
                self.broken = true;
            }
            slot.fragment = IDLE;
            slot.link = self.idle;
            self.idle = index as u16;
        }
        self.extras = self.extras.saturating_sub(slots.saturating_sub(ids));
        debug_assert!(self.idle != NONE || slots == 0);
    }
}
