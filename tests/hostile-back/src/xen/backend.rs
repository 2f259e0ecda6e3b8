// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kind of device adds to its life.

use super::nodes::Nodes;
use crate::inject::Injector;
use crate::script::Fault;
use anyhow::Result;
use serde_json::Value;
use std::rc::Rc;
use xen_user::{EventChannels, Gntdev, Port, Store};

/// The interfaces of dom0 that a connection is made with.
#[derive(Clone, Debug)]
pub struct Interfaces {
    /// Mapped grants.
    pub gntdev: Gntdev,
    /// Event channels.
    pub evtchn: Rc<EventChannels>,
}

/// The protocol of one kind of device, at the back end's side. Queues are named by their index.
pub trait Backend {
    /// Operations that faults can wait for.
    type Op: Copy + PartialEq;
    /// What can go wrong.
    type Fault: Fault;

    /// Reads what the front end has published and connects to it; returns what it has chosen.
    fn connect(
        &mut self,
        store: &mut Store,
        nodes: &Nodes,
        interfaces: &Interfaces,
    ) -> Result<Value>;

    /// Lets go of rings and event channels.
    fn disconnect(&mut self);

    /// How many queues are connected.
    fn queues(&self) -> usize;

    /// The queue that an event channel belongs to.
    fn queue_of(&self, port: Port) -> Option<usize>;

    /// Notes that the queue was notified.
    fn notified(&mut self, queue: usize);

    /// Does all that a queue has to do now. `now` is a time in milliseconds. Faults that are the
    /// device's are given back, and there may be more to do then. An error means that the front end
    /// broke the ring.
    fn serve(
        &mut self,
        queue: usize,
        now: u64,
        injector: &mut Injector<Self::Op, Self::Fault>,
    ) -> Result<Vec<Self::Fault>, String>;

    /// When something is due that [`Self::serve`] must do though no notification comes.
    fn next_due(&self, queue: usize) -> Option<u64>;

    /// Applies faults that need no request, to all queues.
    fn fault(&mut self, faults: &[Self::Fault]);

    /// Counters of the queues.
    fn stats(&self) -> Value;

    /// A command that only this kind knows. The keys that come back are written, and the state is said
    /// once more. An error is one about the command.
    fn command(&mut self, command: &Value) -> Result<Vec<(String, String)>, String> {
        Err(format!("{command} is not known"))
    }
}
