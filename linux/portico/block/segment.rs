// SPDX-License-Identifier: GPL-2.0-only

//! The memory of a request.
//!
//! C header: [`include/linux/bvec.h`](srctree/include/linux/bvec.h)

use super::{
    operations::Operations,
    request::{self, Request},
};
use crate::grant::Page;
use core::{marker::PhantomData, ptr};
use portico_bindings as bindings;
use portico_core::block::{Io, Op, Segment as CoreSegment};

const PAGE_SHIFT: u32 = bindings::PAGE_SIZE.trailing_zeros();
const PAGE_SIZE: u32 = 1 << PAGE_SHIFT;

/// A piece of a request's memory that lies in one page.
///
/// # Invariants
///
/// `page` is the `struct page` of a page that stays with the request during `'a`, and
/// `offset + len <= PAGE_SIZE`.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    page: *mut bindings::page,
    offset: u32,
    len: u32,
    _request: PhantomData<&'a ()>,
}

impl Segment<'_> {
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
    #[expect(clippy::len_without_is_empty, reason = "a segment is never empty")]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// The address of the piece. x86-64 has all memory mapped, so this is what `kmap_local_page`
    /// would return.
    #[inline]
    fn as_ptr(&self) -> *mut u8 {
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

    /// Fills the piece from the same offset of `page`.
    #[inline]
    pub fn copy_from(&self, page: &Page) {
        // SAFETY: as above; a read request's memory may be written until it is given back.
        unsafe {
            let from = page.as_ptr().add(self.offset as usize);
            bindings::portico_copy_shared(self.as_ptr().cast(), from.cast(), self.len as usize);
        }
    }
}

/// The segments of a request, in order.
///
/// The vectors of the block layer may span pages, and neighbours may lie in the same page: both are
/// evened out, so there are never more segments than the limits of a queue with
/// `max_segment_size` and boundary of a page allow.
///
/// # Invariants
///
/// `next` is null or a bio with data, the head of a list of such. If `left` is not 0, then `vec` and
/// what follows it describe at least `done + left` bytes, and `done` is less than the length of
/// `*vec`. All of it stays as it is during `'a`.
pub struct Segments<'a> {
    next: *const bindings::bio,
    vec: *const bindings::bio_vec,
    left: u32,
    done: u32,
    _request: PhantomData<&'a ()>,
}

impl<'a> Segments<'a> {
    /// # Safety
    ///
    /// `bio` is null or a bio with data, the head of a list of such, that stays as it is during `'a`.
    #[inline]
    pub(super) unsafe fn new(bio: *const bindings::bio) -> Self {
        // INVARIANT: by the caller's promise, and `left` is 0.
        Self {
            next: bio,
            vec: ptr::null(),
            left: 0,
            done: 0,
            _request: PhantomData,
        }
    }

    #[inline]
    pub(super) fn empty() -> Self {
        // INVARIANT: there is no bio, and `left` is 0.
        Self {
            next: ptr::null(),
            vec: ptr::null(),
            left: 0,
            done: 0,
            _request: PhantomData,
        }
    }

    /// The next piece, up to the end of its vector or page.
    #[inline]
    fn peek(&mut self) -> Option<Segment<'a>> {
        while self.left == 0 {
            let bio = self.next;
            if bio.is_null() {
                return None;
            }
            // INVARIANT: the iterator of a bio with data lies within its vectors.
            // SAFETY: valid by the invariants, and these fields do not change.
            let (next, vecs, iter) = unsafe { ((*bio).bi_next, (*bio).bi_io_vec, (*bio).bi_iter) };
            self.next = next;
            self.vec = vecs.wrapping_add(iter.bi_idx as usize);
            self.left = iter.bi_size;
            self.done = iter.bi_offset;
        }
        // SAFETY: valid by the invariants, since `left` is not 0.
        let vec = unsafe { &*self.vec };
        let start = vec.bv_offset.wrapping_add(self.done);
        let offset = start % PAGE_SIZE;
        let len = (vec.bv_len.wrapping_sub(self.done))
            .min(self.left)
            .min(PAGE_SIZE - offset);
        // INVARIANT: the pages of a vector are consecutive, also in the array of `struct page`.
        Some(Segment {
            page: vec.bv_page.wrapping_add((start >> PAGE_SHIFT) as usize),
            offset,
            len,
            _request: PhantomData,
        })
    }

    /// Steps over the piece that [`peek`](Self::peek) returned.
    #[inline]
    fn advance(&mut self, len: u32) {
        self.left = self.left.wrapping_sub(len);
        self.done = self.done.wrapping_add(len);
        // SAFETY: `peek` made it valid.
        if self.done >= unsafe { (*self.vec).bv_len } {
            // INVARIANT: the vectors hold all bytes of the bio, so there is another if `left` is not 0.
            self.vec = self.vec.wrapping_add(1);
            self.done = 0;
        }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    #[inline]
    fn next(&mut self) -> Option<Segment<'a>> {
        let mut segment = self.peek()?;
        self.advance(segment.len);
        // What goes on in the same page belongs to the segment.
        while segment.offset.wrapping_add(segment.len) < PAGE_SIZE {
            match self.peek() {
                Some(more)
                    if more.page == segment.page
                        && more.offset == segment.offset.wrapping_add(segment.len) =>
                {
                    self.advance(more.len);
                    // INVARIANT: `more` ends within the page.
                    segment.len = segment.len.wrapping_add(more.len);
                }
                _ => break,
            }
        }
        Some(segment)
    }
}

impl CoreSegment<Page> for Segment<'_> {
    #[inline]
    fn gfn(&self) -> u64 {
        Segment::gfn(self)
    }

    #[inline]
    fn offset(&self) -> u32 {
        self.offset
    }

    #[inline]
    fn len(&self) -> u32 {
        self.len
    }

    #[inline]
    fn copy_to(&self, page: &Page) {
        Segment::copy_to(self, page);
    }

    #[inline]
    fn copy_from(&self, page: &Page) {
        Segment::copy_from(self, page);
    }
}

impl<T: Operations> Io<Page> for Request<T> {
    type Segment<'a>
        = Segment<'a>
    where
        Self: 'a;

    #[inline]
    fn op(&self) -> Op {
        match Request::op(self) {
            request::Op::Read => Op::Read,
            request::Op::Write => Op::Write { fua: self.fua() },
            request::Op::Flush => Op::Flush,
            request::Op::Discard => Op::Discard { secure: false },
            request::Op::SecureErase => Op::Discard { secure: true },
        }
    }

    #[inline]
    fn sector(&self) -> u64 {
        Request::sector(self)
    }

    #[inline]
    fn sectors(&self) -> u64 {
        Request::sectors(self)
    }

    #[inline]
    fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        Request::segments(self)
    }
}
