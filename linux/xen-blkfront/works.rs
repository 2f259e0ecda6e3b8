// SPDX-License-Identifier: GPL-2.0-only

//! What a device does in a thread of its own.

use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
};
use portico::work::Run;

use crate::front::{Front, Shown, FINISH_MS, PURGE_MS};

/// Shows the disk.
pub(crate) struct Add(pub(crate) Arc<Front>);

impl Run for Add {
    fn run(&self) -> Option<u32> {
        let front = &self.0;
        let new = {
            let mut connection = front.connection.lock();
            match core::mem::replace(&mut connection.shown, Shown::Adding) {
                Shown::New(new) => new,
                other => {
                    connection.shown = other;
                    return None;
                }
            }
        };
        // No lock is held: it takes as long as the back end takes to answer.
        let added = new.add_disk(Some((*front.dev).as_ref()));
        let mut connection = front.connection.lock();
        match added {
            Ok(disk) => {
                if let Some(now) = &connection.disk {
                    disk.set_capacity(now.sectors);
                }
                connection.shown = Shown::Disk(disk);
            }
            Err(error) => {
                connection.shown = Shown::Gone;
                drop(connection);
                front
                    .dev
                    .fatal(error, format_args!("{} cannot be added", front.vdev));
            }
        }
        None
    }
}

/// Attends to what an event handler has found and may not do itself.
pub(crate) struct Attend(pub(crate) Arc<Front>);

impl Run for Attend {
    fn run(&self) -> Option<u32> {
        let front = &self.0;
        for (ring, index) in front.rings().iter().zip(0u32..) {
            let Some(Some(violation)) = ring.with(|live| live.violation.take()) else {
                continue;
            };
            front.rings().iter().for_each(|ring| ring.fail());
            front.dev.fatal(
                EIO,
                format_args!("queue {index}: {violation}: device broken"),
            );
            return None;
        }
        front.drop_features();
        None
    }
}

/// Ends persistent grants that the back end has let go.
pub(crate) struct Purge(pub(crate) Arc<Front>);

impl Run for Purge {
    fn run(&self) -> Option<u32> {
        for ring in self.0.rings().iter() {
            ring.with(|live| live.queue.purge());
        }
        Some(PURGE_MS)
    }
}

/// Gives the rings up when nothing is answered any more while the disk is being removed.
pub(crate) struct GiveUp {
    pub(crate) front: Arc<Front>,
    /// Responses when it was last looked.
    pub(crate) answered: Atomic<u64>,
}

impl Run for GiveUp {
    fn run(&self) -> Option<u32> {
        let front = &self.front;
        let owed = front
            .rings()
            .iter()
            .map(|ring| ring.pending() as u64)
            .sum::<u64>();
        let sent = front.rings().iter().filter_map(|ring| ring.stats());
        let answered = sent
            .map(|(stats, _)| stats.requests)
            .sum::<u64>()
            .wrapping_sub(owed);
        if owed == 0 || self.answered.load(Relaxed) != answered {
            self.answered.store(answered, Relaxed);
            return Some(FINISH_MS);
        }
        dev_warn!(
            front.dev,
            "the back end owes {owed} responses: they are given up\n"
        );
        front.rings().iter().for_each(|ring| ring.fail());
        None
    }
}
