// SPDX-License-Identifier: GPL-2.0-only

//! Counters in debugfs: `xen-blkfront-<device>/stats`, for each ring since it was connected.

use kernel::{fmt, sync::Arc};
use portico_core::block::Stats;

use crate::front::Front;

/// What the file shows.
pub(crate) struct StatsFile(pub(crate) Arc<Front>);

impl fmt::Debug for StatsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ring) in self.0.rings().iter().enumerate() {
            let Some((stats, persistent)) = ring.stats() else {
                continue;
            };
            let Stats {
                requests,
                segments,
                indirect,
                ring_full,
                notifications,
                notifications_saved,
                persistent_hits,
                grants,
                bounces,
                flushes,
                discards,
                failed,
            } = stats;
            for (name, value) in [
                ("requests", requests),
                ("segments", segments),
                ("indirect", indirect),
                ("ring_full", ring_full),
                ("notifications", notifications),
                ("notifications_saved", notifications_saved),
                ("persistent_hits", persistent_hits),
                ("persistent_grants", persistent as u64),
                ("grants", grants),
                ("bounces", bounces),
                ("flushes", flushes),
                ("discards", discards),
                ("failed", failed),
            ] {
                writeln!(f, "queue{index}_{name} {value}")?;
            }
        }
        Ok(())
    }
}
