// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the front end has chosen and published, and its rings mapped.

use crate::queue::Queue;
use anyhow::{bail, Context, Result};
use hostile_back::xen::backend::Interfaces;
use hostile_back::xen::guest::{Ring, XenGuest};
use hostile_back::xen::nodes::{number, Nodes};
use serde::Serialize;
use std::rc::Rc;
use xen_user::Store;

/// More queues than any front end has.
const QUEUES_MAX: u32 = 64;

/// The front end's choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// `multi-queue-num-queues`; `None`: one queue without a directory of its own.
    pub queues: Option<u32>,
    /// Grant references of the rings, transmit and receive, queue by queue.
    pub rings: Vec<[u32; 2]>,
    /// Event channels, likewise; one for both rings if they are the same.
    pub ports: Vec<[u32; 2]>,
}

impl Choice {
    /// Reads what the front end has published.
    pub fn read(store: &mut Store, nodes: &Nodes) -> Result<Self> {
        let queues: Option<u32> = number(store, &nodes.front("multi-queue-num-queues"))?;
        if queues.is_some_and(|n| n == 0 || n > QUEUES_MAX) {
            bail!("{queues:?} queues were not offered");
        }
        let (mut rings, mut ports) = (Vec::new(), Vec::new());
        for queue in 0..queues.unwrap_or(1) {
            // One queue keeps its keys in the device's own directory.
            let prefix = match queues {
                Some(n) if n > 1 => format!("queue-{queue}/"),
                _ => String::new(),
            };
            let mut need = |key: &str| -> Result<u32> {
                number(store, &nodes.front(&format!("{prefix}{key}")))?
                    .with_context(|| format!("the front end has not published {prefix}{key}"))
            };
            rings.push([need("tx-ring-ref")?, need("rx-ring-ref")?]);
            ports.push(match need("event-channel-tx") {
                Ok(tx) => [tx, need("event-channel-rx")?],
                Err(_) => [need("event-channel")?; 2],
            });
        }
        Ok(Choice {
            queues,
            rings,
            ports,
        })
    }

    /// Maps the rings and binds the event channels.
    pub fn connect(&self, domain: u16, interfaces: &Interfaces) -> Result<Vec<Queue<XenGuest>>> {
        let Interfaces { gntdev, evtchn } = interfaces;
        let guest = |port: u32| -> Result<Rc<XenGuest>> {
            Ok(Rc::new(XenGuest {
                domain,
                gntdev: gntdev.clone(),
                evtchn: evtchn.clone(),
                port: evtchn.bind_interdomain(domain, port)?,
            }))
        };
        let mut queues = Vec::new();
        for ([tx, rx], [tx_port, rx_port]) in self.rings.iter().zip(&self.ports) {
            let tx_guest = guest(*tx_port)?;
            let rx_guest = match rx_port == tx_port {
                true => Rc::clone(&tx_guest),
                false => guest(*rx_port)?,
            };
            let ring =
                |gref: u32| Ok::<_, xen_user::Error>(Ring(gntdev.map_ring(domain, &[gref])?));
            let queue = Queue::new((tx_guest, ring(*tx)?), (rx_guest, ring(*rx)?));
            queues.push(queue.map_err(|e| anyhow::anyhow!("a ring is not right: {e}"))?);
        }
        Ok(queues)
    }
}
