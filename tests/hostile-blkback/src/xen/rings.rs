// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the front end has chosen and published, and its rings mapped.

use crate::options::Options;
use crate::queue::Queue;
use anyhow::{bail, Context, Result};
use hostile_back::xen::backend::Interfaces;
use hostile_back::xen::guest::{Ring, XenGuest};
use hostile_back::xen::nodes::{number, Nodes};
use portico_core::block::wire::PROTOCOL;
use serde::Serialize;
use xen_user::Store;

/// The front end's choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// `protocol`.
    pub protocol: String,
    /// `ring-page-order`; `None`: the key is not there, so one page named `ring-ref`.
    pub ring_page_order: Option<u32>,
    /// `multi-queue-num-queues`; `None`: one queue without a directory of its own.
    pub queues: Option<u32>,
    /// `feature-persistent`.
    pub persistent: bool,
    /// Grant references of the rings, queue by queue.
    pub rings: Vec<Vec<u32>>,
    /// Event channels, queue by queue.
    pub ports: Vec<u32>,
}

impl Choice {
    /// Reads what the front end has published.
    pub fn read(store: &mut Store, nodes: &Nodes, options: &Options) -> Result<Self> {
        let protocol = store
            .read_text(&nodes.front("protocol"))?
            .unwrap_or_else(|| PROTOCOL.into());
        if protocol != PROTOCOL {
            bail!("the front end speaks {protocol:?}, and only {PROTOCOL:?} is known here");
        }
        let ring_page_order: Option<u32> = number(store, &nodes.front("ring-page-order"))?;
        if ring_page_order.is_some_and(|order| order > options.max_ring_page_order) {
            bail!("ring-page-order {ring_page_order:?} was not offered");
        }
        let queues: Option<u32> = number(store, &nodes.front("multi-queue-num-queues"))?;
        if queues.is_some_and(|n| n == 0 || n > options.max_queues.max(1)) {
            bail!("{queues:?} queues were not offered");
        }
        let persistent = number(store, &nodes.front("feature-persistent"))?.unwrap_or(0u32) != 0;
        let (mut rings, mut ports) = (Vec::new(), Vec::new());
        for queue in 0..queues.unwrap_or(1) {
            // One queue keeps its keys in the device's own directory.
            let prefix = match queues {
                Some(n) if n > 1 => format!("queue-{queue}/"),
                _ => String::new(),
            };
            let mut need = |key: String| -> Result<u32> {
                number(store, &nodes.front(&key))?
                    .with_context(|| format!("the front end has not published {key}"))
            };
            let ring = match ring_page_order {
                None | Some(0) => match need(format!("{prefix}ring-ref")) {
                    Ok(gref) => vec![gref],
                    Err(_) => vec![need(format!("{prefix}ring-ref0"))?],
                },
                Some(order) => (0..1 << order)
                    .map(|page| need(format!("{prefix}ring-ref{page}")))
                    .collect::<Result<_>>()?,
            };
            rings.push(ring);
            ports.push(need(format!("{prefix}event-channel"))?);
        }
        Ok(Choice {
            protocol,
            ring_page_order,
            queues,
            persistent,
            rings,
            ports,
        })
    }

    /// Maps the rings and binds the event channels.
    pub fn connect(
        &self,
        domain: u16,
        persistent: bool,
        interfaces: &Interfaces,
    ) -> Result<Vec<Queue<XenGuest>>> {
        let mut queues = Vec::new();
        for (refs, port) in self.rings.iter().zip(&self.ports) {
            let Interfaces { gntdev, evtchn } = interfaces;
            let ring = gntdev.map_ring(domain, refs)?;
            let guest = XenGuest {
                domain,
                gntdev: gntdev.clone(),
                evtchn: evtchn.clone(),
                port: evtchn.bind_interdomain(domain, *port)?,
            };
            let queue = Queue::new(guest, Ring(ring), persistent && self.persistent);
            queues.push(queue.map_err(|e| anyhow::anyhow!("a ring is not right: {e}"))?);
        }
        Ok(queues)
    }
}
