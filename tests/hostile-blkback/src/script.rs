// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults, and when they happen, as JSON.
//!
//! ```json
//! { "name": "lies about the third request",
//!   "options": { "sectors": 65536 },
//!   "rules": [ { "at": { "request": 2 }, "do": { "wrong-id": 77 } },
//!              { "at": "created", "do": { "key": { "name": "sector-size", "value": "0" } } } ] }
//! ```

use crate::options::Options;
use serde::{Deserialize, Serialize};

/// A disk, and what goes wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// For logs.
    pub name: String,
    /// What a front end should make of it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// The disk and what is offered.
    pub options: Options,
    /// The faults. All that are due at an event happen, in this order.
    pub rules: Vec<Rule>,
}

/// What a good front end makes of a script under load. In every case the guest goes on, and when the
/// device is detached nothing of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// All requests succeed, with the right data.
    Serves,
    /// Some requests fail, all others succeed.
    Errors,
    /// Some requests are not answered while the back end is there.
    Stalls,
    /// The device is broken: what waits fails, and so does what comes.
    Broken,
    /// There is no disk.
    Refused,
    /// It depends on time, or on what the front end asks for.
    Any,
}

/// One fault at one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// When.
    pub at: Event,
    /// What.
    #[serde(rename = "do")]
    pub fault: Fault,
}

/// When a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// All nodes are written, the back end's state is still Initialising.
    Created,
    /// The back end has said InitWait.
    InitWait,
    /// The front end has said Initialised; its rings are not mapped yet.
    Initialised,
    /// The back end has said Connected.
    Connected,
    /// The front end has said Closing, or Closed at once, after it was connected; the back end has not
    /// answered yet.
    Closing,
    /// So many milliseconds after the back end said Connected.
    AfterMs(u64),
    /// With the answer to this request, counted from 0 over all queues.
    Request(u64),
    /// With the answer to every so-manieth request.
    Every(u64),
    /// With the answer to this request among those of one operation, counted from 0.
    Op(Op, u64),
}

/// An operation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// `BLKIF_OP_READ`, direct or indirect.
    Read,
    /// `BLKIF_OP_WRITE`, direct or indirect.
    Write,
    /// `BLKIF_OP_WRITE_BARRIER`.
    Barrier,
    /// `BLKIF_OP_FLUSH_DISKCACHE`.
    Flush,
    /// `BLKIF_OP_DISCARD`.
    Discard,
    /// Anything else.
    Unknown,
}

/// What goes wrong. The first group has a request to go wrong with; at other events it does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Answer with this number added to the id.
    WrongId(u64),
    /// Answer twice.
    DuplicateId,
    /// Answer with the id of the request that came before, which was answered already.
    OldId,
    /// Never answer.
    Never,
    /// Answer so many milliseconds later.
    Late(u64),
    /// From now on, answer in groups of so many, the last request first.
    Reorder(usize),
    /// Answer with this operation.
    WrongOperation(u8),
    /// Answer with this status: 0 done, -1 error, -2 not supported, all others unknown.
    Status(i16),
    /// While the answer is published and for so many milliseconds, rewrite its slot from another
    /// thread: right and wrong, in turn.
    Flip(u64),
    /// Keep the request's pages mapped after the answer, for so many milliseconds or to the end.
    KeepGrants(Option<u64>),

    /// From now on, show a response producer index so far ahead of what is published.
    ProducerAhead(u32),
    /// From now on, show a response producer index so far behind what is published.
    ProducerBack(u32),
    /// Notify so many times.
    Storm(u32),
    /// Do not notify for so many publications of answers, or never again.
    Silence(Option<u32>),

    /// Write a key of the back end's directory, or remove it.
    Key {
        /// Its name.
        name: String,
        /// Its new value; nothing removes it.
        value: Option<String>,
    },
    /// Go to this state, whatever the protocol says (`enum xenbus_state`, 0 to 8, or anything).
    State(String),
    /// Remove the back end's directory.
    RemoveBackend,
    /// Remove the front end's directory.
    RemoveFrontend,
    /// Unmap the rings and close the event channels, and go on as if nothing had happened.
    Disconnect,
    /// Die, leaving all nodes as they are.
    Exit,
}

impl Fault {
    /// Whether the fault is one of the device rather than of a ring.
    pub fn is_device(&self) -> bool {
        use Fault::*;
        matches!(
            self,
            Key { .. } | State(_) | RemoveBackend | RemoveFrontend | Disconnect | Exit
        )
    }
}

impl Script {
    /// Reads a script.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_as_documented() {
        let text = r#"{ "name": "x", "rules": [
            { "at": { "request": 2 }, "do": { "wrong-id": 77 } },
            { "at": "created", "do": { "key": { "name": "sector-size", "value": "0" } } },
            { "at": "closing", "do": { "key": { "name": "sectors", "value": null } } },
            { "at": { "op": ["flush", 0] }, "do": { "status": -2 } },
            { "at": { "every": 3 }, "do": { "keep-grants": null } },
            { "at": { "after-ms": 5 }, "do": "exit" } ] }"#;
        let script = Script::parse(text).unwrap();
        assert_eq!(script.rules[0].fault, Fault::WrongId(77));
        assert_eq!(script.rules[3].at, Event::Op(Op::Flush, 0));
        assert_eq!(script.rules[4].fault, Fault::KeepGrants(None));
        assert_eq!(script.options, Options::default());
        let again = serde_json::to_string(&script).unwrap();
        assert_eq!(Script::parse(&again).unwrap(), script);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(Script::parse(r#"{ "rule": [] }"#).is_err());
        assert!(Script::parse(r#"{ "rules": [ { "at": "never", "do": "exit" } ] }"#).is_err());
        assert!(Script::parse(r#"{ "rules": [ { "at": "created", "do": "explode" } ] }"#).is_err());
    }
}
