// SPDX-License-Identifier: GPL-2.0-only

//! The module that carries the core and the abstractions for the drivers. It does nothing itself.

use kernel::prelude::*;

struct Portico;

impl kernel::Module for Portico {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

module! {
    type: Portico,
    name: "portico",
    authors: ["The Portico authors"],
    description: "Core and abstractions for Portico's paravirtual drivers",
    license: "GPL",
}
