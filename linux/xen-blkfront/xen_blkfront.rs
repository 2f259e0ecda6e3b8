// SPDX-License-Identifier: GPL-2.0-only

//! Xen disk front end.

use kernel::prelude::*;
use kernel::device::Core;
use portico::xenbus::{self, Device, State};

struct Blkfront;

impl xenbus::Driver for Blkfront {
    const TYPES: &'static [&'static str] = &["vbd"];
    type Data = Self;
    fn probe(dev: &Device<Core<'_>>) -> impl PinInit<Self, Error> {
        let _ = dev.transaction(|t| { t.write("a", 1)?; t.read(format_args!("queue-{}/x", 1)) });
        Ok(Self)
    }
    fn otherend_changed(dev: &Device<Core<'_>>, _data: Pin<&Self>, state: State) {
        dev_info!(dev, "state {:?}\n", state as u8);
    }
    fn resume(_dev: &Device<Core<'_>>, _data: Pin<&Self>) -> Result { Ok(()) }
    fn remove(_dev: &Device<Core<'_>>, _data: Pin<&Self>) {}
}

portico::module_xenbus_driver! {
    type: Blkfront,
    name: "xen_blkfront",
    authors: ["The Portico authors"],
    description: "Xen disk front end",
    license: "GPL",
    alias: ["xen:vbd", "xenblk"],
}
