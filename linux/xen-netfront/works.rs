// SPDX-License-Identifier: GPL-2.0-only

//! What a device does in a thread of its own.

use kernel::{prelude::*, sync::Arc};
use portico::{
    net::{NetDevice, Queue},
    work::Run,
};
use portico_core::net::Violation;

use crate::{front::Front, net::Net, rx::RxLink, tx::TxLink};

/// Attends to what the poll function has found and may not do itself.
pub(crate) struct Attend(pub(crate) Arc<Front>);

impl Run for Attend {
    fn run(&self) -> Option<u32> {
        let front = &self.0;
        for queue in front.net.queues() {
            let Some((ring, violation)) = violation(queue) else {
                continue;
            };
            // Packets that wait in the rings belong to somebody.
            front.tear_down();
            front.dev.fatal(
                EIO,
                format_args!(
                    "queue {}: {ring} ring: {violation}: device broken",
                    queue.index()
                ),
            );
            break;
        }
        None
    }
}

/// In which ring of a queue the back end broke the protocol, and how, if that was not said yet.
fn violation(queue: &Queue<Net>) -> Option<(&'static str, Violation)> {
    if let TxLink::Live(live) = &mut *queue.lock_tx() {
        if let Some(violation) = live.take_violation() {
            return Some(("transmit", violation));
        }
    }
    match &mut *queue.data().rx.lock() {
        RxLink::Live(live) => Some(("receive", live.take_violation()?)),
        RxLink::Down => None,
    }
}

/// Polls the queues again: for pages that were missing, or for answers that the back end does not tell of
/// yet.
pub(crate) struct Again(pub(crate) Arc<NetDevice<Net>>);

impl Run for Again {
    fn run(&self) -> Option<u32> {
        self.0.queues().for_each(|queue| queue.schedule());
        None
    }
}
