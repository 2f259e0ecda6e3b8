// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kinds of network load, and which of them a run takes.

use std::fmt;

use portico_agent::proto::TrafficKind;
use serde::{Deserialize, Serialize};

use super::super::jobs::Extent;

/// Bytes of a stream that count as one packet: what a packet carries at an MTU of 1500, whatever
/// segmentation makes of it.
pub(super) const STREAM_PACKET: u32 = 1448;

/// One kind of load.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NetJob {
    /// What kind of traffic.
    pub kind: TrafficKind,
    /// From dom0 to the guest.
    pub back: bool,
    /// Bytes of a write, datagram, or request and answer.
    pub size: u32,
    /// Flows side by side.
    pub flows: u32,
}

const fn new(kind: TrafficKind, back: bool, size: u32, flows: u32) -> NetJob {
    NetJob {
        kind,
        back,
        size,
        flows,
    }
}

impl NetJob {
    /// Packets of the short and of the long run; round trips take longer.
    pub(in super::super) fn counts(self) -> (u32, u32) {
        match self.kind {
            TrafficKind::Stream => (2000, 18_000),
            TrafficKind::Datagrams => (1000, 9000),
            _ => (200, 1800),
        }
    }
}

impl fmt::Display for NetJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.back { "receive" } else { "send" };
        let text = match self.kind {
            TrafficKind::Stream => format!("TCP {way} x{}", self.flows),
            TrafficKind::Datagrams => format!("UDP {way} {} x{}", self.size, self.flows),
            TrafficKind::Requests => format!("TCP round trip {} x{}", self.size, self.flows),
            TrafficKind::DatagramRequests | TrafficKind::Echo => {
                format!("UDP round trip {} x{}", self.size, self.flows)
            }
        };
        f.pad(&text)
    }
}

/// Bytes of a write to a stream.
const WRITE: u32 = 1 << 16;

/// The timed jobs.
pub fn timed(extent: Extent) -> Vec<NetJob> {
    use TrafficKind::{DatagramRequests, Datagrams, Requests, Stream};
    let mut jobs = Vec::new();
    let flows: &[u32] = match extent {
        Extent::Quick => &[1],
        Extent::Standard => &[1, 4],
        Extent::Full => &[1, 2, 4, 8],
    };
    let sizes: &[u32] = match extent {
        Extent::Full => &[64, 512, 1400],
        _ => &[64],
    };
    for &flows in flows {
        for back in [false, true] {
            jobs.push(new(Stream, back, WRITE, flows));
            jobs.extend(sizes.iter().map(|&size| new(Datagrams, back, size, flows)));
        }
        jobs.push(new(DatagramRequests, false, 64, flows));
        if extent != Extent::Quick {
            jobs.push(new(Requests, false, 64, flows));
        }
    }
    jobs
}

/// The jobs whose instructions are counted.
pub fn counted(extent: Extent) -> Vec<NetJob> {
    use TrafficKind::{DatagramRequests, Datagrams, Stream};
    let mut jobs = vec![new(Datagrams, false, 64, 1), new(Datagrams, true, 64, 1)];
    if extent != Extent::Quick {
        jobs.extend([
            new(Stream, false, WRITE, 1),
            new(Stream, true, WRITE, 1),
            new(DatagramRequests, false, 64, 1),
        ]);
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_and_one_and_four_flows_are_measured() {
        let jobs = timed(Extent::Standard);
        for kind in [TrafficKind::Stream, TrafficKind::Datagrams] {
            for back in [false, true] {
                for flows in [1, 4] {
                    let wanted =
                        |job: &NetJob| (job.kind, job.back, job.flows) == (kind, back, flows);
                    assert!(jobs.iter().any(wanted));
                }
            }
        }
        assert_eq!(jobs[0].to_string(), "TCP send x1");
        assert_eq!(jobs[3].to_string(), "UDP receive 64 x1");
    }
}
