// SPDX-License-Identifier: MIT OR Apache-2.0
//! Networks of real guests.

mod console;
pub(super) mod features;
pub(super) mod hostile;
pub(super) mod life;
mod multicast;
pub(super) mod selftests;
pub(super) mod traffic;
pub(super) mod types;
pub(super) mod xdp;
