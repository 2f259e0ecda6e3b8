// SPDX-License-Identifier: GPL-2.0-only

//! Counters, of each queue since the device was made, and since its rings were.

use portico::net::{Counter, Names, NetDevice, Queue, RxQueueStats, Stats, TxQueueStats, Values};
use portico_core::net::{RxStats, TxStats};

use crate::{
    net::{Net, NetQueue},
    rx::RxLink,
    tx::TxLink,
};

/// What a queue counts. The transmit side is under the lock of the transmit queue, the receive side in
/// the poll function.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) tx_packets: Counter,
    pub(crate) tx_bytes: Counter,
    pub(crate) tx_errors: Counter,
    pub(crate) tx_dropped: Counter,
    /// Packets that the back end was left to cut, in rings that are gone.
    pub(crate) tx_gso_before: Counter,
    /// Times that the stack was stopped because the ring was full.
    pub(crate) tx_stopped: Counter,
    /// Times that the stack's watchdog found it stopped.
    pub(crate) tx_timeouts: Counter,
    pub(crate) rx_packets: Counter,
    pub(crate) rx_bytes: Counter,
    pub(crate) rx_errors: Counter,
    pub(crate) rx_dropped: Counter,
    /// Times that there was no page to receive into.
    pub(crate) rx_no_page: Counter,
    pub(crate) rx_gso_checksum_fixup: Counter,
    /// Frames of XDP programs that were sent.
    pub(crate) tx_xdp: Counter,
    pub(crate) rx_xdp_pass: Counter,
    pub(crate) rx_xdp_drop: Counter,
    pub(crate) rx_xdp_tx: Counter,
    pub(crate) rx_xdp_redirect: Counter,
    /// Frames that XDP programs were not given: they are dropped.
    pub(crate) rx_xdp_too_long: Counter,
}

/// The sum over all queues.
pub(crate) fn total(dev: &NetDevice<Net>) -> Stats {
    let mut total = Stats::default();
    for queue in dev.queues() {
        let c = &queue.data().counters;
        total.tx_packets += c.tx_packets.get();
        total.tx_bytes += c.tx_bytes.get();
        total.tx_errors += c.tx_errors.get();
        total.tx_dropped += c.tx_dropped.get();
        total.rx_packets += c.rx_packets.get();
        total.rx_bytes += c.rx_bytes.get();
        total.rx_errors += c.rx_errors.get();
        total.rx_dropped += c.rx_dropped.get();
    }
    total
}

/// What a queue has received.
pub(crate) fn received(queue: &Queue<Net>) -> RxQueueStats {
    let c = &queue.data().counters;
    RxQueueStats {
        packets: c.rx_packets.get(),
        bytes: c.rx_bytes.get(),
        alloc_fail: c.rx_no_page.get(),
    }
}

/// What a queue has sent.
pub(crate) fn sent(queue: &Queue<Net>) -> TxQueueStats {
    let c = &queue.data().counters;
    let gso = match &*queue.lock_tx() {
        TxLink::Live(live) => live.ring().stats().gso,
        TxLink::Down => 0,
    };
    TxQueueStats {
        packets: c.tx_packets.get(),
        bytes: c.tx_bytes.get(),
        gso_packets: c.tx_gso_before.get() + gso,
        stop: c.tx_stopped.get(),
    }
}

/// What `ethtool -S` shows of a queue, in its order.
fn of_queue(data: &NetQueue, tx: TxStats, rx: RxStats) -> [(&'static str, u64); 31] {
    let c = &data.counters;
    [
        ("tx_packets", c.tx_packets.get()),
        ("tx_bytes", c.tx_bytes.get()),
        ("tx_errors", c.tx_errors.get()),
        ("tx_dropped", c.tx_dropped.get()),
        ("tx_stopped", c.tx_stopped.get()),
        ("tx_timeouts", c.tx_timeouts.get()),
        ("tx_slots", tx.slots),
        ("tx_copied", tx.copied),
        ("tx_gso", tx.gso),
        ("tx_ring_full", tx.ring_full),
        ("tx_notifications", tx.notifications),
        ("tx_notifications_saved", tx.notifications_saved),
        ("tx_xdp", c.tx_xdp.get()),
        ("rx_packets", c.rx_packets.get()),
        ("rx_bytes", c.rx_bytes.get()),
        ("rx_errors", c.rx_errors.get()),
        ("rx_dropped", c.rx_dropped.get()),
        ("rx_no_page", c.rx_no_page.get()),
        ("rx_xdp_pass", c.rx_xdp_pass.get()),
        ("rx_xdp_drop", c.rx_xdp_drop.get()),
        ("rx_xdp_tx", c.rx_xdp_tx.get()),
        ("rx_xdp_redirect", c.rx_xdp_redirect.get()),
        ("rx_xdp_too_long", c.rx_xdp_too_long.get()),
        ("rx_fragments", rx.fragments),
        ("rx_gso", rx.gso),
        ("rx_buffers", rx.buffers),
        ("rx_reposted", rx.reposted),
        ("rx_failed", rx.failed),
        ("rx_malformed", rx.malformed),
        ("rx_notifications", rx.notifications),
        ("rx_notifications_saved", rx.notifications_saved),
    ]
}

/// The names: the stock driver's counter, then those of each queue.
pub(crate) fn names(dev: &NetDevice<Net>, names: &mut Names<'_>) {
    names.add(format_args!("rx_gso_checksum_fixup"));
    for queue in dev.queues() {
        let index = queue.index();
        for (name, _) in of_queue(queue.data(), TxStats::default(), RxStats::default()) {
            // A name has 31 bytes.
            names.add(format_args!("q{index}_{name}"));
        }
    }
}

/// The values, in the order of the names.
pub(crate) fn values(dev: &NetDevice<Net>, values: &mut Values<'_>) {
    let fixups = dev
        .queues()
        .map(|queue| queue.data().counters.rx_gso_checksum_fixup.get());
    values.add(fixups.sum());
    for queue in dev.queues() {
        let tx = match &*queue.lock_tx() {
            TxLink::Live(live) => live.ring().stats(),
            TxLink::Down => TxStats::default(),
        };
        let rx = match &*queue.data().rx.lock() {
            RxLink::Live(live) => live.ring().stats(),
            RxLink::Down => RxStats::default(),
        };
        for (_, value) in of_queue(queue.data(), tx, rx) {
            values.add(value);
        }
    }
}
