// SPDX-License-Identifier: GPL-2.0-only

//! Sending.
//!
//! All of it is under the lock of the stack's transmit queue. The back end is told once per batch of
//! packets. Short packets are copied and given back at once. What the back end has answered is taken when
//! the ring fills up, and in the poll function, which is also where a notification is asked for if there
//! is anything to wait for: so there is at most one per poll, and none on account of short packets. Only the
//! first packet that is waited for again asks by itself.

use kernel::{prelude::*, sync::Arc};
use portico::{
    event::Notifier,
    grant::Page,
    host::Host,
    net::{
        irqs_disabled, BhOff, Copied, Outgoing, Queue, SkBuff, TxQueue as Stack, XdpFrame,
        XdpFrames, MAC_LEN,
    },
    work::Delayed,
};
use portico_core::net::{
    tx::{COPY_MAX, MAX_SLOTS},
    wire::TX_ENTRIES,
    Busy, Meta, Outcome, TxQueue, Violation,
};

use crate::{
    multicast::Listening,
    net::{Net, NetQueue},
    works::{Again, Attend},
};

/// Free slots at which a stopped queue goes on.
const WAKE_ROOM: u32 = TX_ENTRIES / 4;
/// Free slots below which packets that were sent are looked for at each further one.
const REAP_ROOM: u32 = TX_ENTRIES / 2;
/// How long answers may wait for others, in milliseconds, before they are looked for.
const LATE_MS: u32 = 10;

/// Where a transmit queue of the stack leads.
pub(crate) enum TxLink {
    /// Nowhere now.
    Down,
    /// To a ring.
    Live(TxLive),
}

/// A ring that is connected.
pub(crate) struct TxLive {
    queue: TxQueue<Host<Outgoing>>,
    notifier: Notifier,
    /// The back end must see nothing but packets.
    bounce: bool,
    /// Frames of XDP programs inside.
    xdp_frames: u32,
    attend: Arc<Delayed<Attend>>,
    again: Arc<Delayed<Again>>,
    /// How the back end broke the protocol, until somebody has said so.
    violation: Option<Violation>,
    pub(crate) listening: Listening,
}

/// What was done with a packet.
enum Sent {
    /// It waits until it is answered.
    Waits,
    /// It was copied.
    Copied,
    /// It cannot be sent, and is gone.
    Lost,
}

impl TxLive {
    pub(crate) fn new(
        mut queue: TxQueue<Host<Outgoing>>,
        notifier: Notifier,
        bounce: bool,
        coalesce: u32,
        attend: Arc<Delayed<Attend>>,
        again: Arc<Delayed<Again>>,
    ) -> Self {
        queue.set_coalesce(coalesce);
        Self {
            queue,
            notifier,
            bounce,
            xdp_frames: 0,
            attend,
            again,
            violation: None,
            listening: Listening::default(),
        }
    }

    pub(crate) fn take_violation(&mut self) -> Option<Violation> {
        self.violation.take()
    }

    pub(crate) fn ring(&self) -> &TxQueue<Host<Outgoing>> {
        &self.queue
    }

    /// Takes a packet.
    #[inline]
    fn send(&mut self, skb: SkBuff) -> Sent {
        let Some(meta) = skb.meta() else {
            return Sent::Lost;
        };
        skb.tx_timestamp();
        if skb.len() <= COPY_MAX {
            let copy = |page: &Page, at| skb.copy_to_page(page, at);
            return match self.queue.submit_copy(skb.len(), &meta, copy) {
                Ok(()) => {
                    skb.consume();
                    Sent::Copied
                }
                Err(_) => Sent::Lost,
            };
        }
        if self.bounce {
            return self.send_copy(skb, &meta);
        }
        match self.queue.submit(Outgoing::Skb(skb), &meta) {
            Ok(()) => Sent::Waits,
            Err((packet, busy)) => self.refused(packet, busy, &meta),
        }
    }

    /// A packet that does not fit the ring as it is may do so as a copy.
    #[cold]
    fn refused(&mut self, packet: Outgoing, busy: Busy, meta: &Meta) -> Sent {
        match (packet, busy) {
            (Outgoing::Skb(skb), Busy::TooLong | Busy::Unsupported | Busy::Malformed) => {
                self.send_copy(skb, meta)
            }
            _ => Sent::Lost,
        }
    }

    fn send_copy(&mut self, skb: SkBuff, meta: &Meta) -> Sent {
        let Ok(copied) = Copied::new(skb) else {
            return Sent::Lost;
        };
        match self.queue.submit(Outgoing::Copied(copied), meta) {
            Ok(()) => Sent::Waits,
            Err(_) => Sent::Lost,
        }
    }

    /// Shows the back end what was sent.
    #[inline]
    fn push(&mut self, queue: &Queue<Net>, stack: Stack<'_>) {
        if self.queue.push() {
            self.notifier.notify();
        }
        if self.queue.must_reap() {
            self.reap(queue, stack, true, None);
        }
    }

    /// Notifies the back end, whether it has asked for that or not.
    pub(crate) fn kick(&self) {
        self.notifier.notify();
    }

    /// Takes what the back end has answered, and lets the stack go on. `arm`: asks for a notification
    /// with further answers, if anybody waits for them. `softirq`: in the poll function. Returns how many
    /// answers there were.
    #[inline]
    fn reap(
        &mut self,
        queue: &Queue<Net>,
        stack: Stack<'_>,
        arm: bool,
        softirq: Option<BhOff<'_>>,
    ) -> u32 {
        if self.xdp_frames != 0 && irqs_disabled() {
            // That is netpoll, and frames go back to their pool with interrupts only.
            queue.schedule();
            return 0;
        }
        let data = queue.data();
        let (mut packets, mut bytes, mut errors, mut xdp_frames) = (0, 0, 0, 0);
        let done = |packet: Outgoing, outcome| {
            errors += u64::from(outcome == Outcome::Failed);
            if let Some(skb) = packet.into_skb() {
                packets += 1;
                bytes += skb.len();
                match softirq {
                    Some(softirq) => skb.consume_bh(softirq),
                    None => skb.consume(),
                }
            } else {
                xdp_frames += 1;
            }
        };
        let reaped = if arm {
            self.queue.reap(stack.is_stopped(), done)
        } else {
            self.queue.poll(done)
        };
        self.xdp_frames = self.xdp_frames.wrapping_sub(xdp_frames);
        errors += reaped.map_or(0, |reaped| u64::from(reaped.copies_failed));
        if errors != 0 {
            data.counters.tx_errors.add(errors);
        }
        if packets != 0 {
            stack.completed(packets, bytes);
        }
        match reaped {
            Ok(reaped) => {
                let room = self.queue.room();
                if reaped.responses != 0 {
                    data.tx_worked.set(true);
                    if stack.is_stopped() && room >= WAKE_ROOM {
                        stack.wake();
                    }
                } else if stack.is_stopped() && room >= MAX_SLOTS {
                    // The others take their time.
                    stack.wake();
                }
                if arm && self.queue.is_coalescing() {
                    self.again.schedule_once(LATE_MS);
                }
                reaped.responses
            }
            Err(violation) => {
                self.broken(data, violation);
                0
            }
        }
    }

    #[cold]
    fn broken(&mut self, data: &NetQueue, violation: Violation) {
        data.broken.set(true);
        self.violation = Some(violation);
        self.attend.schedule(0);
    }
}

/// Takes a packet from the stack.
#[inline]
pub(crate) fn start_xmit(
    queue: &Queue<Net>,
    link: &mut TxLink,
    stack: Stack<'_>,
    skb: SkBuff,
) -> Result<(), SkBuff> {
    let data = queue.data();
    let TxLink::Live(live) = link else {
        data.counters.tx_dropped.add(1);
        return Ok(());
    };
    if !live.queue.has_room() {
        live.reap(queue, stack, false, None);
        if !live.queue.has_room() && !live.queue.is_broken() {
            stack.stop();
            live.reap(queue, stack, true, None);
            return Err(skb);
        }
    }
    let len = skb.len();
    let sent = live.send(skb);
    match sent {
        Sent::Lost => {
            data.counters.tx_dropped.add(1);
            if live.queue.is_broken() {
                // It broke just now, or somebody knows already.
                live.reap(queue, stack, false, None);
            }
        }
        Sent::Waits | Sent::Copied => {
            data.counters.tx_packets.add(1);
            data.counters.tx_bytes.add(u64::from(len));
            if live.queue.room() < REAP_ROOM {
                live.make_room(queue, stack);
            }
        }
    }
    let tell = match sent {
        Sent::Waits => stack.sent(len),
        // The limit on what is under way is for what somebody waits for.
        Sent::Copied | Sent::Lost => !stack.more() || stack.is_stopped(),
    };
    if tell {
        live.push(queue, stack);
    }
    Ok(())
}

impl TxLive {
    /// Puts a frame into the ring. It leaves room there for the stack, which is not to be stopped by it. The
    /// error has the frame if it can be given back.
    fn send_frame(
        &mut self,
        queue: &Queue<Net>,
        stack: Stack<'_>,
        frame: XdpFrame,
    ) -> Result<(), Option<XdpFrame>> {
        let data = queue.data();
        if self.queue.room() < REAP_ROOM {
            self.reap(queue, stack, false, None);
        }
        // The frame lies in a page that other frames may share.
        if self.bounce || self.queue.room() < 2 * MAX_SLOTS {
            return Err(Some(frame));
        }
        let len = frame.len();
        match self.queue.submit(Outgoing::Xdp(frame), &Meta::default()) {
            Ok(()) => {
                stack.touch();
                self.xdp_frames = self.xdp_frames.wrapping_add(1);
                data.counters.tx_xdp.add(1);
                data.counters.tx_packets.add(1);
                data.counters.tx_bytes.add(u64::from(len));
                Ok(())
            }
            Err((Outgoing::Xdp(frame), _)) => Err(Some(frame)),
            Err(_) => Err(None),
        }
    }

    /// Looks for answers in a ring that fills up, and stops the stack if there are none.
    #[inline(never)]
    fn make_room(&mut self, queue: &Queue<Net>, stack: Stack<'_>) {
        self.reap(queue, stack, false, None);
        if self.queue.room() < MAX_SLOTS {
            queue.data().counters.tx_stopped.add(1);
            stack.stop();
            // Whatever was answered before the stop was seen by nobody else.
            self.reap(queue, stack, true, None);
        }
    }
}

impl TxLive {
    /// Tells the back end of the multicast addresses to which it is to send packets; whether it has answered to
    /// all of that.
    pub(crate) fn tell_multicast(
        &mut self,
        queue: &Queue<Net>,
        stack: Stack<'_>,
        wanted: &[[u8; MAC_LEN]],
    ) -> Result<bool, Busy> {
        self.reap(queue, stack, false, None);
        let ring = &mut self.queue;
        let told = self.listening.told.update(wanted, |addr, pass| {
            // The stack is not to be stopped by it.
            if ring.room() < 2 * MAX_SLOTS {
                return Err(Busy::Ring);
            }
            ring.multicast(addr, pass)
        });
        self.push(queue, stack);
        match told {
            Ok(()) => Ok(!self.queue.multicast_waits()),
            Err(Busy::Ring) => Ok(false),
            Err(busy) => Err(busy),
        }
    }
}

/// Takes what was answered, in the poll function.
#[inline]
pub(crate) fn poll(queue: &Queue<Net>, softirq: BhOff<'_>) {
    let mut guard = queue.lock_tx();
    let (link, stack) = guard.parts();
    if let TxLink::Live(live) = link {
        live.reap(queue, stack, true, Some(softirq));
    }
}

/// Takes what was answered, for netpoll.
pub(crate) fn make_room(queue: &Queue<Net>, link: &mut TxLink, stack: Stack<'_>) {
    if let TxLink::Live(live) = link {
        live.reap(queue, stack, true, None);
    }
}

/// Puts a frame of an XDP program into the ring; `false`: it is lost. The back end is told by
/// [`push`].
pub(crate) fn send_frame(queue: &Queue<Net>, frame: XdpFrame) -> bool {
    let mut guard = queue.lock_tx();
    let (link, stack) = guard.parts();
    let sent = match link {
        TxLink::Live(live) => live.send_frame(queue, stack, frame).is_ok(),
        TxLink::Down => false,
    };
    if !sent {
        queue.data().counters.tx_dropped.add(1);
    }
    sent
}

/// Shows the back end the frames that were sent.
pub(crate) fn push(queue: &Queue<Net>) {
    let mut guard = queue.lock_tx();
    let (link, stack) = guard.parts();
    if let TxLink::Live(live) = link {
        live.push(queue, stack);
    }
}

/// Takes frames that XDP programs of other devices have redirected here.
pub(crate) fn xdp_xmit(
    queue: &Queue<Net>,
    link: &mut TxLink,
    stack: Stack<'_>,
    frames: &mut XdpFrames<'_>,
) {
    let TxLink::Live(live) = link else {
        return;
    };
    while let Some(frame) = frames.next() {
        if let Err(Some(frame)) = live.send_frame(queue, stack, frame) {
            frames.refuse(frame);
        }
    }
    live.push(queue, stack);
}

/// Changes after how many answers the back end tells of them.
pub(crate) fn set_coalesce(queue: &Queue<Net>, answers: u32) {
    if let TxLink::Live(live) = &mut *queue.lock_tx() {
        live.queue.set_coalesce(answers);
    }
}

/// Makes up for what a stopped queue waits for, as far as that can be; says how many answers there
/// were, and how many are due.
pub(crate) fn recover(queue: &Queue<Net>) -> Option<(u32, u32)> {
    let mut guard = queue.lock_tx();
    let (link, stack) = guard.parts();
    let TxLink::Live(live) = link else {
        return None;
    };
    live.push(queue, stack);
    let reaped = live.reap(queue, stack, true, None);
    if stack.is_stopped() && live.queue.has_room() {
        stack.wake();
    }
    live.kick();
    Some((reaped, live.queue.outstanding()))
}
