// SPDX-License-Identifier: GPL-2.0-only

//! Xen disk front end: takes no device yet.

use kernel::{device::Core, prelude::*};
use portico::xenbus::{self, Device, State};

struct Blkfront;

impl xenbus::Driver for Blkfront {
    const TYPES: &'static [&'static str] = &["vbd"];
    type Data = Self;

    fn probe(_dev: &Device<Core<'_>>) -> impl PinInit<Self, Error> {
        Err::<Self, _>(ENODEV)
    }

    fn otherend_changed(_dev: &Device<Core<'_>>, _data: Pin<&Self>, _state: State) {}

    fn resume(_dev: &Device<Core<'_>>, _data: Pin<&Self>) -> Result {
        Ok(())
    }

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
