// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faults, and when they happen, as JSON.
//!
//! ```json
//! { "name": "a key too much",
//!   "options": {},
//!   "rules": [ { "at": "created", "do": { "key": { "name": "feature-x", "value": "0" } } },
//!              { "at": { "request": 2 }, "do": { "state": "5" } } ] }
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// A device, and what goes wrong with it: `O` are its options, `P` the operations of its protocol, `F`
/// its faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script<O, P, F> {
    /// For logs.
    pub name: String,
    /// What a front end should make of it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
    /// The device and what is offered.
    pub options: O,
    /// The faults. All that are due at an event happen, in this order.
    pub rules: Vec<Rule<P, F>>,
}

impl<O: Default, P, F> Default for Script<O, P, F> {
    fn default() -> Self {
        Script {
            name: String::new(),
            expect: None,
            options: O::default(),
            rules: Vec::new(),
        }
    }
}

/// What a good front end makes of a script under load. In every case the guest goes on, and when the
/// device is detached nothing of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// All requests succeed, with the right data.
    Serves,
    /// All requests succeed, and the front end says what the back end does not do.
    Warns,
    /// Some requests fail, all others succeed.
    Errors,
    /// Some requests are not answered while the back end is there.
    Stalls,
    /// The device is broken: what waits fails, and so does what comes.
    Broken,
    /// There is no device.
    Refused,
    /// It depends on time, or on what the front end asks for.
    Any,
}

/// One fault at one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule<P, F> {
    /// When.
    pub at: Event<P>,
    /// What.
    #[serde(rename = "do")]
    pub fault: F,
}

/// When a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event<P> {
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
    Op(P, u64),
}

/// What goes wrong with a device as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceFault {
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

/// A fault of some protocol.
pub trait Fault: Clone + Debug + Serialize + DeserializeOwned {
    /// The fault of the device that it is, rather than of a ring.
    fn device(&self) -> Option<&DeviceFault>;

    /// Whether it is one.
    fn is_device(&self) -> bool {
        self.device().is_some()
    }
}

impl<O, P, F> Script<O, P, F>
where
    O: Default + DeserializeOwned,
    P: DeserializeOwned,
    F: DeserializeOwned,
{
    /// Reads a script.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}
