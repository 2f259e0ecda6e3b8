// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest and its back end say about a disk: store keys, queue limits, our counters.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{bail, Context as _, Result};

use crate::machine::{Guest, Machine};

/// Number of `xvda` on the bus; `xvdb` and so on come 16 apart.
pub(super) const XVDA: u32 = 51712;

/// Facts about one disk.
#[derive(Debug, Default)]
pub(super) struct DiskFacts {
    /// What the front end wrote.
    pub(super) front: BTreeMap<String, String>,
    /// Files of `/sys/block/NAME/queue` and the disk's own.
    pub(super) queue: BTreeMap<String, String>,
    /// Sums over the queues of our counters; empty with the stock driver.
    pub(super) counters: BTreeMap<String, u64>,
}

impl DiskFacts {
    /// Reads them. `disk` is such as `xvda`.
    pub(super) fn read(machine: &mut Machine, guest: &Guest, disk: &str) -> Result<Self> {
        let number = vdev(disk)?;
        let domid = guest.domid;
        let front = nodes(
            machine,
            &format!("/local/domain/{domid}/device/vbd/{number}"),
        )?;
        let script = format!(
            "cd /sys/block/{disk} || exit 1; for f in size ro removable queue/*; do \
             [ -f $f ] && echo \"$f=$(cat $f 2>/dev/null)\"; done; \
             echo \"queues=$(ls mq | wc -l)\"; \
             cat /sys/kernel/debug/xen-blkfront-vbd-{number}/stats 2>/dev/null; true"
        );
        let exit = machine.at(guest).shell(&script, Duration::from_secs(30))?;
        if exit.code != 0 {
            bail!("the guest has no disk {disk}");
        }
        let mut facts = Self {
            front,
            ..Self::default()
        };
        for line in exit.stdout.lines() {
            if let Some((name, value)) = line.split_once('=') {
                let name = name.trim_start_matches("queue/");
                facts.queue.insert(name.to_owned(), value.to_owned());
            } else if let Some((name, value)) = counter(line) {
                *facts.counters.entry(name).or_default() += value;
            }
        }
        Ok(facts)
    }

    /// A number that the front end wrote; `absent` if it did not.
    pub(super) fn front_number(&self, key: &str, absent: u64) -> Result<u64> {
        match self.front.get(key) {
            None => Ok(absent),
            Some(text) => text.parse().with_context(|| format!("{key} is {text:?}")),
        }
    }

    /// A number from `/sys/block`.
    pub(super) fn queue_number(&self, name: &str) -> Result<u64> {
        let text = self
            .queue
            .get(name)
            .with_context(|| format!("no {name} in /sys/block"))?;
        text.parse().with_context(|| format!("{name} is {text:?}"))
    }

    /// One of our counters; none with the stock driver, which has none.
    pub(super) fn counter(&self, name: &str) -> Option<u64> {
        self.counters.get(name).copied()
    }
}

/// Number of a disk on the bus.
pub(super) fn vdev(disk: &str) -> Result<u32> {
    match disk.strip_prefix("xvd").map(str::as_bytes) {
        Some([letter @ b'a'..=b'p']) => Ok(XVDA + 16 * u32::from(letter - b'a')),
        _ => bail!("{disk} is not one of xvda to xvdp"),
    }
}

/// `queue1_requests 12`.
fn counter(line: &str) -> Option<(String, u64)> {
    let (name, value) = line.split_once(' ')?;
    let (_, name) = name.split_once('_')?;
    Some((name.to_owned(), value.parse().ok()?))
}

/// Nodes below a path of the store, by their path from there.
pub(super) fn nodes(machine: &mut Machine, path: &str) -> Result<BTreeMap<String, String>> {
    let nodes = machine.dom0().store_tree(path)?;
    Ok(nodes
        .into_iter()
        .filter_map(|(name, value)| {
            let below = name.strip_prefix(path)?.strip_prefix('/')?;
            Some((below.to_owned(), value))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_their_numbers() {
        assert_eq!(vdev("xvda").unwrap(), 51712);
        assert_eq!(vdev("xvdb").unwrap(), 51728);
        assert!(vdev("sda").is_err());
    }

    #[test]
    fn counters_are_told_by_their_form() {
        assert_eq!(counter("queue0_ring_full 7"), Some(("ring_full".into(), 7)));
        assert_eq!(counter("size=5"), None);
    }
}
