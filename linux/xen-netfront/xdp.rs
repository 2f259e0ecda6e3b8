// SPDX-License-Identifier: GPL-2.0-only

//! Room in front of received frames, for XDP programs.
//!
//! The back end leaves it when it is asked to while the device works: by the key `xdp-headroom`, and the
//! states `Reconfiguring` and `Reconfigured`.

use kernel::{
    prelude::*,
    time::{delay::fsleep, Delta},
};
use portico::{
    net::{NetDevice, XdpKind, XDP_HEADROOM, XDP_MAX_LEN},
    xenbus::State,
};

use crate::{front, net::Net};

/// The longest MTU under a program that takes frames in one page only: a frame has an Ethernet header with a
/// VLAN tag in front of it.
pub(crate) const MAX_MTU: u32 = XDP_MAX_LEN - 18;

/// How long the back end is given, in milliseconds, where it cannot be seen what it does.
const BLIND_MS: i64 = 100;

/// How much room frames are to have now, in bytes.
pub(crate) fn headroom(on: bool) -> u16 {
    if on {
        XDP_HEADROOM as u16
    } else {
        0
    }
}

/// Asks the back end for room, or no longer.
pub(crate) fn change(
    dev: &NetDevice<Net>,
    program: Option<XdpKind>,
) -> Result<(), (Error, &'static CStr)> {
    let shared = dev.data();
    let on = program.is_some();
    if program == Some(XdpKind::OnePage) && dev.mtu() > MAX_MTU {
        return Err((
            EINVAL,
            c"the MTU is too large: for this program, a frame must fit a page with room around it",
        ));
    }
    if on == dev.has_xdp() && on {
        // Another program in place of the former one.
        return Ok(());
    }
    if shared.xenbus.state() != State::Connected {
        // It is told when it connects.
        return if on {
            Err((ENODEV, c"the device is not connected"))
        } else {
            Ok(())
        };
    }
    if !shared.offer.lock().xdp_headroom {
        return Err((EOPNOTSUPP, c"the back end has no feature-xdp-headroom"));
    }
    let told = shared.xenbus.write("xdp-headroom", headroom(on));
    told.map_err(|error| (error, c"the store cannot be written"))?;
    let reconfigured = || shared.xenbus.backend_state() == State::Reconfigured;
    // Linux' back end stays in that state from the first time on.
    let blind = reconfigured();
    shared.xenbus.switch_state(State::Reconfiguring);
    if blind {
        fsleep(Delta::from_millis(BLIND_MS));
    }
    let done = front::wait(front::ANSWER_MS, reconfigured);
    // Unless the device is being closed.
    if shared.xenbus.state() == State::Reconfiguring {
        shared.xenbus.switch_state(State::Connected);
    }
    if done {
        Ok(())
    } else {
        Err((ETIMEDOUT, c"the back end does not reconfigure"))
    }
}
