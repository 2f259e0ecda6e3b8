// SPDX-License-Identifier: MIT OR Apache-2.0
//! Networks of real guests.

pub(super) mod features;
pub(super) mod hostile;
pub(super) mod life;
pub(super) mod selftests;
pub(super) mod traffic;
pub(super) mod types;
pub(super) mod xdp;
