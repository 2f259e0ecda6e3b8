// SPDX-License-Identifier: MIT OR Apache-2.0
//! The store's keys of a net device: what the tool stack says of it, what the back end offers, what the
//! front end chooses and says.

use core::fmt;

use super::tx::TxFeatures;
use super::wire;
use crate::grant::GrantRef;
use crate::xenbus::{KeyError, Keys, Problem, NUMBER_LEN};

/// `mtu` where the tool stack says nothing, in bytes of payload.
pub const DEFAULT_MTU: u32 = 1500;
/// The front end's key for [`Offer::multicast`]: 0 or 1, at any time. As without it, 0 at first.
pub const REQUEST_MULTICAST: &str = "request-multicast-control";
/// The least that IPv4 works with, in bytes.
const MIN_MTU: u64 = 68;
/// With its header a packet fits [`MAX_TX_SIZE`](wire::MAX_TX_SIZE).
const MAX_MTU: u64 = (wire::MAX_TX_SIZE - wire::ETH_HLEN) as u64;

/// What whoever loads the driver asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Queues of one device.
    pub max_queues: u32,
    /// Spread received packets by hash: use the control ring.
    pub ctrl: bool,
}

/// What the tool stack wrote into the front end's own folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// `mac`: the address, not of a group and not zero.
    pub mac: [u8; 6],
    /// `mtu`: bytes of payload in a packet; [`DEFAULT_MTU`] if that is not there or makes no sense.
    pub mtu: u32,
    /// `trusted`: 0 means that the back end must not see more than the packets' own bytes.
    pub trusted: bool,
}

impl Device {
    /// Reads the front end's keys.
    pub fn read(own: &impl Keys) -> Result<Self, KeyError> {
        let mtu = own.number_or("mtu", u64::from(DEFAULT_MTU));
        let mtu = if (MIN_MTU..=MAX_MTU).contains(&mtu) {
            mtu as u32
        } else {
            DEFAULT_MTU
        };
        Ok(Self {
            mac: read_mac(own)?,
            mtu,
            trusted: own.number_or("trusted", 1) != 0,
        })
    }
}

fn read_mac(own: &impl Keys) -> Result<[u8; 6], KeyError> {
    let refuse = |problem| KeyError {
        key: "mac",
        problem,
    };
    let mut text = [0; NUMBER_LEN];
    let len = own.read("mac", &mut text).map_err(refuse)?;
    let len = len.ok_or(refuse(Problem::Missing))?;
    let mac = text.get(..len).and_then(parse_mac);
    mac.ok_or(refuse(Problem::NotAnAddress))
}

/// Six pairs of hexadecimal digits between colons, of an address that one device can have.
pub fn parse_mac(text: &[u8]) -> Option<[u8; 6]> {
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut mac = [0; 6];
    let mut pairs = text.split(|&byte| byte == b':');
    for byte in &mut mac {
        let &[high, low] = pairs.next()? else {
            return None;
        };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    let group = mac.first().is_some_and(|byte| byte & 1 != 0);
    (pairs.next().is_none() && !group && mac != [0; 6]).then_some(mac)
}

/// What the back end offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// `multi-queue-max-queues`; `None` if it does not know of several queues.
    pub max_queues: Option<u64>,
    /// `feature-split-event-channels`.
    pub split_event_channels: bool,
    /// `feature-sg`.
    pub sg: bool,
    /// `feature-gso-tcpv4`.
    pub gso_tcpv4: bool,
    /// `feature-gso-tcpv6`.
    pub gso_tcpv6: bool,
    /// It fills in checksums of IPv4: there is no `feature-no-csum-offload`.
    pub ip_csum: bool,
    /// `feature-ipv6-csum-offload`: it fills in checksums of IPv6.
    pub ipv6_csum: bool,
    /// `feature-multicast-control`, and `feature-dynamic-multicast-control`: the back end sends no multicast
    /// packets but those to addresses that it was told of, while [`REQUEST_MULTICAST`] is 1.
    pub multicast: bool,
    /// `feature-ctrl-ring`.
    pub ctrl_ring: bool,
    /// `feature-xdp-headroom`.
    pub xdp_headroom: bool,
}

impl Offer {
    /// Reads the back end's keys. A back end that cannot copy to the front end's buffers
    /// (`feature-rx-copy`) is of no use.
    pub fn read(keys: &impl Keys) -> Result<Self, KeyError> {
        if keys.number("feature-rx-copy")? == 0 {
            return Err(KeyError {
                key: "feature-rx-copy",
                problem: Problem::Value(0),
            });
        }
        let sg = keys.feature("feature-sg");
        Ok(Self {
            max_queues: keys.number("multi-queue-max-queues").ok(),
            split_event_channels: keys.feature("feature-split-event-channels"),
            sg,
            // A packet that is worth cutting has several slots.
            gso_tcpv4: sg && keys.feature("feature-gso-tcpv4"),
            gso_tcpv6: sg && keys.feature("feature-gso-tcpv6"),
            ip_csum: !keys.feature("feature-no-csum-offload"),
            ipv6_csum: keys.feature("feature-ipv6-csum-offload"),
            multicast: keys.feature("feature-multicast-control")
                && keys.feature("feature-dynamic-multicast-control"),
            ctrl_ring: keys.feature("feature-ctrl-ring"),
            xdp_headroom: keys.feature("feature-xdp-headroom"),
        })
    }

    /// What a transmit queue may use. The hash is off until it is set up.
    pub fn tx_features(&self) -> TxFeatures {
        TxFeatures {
            sg: self.sg,
            gso_tcpv4: self.gso_tcpv4,
            gso_tcpv6: self.gso_tcpv6,
            hash: false,
            multicast: self.multicast,
        }
    }
}

/// Whether there is a link (`carrier` of the back end). It may change at any time; where it is not
/// there, the link is up.
pub fn carrier(keys: &impl Keys) -> bool {
    keys.number_or("carrier", 1) != 0
}

/// What the front end chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Pairs of rings, 1 or more.
    pub queues: u32,
    /// Each ring has an event channel of its own.
    pub split_event_channels: bool,
    /// There is a control ring.
    pub ctrl: bool,
    /// The back end knows of several queues, so it is told how many there are.
    pub tell_queues: bool,
    /// The back end can leave room for XDP, so it is told how much.
    pub tell_headroom: bool,
}

impl Shape {
    /// As much as all three allow; `cpus` is how many processors may send.
    pub fn choose(params: &Params, offer: &Offer, cpus: u32) -> Self {
        let limit = u64::from(params.max_queues.min(cpus));
        Self {
            // It fits, being at most a u32.
            queues: offer.max_queues.unwrap_or(1).min(limit).max(1) as u32,
            split_event_channels: offer.split_event_channels,
            ctrl: params.ctrl && offer.ctrl_ring,
            tell_queues: offer.max_queues.is_some(),
            tell_headroom: offer.xdp_headroom,
        }
    }
}

/// The event channels of a pair of rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// One for both.
    Shared(u32),
    /// One for each.
    Split {
        /// Of the transmit ring.
        tx: u32,
        /// Of the receive ring.
        rx: u32,
    },
}

/// A pair of rings, as the back end is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueKeys {
    /// The grant of the transmit ring's page.
    pub tx_ring_ref: GrantRef,
    /// The grant of the receive ring's page.
    pub rx_ring_ref: GrantRef,
    /// The event channels.
    pub ports: Ports,
}

/// The control ring, as the back end is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtrlKeys {
    /// The grant of its page.
    pub ring_ref: GrantRef,
    /// The event channel.
    pub port: u32,
}

/// Writes the front end's keys with `put`, in the flat layout for one queue, else in one folder for
/// each. `headroom` is what XDP wants in front of the data, in bytes.
pub fn publish<E>(
    shape: &Shape,
    queues: impl Iterator<Item = QueueKeys>,
    ctrl: Option<CtrlKeys>,
    headroom: u16,
    mut put: impl FnMut(fmt::Arguments<'_>, fmt::Arguments<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if shape.tell_queues {
        put(
            format_args!("multi-queue-num-queues"),
            format_args!("{}", shape.queues),
        )?;
    }
    for (index, queue) in queues.enumerate() {
        let folder = Folder(if shape.queues > 1 { Some(index) } else { None });
        let mut number =
            |key: &str, value: u32| put(format_args!("{folder}{key}"), format_args!("{value}"));
        number("tx-ring-ref", queue.tx_ring_ref)?;
        number("rx-ring-ref", queue.rx_ring_ref)?;
        match queue.ports {
            Ports::Shared(port) => number("event-channel", port)?,
            Ports::Split { tx, rx } => {
                number("event-channel-tx", tx)?;
                number("event-channel-rx", rx)?;
            }
        }
    }
    if let Some(ctrl) = ctrl {
        put(
            format_args!("ctrl-ring-ref"),
            format_args!("{}", ctrl.ring_ref),
        )?;
        put(
            format_args!("event-channel-ctrl"),
            format_args!("{}", ctrl.port),
        )?;
    }
    if shape.tell_headroom {
        put(
            format_args!("xdp-headroom"),
            format_args!("{}", headroom.min(wire::MAX_XDP_HEADROOM)),
        )?;
    }
    for key in [
        "request-rx-copy",
        "feature-rx-notify",
        "feature-sg",
        "feature-gso-tcpv4",
        "feature-gso-tcpv6",
        "feature-ipv6-csum-offload",
    ] {
        put(format_args!("{key}"), format_args!("1"))?;
    }
    Ok(())
}

/// The folder of a queue's keys, with its slash; empty in the flat layout.
struct Folder(Option<usize>);

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(index) => write!(f, "queue-{index}/"),
            None => Ok(()),
        }
    }
}
