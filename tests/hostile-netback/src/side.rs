// SPDX-License-Identifier: MIT OR Apache-2.0
//! One ring, with the faults of any ring.

use crate::stats::Stats;
use hostile_back::memory::{Guest, RingPages};
use portico_core::ring::{BackRing, RingError};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where `rsp_prod` lies.
const RSP_PROD: usize = 8;

/// A ring and what is wrong with it.
pub struct Side<G: Guest, Req, Rsp> {
    guest: std::rc::Rc<G>,
    /// The ring.
    pub ring: BackRing<G::Ring, Req, Rsp>,
    /// Answers that were put and not yet published.
    unpublished: u64,
    /// What is added to the producer index that the front end sees.
    shift: u32,
    /// Publications without notification: how many more, or for ever.
    silence: Option<Option<u32>>,
}

impl<G: Guest, Req, Rsp> Side<G, Req, Rsp>
where
    Req: FromBytes + IntoBytes,
    Rsp: IntoBytes + Immutable,
{
    /// Attaches to a ring.
    pub fn new(guest: std::rc::Rc<G>, ring: G::Ring) -> Result<Self, RingError> {
        Ok(Side {
            guest,
            ring: BackRing::attach(ring)?,
            unpublished: 0,
            shift: 0,
            silence: None,
        })
    }

    /// The guest's end.
    pub fn guest(&self) -> &G {
        &self.guest
    }

    /// Puts an answer, whatever the ring's rules say.
    pub fn put(&mut self, response: &Rsp) {
        self.unpublished += 1;
        self.ring.put_response_unchecked(response);
    }

    /// Publishes what was put, and notifies if the front end wants it and no fault forbids it.
    pub fn publish(&mut self, stats: &mut Stats) {
        if std::mem::take(&mut self.unpublished) == 0 {
            return;
        }
        let wanted = self.ring.push();
        if self.shift != 0 {
            let right = self.ring.memory().load(RSP_PROD);
            self.ring.set_rsp_prod(right.wrapping_add(self.shift));
        }
        if let Some(left) = &mut self.silence {
            match left {
                None => return,
                Some(0) => self.silence = None,
                Some(n) => {
                    *n -= 1;
                    return;
                }
            }
        }
        if wanted {
            self.notify(stats);
        } else {
            stats.notifies_saved += 1;
        }
    }

    /// Notifies the front end.
    pub fn notify(&self, stats: &mut Stats) {
        stats.notifies += 1;
        self.guest.notify();
    }

    /// Does not notify for so many publications, or never again.
    pub fn silence(&mut self, publications: Option<u32>) {
        self.silence = Some(publications);
    }

    /// Shows the front end a producer index that is off by `by`, now and from now on, and tells it so.
    pub fn shift(&mut self, by: u32, stats: &mut Stats) {
        self.publish(stats);
        self.shift = self.shift.wrapping_add(by);
        let shown = self.ring.memory().load(RSP_PROD);
        self.ring.set_rsp_prod(shown.wrapping_add(by));
        self.notify(stats);
    }

    /// The index at which the next answer that is published will be seen.
    pub fn next_published(&self) -> u32 {
        self.ring.memory().load(RSP_PROD).wrapping_sub(self.shift)
    }
}
