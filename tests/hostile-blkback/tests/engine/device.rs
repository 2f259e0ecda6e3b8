// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device that a script describes: what its keys say, which may be lies, and a queue made from it.

use crate::machine::Machine;
use hostile_back::random::Rng;
use hostile_back::script::DeviceFault;
use hostile_back::sim::{Ring, SimGuest};
use hostile_blkback::queue::Queue as Back;
use hostile_blkback::script::{Event, Fault, Injector, Script};
use portico_core::block::negotiate::{Ability, Disk, Offer, Params, Shape};
use portico_core::block::queue::Ring as FrontRing;
use portico_core::block::sim::Sim;
use portico_core::block::{Queue, Setup};
use portico_core::xenbus::{Keys, Problem, NUMBER_LEN};
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

struct Store(HashMap<String, String>);

impl Keys for Store {
    fn read(&self, key: &str, value: &mut [u8; NUMBER_LEN]) -> Result<Option<usize>, Problem> {
        Ok(self.0.get(key).map(|text| {
            let len = text.len().min(NUMBER_LEN);
            value[..len].copy_from_slice(&text.as_bytes()[..len]);
            text.len()
        }))
    }
}

/// Both ends of a connected device.
pub(crate) struct Device {
    /// The machine.
    pub(crate) sim: Sim,
    /// The engine.
    pub(crate) front: Queue<Machine>,
    /// The back end.
    pub(crate) back: Back<SimGuest>,
    /// The memory between them.
    pub(crate) ring: Ring,
    /// What the front end believes the disk to be.
    pub(crate) disk: Disk,
    /// What the front end believes the back end to take.
    pub(crate) ability: Ability,
    /// Notifications that the front end has received.
    pub(crate) notified: Rc<Cell<u64>>,
    /// The two ends do not agree on whether grants are persistent, which the back end's keys caused.
    pub(crate) disagree: bool,
}

impl Device {
    /// Goes through the hand-shake; `None` when the front end refuses the device.
    pub(crate) fn connect(
        script: &Script,
        injector: &mut Injector,
        rng: &mut Rng,
        sim: Sim,
    ) -> Option<Self> {
        let options = &script.options;
        let keys = options.offers().into_iter().chain(options.geometry());
        let mut keys: HashMap<_, _> = keys.map(|(key, value)| (key.to_string(), value)).collect();
        let mut tamper = |keys: &mut HashMap<_, _>, moment| {
            for fault in injector.moment(moment) {
                match fault {
                    Fault::Device(DeviceFault::Key {
                        name,
                        value: Some(value),
                    }) => drop(keys.insert(name, value)),
                    Fault::Device(DeviceFault::Key { name, value: None }) => {
                        drop(keys.remove(&name));
                    }
                    _ => {}
                }
            }
        };
        tamper(&mut keys, Event::Created);
        tamper(&mut keys, Event::InitWait);
        let params = Params {
            max_indirect_segments: rng.pick(&[0, 32, 256]),
            max_queues: 4,
            max_ring_page_order: rng.pick(&[0, 1, 4, 400]),
            feature_persistent: !rng.one_in(4),
            trusted: !rng.one_in(4),
        };
        let store = Store(keys);
        let shape = Shape::choose(&params, Offer::read(&store), 4);
        let mut keys = store.0;
        tamper(&mut keys, Event::Initialised);
        let store = Store(keys);
        let disk = Disk::read(&store).ok()?;
        let ability = Ability::read(&store, &params);

        let ring = Ring::new(1 << shape.ring_page_order);
        let index = if rng.one_in(2) {
            0
        } else {
            rng.number() as u32
        };
        let front_ring = FrontRing::starting_at(ring.clone(), index).expect("a ring's size");
        let setup = Setup {
            handle: 51712,
            max_segments: ability.max_segments as usize,
            persistent: ability.persistent,
            bounce: !params.trusted,
            pool_pages: ability
                .pool_pages(shape.entries())
                .min(64 + rng.below(128) as usize),
            features: ability.features,
        };
        // Without references enough there is no device, which is right too.
        let front = Queue::new(Machine(sim.clone()), front_ring, setup).ok()?;
        let notified = Rc::new(Cell::new(0));
        let guest = SimGuest {
            sim: sim.clone(),
            notified: notified.clone(),
        };
        let persistent = options.persistent && params.feature_persistent;
        let back = Back::new(guest, ring.clone(), persistent).expect("a new ring");
        Some(Device {
            sim,
            front,
            back,
            ring,
            disk,
            ability,
            notified,
            disagree: persistent != ability.persistent,
        })
    }
}
