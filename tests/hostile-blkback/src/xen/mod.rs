// SPDX-License-Identifier: MIT OR Apache-2.0
//! The back end on dom0's real interfaces.

pub mod rings;

use crate::disk::Disk;
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
pub const KIND: &str = "vbd";

/// Makes a disk's nodes, with all that a front end may look for.
pub fn create(store: &mut Store, nodes: &Nodes, options: &Options) -> Result<()> {
    let device_type = if options.cdrom { "cdrom" } else { "disk" };
    let mode = if options.read_only { "r" } else { "w" };
    let mut back: Vec<(&str, String)> = vec![
        ("removable", u32::from(options.removable).to_string()),
        ("bootable", "1".into()),
        ("dev", format!("vbd-{}", nodes.device)),
        ("type", "hostile-vbd".into()),
        ("mode", mode.into()),
        ("device-type", device_type.into()),
    ];
    back.extend(options.offers());
    back.extend(options.geometry());
    let front = [
        ("virtual-device", nodes.device.to_string()),
        ("device-type", device_type.into()),
    ];
    nodes.create(store, &front, &back)
}

/// A disk and its queues.
pub struct Disks {
    options: Options,
    disk: Disk,
    queues: Vec<Queue<XenGuest>>,
}

impl Disks {
    /// A disk that nobody is connected to.
    pub fn new(options: Options, disk: Disk) -> Self {
        Disks {
            options,
            disk,
            queues: Vec::new(),
        }
    }
}

impl Backend for Disks {
    type Op = Op;
    type Fault = Fault;

    fn connect(
        &mut self,
        store: &mut Store,
        nodes: &Nodes,
        interfaces: &Interfaces,
    ) -> Result<Value> {
        let choice = Choice::read(store, nodes, &self.options)?;
        self.queues = choice.connect(nodes.domain, self.options.persistent, interfaces)?;
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
            .position(|queue| queue.guest().port == port)
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
            .serve(now, &mut self.disk, &self.options, injector)
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

    /// `{"resize": SECTORS}`: changes the size, in sectors of 512 bytes, and says so as back ends do:
    /// Connected, once more.
    fn command(&mut self, command: &Value) -> Result<Vec<(String, String)>, String> {
        let Some(sectors) = command.get("resize").and_then(Value::as_u64) else {
            return Err(format!("{command} is not known"));
        };
        if let Disk::Memory(data) = &mut self.disk {
            data.resize(sectors as usize * 512, 0);
        }
        self.options.sectors = sectors;
        Ok(vec![("sectors".into(), sectors.to_string())])
    }
}
