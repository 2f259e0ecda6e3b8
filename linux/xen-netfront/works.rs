// SPDX-License-Identifier: GPL-2.0-only

//! What a device does in a thread of its own.

use kernel::{prelude::*, sync::Arc};
use portico::{net::NetDevice, work::Run};

use crate::{front::Front, net::Net};

/// Attends to what the poll function has found and may not do itself.
pub(crate) struct Attend(pub(crate) Arc<Front>);

impl Run for Attend {
    fn run(&self) -> Option<u32> {
        let front = &self.0;
        for queue in front.net.queues() {
            let Some((ring, violation)) = queue.data().violation.lock().take() else {
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

/// Asks for pages again.
pub(crate) struct Refill(pub(crate) Arc<NetDevice<Net>>);

impl Run for Refill {
    fn run(&self) -> Option<u32> {
        self.0.queues().for_each(|queue| queue.schedule());
        None
    }
}
