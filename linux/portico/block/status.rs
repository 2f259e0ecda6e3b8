// SPDX-License-Identifier: GPL-2.0-only

//! How a request ended.
//!
//! C header: [`include/linux/blk_types.h`](srctree/include/linux/blk_types.h)

use portico_bindings as bindings;

/// The block layer's verdict on a request (`blk_status_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(bindings::blk_status_t);

impl Status {
    /// The request was carried out.
    pub const OK: Self = Self(0);
    /// The device does not know the operation (`EOPNOTSUPP`).
    pub const NOT_SUPPORTED: Self = Self(1);
    /// There is no room for the request now; it is queued again.
    pub(super) const RESOURCE: Self = Self(9);
    /// The device reported an error, or cannot be believed (`EIO`).
    pub const IO_ERROR: Self = Self(10);

    #[inline]
    pub(super) const fn from_raw(status: bindings::blk_status_t) -> Self {
        Self(status)
    }

    #[inline]
    pub(super) const fn raw(self) -> bindings::blk_status_t {
        self.0
    }
}
