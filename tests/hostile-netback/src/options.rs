// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the back end offers: the keys of `netif.h` that a back end writes.

use serde::{Deserialize, Serialize};

/// A device and its back end's offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Address of the host behind.
    pub address: [u8; 4],
    /// `feature-rx-copy`, without which no front end works.
    pub rx_copy: bool,
    /// `feature-sg`.
    pub sg: bool,
    /// `feature-gso-tcpv4`.
    pub gso_v4: bool,
    /// `feature-gso-tcpv6`.
    pub gso_v6: bool,
    /// `feature-ipv6-csum-offload`.
    pub v6_checksum: bool,
    /// `feature-no-csum-offload`.
    pub no_checksum: bool,
    /// `feature-split-event-channels`.
    pub split: bool,
    /// `feature-multicast-control`, and that it may be asked for at any time. Nothing is filtered.
    pub multicast: bool,
    /// `feature-xdp-headroom`.
    pub xdp_headroom: bool,
    /// `multi-queue-max-queues`; 0: not mentioned.
    pub max_queues: u32,
    /// Bytes of a frame to the guest that go into one page at most.
    pub piece: u16,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            address: [10, 79, 0, 1],
            rx_copy: true,
            sg: true,
            gso_v4: true,
            gso_v6: true,
            v6_checksum: true,
            no_checksum: false,
            split: true,
            multicast: true,
            xdp_headroom: true,
            max_queues: 2,
            piece: 4096,
        }
    }
}

impl Options {
    /// What the back end says before the front end chooses.
    pub fn offers(&self) -> Vec<(&'static str, String)> {
        let features = [
            ("feature-rx-copy", self.rx_copy),
            ("feature-rx-flip", false),
            ("feature-sg", self.sg),
            ("feature-gso-tcpv4", self.gso_v4),
            ("feature-gso-tcpv6", self.gso_v6),
            ("feature-ipv6-csum-offload", self.v6_checksum),
            ("feature-no-csum-offload", self.no_checksum),
            ("feature-split-event-channels", self.split),
            ("feature-multicast-control", self.multicast),
            ("feature-dynamic-multicast-control", self.multicast),
            ("feature-xdp-headroom", self.xdp_headroom),
        ];
        let mut keys: Vec<_> = features
            .into_iter()
            .map(|(key, on)| (key, u32::from(on).to_string()))
            .collect();
        if self.max_queues > 0 {
            keys.push(("multi-queue-max-queues", self.max_queues.to_string()));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_say_what_the_options_say() {
        let options = Options {
            sg: false,
            max_queues: 0,
            ..Options::default()
        };
        let offers = options.offers();
        assert!(offers.contains(&("feature-sg", "0".into())));
        assert!(offers.contains(&("feature-rx-copy", "1".into())));
        assert!(offers.iter().all(|(key, _)| !key.starts_with("multi")));
    }
}
