// SPDX-License-Identifier: MIT OR Apache-2.0

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;

use crate::net::negotiate::{
    carrier, parse_mac, publish, CtrlKeys, Device, Offer, Params, Ports, QueueKeys, Shape,
};
use crate::net::TxFeatures;
use crate::xenbus::{KeyError, Keys, Problem, NUMBER_LEN};

struct Store(Vec<(String, String)>);

impl Store {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.0.retain(|(name, _)| name != key);
        self.0.push((key.to_string(), value.to_string()));
        self
    }

    /// What Linux' back end writes.
    fn linux() -> Self {
        let mut store = Self::new()
            .with("multi-queue-max-queues", 4)
            .with("feature-dynamic-multicast-control", 1)
            .with("feature-rx-flip", 0);
        for key in FEATURES {
            store = store.with(key, 1);
        }
        store
    }
}

const FEATURES: [&str; 9] = [
    "feature-rx-copy",
    "feature-sg",
    "feature-gso-tcpv4",
    "feature-gso-tcpv6",
    "feature-ipv6-csum-offload",
    "feature-split-event-channels",
    "feature-multicast-control",
    "feature-ctrl-ring",
    "feature-xdp-headroom",
];

impl Keys for Store {
    fn read(&self, key: &str, buf: &mut [u8; NUMBER_LEN]) -> Result<Option<usize>, Problem> {
        let Some((_, value)) = self.0.iter().find(|(name, _)| name == key) else {
            return Ok(None);
        };
        let len = value.len().min(NUMBER_LEN);
        buf[..len].copy_from_slice(&value.as_bytes()[..len]);
        Ok(Some(value.len()))
    }
}

const PARAMS: Params = Params {
    max_queues: 8,
    ctrl: true,
};

#[test]
fn what_linux_offers() {
    let offer = Offer::read(&Store::linux()).unwrap();
    assert_eq!(
        offer,
        Offer {
            max_queues: Some(4),
            split_event_channels: true,
            sg: true,
            gso_tcpv4: true,
            gso_tcpv6: true,
            ip_csum: true,
            ipv6_csum: true,
            multicast: true,
            ctrl_ring: true,
            xdp_headroom: true,
        }
    );
    assert_eq!(
        offer.tx_features(),
        TxFeatures {
            sg: true,
            gso_tcpv4: true,
            gso_tcpv6: true,
            hash: false,
            multicast: true,
        }
    );
}

#[test]
fn the_oldest_back_end_offers_one_queue_and_copies() {
    let offer = Offer::read(&Store::new().with("feature-rx-copy", 1)).unwrap();
    assert_eq!(
        offer,
        Offer {
            ip_csum: true,
            ..Offer::default()
        }
    );
    let shape = Shape::choose(&PARAMS, &offer, 8);
    assert_eq!(
        shape,
        Shape {
            queues: 1,
            split_event_channels: false,
            ctrl: false,
            tell_queues: false,
            tell_headroom: false,
        }
    );
    let no_csum = Store::linux().with("feature-no-csum-offload", 1);
    assert!(!Offer::read(&no_csum).unwrap().ip_csum);
}

#[test]
fn a_back_end_that_does_not_copy_is_refused() {
    let refused = |store: Store| Offer::read(&store).unwrap_err();
    let key = "feature-rx-copy";
    let problem = |problem| KeyError { key, problem };
    assert_eq!(refused(Store::new()), problem(Problem::Missing));
    let zero = Store::linux().with(key, 0);
    assert_eq!(refused(zero), problem(Problem::Value(0)));
    let text = Store::linux().with(key, "yes");
    assert_eq!(refused(text), problem(Problem::NotANumber));
}

#[test]
fn segments_are_not_cut_without_several_slots() {
    let offer = Offer::read(&Store::linux().with("feature-sg", 0)).unwrap();
    assert!(!offer.sg && !offer.gso_tcpv4 && !offer.gso_tcpv6);
}

#[test]
fn multicast_control_that_cannot_be_turned_off_is_of_no_use() {
    for key in [
        "feature-multicast-control",
        "feature-dynamic-multicast-control",
    ] {
        let offer = Offer::read(&Store::linux().with(key, 0)).unwrap();
        assert!(!offer.multicast);
    }
}

#[test]
fn a_device_has_one_good_address() {
    let own = Store::new().with("mac", "00:16:3e:aB:0c:ff");
    assert_eq!(
        Device::read(&own).unwrap(),
        Device {
            mac: [0, 0x16, 0x3e, 0xab, 0x0c, 0xff],
            mtu: 1500,
            trusted: true,
        }
    );
    for bad in [
        "",
        "00:16:3e:00:00",
        "00:16:3e:00:00:01:02",
        "00:16:3e:00:00:1",
        "00:16:3e:00:00:001",
        "00-16-3e-00-00-01",
        "00:16:3e:00:00:0g",
        "00:16:3e:00:00:+1",
        " 00:16:3e:00:00:01",
        "01:16:3e:00:00:01",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "00:16:3e:00:00:01 and much more behind it",
    ] {
        assert_eq!(parse_mac(bad.as_bytes()), None, "{bad:?}");
        let error = Device::read(&Store::new().with("mac", bad)).unwrap_err();
        assert_eq!(error.problem, Problem::NotAnAddress, "{bad:?}");
    }
    let error = Device::read(&Store::new()).unwrap_err();
    assert_eq!(error.to_string(), "there is no key mac");
}

#[test]
fn an_mtu_that_makes_no_sense_is_the_usual_one() {
    let read = |mtu: &str| {
        let own = Store::new().with("mac", "00:16:3e:00:00:01");
        Device::read(&own.with("mtu", mtu)).unwrap().mtu
    };
    for (text, mtu) in [("68", 68), ("1400", 1400), ("9000", 9000), ("65521", 65521)] {
        assert_eq!(read(text), mtu);
    }
    for text in [
        "",
        "0",
        "67",
        "65522",
        "65536",
        "-1500",
        "4294968796",
        "9e3",
    ] {
        assert_eq!(read(text), 1500, "{text}");
    }
    let own = Store::new().with("mac", "00:16:3e:00:00:01");
    assert!(!Device::read(&own.with("trusted", 0)).unwrap().trusted);
}

#[test]
fn the_link_is_up_unless_it_is_said_to_be_down() {
    assert!(carrier(&Store::new()));
    for (text, up) in [("1", true), ("0", false), ("", true), ("down", true)] {
        assert_eq!(carrier(&Store::new().with("carrier", text)), up);
    }
}

fn published(shape: &Shape, queues: &[QueueKeys], ctrl: Option<CtrlKeys>) -> Vec<String> {
    let mut keys = Vec::new();
    publish(shape, queues.iter().copied(), ctrl, 256, |key, value| {
        keys.push(format!("{key}={value}"));
        Ok::<(), ()>(())
    })
    .unwrap();
    keys
}

const COMMON: [&str; 6] = [
    "request-rx-copy=1",
    "feature-rx-notify=1",
    "feature-sg=1",
    "feature-gso-tcpv4=1",
    "feature-gso-tcpv6=1",
    "feature-ipv6-csum-offload=1",
];

#[test]
fn keys_are_flat_for_one_queue_and_in_folders_for_more() {
    let offer = Offer::read(&Store::new().with("feature-rx-copy", 1)).unwrap();
    let shape = Shape::choose(&PARAMS, &offer, 8);
    let one = [QueueKeys {
        tx_ring_ref: 8,
        rx_ring_ref: 9,
        ports: Ports::Shared(5),
    }];
    let mut expected = [
        &["tx-ring-ref=8", "rx-ring-ref=9", "event-channel=5"],
        &COMMON[..],
    ]
    .concat();
    assert_eq!(published(&shape, &one, None), expected);
    // A back end that knows of queues is told of one, too.
    let told = Shape {
        tell_queues: true,
        ..shape
    };
    expected.insert(0, "multi-queue-num-queues=1");
    assert_eq!(published(&told, &one, None), expected);

    let offer = Offer::read(&Store::linux()).unwrap();
    let shape = Shape::choose(&PARAMS, &offer, 2);
    assert_eq!(shape.queues, 2);
    let two = [0, 1].map(|nth| QueueKeys {
        tx_ring_ref: 8 + nth,
        rx_ring_ref: 10 + nth,
        ports: Ports::Split {
            tx: 5 + nth,
            rx: 15 + nth,
        },
    });
    let ctrl = CtrlKeys {
        ring_ref: 30,
        port: 31,
    };
    let expected = [
        &[
            "multi-queue-num-queues=2",
            "queue-0/tx-ring-ref=8",
            "queue-0/rx-ring-ref=10",
            "queue-0/event-channel-tx=5",
            "queue-0/event-channel-rx=15",
            "queue-1/tx-ring-ref=9",
            "queue-1/rx-ring-ref=11",
            "queue-1/event-channel-tx=6",
            "queue-1/event-channel-rx=16",
            "ctrl-ring-ref=30",
            "event-channel-ctrl=31",
            "xdp-headroom=256",
        ],
        &COMMON[..],
    ]
    .concat();
    assert_eq!(published(&shape, &two, Some(ctrl)), expected);
}

#[test]
fn a_store_that_fails_ends_it() {
    let offer = Offer::read(&Store::linux()).unwrap();
    let shape = Shape::choose(&PARAMS, &offer, 1);
    let total = published(&shape, &[], None).len();
    for fail in 0..total {
        let mut left = fail;
        let done = publish(&shape, core::iter::empty(), None, 0, |_, _| {
            left = left.checked_sub(1).ok_or(fail)?;
            Ok(())
        });
        assert_eq!(done, Err(fail));
    }
}

proptest! {
    /// Whatever the store holds, what is chosen is within what was asked for and offered.
    #[test]
    fn whatever_is_offered_the_choice_is_sane(
        keys in prop::collection::vec(
            (
                prop::sample::select([&FEATURES[..], &[
                    "multi-queue-max-queues",
                    "feature-no-csum-offload",
                    "feature-dynamic-multicast-control",
                    "mtu", "mac", "trusted", "carrier",
                ]].concat()),
                prop_oneof![
                    any::<u64>().prop_map(|number| number.to_string()),
                    (0u64..10).prop_map(|number| number.to_string()),
                    ".{0,40}",
                    "([0-9a-f]{2}:){5}[0-9a-f]{2}",
                ],
            ),
            0..20,
        ),
        max_queues in prop_oneof![Just(0u32), 1u32..16, any::<u32>()],
        cpus in prop_oneof![Just(0u32), 1u32..300],
        ctrl in any::<bool>(),
    ) {
        let mut store = Store::new().with("feature-rx-copy", 1);
        for (key, value) in keys {
            store = store.with(key, value);
        }
        let params = Params { max_queues, ctrl };
        if let Ok(device) = Device::read(&store) {
            prop_assert!((68..=65521).contains(&device.mtu));
            prop_assert!(device.mac[0] & 1 == 0 && device.mac != [0; 6]);
        }
        let _ = carrier(&store);
        if let Ok(offer) = Offer::read(&store) {
            let shape = Shape::choose(&params, &offer, cpus);
            prop_assert!(shape.queues >= 1);
            prop_assert!(shape.queues <= max_queues.min(cpus).max(1));
            prop_assert!(u64::from(shape.queues) <= offer.max_queues.unwrap_or(1).max(1));
            prop_assert!(shape.queues == 1 || shape.tell_queues);
            prop_assert!(!shape.ctrl || ctrl && offer.ctrl_ring);
        }
    }
}
