// SPDX-License-Identifier: GPL-2.0-only

//! Xen network front end.
//!
//! The protocol is in the core (`portico_core::net`), the kernel's interfaces are in `portico`; here
//! the two are wired:
//!
//! | module | holds |
//! |---|---|
//! | [`params`] | the module's parameters |
//! | [`driver`] | what xenbus calls |
//! | [`front`] | one device: hand-shake, connection, life and death |
//! | [`works`] | what a device does in a thread of its own |
//! | [`net`] | what the network stack calls |
//! | [`tx`] | sending |
//! | [`rx`] | receiving |
//! | [`spread`] | how the back end spreads packets over the queues |
//! | [`multicast`] | which multicast packets the back end sends |
//! | [`xdp`] | what XDP programs need of the back end |
//! | [`counters`] | what `ethtool -S` shows |
//! | [`attributes`] | files under `/sys/class/net` |

mod attributes;
mod counters;
mod driver;
mod front;
mod multicast;
mod net;
mod params;
mod rx;
mod spread;
mod tx;
mod works;
mod xdp;

use kernel::{driver::Registration, prelude::*};
use portico::{xen, xenbus::Adapter};

#[pin_data]
struct Module {
    #[pin]
    _driver: Registration<Adapter<driver::Netfront>>,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: {
                if !xen::is_domain() || !xen::has_pv_nic_devices() {
                    return Err(ENODEV);
                }
                params::check();
            },
            _driver <- Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
        }? Error)
    }
}

module! {
    type: Module,
    name: "xen_netfront",
    authors: ["The Portico authors"],
    description: "Xen virtual network device frontend",
    license: "GPL",
    alias: ["xen:vif", "xennet"],
}
