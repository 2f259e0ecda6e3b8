// SPDX-License-Identifier: GPL-2.0-only

//! Which multicast packets the back end sends: those to addresses that somebody listens to, so that the guest
//! is not woken for others.
//!
//! It sends all of them where somebody listens to all, or to more addresses than it can be told of, and
//! where it does not take what it is told.

use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use portico::net::{NetDevice, Queue, Rtnl, MAC_LEN};
use portico_core::net::{negotiate::REQUEST_MULTICAST, MulticastList, MULTICAST_MAX};

use crate::{net::Net, tx::TxLink};

/// How long the back end may take for a change, in milliseconds.
const CHANGE_MS: u32 = 1000;

/// What the back end of a connection was told.
#[derive(Default)]
pub(crate) struct Listening {
    pub(crate) told: MulticastList,
    /// It is connected, and can answer.
    connected: bool,
    /// What [`REQUEST_MULTICAST`] is, if that is known.
    asked: Option<bool>,
    /// It does not take what it is told.
    refused: bool,
}

/// The back end is connected: tells it what the stack listens to.
pub(crate) fn connected(dev: &NetDevice<Net>, rtnl: &Rtnl) -> Result {
    if let Some(queue) = dev.queue(0) {
        with(queue, |listening| listening.connected = true);
    }
    update(dev, rtnl)
}

/// Tells the back end what has changed, and waits until it has taken that.
///
/// All of it goes through one queue: Linux' back end has no lock around its list.
pub(crate) fn update(dev: &NetDevice<Net>, _rtnl: &Rtnl) -> Result {
    let Some(queue) = dev.queue(0) else {
        return Ok(());
    };
    let known = with(queue, |listening| {
        listening.connected.then_some(listening.refused)
    });
    // Otherwise it is told when it is connected.
    let Some(Some(refused)) = known else {
        return Ok(());
    };
    if !dev.data().offer.lock().multicast {
        return Ok(());
    }
    let mut list = [[0; MAC_LEN]; MULTICAST_MAX];
    let wanted = dev.multicast_addresses(&mut list);
    let on = match wanted.and_then(|count| list.get(..count)) {
        Some(wanted) if !refused => tell(dev, queue, wanted),
        _ => false,
    };
    match with(queue, |listening| listening.asked) {
        Some(asked) if asked != Some(on) => {}
        _ => return Ok(()),
    }
    dev.data().xenbus.write(REQUEST_MULTICAST, u8::from(on))?;
    with(queue, |listening| listening.asked = Some(on));
    Ok(())
}

/// Tells the back end of addresses; whether it takes them.
fn tell(dev: &NetDevice<Net>, queue: &Queue<Net>, wanted: &[[u8; MAC_LEN]]) -> bool {
    for _ in 0..CHANGE_MS {
        let mut guard = queue.lock_tx();
        let (link, stack) = guard.parts();
        let TxLink::Live(live) = link else {
            return false;
        };
        match live.tell_multicast(queue, stack, wanted) {
            Some(true) => return true,
            Some(false) => break,
            None => {}
        }
        drop(guard);
        fsleep(Delta::from_millis(1));
    }
    with(queue, |listening| listening.refused = true);
    dev_warn!(
        dev.data().xenbus,
        "{}: the back end takes no multicast addresses: it is to send all packets\n",
        format_args!("{dev}")
    );
    false
}

/// Looks at what the back end was told; `None`: there is none.
fn with<R>(queue: &Queue<Net>, look: impl FnOnce(&mut Listening) -> R) -> Option<R> {
    match &mut *queue.lock_tx() {
        TxLink::Live(live) => Some(look(&mut live.listening)),
        TxLink::Down => None,
    }
}
