// SPDX-License-Identifier: GPL-2.0-only

//! Memory in pieces of a page.

use core::{marker::PhantomData, ptr};
use portico_bindings as bindings;

use crate::grant::Page;

pub(crate) const PAGE_SHIFT: u32 = bindings::PAGE_SIZE.trailing_zeros();
pub(crate) const PAGE_SIZE: u32 = 1 << PAGE_SHIFT;

/// A piece of memory that lies in one page, and belongs to somebody for `'a`: a request, a packet.
///
/// # Invariants
///
/// `page` is the `struct page` of a page that stays allocated during `'a`, whose bytes from `offset` are
/// the owner's, and `offset + len <= PAGE_SIZE`.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    pub(crate) page: *mut bindings::page,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) _owner: PhantomData<&'a ()>,
}

impl Piece<'_> {
    /// The piece of at most `len` bytes at an address of the direct map, up to the end of its page.
    ///
    /// # Safety
    ///
    /// The `len` bytes at `addr`, not 0 of them, are the owner's for as long as the piece lives.
    #[inline]
    pub(crate) unsafe fn at(addr: *const u8, len: u32) -> Self {
        // SAFETY: both are fixed at boot.
        let (memory, pages) = unsafe { (bindings::page_offset_base, bindings::vmemmap_base) };
        let offset = addr as u32 % PAGE_SIZE;
        let pfn = (addr as usize).wrapping_sub(memory) >> PAGE_SHIFT;
        let page = pages.wrapping_add(pfn.wrapping_mul(size_of::<bindings::page>()));
        // INVARIANT: within the page, and by the caller's promise.
        Self {
            page: ptr::with_exposed_provenance_mut(page),
            offset,
            len: len.min(PAGE_SIZE - offset),
            _owner: PhantomData,
        }
    }

    /// The frame number of the page: what Xen's grants name it by. Machine frames in a PV domain.
    #[inline]
    pub fn gfn(&self) -> u64 {
        // SAFETY: fixed at boot.
        if unsafe { bindings::xen_domain_type } == bindings::xen_domain_type_XEN_PV_DOMAIN {
            // SAFETY: a page of the kernel's memory.
            return unsafe { bindings::portico_page_to_gfn(self.page) } as u64;
        }
        self.pfn() as u64
    }

    #[inline]
    fn pfn(&self) -> usize {
        // SAFETY: fixed at boot.
        let base = unsafe { bindings::vmemmap_base };
        // x86-64 has all `struct page`s in one array (`CONFIG_SPARSEMEM_VMEMMAP`).
        (self.page as usize).wrapping_sub(base) / size_of::<bindings::page>()
    }

    /// Offset in the page, in bytes.
    #[inline]
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Length in bytes.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a piece is never empty")]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// The address of the piece. x86-64 has all memory mapped, so this is what `kmap_local_page`
    /// would return.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        // SAFETY: fixed at boot.
        let base = unsafe { bindings::page_offset_base };
        let page = base.wrapping_add(self.pfn() << PAGE_SHIFT);
        ptr::with_exposed_provenance_mut(page.wrapping_add(self.offset as usize))
    }

    /// Copies the piece to the same offset of `page`.
    #[inline]
    pub fn copy_to(&self, page: &Page) {
        // SAFETY: both are `len` bytes within a page, by the invariants. They do not
        // overlap, or are the same: either is fine for the copy, which also tolerates that user space
        // (with direct I/O) or a peer changes the bytes meanwhile.
        unsafe {
            let to = page.as_ptr().add(self.offset as usize);
            bindings::portico_copy_shared(to.cast(), self.as_ptr().cast(), self.len as usize);
        }
    }

    /// Fills the piece from the same offset of `page`, if its owner may be written to.
    #[inline]
    pub(crate) fn copy_from(&self, page: &Page) {
        // SAFETY: as above; a read request's memory may be written until it is given back.
        unsafe {
            let from = page.as_ptr().add(self.offset as usize);
            bindings::portico_copy_shared(self.as_ptr().cast(), from.cast(), self.len as usize);
        }
    }
}
