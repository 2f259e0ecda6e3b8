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
use hostile_back::script::{self, DeviceFault};
use serde::{Deserialize, Serialize};

pub use hostile_back::script::Expect;

/// A disk, and what goes wrong with it.
pub type Script = script::Script<Options, Op, Fault>;

/// One fault at one event.
pub type Rule = script::Rule<Op, Fault>;

/// Which faults are due now.
pub type Injector = hostile_back::inject::Injector<Op, Fault>;

/// When a fault happens.
pub type Event = script::Event<Op>;

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

    /// Something goes wrong with the device rather than with a ring.
    #[serde(untagged)]
    Device(DeviceFault),
}

impl From<DeviceFault> for Fault {
    fn from(fault: DeviceFault) -> Self {
        Fault::Device(fault)
    }
}

impl script::Fault for Fault {
    fn device(&self) -> Option<&DeviceFault> {
        match self {
            Fault::Device(fault) => Some(fault),
            _ => None,
        }
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
