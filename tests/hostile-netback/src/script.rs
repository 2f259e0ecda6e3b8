// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults, and when they happen, as JSON.
//!
//! ```json
//! { "name": "lies about the third packet to the guest",
//!   "options": { "split": false },
//!   "rules": [ { "at": { "op": ["receive", 2] }, "do": { "rx-status": 5000 } },
//!              { "at": "created", "do": { "key": { "name": "feature-sg", "value": "x" } } } ] }
//! ```
//!
//! Directions are the guest's: it transmits and receives.

use crate::options::Options;
use hostile_back::script::{self, DeviceFault};
use serde::{Deserialize, Serialize};

pub use hostile_back::script::Expect;

/// A device, and what goes wrong with it.
pub type Script = script::Script<Options, Op, Fault>;

/// One fault at one event.
pub type Rule = script::Rule<Op, Fault>;

/// When a fault happens. A request is a packet, either way.
pub type Event = script::Event<Op>;

/// Which faults are due now.
pub type Injector = hostile_back::inject::Injector<Op, Fault>;

/// A packet's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// From the guest.
    Transmit,
    /// To the guest.
    Receive,
}

/// What goes wrong. The first group needs a packet from the guest, the second one to it; at other events
/// they do nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Answer with this number added to the id.
    TxId(u16),
    /// Answer with the id that was answered last.
    TxOldId,
    /// Answer twice.
    TxTwice,
    /// Never answer.
    TxNever,
    /// Answer so many milliseconds later.
    TxLate(u64),
    /// Answer with this status.
    TxStatus(i16),
    /// If it is a change of the multicast list: that status, or no answer.
    TxMulticast(Option<i16>),
    /// Answer with `NETIF_RSP_NULL` once more than there is extra information.
    TxNull,
    /// Answer extra information with this status.
    TxExtraStatus(i16),
    /// Keep the packet's pages mapped after the answer, for so many milliseconds or to the end.
    TxKeepGrants(Option<u64>),
    /// While the answer is published and for so many milliseconds, rewrite its slot from another
    /// thread: right and wrong, in turn.
    TxFlip(u64),

    /// Pass the frame on with this number added to the id of its first slot.
    RxId(u16),
    /// With this offset in its first slot.
    RxOffset(u16),
    /// With these flags turned over in its first slot.
    RxFlags(u16),
    /// With this status, that is size, in its first slot.
    RxStatus(i16),
    /// Only so many bytes of it.
    RxShort(u16),
    /// With other bytes in it, from a seed.
    RxGarbage(u64),
    /// With this extra information.
    RxExtra {
        /// `type`.
        kind: u8,
        /// `flags`.
        flags: u8,
        /// `u`.
        bytes: [u8; 6],
    },
    /// As a chain of as many slots as there are buffers, which says that it goes on.
    RxEndless,
    /// With extra information in all buffers that there are, which says that more follows.
    RxEndlessExtra,
    /// Take a buffer for it and say nothing.
    RxSkip,
    /// Keep the frame's pages mapped after the answer, for so many milliseconds or to the end.
    RxKeepGrants(Option<u64>),
    /// So many times.
    RxRepeat(u32),

    /// From now on, show the transmit ring's producer index so far ahead of what is published.
    TxAhead(u32),
    /// So far behind.
    TxBack(u32),
    /// From now on, show the receive ring's producer index so far ahead of what is published.
    RxAhead(u32),
    /// So far behind.
    RxBack(u32),
    /// Notify so many times.
    Storm(u32),
    /// Do not notify for so many publications, or never again.
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
        let text = r#"{ "name": "x", "options": { "split": false }, "rules": [
            { "at": { "op": ["receive", 2] }, "do": { "rx-status": 5000 } },
            { "at": { "every": 3 }, "do": "rx-endless" },
            { "at": { "after-ms": 5 }, "do": "exit" },
            { "at": "created", "do": { "key": { "name": "feature-sg", "value": "x" } } } ] }"#;
        let script = Script::parse(text).unwrap();
        assert_eq!(script.rules[0].fault, Fault::RxStatus(5000));
        assert_eq!(script.rules[2].fault, DeviceFault::Exit.into());
        let again = serde_json::to_string(&script).unwrap();
        assert_eq!(Script::parse(&again).unwrap(), script);
        assert!(Script::parse(r#"{ "rules": [ { "at": "created", "do": "explode" } ] }"#).is_err());
    }
}
