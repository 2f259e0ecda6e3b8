// SPDX-License-Identifier: GPL-2.0-only

//! Which multicast packets the back end sends: those to addresses that somebody listens to, so that the guest
//! is not woken for others.
//!
//! It sends all of them where somebody listens to all, or to more addresses than it can be told of, and
//! where it does not take what it is told.

use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta, Instant, Monotonic},
};
use portico::net::{NetDevice, Queue, Rtnl, MAC_LEN};
use portico_core::net::{negotiate::REQUEST_MULTICAST, MulticastList, MULTICAST_MAX};

use crate::{net::Net, tx::TxLink};

/// How long the back end may take for a change while the RTNL is held.
const CHANGE: Delta = Delta::from_millis(200);
/// Times in a row that it may take longer, until it is told no more.
const LATE_MAX: u32 = 5;

/// What the back end of a connection was told.
#[derive(Default)]
pub(crate) struct Listening {
    pub(crate) told: MulticastList,
    /// Times in a row that it took too long.
    late: u32,
    /// It does not take what it is told.
    refused: bool,
}

/// The back end is connected.
pub(crate) fn connected(dev: &NetDevice<Net>) {
    // It may say so more than once. At first the key is not there.
    dev.data().asked.lock().get_or_insert(false);
    let rtnl = Rtnl::lock();
    if update(dev, &rtnl).is_err() {
        dev.retry_rx_mode(&rtnl);
    }
}

/// From here on nobody asks the back end for anything.
pub(crate) fn end(dev: &NetDevice<Net>) {
    *dev.data().asked.lock() = None;
}

/// Tells the back end what has changed, and asks for the filter if it has taken that.
///
/// All of it goes through one queue: Linux' back end has no lock around its list.
pub(crate) fn update(dev: &NetDevice<Net>, _rtnl: &Rtnl) -> Result {
    let Some(queue) = dev.queue(0) else {
        return Ok(());
    };
    // Otherwise it is told when it is connected.
    if dev.data().asked.lock().is_none() || !dev.data().offer.lock().multicast {
        return Ok(());
    }
    let mut list = [[0; MAC_LEN]; MULTICAST_MAX];
    let wanted = dev.multicast_addresses(&mut list);
    let told = match wanted.and_then(|count| list.get(..count)) {
        Some(wanted) => tell(dev, queue, wanted),
        None => Ok(false),
    };
    let on = matches!(told, Ok(true));
    let mut asked = dev.data().asked.lock();
    if asked.is_some_and(|asked| asked != on) {
        dev.data().xenbus.write(REQUEST_MULTICAST, u8::from(on))?;
        *asked = Some(on);
    }
    told.map(drop)
}

/// Tells the back end of addresses; whether it takes them. `EAGAIN`: it has not said so yet.
fn tell(dev: &NetDevice<Net>, queue: &Queue<Net>, wanted: &[[u8; MAC_LEN]]) -> Result<bool> {
    let begun = Instant::<Monotonic>::now();
    loop {
        let last = begun.elapsed() > CHANGE;
        let mut guard = queue.lock_tx();
        let (link, stack) = guard.parts();
        let TxLink::Live(live) = link else {
            return Ok(false);
        };
        if live.listening.refused {
            return Ok(false);
        }
        let Ok(taken) = live.tell_multicast(queue, stack, wanted) else {
            // It broke.
            return Ok(false);
        };
        if live.ring().stats().multicast_failed != 0 {
            live.listening.refused = true;
            break;
        }
        if taken {
            live.listening.late = 0;
            return Ok(true);
        }
        if last {
            live.listening.late = live.listening.late.saturating_add(1);
            if live.listening.late < LATE_MAX {
                return Err(EAGAIN);
            }
            live.listening.refused = true;
            break;
        }
        drop(guard);
        fsleep(Delta::from_millis(1));
    }
    dev_warn!(
        dev.data().xenbus,
        "{}: the back end takes no multicast addresses: it is to send all packets\n",
        format_args!("{dev}")
    );
    Ok(false)
}
