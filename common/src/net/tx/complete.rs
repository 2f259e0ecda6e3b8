// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way out: a response is checked and ends a slot.

use super::{Left, Outcome, Reaped, TxQueue, COPY, IDLE, MULTICAST};
use crate::net::host::Host;
use crate::net::types::Violation;
use crate::net::wire::{self, TxResponse};

impl<H: Host> TxQueue<H> {
    /// Takes the responses that are there and hands each packet that is answered to `done`. If there are
    /// packets left inside, or `for_room`, it then asks the back end for a notification, with the next
    /// response unless [`set_coalesce`](Self::set_coalesce) says otherwise.
    ///
    /// It ends after at most as many responses as slots were waiting. After a violation the queue is
    /// broken, and [`drain`](Self::drain) has what is left.
    #[inline]
    pub fn reap(
        &mut self,
        for_room: bool,
        mut done: impl FnMut(H::Packet, Outcome),
    ) -> Result<Reaped, Violation> {
        let mut reaped = Reaped::default();
        if !self.look()? {
            return Ok(reaped);
        }
        loop {
            self.take_seen(&mut reaped, &mut done)?;
            self.asked = for_room || self.held != 0;
            if !self.asked {
                return Ok(reaped);
            }
            let after = self.coalesce;
            let more = self.ring.final_check_after(after);
            if !more.map_err(|error| self.violated(error.into()))? {
                return Ok(reaped);
            }
        }
    }

    /// Like [`reap`](Self::reap), without asking for a notification.
    #[inline]
    pub fn poll(&mut self, mut done: impl FnMut(H::Packet, Outcome)) -> Result<Reaped, Violation> {
        let mut reaped = Reaped::default();
        if self.look()? {
            self.take_seen(&mut reaped, &mut done)?;
        }
        Ok(reaped)
    }

    /// Looks which responses are there; `false`: the queue is broken.
    #[inline]
    fn look(&mut self) -> Result<bool, Violation> {
        if self.broken {
            return self.untold.take().map_or(Ok(false), Err);
        }
        let looked = self.ring.look();
        looked.map_err(|error| self.violated(error.into()))?;
        Ok(true)
    }

    /// Takes the responses that were seen.
    #[inline(always)]
    fn take_seen(
        &mut self,
        reaped: &mut Reaped,
        done: &mut impl FnMut(H::Packet, Outcome),
    ) -> Result<(), Violation> {
        while let Some(response) = self.ring.next_seen() {
            reaped.responses = reaped.responses.wrapping_add(1);
            match self.answer(response, reaped) {
                Ok(Some((packet, outcome))) => {
                    reaped.packets = reaped.packets.wrapping_add(1);
                    self.held = self.held.wrapping_sub(1);
                    done(packet, outcome);
                }
                Ok(None) => {}
                Err(violation) => return Err(self.violated(violation)),
            }
        }
        Ok(())
    }

    /// Checks a response and ends its slot; returns the packet if that was its last one.
    #[inline(always)]
    fn answer(
        &mut self,
        response: TxResponse,
        reaped: &mut Reaped,
    ) -> Result<Option<(H::Packet, Outcome)>, Violation> {
        let TxResponse { id, status } = response;
        if status != wire::RSP_OKAY {
            if status == wire::RSP_NULL {
                self.extras = self.extras.checked_sub(1).ok_or(Violation::Null)?;
                return Ok(None);
            }
            self.note(id, status, reaped);
        }
        let Some(mut slot) = self.slots.get_mut(usize::from(id)) else {
            return Err(Violation::Id { id });
        };
        if slot.grants() {
            if !self.host.end(slot.gref) {
                return Err(Violation::Held {
                    id,
                    gref: slot.gref,
                });
            }
        } else if slot.fragment == IDLE {
            return Err(Violation::Id { id });
        }
        slot.fragment = IDLE;
        let head = slot.link;
        if head != id {
            slot.link = self.idle;
            self.idle = id;
            let Some(with_packet) = self.slots.get_mut(usize::from(head)) else {
                return Ok(None);
            };
            slot = with_packet;
        }
        slot.left.0 = slot.left.0.wrapping_sub(1);
        if slot.left.0 & Left::COUNT != 0 {
            self.partly = self.partly.wrapping_add(u32::from(head == id));
            return Ok(None);
        }
        self.partly = self.partly.wrapping_sub(u32::from(head != id));
        slot.link = self.idle;
        self.idle = head;
        let Some(packet) = slot.packet.take() else {
            return Ok(None);
        };
        let outcome = slot.left.outcome();
        if outcome != Outcome::Sent {
            self.stats.failed += 1;
        }
        Ok(Some((packet, outcome)))
    }

    /// Remembers that a fragment was not sent, if it waits.
    #[cold]
    fn note(&mut self, id: u16, status: i16, reaped: &mut Reaped) {
        let Some(slot) = self.slots.get(usize::from(id)) else {
            return;
        };
        if slot.fragment == MULTICAST {
            self.stats.multicast_failed += 1;
        } else if slot.fragment == COPY {
            self.stats.failed += 1;
            reaped.copies_failed += u32::from(status != wire::RSP_DROPPED);
        } else if slot.fragment != IDLE {
            let head = usize::from(slot.link);
            if let Some(with_packet) = self.slots.get_mut(head) {
                // A status that the protocol does not know is an error like any other.
                with_packet.left.0 |= if status == wire::RSP_DROPPED {
                    Left::DROPPED
                } else {
                    Left::FAILED
                };
            }
        }
    }
}
