// SPDX-License-Identifier: GPL-2.0-only

//! Front-end devices on xenbus, the bus that the store stands for.
//!
//! A driver implements [`Driver`] and registers it with
//! [`Registration`](kernel::driver::Registration)`<`[`Adapter`]`<T>>` in its module, or with
//! [`module_xenbus_driver!`](crate::module_xenbus_driver). The hand-shake with the back end is not
//! done here: it belongs to the core, the store and the states to this module.
//!
//! C header: `include/xen/xenbus.h`

mod device;
mod driver;
mod store;
mod text;

pub use device::Device;
pub use driver::{Adapter, Driver};
pub use store::{Node, OtherEnd, Value};

pub use portico_core::xenbus::State;

use portico_bindings as bindings;

/// Every number that is no state is `Unknown`: the other end can write what it likes.
fn state_from_raw(raw: bindings::xenbus_state) -> State {
    State::from(u64::from(raw))
}
