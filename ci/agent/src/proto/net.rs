// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network interfaces and traffic between two agents.

use serde::{Deserialize, Serialize};

/// A network interface as it is to be. What is not said is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// Its name; it may still be on its way.
    pub name: String,
    /// It is a bridge, to be made if it is not there.
    pub bridge: bool,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: Option<u32>,
    /// Addresses with their prefix length, such as `10.0.0.2/24` or `fd00::2/64`.
    pub addresses: Vec<String>,
    /// Offloads by ethtool's names (`tx`, `sg`, `tso`, `gro` …), switched in this order.
    pub features: Vec<(String, bool)>,
}

/// What there is to know of a network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// Its Ethernet address.
    pub mac: String,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// The device says that it is connected.
    pub carrier: bool,
    /// Queues that transmit.
    pub tx_queues: u32,
    /// Queues that receive.
    pub rx_queues: u32,
    /// The kernel's counters by their names, such as `rx_packets`.
    pub counters: Vec<(String, u64)>,
    /// Offloads and whether they are on.
    pub features: Vec<(String, bool)>,
}

impl LinkState {
    /// One of the kernel's counters; 0 if there is none of that name.
    pub fn counter(&self, name: &str) -> u64 {
        let found = self.counters.iter().find(|(own, _)| own == name);
        found.map_or(0, |(_, value)| *value)
    }

    /// Whether an offload is on; none if there is no such offload.
    pub fn feature(&self, name: &str) -> Option<bool> {
        let found = self.features.iter().find(|(own, _)| own == name);
        found.map(|(_, on)| *on)
    }
}

/// Bytes of a datagram in a frame of the usual size.
pub const FRAME: u32 = 1472;

/// Kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficKind {
    /// Bytes over TCP.
    Stream,
    /// Datagrams over UDP.
    Datagrams,
    /// Requests over TCP, the next one after the answer to the one before.
    Requests,
    /// The same over UDP.
    DatagramRequests,
    /// Datagrams to a host that sends each back as it is, from port 7; there is no agent.
    Echo,
}

/// How much of it, for each flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// So many milliseconds.
    Millis(u64),
    /// So many bytes of a stream, datagrams or requests.
    Count(u64),
}

/// Traffic with another agent. Each byte is a function of the seed and of its place, and is compared
/// where it arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Address of the other agent.
    pub peer: String,
    /// What.
    pub kind: TrafficKind,
    /// From the peer to here; requests are always made here.
    pub back: bool,
    /// Flows side by side.
    pub flows: u32,
    /// Bytes of a write, datagram, or request and answer.
    pub size: u32,
    /// How much.
    pub amount: Amount,
    /// Datagrams a second of each flow, in batches; 0: as many as can be.
    pub rate: u64,
    /// Which content.
    pub seed: u64,
}

impl Traffic {
    /// One flow from here.
    pub fn new(peer: &str, kind: TrafficKind, size: u32, amount: Amount) -> Traffic {
        Traffic {
            peer: peer.into(),
            kind,
            back: false,
            flows: 1,
            size,
            amount,
            rate: 0,
            seed: 1,
        }
    }
}

/// What came of it, over all flows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficResult {
    /// Bytes that the sender handed to its kernel.
    pub sent_bytes: u64,
    /// Bytes that came out at the receiver.
    pub bytes: u64,
    /// Datagrams or requests that were sent.
    pub sent: u64,
    /// Datagrams, without duplicates, or answers that arrived.
    pub arrived: u64,
    /// Datagrams or answers that did not arrive.
    pub lost: u64,
    /// Datagrams that arrived again.
    pub duplicates: u64,
    /// Datagrams that arrived after a later one.
    pub reordered: u64,
    /// Bytes that arrived other than they were sent; of a datagram with a wrong length, all.
    pub wrong_bytes: u64,
    /// Place of the first of them: byte of the stream, or number of the datagram.
    pub first_wrong: Option<u64>,
    /// Times that the sender's kernel had no room for a datagram.
    pub refused: u64,
    /// Seconds from the receiver's first byte to its last.
    pub seconds: f64,
    /// Median time from a request to its answer, in nanoseconds.
    pub p50_ns: u64,
    /// 99th percentile of that time.
    pub p99_ns: u64,
}

/// What an XDP program does to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum XdpAction {
    /// The kernel gets it.
    Pass,
    /// Nobody does.
    Drop,
    /// It goes back where it came from, to its sender.
    Tx,
    /// The same by way of a redirection to the interface itself.
    Redirect,
}

impl XdpAction {
    /// All of them.
    pub const ALL: [XdpAction; 4] = [
        XdpAction::Pass,
        XdpAction::Drop,
        XdpAction::Tx,
        XdpAction::Redirect,
    ];
}

/// That somebody told his address unasked (gratuitous ARP, unsolicited neighbour advertisement).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The Ethernet address that sent it.
    pub mac: String,
    /// The address that it is about.
    pub address: String,
    /// How often.
    pub times: u32,
}
