// SPDX-License-Identifier: GPL-2.0-only

//! Xen disk front end.

use kernel::prelude::*;

struct Blkfront;

impl kernel::Module for Blkfront {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        portico::hello();
        Ok(Self)
    }
}

module! {
    type: Blkfront,
    name: "xen_blkfront",
    authors: ["The Portico authors"],
    description: "Xen disk front end",
    license: "GPL",
}
