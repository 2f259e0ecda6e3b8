// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's simulated machine as the engine's host.

use hostile_back::sim::Ring;
use portico_core::block::sim::{Sim, SimIo, SimPage};
use portico_core::block::{Access, GrantRef, Host, NoMemory};
use portico_core::host::Platform;

/// The machine as the engine's host.
#[derive(Clone)]
pub(crate) struct Machine(pub(crate) Sim);

impl Host for Machine {
    type Io = SimIo;
}

impl Platform for Machine {
    type Page = SimPage;
    type Ring = Ring;
    type Array<T> = Vec<T>;

    fn array<T>(
        &self,
        len: usize,
        make: impl FnMut(usize) -> Result<T, NoMemory>,
    ) -> Result<Vec<T>, NoMemory> {
        self.0.array(len, make)
    }

    fn page(&self) -> Result<SimPage, NoMemory> {
        self.0.page()
    }

    fn claim(&self) -> Option<GrantRef> {
        self.0.claim()
    }

    fn release(&self, gref: GrantRef) {
        self.0.release(gref);
    }

    fn grant(&self, gref: GrantRef, gfn: u64, access: Access) {
        self.0.grant(gref, gfn, access);
    }

    fn end(&self, gref: GrantRef) -> bool {
        self.0.end(gref)
    }

    fn try_release(&self, gref: GrantRef) -> bool {
        self.0.try_release(gref)
    }

    fn abandon(&self, gref: GrantRef, gfn: u64) {
        self.0.abandon(gref, gfn);
    }
}
