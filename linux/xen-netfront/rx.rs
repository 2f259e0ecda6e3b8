// SPDX-License-Identifier: GPL-2.0-only

//! Receiving.
//!
//! All of it is in the poll function. A short frame is copied into a packet of its own, so that its
//! page goes back at once; one that leaves room in its page becomes the packet's linear part; of
//! a longer one the header is copied, and the rest stays in its pages.

use kernel::sync::Arc;
use portico::{
    event::Notifier,
    host::Host,
    net::{
        NetDevice, NewSkb, Outgoing, Poll, Polled, Program, Queue, XdpBuff, XdpVerdict,
        XDP_HEADROOM, XDP_MAX_LEN,
    },
    work::Delayed,
};
use portico_core::net::{wire::NR_SLOTS_MIN, Frame, HashType, Meta, RxQueue, Violation};

use crate::{
    net::{Net, NetQueue},
    tx,
    works::{Again, Attend},
};

/// Bytes up to which a frame is copied.
const COPYBREAK: u32 = 256;
/// Bytes of a longer frame that are copied: its headers are among them.
const HEADER: u32 = 128;
/// Buffers that must be in the ring, or a frame of many pieces would wait for them.
const LEAST_BUFFERS: u32 = NR_SLOTS_MIN as u32 + 1;
/// Time after which pages are asked for again, in milliseconds.
const REFILL_MS: u32 = 100;

/// Where a receive queue leads.
pub(crate) enum RxLink {
    /// Nowhere now.
    Down,
    /// To a ring.
    Live(RxLive),
}

/// A ring that is connected.
pub(crate) struct RxLive {
    queue: RxQueue<Host<Outgoing>>,
    notifier: Notifier,
    /// The back end must see nothing but what it wrote itself.
    bounce: bool,
    attend: Arc<Delayed<Attend>>,
    again: Arc<Delayed<Again>>,
    /// How the back end broke the protocol, until somebody has said so.
    violation: Option<Violation>,
}

impl RxLive {
    pub(crate) fn new(
        queue: RxQueue<Host<Outgoing>>,
        notifier: Notifier,
        bounce: bool,
        attend: Arc<Delayed<Attend>>,
        again: Arc<Delayed<Again>>,
    ) -> Self {
        Self {
            queue,
            notifier,
            bounce,
            attend,
            again,
            violation: None,
        }
    }

    pub(crate) fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    pub(crate) fn ring(&self) -> &RxQueue<Host<Outgoing>> {
        &self.queue
    }

    /// Receives up to `budget` frames and fills the ring up.
    #[inline]
    fn poll(
        &mut self,
        dev: &NetDevice<Net>,
        queue: &Queue<Net>,
        poll: &Poll<'_, Net>,
        budget: u32,
    ) -> Polled {
        let data = queue.data();
        if self.queue.is_broken() {
            return Polled::Done(0);
        }
        let before = self.queue.stats();
        let mut xdp = poll.xdp_program(dev).map(|program| Xdp {
            takes_pages: program.takes_pages(),
            program,
            sent: false,
            redirected: false,
        });
        let received = self.queue.receive(budget, |frame| match &mut xdp {
            None => receive(data, poll, frame),
            Some(xdp) => xdp.receive(queue, poll, frame),
        });
        if let Some(xdp) = xdp {
            xdp.finish(queue, poll);
        }
        let after = self.queue.stats();
        let errors = (after.failed - before.failed) + (after.malformed - before.malformed);
        if errors != 0 {
            data.counters.rx_errors.add(errors);
        }
        let received = match received {
            Ok(received) => received,
            Err(violation) => return self.broken(data, violation),
        };
        if received.responses != 0 {
            data.rx_worked.set(true);
        }
        let bounce = self.bounce;
        let missing = self.queue.refill(|| {
            let mut page = poll.alloc_page()?;
            if bounce {
                // The stack has kept its own account of the last packet in it.
                page.clear();
            }
            Some(page)
        });
        if self.queue.push() {
            self.notifier.notify();
        }
        if missing != 0 {
            data.counters.rx_no_page.add(1);
            if self.queue.posted() < LEAST_BUFFERS {
                self.again.schedule_once(REFILL_MS);
            }
        }
        if received.frames >= budget {
            return Polled::More;
        }
        match self.queue.arm() {
            Ok(true) => Polled::More,
            Ok(false) => Polled::Done(received.frames),
            Err(violation) => self.broken(data, violation),
        }
    }

    #[cold]
    fn broken(&mut self, data: &NetQueue, violation: Violation) -> Polled {
        data.broken.set(true);
        self.violation = Some(violation);
        self.attend.schedule(0);
        Polled::Done(0)
    }
}

/// Makes a packet of a frame and passes it up.
#[inline]
fn receive(data: &NetQueue, poll: &Poll<'_, Net>, frame: &mut Frame<'_, Host<Outgoing>>) {
    let counters = &data.counters;
    let bytes = frame.bytes();
    let meta = *frame.meta();
    let Some(skb) = packet(poll, frame) else {
        counters.rx_dropped.add(1);
        return;
    };
    pass_up(data, poll, skb, bytes, &meta);
}

/// Passes a packet up.
#[inline]
fn pass_up(data: &NetQueue, poll: &Poll<'_, Net>, mut skb: NewSkb, bytes: u32, meta: &Meta) {
    let counters = &data.counters;
    skb.set_checksum(meta.checksum);
    if let Some(gso) = meta.gso {
        skb.set_gso(gso);
    }
    if let Some(hash) = meta.hash {
        let l4 = matches!(hash.kind, HashType::Ipv4Tcp | HashType::Ipv6Tcp);
        skb.set_hash(hash.value, l4);
    }
    match poll.receive(skb) {
        Ok(fixed) => {
            counters.rx_packets.add(1);
            counters.rx_bytes.add(u64::from(bytes));
            if fixed {
                counters.rx_gso_checksum_fixup.add(1);
            }
        }
        Err(_) => counters.rx_errors.add(1),
    }
}

/// The XDP program of a poll, and what is left to do for it.
struct Xdp<'a> {
    program: Program<'a>,
    takes_pages: bool,
    sent: bool,
    redirected: bool,
}

impl Xdp<'_> {
    /// Runs the program on a frame.
    fn receive(
        &mut self,
        queue: &Queue<Net>,
        poll: &Poll<'_, Net>,
        frame: &mut Frame<'_, Host<Outgoing>>,
    ) {
        let data = queue.data();
        let counters = &data.counters;
        let bytes = frame.bytes();
        let meta = *frame.meta();
        let Some(buff) = gather(poll, frame, self.takes_pages) else {
            counters.rx_xdp_too_long.add(1);
            counters.rx_dropped.add(1);
            return;
        };
        let received = || {
            counters.rx_packets.add(1);
            counters.rx_bytes.add(u64::from(bytes));
        };
        match self.program.run(poll, buff) {
            XdpVerdict::Pass(buff) => {
                counters.rx_xdp_pass.add(1);
                match buff.into_skb(poll.bh_off()) {
                    Some(skb) => {
                        let bytes = skb.len();
                        pass_up(data, poll, skb, bytes, &meta);
                    }
                    None => counters.rx_dropped.add(1),
                }
            }
            // To the stack, XDP is part of itself.
            XdpVerdict::Tx(frame) => {
                received();
                counters.rx_xdp_tx.add(1);
                self.sent |= tx::send_frame(queue, frame);
            }
            XdpVerdict::Redirected => {
                received();
                counters.rx_xdp_redirect.add(1);
                self.redirected = true;
            }
            XdpVerdict::Dropped => {
                received();
                counters.rx_xdp_drop.add(1);
            }
        }
    }

    fn finish(self, queue: &Queue<Net>, poll: &Poll<'_, Net>) {
        if self.sent {
            tx::push(queue);
        }
        if self.redirected {
            poll.flush_xdp();
        }
    }
}

/// The frame as a program takes it. `None`: it is of several pages and the program does not take them, or of too
/// many, or there is no memory.
fn gather<'a>(
    poll: &Poll<'a, Net>,
    frame: &mut Frame<'_, Host<Outgoing>>,
    takes_pages: bool,
) -> Option<XdpBuff<'a>> {
    let bytes = frame.bytes();
    let first = frame.next()?;
    let (mut page, mut offset, mut len) = (first.buffer, first.offset, first.len);
    if !takes_pages && (len < bytes || len > XDP_MAX_LEN) {
        return None;
    }
    // What does not fit the first page with room around it.
    let mut rest = None;
    if offset < XDP_HEADROOM {
        // The back end leaves room, but for frames that were under way when it was asked to.
        let mut roomy = poll.alloc_page()?;
        let head = len.min(XDP_MAX_LEN);
        page.copy_to(offset, head, &mut roomy, XDP_HEADROOM);
        if head < len {
            rest = Some((page, offset + head, len - head));
        }
        (page, offset, len) = (roomy, XDP_HEADROOM, head);
    } else if offset + len > XDP_HEADROOM + XDP_MAX_LEN {
        let head = (XDP_HEADROOM + XDP_MAX_LEN).saturating_sub(offset);
        let mut more = poll.alloc_page()?;
        page.copy_to(offset + head, len - head, &mut more, 0);
        rest = Some((more, 0, len - head));
        len = head;
    }
    if rest.is_some() && !takes_pages {
        return None;
    }
    let mut buff = XdpBuff::new(poll, page, offset, len)?;
    if let Some((page, offset, len)) = rest {
        if !buff.add_page(page, offset, len) {
            return None;
        }
    }
    for piece in frame {
        if !buff.add_page(piece.buffer, piece.offset, piece.len) {
            return None;
        }
    }
    Some(buff)
}

/// The frame as a packet. `None`: there is no memory, or it has too many pieces for the stack.
#[inline]
fn packet(poll: &Poll<'_, Net>, frame: &mut Frame<'_, Host<Outgoing>>) -> Option<NewSkb> {
    let bytes = frame.bytes();
    let first = frame.next()?;
    let (mut page, offset, len) = (first.buffer, first.offset, first.len);
    if len == bytes && len > COPYBREAK {
        match NewSkb::build(page, offset, len, poll.bh_off()) {
            Ok(skb) => return Some(skb),
            // There is no room in it.
            Err(same) => page = same,
        }
    }
    let copied = if len <= COPYBREAK { len } else { HEADER };
    let mut skb = poll.alloc_skb(COPYBREAK)?;
    if !skb.append(&page, offset, copied) {
        return None;
    }
    if copied < len {
        skb.add_page(page, offset + copied, len - copied).ok()?;
    } else {
        drop(page);
    }
    for piece in frame {
        skb.add_page(piece.buffer, piece.offset, piece.len).ok()?;
    }
    Some(skb)
}

/// Receives, in the poll function.
#[inline]
pub(crate) fn poll(
    dev: &NetDevice<Net>,
    queue: &Queue<Net>,
    poll: &Poll<'_, Net>,
    budget: u32,
) -> Polled {
    match &mut *queue.data().rx.lock() {
        RxLink::Live(live) => live.poll(dev, queue, poll, budget),
        RxLink::Down => Polled::Done(0),
    }
}
