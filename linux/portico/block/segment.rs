// SPDX-License-Identifier: GPL-2.0-only

//! The memory of a request.
//!
//! C header: [`include/linux/bvec.h`](srctree/include/linux/bvec.h)

use super::{
    operations::Operations,
    request::{self, Request},
};
use crate::{
    grant::Page,
    piece::{PAGE_SHIFT, PAGE_SIZE},
};
use core::{marker::PhantomData, ptr};
use portico_bindings as bindings;
use portico_core::block::{Io, Op, Segment as CoreSegment};

/// A piece of a request's memory that lies in one page.
pub use crate::piece::Piece as Segment;

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
            _owner: PhantomData,
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
    fn expected_segments(&self) -> usize {
        Request::expected_segments(self)
    }

    #[inline]
    fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        Request::segments(self)
    }
}
