// SPDX-License-Identifier: MIT OR Apache-2.0
//! One script for each thing that a back end can do wrong, and what a good front end makes of it.

use crate::options::Options;
use crate::script::{Event, Expect, Fault, Op, Rule, Script};
use hostile_back::script::DeviceFault;

/// The scripts, with names that are all different.
pub fn catalogue() -> Vec<Script> {
    let mut scripts = answers();
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

/// What can be wrong with an answer.
fn answers() -> Vec<Script> {
    use Expect::*;
    // Late enough that the disk has been looked at for partitions.
    let at = Event::Request(9);
    let broken = [
        ("wrong-id", Fault::WrongId(77)),
        ("id-of-another-generation", Fault::WrongId(1 << 32)),
        ("duplicate-id", Fault::DuplicateId),
        ("finished-id", Fault::OldId),
        ("wrong-operation", Fault::WrongOperation(5)),
        ("unknown-operation", Fault::WrongOperation(200)),
    ];
    let mut scripts: Vec<Script> = broken
        .into_iter()
        .map(|(name, fault)| script(name, Broken, vec![(at, fault)]))
        .collect();
    let others = [
        ("error", Errors, at, Fault::Status(-1)),
        ("unknown-status", Errors, at, Fault::Status(77)),
        ("least-status", Errors, at, Fault::Status(i16::MIN)),
        (
            "read-not-supported",
            Errors,
            Event::Op(Op::Read, 9),
            Fault::Status(-2),
        ),
        (
            "flush-not-supported",
            Serves,
            Event::Op(Op::Flush, 0),
            Fault::Status(-2),
        ),
        (
            "keeps-grants",
            Broken,
            Event::Op(Op::Read, 9),
            Fault::KeepGrants(None),
        ),
        ("never-answers-one", Stalls, at, Fault::Never),
        ("never-answers", Stalls, Event::Every(1), Fault::Never),
        ("late", Serves, at, Fault::Late(3000)),
        ("always-late", Serves, Event::Every(1), Fault::Late(20)),
        ("out-of-order", Serves, Event::Request(0), Fault::Reorder(4)),
        (
            "keeps-grants-a-while",
            Broken,
            Event::Every(5),
            Fault::KeepGrants(Some(500)),
        ),
        ("slot-rewritten", Any, Event::Every(7), Fault::Flip(20)),
    ];
    scripts.extend(others.map(|(name, expect, at, fault)| script(name, expect, vec![(at, fault)])));
    let mut barrier = script(
        "barrier-not-supported",
        Serves,
        vec![(Event::Op(Op::Barrier, 0), Fault::Status(-2))],
    );
    barrier.options.barrier = Some(true);
    let mut discard = script(
        "discard-not-supported",
        Serves,
        vec![(Event::Op(Op::Discard, 0), Fault::Status(-2))],
    );
    discard.options.discard = true;
    let mut held = script("holds-persistent-grants", Serves, Vec::new());
    held.options.persistent = true;
    scripts.extend([barrier, discard, held]);
    scripts
}

/// What can be wrong with a ring and its event channel.
fn rings() -> Vec<Script> {
    use Expect::*;
    let at = Event::Request(9);
    vec![
        script(
            "producer-ahead",
            Broken,
            vec![(at, Fault::ProducerAhead(1000))],
        ),
        script(
            "producer-one-ring-ahead",
            Broken,
            vec![(at, Fault::ProducerAhead(33))],
        ),
        script(
            "producer-half-way-round",
            Broken,
            vec![(at, Fault::ProducerAhead(1 << 31))],
        ),
        script(
            "producer-back",
            Broken,
            vec![(at, Fault::ProducerBack(1000))],
        ),
        script(
            "producer-back-a-little",
            Any,
            vec![(at, Fault::ProducerBack(3))],
        ),
        script(
            "storm",
            Serves,
            vec![(Event::Every(10), Fault::Storm(2000))],
        ),
        script(
            "storm-at-rest",
            Serves,
            vec![(Event::AfterMs(1000), Fault::Storm(20000))],
        ),
        script("no-notification", Stalls, vec![(at, Fault::Silence(None))]),
        script(
            "few-notifications",
            Stalls,
            vec![(at, Fault::Silence(Some(1)))],
        ),
        script(
            "disconnects",
            Stalls,
            vec![(at, DeviceFault::Disconnect.into())],
        ),
    ]
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
    vec![
        key("sector-size-0", Refused, "sector-size", Some("0")),
        key("sector-size-3", Refused, "sector-size", Some("3")),
        key("sector-size-1g", Refused, "sector-size", Some("1073741824")),
        key("sector-size-text", Refused, "sector-size", Some("twelve")),
        key("sector-size-missing", Refused, "sector-size", None),
        key(
            "sectors-2-to-63",
            Refused,
            "sectors",
            Some("9223372036854775808"),
        ),
        key(
            "sectors-2-to-64",
            Refused,
            "sectors",
            Some("18446744073709551616"),
        ),
        key("sectors-negative", Refused, "sectors", Some("-1")),
        key("sectors-empty", Refused, "sectors", Some("")),
        key("sectors-missing", Refused, "sectors", None),
        key("sectors-0", Any, "sectors", Some("0")),
        key("info-huge", Refused, "info", Some("99999999999999999999")),
        key("info-missing", Refused, "info", None),
        key(
            "physical-sector-size-0",
            Serves,
            "physical-sector-size",
            Some("0"),
        ),
        key(
            "queues-10-to-9",
            Serves,
            "multi-queue-max-queues",
            Some("1000000000"),
        ),
        key("queues-0", Serves, "multi-queue-max-queues", Some("0")),
        key(
            "queues-text",
            Serves,
            "multi-queue-max-queues",
            Some("many"),
        ),
        key(
            "ring-order-huge",
            Serves,
            "max-ring-page-order",
            Some("4294967295"),
        ),
        key(
            "ring-order-negative",
            Serves,
            "max-ring-page-order",
            Some("-1"),
        ),
        key(
            "indirect-huge",
            Any,
            "feature-max-indirect-segments",
            Some("4294967296"),
        ),
        key(
            "indirect-1",
            Serves,
            "feature-max-indirect-segments",
            Some("1"),
        ),
        key("persistent-text", Serves, "feature-persistent", Some("yes")),
        key(
            "flush-huge",
            Serves,
            "feature-flush-cache",
            Some("99999999999999999999"),
        ),
        key("discard-without-more", Any, "feature-discard", Some("1")),
        key("granularity-odd", Any, "discard-granularity", Some("3")),
    ]
}

/// States that the back end goes to when it should not.
fn states() -> Vec<Script> {
    let moments = [
        ("created", Event::Created),
        ("init-wait", Event::InitWait),
        ("initialised", Event::Initialised),
        ("connected", Event::Connected),
        ("under-load", Event::Request(9)),
        ("closing", Event::Closing),
    ];
    let mut scripts = Vec::new();
    for (moment, at) in moments {
        for state in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "-1"] {
            let name = format!("state-{state}-{moment}");
            scripts.push(script(
                name,
                Expect::Any,
                vec![(at, DeviceFault::State(state.into()).into())],
            ));
        }
    }
    scripts
}

/// Every point at which the back end can vanish, in every way.
fn vanishing() -> Vec<Script> {
    let moments = [
        ("created", Event::Created),
        ("init-wait", Event::InitWait),
        ("initialised", Event::Initialised),
        ("connected", Event::Connected),
        ("under-load", Event::Request(9)),
        ("closing", Event::Closing),
    ];
    let ways = [
        ("backend-removed", DeviceFault::RemoveBackend),
        ("frontend-removed", DeviceFault::RemoveFrontend),
        ("killed", DeviceFault::Exit),
    ];
    let mut scripts = Vec::new();
    for (moment, at) in moments {
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
        assert_eq!(
            named("sectors-2-to-63").unwrap().expect,
            Some(Expect::Refused)
        );
        assert!(named("nothing").is_none());
    }
}
