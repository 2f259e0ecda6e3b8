// SPDX-License-Identifier: GPL-2.0-only

//! Completing many requests at once.
//!
//! C headers: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h),
//! [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use super::{
    operations::{HwData, Operations},
    request::{self, Request},
    status::Status,
};
use core::ptr;
use kernel::cpu::CpuId;
use portico_bindings as bindings;

const SCHED_TAGS: bindings::req_flags_t = 1 << bindings::rqf_flags___RQF_SCHED_TAGS;
const NEED_TIME: bindings::req_flags_t = 1 << bindings::rqf_flags___RQF_IO_STAT
    | 1 << bindings::rqf_flags___RQF_STATS
    | 1 << bindings::rqf_flags___RQF_USE_SCHED;
const SAME_COMP: usize = 1 << bindings::QUEUE_FLAG_SAME_COMP;

/// Requests that are done and not yet completed.
///
/// [`add`](Self::add) is a few stores, so it may be called with the driver's queue lock held; the
/// work is done by [`complete`](Self::complete) or drop, after the lock. Declare the batch before the
/// lock's guard, and it happens in this order by itself:
///
/// ```ignore
/// let mut batch = Batch::new();
/// let mut queue = self.queue.lock();
/// queue.reap(|request, outcome| batch.add(request, status_of(outcome)));
/// // Dropped in reverse: the guard, then the batch.
/// ```
///
/// How a request is completed:
///
/// - If the queue's `rq_affinity` wants it on the CPU that submitted it, and this is another that
///   shares no cache with it, it is sent there (`blk_mq_complete_request_remote`), as the block layer
///   does for all drivers.
/// - Otherwise here, in the current context. The block layer's own rule would defer it to a softirq
///   for a disk with one hardware queue, to keep interrupt handlers short; but a batch is bounded by
///   the ring, and one softirq entry per request costs more than what it does.
/// - Requests without error or I/O scheduler go to `blk_mq_end_request_batch`: one tag and reference
///   update for up to 32 of them. The others one by one.
///
/// If [`Operations::queue_rq`] refused a request for want of room, the hardware queue is run again.
///
/// # Invariants
///
/// `head` to `tail` is a list, through `rq_next`, of started requests that the batch owns, with their
/// status set.
pub struct Batch {
    head: *mut bindings::request,
    tail: *mut bindings::request,
    count: u32,
}

// SAFETY: the requests are owned, and may be ended by any thread.
unsafe impl Send for Batch {}

impl Batch {
    /// An empty batch.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: nothing is in it.
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
            count: 0,
        }
    }

    /// Takes a request that ended with `status`.
    #[inline]
    pub fn add<T: Operations>(&mut self, request: Request<T>, status: Status) {
        let rq = request.into_raw();
        // INVARIANT: the request is ours now, and its status is set. Nobody else uses `rq_next` of an
        // owned request.
        // SAFETY: `rq` is valid and owned, and so is `tail` if there is one.
        unsafe {
            request::set_status(rq, status);
            (*rq).__bindgen_anon_1.rq_next = ptr::null_mut();
            if self.tail.is_null() {
                self.head = rq;
            } else {
                (*self.tail).__bindgen_anon_1.rq_next = rq;
            }
        }
        self.tail = rq;
        self.count = self.count.wrapping_add(1);
    }

    /// Number of requests added since it was made.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether no request waits in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Completes the requests.
    #[inline]
    pub fn complete(&mut self) {
        if !self.is_empty() {
            self.complete_into(None);
        }
    }

    fn pop(&mut self) -> Option<*mut bindings::request> {
        let rq = self.head;
        if rq.is_null() {
            return None;
        }
        // SAFETY: by the invariants.
        self.head = unsafe { (*rq).__bindgen_anon_1.rq_next };
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        Some(rq)
    }

    /// Completes the requests. With `polled`, it is the poller's CPU that completes them, and the
    /// poller that ends what goes to its own batch.
    pub(super) fn complete_into(&mut self, polled: Option<&mut bindings::io_comp_batch>) {
        let is_polled = polled.is_some();
        let mut own: bindings::io_comp_batch = pin_init::zeroed();
        let iob = polled.unwrap_or(&mut own);
        let cpu = CpuId::current().as_u32();
        let mut hctx = ptr::null_mut();
        let mut ctx = ptr::null_mut();
        let mut here = true;

        while let Some(rq) = self.pop() {
            // SAFETY: by the invariants the request is valid, started and ours until it is passed on
            // below, each time exactly once; so its queue and hardware queue are live until then.
            unsafe {
                if (*rq).mq_hctx != hctx {
                    hctx = (*rq).mq_hctx;
                    HwData::<()>::restart(hctx);
                }
                if !is_polled && (*rq).mq_ctx != ctx {
                    ctx = (*rq).mq_ctx;
                    let flags = (&raw const (*(*rq).q).queue_flags).read_volatile();
                    here = flags & SAME_COMP == 0 || bindings::blk_mq_rq_cpu(rq) == cpu;
                }
                if !here && bindings::blk_mq_complete_request_remote(rq) {
                    // The block layer calls `complete` of the operations, there and then.
                    continue;
                }
                let status = request::status(rq);
                if !add_to_batch(rq, status, iob) {
                    bindings::blk_mq_end_request(rq, status.raw());
                }
            }
        }
        if !own.req_list.head.is_null() {
            // SAFETY: the list holds requests that were taken from `self`.
            unsafe { bindings::blk_mq_end_request_batch(&mut own) };
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Batch {
    #[inline]
    fn drop(&mut self) {
        self.complete();
    }
}

/// Adds a request to `iob` if it may be completed in a batch: it has no error, no tag of an I/O
/// scheduler and no completion of its own, and the batch is one that ours may join.
///
/// # Safety
///
/// `rq` is a started request. Its ownership goes to `iob` if the result is true.
#[inline]
unsafe fn add_to_batch(
    rq: *mut bindings::request,
    status: Status,
    iob: &mut bindings::io_comp_batch,
) -> bool {
    // SAFETY: the request is valid; `rq_flags` may only be changed by the timeout code, in a bit that
    // does not matter here.
    let (flags, end_io) = unsafe {
        (
            (&raw const (*rq).rq_flags).read_volatile(),
            (*rq).end_io.is_some(),
        )
    };
    if status != Status::OK || flags & SCHED_TAGS != 0 || end_io {
        return false;
    }
    match iob.complete {
        None => iob.complete = Some(end_batch),
        Some(complete) if complete as usize == end_batch as usize => {}
        Some(_) => return false,
    }
    iob.need_ts |= flags & NEED_TIME != 0;
    // SAFETY: the list of an `io_comp_batch` is linked through `rq_next`, and `rq` is not in it.
    unsafe {
        (*rq).__bindgen_anon_1.rq_next = ptr::null_mut();
        if iob.req_list.tail.is_null() {
            iob.req_list.head = rq;
        } else {
            (*iob.req_list.tail).__bindgen_anon_1.rq_next = rq;
        }
    }
    iob.req_list.tail = rq;
    true
}

/// Ends the requests of a poller's batch.
///
/// # Safety
///
/// `iob` is a valid batch of requests that it owns.
unsafe extern "C" fn end_batch(iob: *mut bindings::io_comp_batch) {
    // SAFETY: by the caller's promise.
    unsafe { bindings::blk_mq_end_request_batch(iob) };
}
