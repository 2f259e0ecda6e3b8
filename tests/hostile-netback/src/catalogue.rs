// SPDX-License-Identifier: MIT OR Apache-2.0
//! One script for each thing that a back end can do wrong, and what a good front end makes of it.

use crate::options::Options;
use crate::script::{Event, Expect, Fault, Op, Rule, Script};
use hostile_back::script::DeviceFault;
use portico_core::net::wire::*;

/// The scripts, with names that are all different.
pub fn catalogue() -> Vec<Script> {
    let mut scripts = vec![script("honest", Expect::Serves, vec![]), in_pieces()];
    scripts.extend(transmit());
    scripts.extend(receive());
    scripts.extend(extras());
    scripts.extend(rings());
    scripts.extend(keys());
    scripts.extend(states());
    scripts.extend(vanishing());
    scripts
}

/// The script of a name.
pub fn named(name: &str) -> Option<Script> {
    catalogue().into_iter().find(|script| script.name == name)
}

fn script(name: impl Into<String>, expect: Expect, rules: Vec<(Event, Fault)>) -> Script {
    let rules = rules.into_iter();
    Script {
        name: name.into(),
        expect: Some(expect),
        options: Options::default(),
        rules: rules.map(|(at, fault)| Rule { at, fault }).collect(),
    }
}

/// No fault, but that a frame comes in many slots.
fn in_pieces() -> Script {
    let mut script = script("in-pieces", Expect::Serves, vec![]);
    script.options.piece = 256;
    script
}

/// The packet that most faults happen to: late enough that the first ones have gone well.
const NTH: u64 = 9;

/// What can be wrong with an answer to a packet from the guest.
fn transmit() -> Vec<Script> {
    use Expect::*;
    let at = Event::Op(Op::Transmit, NTH);
    let list = [
        (
            "multicast-refused",
            Warns,
            Event::Every(1),
            Fault::TxMulticast(Some(RSP_ERROR)),
        ),
        (
            "multicast-unanswered",
            Serves,
            Event::Every(1),
            Fault::TxMulticast(None),
        ),
        ("tx-wrong-id", Broken, at, Fault::TxId(77)),
        ("tx-id-beyond-ring", Broken, at, Fault::TxId(300)),
        ("tx-id-far-beyond", Broken, at, Fault::TxId(u16::MAX)),
        // An id is used again at once, so it may be the right one.
        ("tx-old-id", Any, at, Fault::TxOldId),
        ("tx-twice", Broken, at, Fault::TxTwice),
        ("tx-never-one", Serves, at, Fault::TxNever),
        ("tx-never", Stalls, Event::Every(1), Fault::TxNever),
        ("tx-late", Serves, at, Fault::TxLate(3000)),
        ("tx-always-late", Serves, Event::Every(1), Fault::TxLate(20)),
        ("tx-dropped", Serves, at, Fault::TxStatus(RSP_DROPPED)),
        ("tx-error", Serves, at, Fault::TxStatus(RSP_ERROR)),
        ("tx-null-for-data", Any, at, Fault::TxStatus(RSP_NULL)),
        ("tx-unknown-status", Serves, at, Fault::TxStatus(77)),
        ("tx-least-status", Serves, at, Fault::TxStatus(i16::MIN)),
        ("tx-null-too-much", Any, at, Fault::TxNull),
        (
            "tx-extra-answered",
            Any,
            Event::Every(1),
            Fault::TxExtraStatus(0),
        ),
        // Of a short packet there is nothing to keep that ends with its answer, so it is not one packet.
        (
            "tx-keeps-grants",
            Broken,
            Event::Every(1),
            Fault::TxKeepGrants(None),
        ),
        (
            "tx-keeps-grants-a-while",
            Broken,
            Event::Every(5),
            Fault::TxKeepGrants(Some(500)),
        ),
        ("tx-slot-rewritten", Any, Event::Every(7), Fault::TxFlip(20)),
    ];
    list.map(|(name, expect, at, fault)| script(name, expect, vec![(at, fault)]))
        .into()
}

/// What can be wrong with a frame to the guest.
fn receive() -> Vec<Script> {
    use Expect::*;
    let at = Event::Op(Op::Receive, NTH);
    let list = [
        ("rx-wrong-id", Any, at, Fault::RxId(77)),
        ("rx-id-beyond-ring", Any, at, Fault::RxId(300)),
        ("rx-offset-beyond-page", Any, at, Fault::RxOffset(4096)),
        ("rx-offset-greatest", Any, at, Fault::RxOffset(u16::MAX)),
        ("rx-end-beyond-page", Any, at, Fault::RxOffset(4090)),
        ("rx-size-beyond-page", Any, at, Fault::RxStatus(4097)),
        ("rx-size-greatest", Any, at, Fault::RxStatus(i16::MAX)),
        ("rx-size-0", Any, at, Fault::RxStatus(0)),
        ("rx-size-1", Any, at, Fault::RxStatus(1)),
        ("rx-error", Errors, at, Fault::RxStatus(RSP_ERROR)),
        ("rx-dropped", Errors, at, Fault::RxStatus(RSP_DROPPED)),
        ("rx-least-status", Errors, at, Fault::RxStatus(i16::MIN)),
        (
            "rx-always-error",
            Errors,
            Event::Every(2),
            Fault::RxStatus(RSP_ERROR),
        ),
        ("rx-short", Errors, at, Fault::RxShort(20)),
        ("rx-shorter-than-header", Errors, at, Fault::RxShort(13)),
        ("rx-empty", Errors, at, Fault::RxShort(0)),
        ("rx-garbage", Errors, Event::Every(3), Fault::RxGarbage(1)),
        ("rx-more-data", Any, at, Fault::RxFlags(NETRXF_MORE_DATA)),
        (
            "rx-extra-missing",
            Any,
            at,
            Fault::RxFlags(NETRXF_EXTRA_INFO),
        ),
        ("rx-gso-prefix", Any, at, Fault::RxFlags(NETRXF_GSO_PREFIX)),
        (
            "rx-checksum-blank",
            Any,
            Event::Every(3),
            Fault::RxFlags(NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED),
        ),
        (
            "rx-unknown-flags",
            Any,
            Event::Every(3),
            Fault::RxFlags(0xffe0),
        ),
        ("rx-all-flags", Any, at, Fault::RxFlags(u16::MAX)),
        ("rx-endless", Broken, at, Fault::RxEndless),
        ("rx-endless-extra", Broken, at, Fault::RxEndlessExtra),
        ("rx-skips-a-buffer", Any, at, Fault::RxSkip),
        ("rx-keeps-grants", Broken, at, Fault::RxKeepGrants(None)),
        (
            "rx-keeps-grants-a-while",
            Broken,
            Event::Every(5),
            Fault::RxKeepGrants(Some(500)),
        ),
        ("rx-flood", Serves, at, Fault::RxRepeat(2000)),
    ];
    list.map(|(name, expect, at, fault)| script(name, expect, vec![(at, fault)]))
        .into()
}

/// Extra information that makes no sense.
fn extras() -> Vec<Script> {
    let at = Event::Op(Op::Receive, NTH);
    let extra = |name: &str, kind, flags, bytes| {
        let fault = Fault::RxExtra { kind, flags, bytes };
        script(name, Expect::Any, vec![(at, fault)])
    };
    // Size (two bytes), type, padding, features.
    let gso = |size: u16, kind| {
        let [low, high] = size.to_ne_bytes();
        [low, high, kind, 0, 0, 0]
    };
    let mut scripts = vec![
        extra("extra-type-0", 0, 0, [0; 6]),
        extra("extra-type-max", EXTRA_TYPE_MAX, 0, [0; 6]),
        extra("extra-type-255", 255, 0, [0xff; 6]),
        extra(
            "extra-more-and-none",
            EXTRA_TYPE_GSO,
            EXTRA_FLAG_MORE,
            gso(1448, 1),
        ),
        extra("gso-size-0", EXTRA_TYPE_GSO, 0, gso(0, GSO_TYPE_TCPV4)),
        extra("gso-size-1", EXTRA_TYPE_GSO, 0, gso(1, GSO_TYPE_TCPV4)),
        extra(
            "gso-size-greatest",
            EXTRA_TYPE_GSO,
            0,
            gso(u16::MAX, GSO_TYPE_TCPV4),
        ),
        extra("gso-type-0", EXTRA_TYPE_GSO, 0, gso(1448, 0)),
        extra(
            "gso-type-of-v6",
            EXTRA_TYPE_GSO,
            0,
            gso(1448, GSO_TYPE_TCPV6),
        ),
        extra("gso-type-255", EXTRA_TYPE_GSO, 0, gso(1448, 255)),
        extra("gso-of-udp", EXTRA_TYPE_GSO, 0, gso(8, GSO_TYPE_TCPV4)),
        extra("hash-not-asked-for", EXTRA_TYPE_HASH, 0, [255; 6]),
        extra(
            "multicast-list",
            EXTRA_TYPE_MCAST_ADD,
            0,
            [1, 0, 0x5e, 0, 0, 1],
        ),
        extra("xdp-headroom-greatest", EXTRA_TYPE_XDP, 0, [0xff; 6]),
        extra(
            "xdp-headroom-not-asked-for",
            EXTRA_TYPE_XDP,
            0,
            [0, 1, 0, 0, 0, 0],
        ),
    ];
    let twice = Fault::RxExtra {
        kind: EXTRA_TYPE_GSO,
        flags: EXTRA_FLAG_MORE,
        bytes: gso(1448, GSO_TYPE_TCPV4),
    };
    scripts.push(script(
        "gso-twice",
        Expect::Any,
        vec![(at, twice.clone()), (at, twice)],
    ));
    scripts
}

/// What can be wrong with a ring and its event channel.
fn rings() -> Vec<Script> {
    use Expect::*;
    let at = Event::Op(Op::Transmit, NTH);
    let list = [
        ("tx-producer-ahead", Broken, at, Fault::TxAhead(1000)),
        (
            "tx-producer-one-ring-ahead",
            Broken,
            at,
            Fault::TxAhead(257),
        ),
        (
            "tx-producer-half-way-round",
            Broken,
            at,
            Fault::TxAhead(1 << 31),
        ),
        ("tx-producer-a-little-ahead", Broken, at, Fault::TxAhead(3)),
        ("tx-producer-back", Broken, at, Fault::TxBack(1000)),
        ("tx-producer-back-a-little", Any, at, Fault::TxBack(3)),
        ("rx-producer-ahead", Broken, at, Fault::RxAhead(1000)),
        (
            "rx-producer-one-ring-ahead",
            Broken,
            at,
            Fault::RxAhead(257),
        ),
        (
            "rx-producer-half-way-round",
            Broken,
            at,
            Fault::RxAhead(1 << 31),
        ),
        ("rx-producer-a-little-ahead", Any, at, Fault::RxAhead(3)),
        ("rx-producer-back", Broken, at, Fault::RxBack(1000)),
        ("rx-producer-back-a-little", Any, at, Fault::RxBack(3)),
        ("storm", Serves, Event::Every(10), Fault::Storm(1000)),
        // Afterwards the guest's kernel holds events back for a second and more, in which echoes are lost.
        (
            "storm-at-rest",
            Any,
            Event::AfterMs(1000),
            Fault::Storm(20000),
        ),
        ("no-notification", Stalls, at, Fault::Silence(None)),
        ("few-notifications", Any, at, Fault::Silence(Some(2))),
        ("disconnects", Stalls, at, DeviceFault::Disconnect.into()),
    ];
    list.map(|(name, expect, at, fault)| script(name, expect, vec![(at, fault)]))
        .into()
}

/// What can be wrong with what the back end says of itself.
fn keys() -> Vec<Script> {
    use Expect::*;
    let key = |name: &str, expect, key: &str, value: Option<&str>| {
        let fault = DeviceFault::Key {
            name: key.into(),
            value: value.map(String::from),
        };
        script(name, expect, vec![(Event::Created, fault.into())])
    };
    let (queues, copy) = ("multi-queue-max-queues", "feature-rx-copy");
    let huge = Some("99999999999999999999");
    vec![
        key("rx-copy-0", Refused, copy, Some("0")),
        key("rx-copy-missing", Refused, copy, None),
        key("rx-copy-text", Refused, copy, Some("yes")),
        key("rx-copy-huge", Refused, copy, huge),
        key("queues-0", Serves, queues, Some("0")),
        key("queues-10-to-9", Serves, queues, Some("1000000000")),
        key("queues-negative", Serves, queues, Some("-1")),
        key("queues-text", Serves, queues, Some("many")),
        key("queues-missing", Serves, queues, None),
        key(
            "split-text",
            Any,
            "feature-split-event-channels",
            Some("yes"),
        ),
        key("split-huge", Any, "feature-split-event-channels", huge),
        key("sg-text", Serves, "feature-sg", Some("yes")),
        key("sg-empty", Serves, "feature-sg", Some("")),
        key("gso-without-sg", Serves, "feature-sg", Some("0")),
        key("gso-huge", Serves, "feature-gso-tcpv4", huge),
        key(
            "multicast-text",
            Serves,
            "feature-multicast-control",
            Some("x"),
        ),
        key("headroom-text", Serves, "feature-xdp-headroom", Some("x")),
        key("ctrl-ring-and-none", Any, "feature-ctrl-ring", Some("1")),
        key("ctrl-ring-huge", Any, "feature-ctrl-ring", huge),
        key("carrier-0", Any, "carrier", Some("0")),
        key("carrier-text", Any, "carrier", Some("x")),
        key("mtu-huge", Any, "mtu", huge),
    ]
}

const MOMENTS: [(&str, Event); 6] = [
    ("created", Event::Created),
    ("init-wait", Event::InitWait),
    ("initialised", Event::Initialised),
    ("connected", Event::Connected),
    ("under-load", Event::Request(NTH)),
    ("closing", Event::Closing),
];

/// States that the back end goes to when it should not.
fn states() -> Vec<Script> {
    let mut scripts = Vec::new();
    for (moment, at) in MOMENTS {
        for state in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "-1"] {
            let fault = DeviceFault::State(state.into());
            scripts.push(script(
                format!("state-{state}-{moment}"),
                Expect::Any,
                vec![(at, fault.into())],
            ));
        }
    }
    scripts
}

/// Every point at which the back end can vanish, in every way.
fn vanishing() -> Vec<Script> {
    let ways = [
        ("backend-removed", DeviceFault::RemoveBackend),
        ("frontend-removed", DeviceFault::RemoveFrontend),
        ("killed", DeviceFault::Exit),
    ];
    let mut scripts = Vec::new();
    for (moment, at) in MOMENTS {
        for (way, fault) in &ways {
            let name = format!("{way}-{moment}");
            scripts.push(script(name, Expect::Any, vec![(at, fault.clone().into())]));
        }
    }
    scripts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_different_and_lead_to_their_scripts() {
        let scripts = catalogue();
        let names: BTreeSet<_> = scripts.iter().map(|script| script.name.clone()).collect();
        assert_eq!(names.len(), scripts.len());
        assert_eq!(named("rx-copy-0").unwrap().expect, Some(Expect::Refused));
        assert!(named("nothing").is_none());
    }
}
