// SPDX-License-Identifier: GPL-2.0-only

//! Memory that another domain may use.
//!
//! A grant lets one domain reach one page of this one. What is granted must not be freed or used for
//! something else before the grant has ended, and the other domain decides when it lets go; so the
//! functions that make a grant are unsafe and stay in this crate. Drivers see what owns its memory:
//! [`Page`], [`RingPages`], and [`Host`](crate::host::Host), by which the core's engine grants.
//!
//! C header: `include/xen/grant_table.h`

mod page;
mod ring;

pub use page::Page;
pub use ring::{RingPages, MAX_RING_PAGES};

use portico_bindings as bindings;
use portico_core::block::{Access, GrantRef};

/// Takes a free reference. May be called in any context.
pub(crate) fn claim() -> Option<GrantRef> {
    let mut list = 0;
    // SAFETY: `list` may be written.
    if unsafe { bindings::gnttab_alloc_grant_references(1, &mut list) } < 0 {
        return None;
    }
    // SAFETY: the list was made by the call above.
    let gref = unsafe { bindings::gnttab_claim_grant_reference(&mut list) };
    // Not negative: the list has one entry.
    GrantRef::try_from(gref).ok()
}

/// Gives a reference back.
///
/// # Safety
///
/// The caller has claimed it, and it grants nothing.
pub(crate) unsafe fn release(gref: GrantRef) {
    // SAFETY: the caller owns the reference.
    unsafe { bindings::gnttab_free_grant_reference(gref) };
}

/// Lets `domain` reach the frame `gfn`.
///
/// # Safety
///
/// The caller has claimed `gref`, which grants nothing, and owns the frame, or has been handed it, in
/// such a way that it may be read (and written, as `access` says) at any time from now on until the
/// grant has ended or was abandoned.
#[inline]
pub(crate) unsafe fn grant(gref: GrantRef, domain: bindings::domid_t, gfn: u64, access: Access) {
    let read_only = (access == Access::ReadOnly).into();
    // SAFETY: the caller owns the reference, and may share the frame.
    unsafe { bindings::gnttab_grant_foreign_access_ref(gref, domain, gfn as usize, read_only) };
}

/// Ends what a reference grants. `false`: the other domain has the frame mapped still.
///
/// # Safety
///
/// The caller has claimed `gref`.
#[inline]
pub(crate) unsafe fn end(gref: GrantRef) -> bool {
    // SAFETY: the caller owns the reference.
    unsafe { bindings::gnttab_end_foreign_access_ref(gref) != 0 }
}

/// Ends what a reference grants and gives the reference back. `false`: the other domain has the frame
/// mapped still; unlike [`end`], this is not worth a warning.
///
/// # Safety
///
/// The caller has claimed `gref`, and gives it up if the result is true.
pub(crate) unsafe fn try_release(gref: GrantRef) -> bool {
    // SAFETY: the caller owns the reference.
    unsafe { bindings::gnttab_try_end_foreign_access(gref) != 0 }
}

/// Leaves a reference to the kernel, which ends and releases it as soon as the other domain lets go,
/// and holds a reference to the page until then.
///
/// # Safety
///
/// The caller has claimed `gref` and granted a frame with it, whose page has a reference count and is
/// still allocated. It gives the reference up.
pub(crate) unsafe fn abandon(gref: GrantRef) {
    // SAFETY: the caller gives up the reference. Without a page, the kernel takes the one that the
    // entry of the grant table names, and counts it up.
    unsafe { bindings::gnttab_end_foreign_access(gref, core::ptr::null_mut()) };
}
