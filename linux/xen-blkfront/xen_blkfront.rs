// SPDX-License-Identifier: GPL-2.0-only

//! Xen disk front end.
//!
//! The protocol is in the core (`portico_core::block`), the kernel's interfaces are in `portico`; here
//! the two are wired:
//!
//! | module | holds |
//! |---|---|
//! | [`params`] | the module's parameters |
//! | [`driver`] | what xenbus calls |
//! | [`front`] | one device: hand-shake, connection, life and death |
//! | [`works`] | what a device does in a thread of its own |
//! | [`ring`] | one hardware queue: requests in, completions out |
//! | [`disk`] | limits, geometry, ioctls, `serial` |
//! | [`stats`] | counters in debugfs |

mod disk;
mod driver;
mod front;
mod params;
mod ring;
mod stats;
mod works;

use kernel::{driver::Registration, prelude::*};
use portico::{block::Major, xen, xenbus::Adapter};

/// The major number of Xen's disks.
const XENVBD_MAJOR: u32 = 202;

#[pin_data]
struct Module {
    // Dropped in this order: no device is left when the number is given back.
    #[pin]
    _driver: Registration<Adapter<driver::Blkfront>>,
    _major: Major,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: {
                if !xen::is_domain() || !xen::has_pv_disk_devices() {
                    return Err(ENODEV);
                }
                params::check();
            },
            _major: Major::register(XENVBD_MAJOR, c"xvd").inspect_err(|_| {
                pr_err!("major number {XENVBD_MAJOR} is taken: another Xen disk driver is loaded\n");
            })?,
            _driver <- Registration::new(<Self as kernel::ModuleMetadata>::NAME, module),
        }? Error)
    }
}

module! {
    type: Module,
    name: "xen_blkfront",
    authors: ["The Portico authors"],
    description: "Xen virtual block device frontend",
    license: "GPL",
    alias: ["xen:vbd", "xenblk", "block-major-202-*"],
}
