// SPDX-License-Identifier: GPL-2.0-only

//! The module that carries the core and the abstractions for the drivers.

use kernel::prelude::*;
use portico::net::Keeper;

struct Portico {
    _keeper: Keeper,
}

impl kernel::Module for Portico {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            // SAFETY: a module is initialised once.
            _keeper: unsafe { Keeper::new() }?,
        })
    }
}

module! {
    type: Portico,
    name: "portico",
    authors: ["The Portico authors"],
    description: "Core and abstractions for Portico's paravirtual drivers",
    license: "GPL",
}
