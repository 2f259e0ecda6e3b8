// SPDX-License-Identifier: GPL-2.0-only

//! Requests that come together.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    operations::Operations,
    request::{Op, Request},
    status::Status,
};
use core::{marker::PhantomData, ptr, ptr::NonNull};
use portico_bindings as bindings;

/// Requests of one hardware queue, as [`Operations::queue_rqs`] gets them.
///
/// It yields them one by one, started. What is not taken out is queued again one by one.
///
/// # Invariants
///
/// `list` holds requests of a queue with operations `T` that the block layer hands over, none of them
/// started. `hctx` is one of their hardware queues.
pub struct Requests<'a, T: Operations> {
    list: &'a mut bindings::rq_list,
    hctx: *mut bindings::blk_mq_hw_ctx,
    full: bool,
    _ops: PhantomData<T>,
}

impl<'a, T: Operations> Requests<'a, T> {
    /// # Safety
    ///
    /// `list` and `hctx` are as the type's invariants say.
    #[inline]
    pub(super) unsafe fn new(
        list: &'a mut bindings::rq_list,
        hctx: *mut bindings::blk_mq_hw_ctx,
    ) -> Self {
        // INVARIANT: by the caller's promise.
        Self {
            list,
            hctx,
            full: false,
            _ops: PhantomData,
        }
    }

    /// Gives a request back because there is no room for it now. No other follows.
    pub fn refuse(&mut self, request: Request<T>) {
        self.full = true;
        request.requeue_now();
    }

    /// Whether a request was refused.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.full
    }
}

impl<T: Operations> Iterator for Requests<'_, T> {
    type Item = Request<T>;

    #[inline]
    fn next(&mut self) -> Option<Request<T>> {
        loop {
            let rq = NonNull::new(self.list.head)?;
            let raw = rq.as_ptr();
            // SAFETY: by the invariants the request is valid, and ours once it is out of the list.
            unsafe {
                if self.full || (*raw).mq_hctx != self.hctx {
                    return None;
                }
                self.list.head = (*raw).__bindgen_anon_1.rq_next;
                if self.list.head.is_null() {
                    self.list.tail = ptr::null_mut();
                }
                (*raw).__bindgen_anon_1.rq_next = ptr::null_mut();
                if Op::from_cmd_flags((*raw).cmd_flags).is_none() {
                    bindings::blk_mq_end_request(raw, Status::NOT_SUPPORTED.raw());
                    continue;
                }
                bindings::blk_mq_start_request(raw);
                return Some(Request::from_raw(rq));
            }
        }
    }
}
