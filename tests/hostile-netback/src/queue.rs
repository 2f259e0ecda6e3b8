// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pair of rings, served.

use crate::options::Options;
use crate::receive::Receive;
use crate::reflect::reflect;
use crate::script::{Fault, Injector, Op};
use crate::side::Side;
use crate::stats::Stats;
use crate::transmit::{Sent, Transmit};
use hostile_back::memory::Guest;
use hostile_back::script::Fault as _;
use portico_core::net::wire::{
    NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED,
};
use portico_core::ring::RingError;
use std::rc::Rc;

/// The back end of one pair of rings.
pub struct Queue<G: Guest> {
    transmit: Transmit<G>,
    receive: Receive<G>,
    /// Counts since the start.
    pub stats: Stats,
}

impl<G: Guest> Queue<G> {
    /// Attaches to both rings; with one event channel for both, the two guests are the same.
    pub fn new(tx: (Rc<G>, G::Ring), rx: (Rc<G>, G::Ring)) -> Result<Self, RingError> {
        Ok(Queue {
            transmit: Transmit::new(Side::new(tx.0, tx.1)?),
            receive: Receive::new(Side::new(rx.0, rx.1)?),
            stats: Stats::default(),
        })
    }

    /// The guest's ends: of the transmit and of the receive ring.
    pub fn guests(&self) -> [&G; 2] {
        [self.transmit.side.guest(), self.receive.side.guest()]
    }

    /// Takes and answers all packets, and passes answers to the guest. `now` is a time in milliseconds.
    /// The faults that are the device's are given back. An error means that the guest broke a ring.
    pub fn serve(
        &mut self,
        now: u64,
        options: &Options,
        injector: &mut Injector,
    ) -> Result<Vec<Fault>, RingError> {
        let mut device = Vec::new();
        self.transmit.release(now);
        self.receive.release(now);
        loop {
            while let Some(packet) = self.transmit.next_packet()? {
                let faults = injector.request(Op::Transmit);
                let sent = self.transmit.take(now, &packet, &faults, &mut self.stats);
                self.fault(&faults);
                device.extend(faults.into_iter().filter(Fault::is_device));
                if let Some(sent) = sent {
                    self.reflected(sent, now, options, injector, &mut device);
                }
                if !device.is_empty() {
                    self.transmit.side.publish(&mut self.stats);
                    self.receive.fill(&mut self.stats)?;
                    return Ok(device);
                }
            }
            self.transmit.side.publish(&mut self.stats);
            self.receive.fill(&mut self.stats)?;
            if !self.transmit.side.ring.final_check()? {
                return Ok(device);
            }
        }
    }

    /// Passes the answer of the host behind on, if there is one.
    fn reflected(
        &mut self,
        sent: Sent,
        now: u64,
        options: &Options,
        injector: &mut Injector,
        device: &mut Vec<Fault>,
    ) {
        let mut frame = sent.bytes;
        if sent.gso || !reflect(&mut frame, options.address) {
            return;
        }
        self.stats.reflected += 1;
        let mut flags = 0;
        if sent.flags & NETTXF_CSUM_BLANK != 0 {
            flags |= NETRXF_CSUM_BLANK;
        }
        if sent.flags & (NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED) != 0 {
            flags |= NETRXF_DATA_VALIDATED;
        }
        let faults = injector.request(Op::Receive);
        let stats = &mut self.stats;
        self.receive
            .pass(frame, flags, options.piece, now, &faults, stats);
        self.fault(&faults);
        device.extend(faults.into_iter().filter(Fault::is_device));
    }

    /// When something is due that [`Self::serve`] must do though no notification comes.
    pub fn next_due(&self) -> Option<u64> {
        let both = [self.transmit.next_due(), self.receive.next_due()];
        both.into_iter().flatten().min()
    }

    /// Applies faults that need no packet.
    pub fn fault(&mut self, faults: &[Fault]) {
        let stats = &mut self.stats;
        let (tx, rx) = (&mut self.transmit.side, &mut self.receive.side);
        for fault in faults {
            match *fault {
                Fault::TxAhead(by) => tx.shift(by, stats),
                Fault::TxBack(by) => tx.shift(by.wrapping_neg(), stats),
                Fault::RxAhead(by) => rx.shift(by, stats),
                Fault::RxBack(by) => rx.shift(by.wrapping_neg(), stats),
                Fault::Storm(times) => {
                    for _ in 0..times {
                        tx.notify(stats);
                        rx.notify(stats);
                    }
                }
                Fault::Silence(publications) => {
                    tx.silence(publications);
                    rx.silence(publications);
                }
                _ => {}
            }
        }
    }
}
