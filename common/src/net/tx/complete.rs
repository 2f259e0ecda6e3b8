// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way out: a response is checked and ends a slot.

use super::{Outcome, Reaped, TxQueue, IDLE, MULTICAST};
use crate::net::host::Host;
use crate::net::types::Violation;
use crate::net::wire::{self, TxResponse};

impl<H: Host> TxQueue<H> {
    /// Takes the responses that are there and hands each packet that is answered to `done`; then asks
    /// the back end for a notification, with the next response unless
    /// [`set_coalesce`](Self::set_coalesce) says otherwise.
    ///
    /// It ends after at most as many responses as slots were waiting. After a violation the queue is
    /// broken, and [`drain`](Self::drain) has what is left.
    #[inline]
    pub fn reap(&mut self, mut done: impl FnMut(H::Packet, Outcome)) -> Result<Reaped, Violation> {
        let mut reaped = Reaped::default();
        loop {
            self.take_responses(&mut reaped, &mut done)?;
            if self.broken
                || !self
                    .ring
                    .final_check_after(self.coalesce)
                    .map_err(|error| self.violated(error.into()))?
            {
                return Ok(reaped);
            }
        }
    }

    /// Like [`reap`](Self::reap), without asking for a notification.
    #[inline]
    pub fn poll(&mut self, mut done: impl FnMut(H::Packet, Outcome)) -> Result<Reaped, Violation> {
        let mut reaped = Reaped::default();
        self.take_responses(&mut reaped, &mut done)?;
        Ok(reaped)
    }

    #[inline]
    fn take_responses(
        &mut self,
        reaped: &mut Reaped,
        done: &mut impl FnMut(H::Packet, Outcome),
    ) -> Result<(), Violation> {
        while !self.broken {
            let response = match self.ring.next_response() {
                Ok(Some(response)) => response,
                Ok(None) => break,
                Err(error) => return Err(self.violated(error.into())),
            };
            reaped.responses += 1;
            match self.answer(response) {
                Ok(Some((packet, outcome))) => {
                    reaped.packets += 1;
                    done(packet, outcome);
                }
                Ok(None) => {}
                Err(violation) => return Err(self.violated(violation)),
            }
        }
        Ok(())
    }

    /// Checks a response and ends its slot; returns the packet if that was its last one.
    #[inline]
    fn answer(&mut self, response: TxResponse) -> Result<Option<(H::Packet, Outcome)>, Violation> {
        let TxResponse { id, status } = response;
        if status == wire::RSP_NULL {
            self.extras = self.extras.checked_sub(1).ok_or(Violation::Null)?;
            return Ok(None);
        }
        let Some(mut slot) = self.slots.get_mut(usize::from(id)) else {
            return Err(Violation::Id { id });
        };
        if slot.fragment == IDLE {
            return Err(Violation::Id { id });
        }
        if slot.fragment == MULTICAST {
            self.stats.multicast_failed += u64::from(status != wire::RSP_OKAY);
        } else if !self.host.end(slot.gref) {
            return Err(Violation::Held {
                id,
                gref: slot.gref,
            });
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
        if status != wire::RSP_OKAY {
            slot.outcome = match (slot.outcome, status) {
                (Outcome::Sent, wire::RSP_DROPPED) => Outcome::Dropped,
                (Outcome::Dropped, wire::RSP_DROPPED) => Outcome::Dropped,
                // A status that the protocol does not know is an error like any other.
                _ => Outcome::Failed,
            };
        }
        slot.left = slot.left.saturating_sub(1);
        if slot.left != 0 {
            return Ok(None);
        }
        slot.link = self.idle;
        self.idle = head;
        let finished = slot.packet.take().map(|packet| (packet, slot.outcome));
        if let Some((_, outcome)) = &finished {
            self.stats.failed += u64::from(*outcome != Outcome::Sent);
        }
        Ok(finished)
    }
}
