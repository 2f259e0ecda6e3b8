// SPDX-License-Identifier: MIT OR Apache-2.0
//! The back end on dom0's real interfaces.

pub mod rings;

use crate::options::Options;
use crate::queue::Queue;
use crate::script::{Fault, Injector, Op};
use anyhow::Result;
use hostile_back::xen::backend::{Backend, Interfaces};
use hostile_back::xen::guest::XenGuest;
use hostile_back::xen::nodes::Nodes;
use rings::Choice;
use serde_json::{json, Value};
use xen_user::{Port, Store};

/// The front end's type.
pub const KIND: &str = "vif";

/// Makes a device's nodes, with all that a front end may look for.
pub fn create(store: &mut Store, nodes: &Nodes, mac: &str, options: &Options) -> Result<()> {
    let mut back: Vec<(&str, String)> = vec![
        ("handle", nodes.device.to_string()),
        ("mac", mac.into()),
        ("type", "hostile-vif".into()),
    ];
    back.extend(options.offers());
    let front = [
        ("handle", nodes.device.to_string()),
        ("mac", mac.to_owned()),
        ("mtu", "1500".into()),
    ];
    nodes.create(store, &front, &back)
}

/// A device's queues.
pub struct Nets {
    options: Options,
    queues: Vec<Queue<XenGuest>>,
}

impl Nets {
    /// A device that nobody is connected to.
    pub fn new(options: Options) -> Self {
        Nets {
            options,
            queues: Vec::new(),
        }
    }
}

impl Backend for Nets {
    type Op = Op;
    type Fault = Fault;

    fn connect(
        &mut self,
        store: &mut Store,
        nodes: &Nodes,
        interfaces: &Interfaces,
    ) -> Result<Value> {
        let choice = Choice::read(store, nodes)?;
        self.queues = choice.connect(nodes.domain, interfaces)?;
        Ok(serde_json::to_value(&choice)?)
    }

    fn disconnect(&mut self) {
        self.queues.clear();
    }

    fn queues(&self) -> usize {
        self.queues.len()
    }

    fn queue_of(&self, port: Port) -> Option<usize> {
        self.queues
            .iter()
            .position(|queue| queue.guests().iter().any(|guest| guest.port == port))
    }

    fn notified(&mut self, queue: usize) {
        self.queues[queue].stats.notified += 1;
    }

    fn serve(
        &mut self,
        queue: usize,
        now: u64,
        injector: &mut Injector,
    ) -> Result<Vec<Fault>, String> {
        self.queues[queue]
            .serve(now, &self.options, injector)
            .map_err(|e| e.to_string())
    }

    fn next_due(&self, queue: usize) -> Option<u64> {
        self.queues.get(queue).and_then(Queue::next_due)
    }

    fn fault(&mut self, faults: &[Fault]) {
        for queue in &mut self.queues {
            queue.fault(faults);
        }
    }

    fn stats(&self) -> Value {
        json!(self
            .queues
            .iter()
            .map(|queue| &queue.stats)
            .collect::<Vec<_>>())
    }
}
