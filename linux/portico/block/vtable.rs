// SPDX-License-Identifier: GPL-2.0-only

//! The table of C functions that leads from the block layer to [`Operations`].
//!
//! All functions here are called by the block layer alone, which keeps these promises:
//!
//! - tag sets, requests and hardware queues that it passes are valid and belong to a tag set made by
//!   [`TagSet`], with this table and with `driver_data` from `T::TagSetData`;
//! - a request is used between `init_request` and `exit_request`, a hardware queue between `init_hctx`
//!   and `exit_hctx`, and both only while the tag set lives.

use super::{
    batch::Batch,
    operations::{HwData, HwQueue, Operations, Timeout},
    request::{self, Op, Pdu, Request, TimedOut},
    requests::Requests,
    status::Status,
    tag_set::TagSet,
};
use core::{marker::PhantomData, ptr, ptr::NonNull};
use kernel::{error::from_result, prelude::*, types::ForeignOwnable};
use portico_bindings as bindings;

pub(super) struct Vtable<T>(PhantomData<T>);

impl<T: Operations> Vtable<T> {
    /// # Safety
    ///
    /// See the module. `bd` is valid, and its request is handed over.
    unsafe extern "C" fn queue_rq(
        hctx: *mut bindings::blk_mq_hw_ctx,
        bd: *const bindings::blk_mq_queue_data,
    ) -> bindings::blk_status_t {
        // SAFETY: by the module's promises, which make `rq` valid and ours.
        let (rq, last) = unsafe { ((*bd).rq, (*bd).last) };
        // SAFETY: as above.
        if Op::from_cmd_flags(unsafe { (*rq).cmd_flags }).is_none() {
            return Status::NOT_SUPPORTED.raw();
        }
        // SAFETY: as above; started once.
        unsafe { bindings::blk_mq_start_request(rq) };
        // SAFETY: `rq` is not null, and now as the invariants of `Request` demand; `hctx` is live for
        // the time of this call.
        let (request, queue) = unsafe {
            (
                Request::<T>::from_raw(NonNull::new_unchecked(rq)),
                HwQueue::<T>::from_raw(NonNull::new_unchecked(hctx)),
            )
        };
        let Err(refused) = T::queue_rq(queue, request, last) else {
            return Status::OK.raw();
        };
        let refused = refused.into_raw();
        if refused != rq {
            // The driver keeps this one and gives back another: that is queued anew.
            // SAFETY: a started request, whose ownership came back.
            unsafe { bindings::blk_mq_requeue_request(refused, true) };
            return Status::OK.raw();
        }
        // Not `BLK_STS_DEV_RESOURCE`: that relies on the restart at the end of each request, which
        // batches leave out. `Batch` restarts the queue, and if it came too early to see the request
        // waiting, the block layer tries again by itself after this status.
        queue.set_waiting();
        Status::RESOURCE.raw()
    }

    /// # Safety
    ///
    /// See the module. `list` is valid, and its requests, all of one queue, are handed over.
    unsafe extern "C" fn queue_rqs(list: *mut bindings::rq_list) {
        // SAFETY: by the module's promises nobody else uses the list during this call.
        let list = unsafe { &mut *list };
        while let Some(first) = NonNull::new(list.head) {
            // SAFETY: the requests in the list are valid, and their hardware queues live for the time
            // of this call.
            let (mut requests, queue) = unsafe {
                let hctx = (*first.as_ptr()).mq_hctx;
                (
                    Requests::<T>::new(list, hctx),
                    HwQueue::<T>::from_raw(NonNull::new_unchecked(hctx)),
                )
            };
            T::queue_rqs(queue, &mut requests);
            if requests.is_full() || list.head == first.as_ptr() {
                // The block layer queues the rest one by one.
                break;
            }
        }
    }

    /// # Safety
    ///
    /// See the module.
    unsafe extern "C" fn commit_rqs(hctx: *mut bindings::blk_mq_hw_ctx) {
        // SAFETY: by the module's promises `hctx` is not null, and live for the time of this call.
        T::commit_rqs(unsafe { HwQueue::from_raw(NonNull::new_unchecked(hctx)) });
    }

    /// # Safety
    ///
    /// See the module. `iob` is null or valid.
    unsafe extern "C" fn poll(
        hctx: *mut bindings::blk_mq_hw_ctx,
        iob: *mut bindings::io_comp_batch,
    ) -> c_int {
        // SAFETY: by the module's promises `hctx` is not null, and live for the time of this call.
        let queue = unsafe { HwQueue::<T>::from_raw(NonNull::new_unchecked(hctx)) };
        let mut batch = Batch::new();
        T::poll(queue, &mut batch);
        if !batch.is_empty() {
            // SAFETY: null or valid, and the caller's alone.
            batch.complete_into(unsafe { iob.as_mut() });
        }
        c_int::try_from(batch.count()).unwrap_or(c_int::MAX)
    }

    /// # Safety
    ///
    /// See the module. `rq` was started, and is not freed or used anew during the call.
    unsafe extern "C" fn timeout(rq: *mut bindings::request) -> bindings::blk_eh_timer_return {
        // SAFETY: by the module's promises; the hardware queue stays while one of its requests does.
        let (queue, request) = unsafe {
            (
                HwQueue::<T>::from_raw(NonNull::new_unchecked((*rq).mq_hctx)),
                TimedOut::<T>::from_raw(NonNull::new_unchecked(rq)),
            )
        };
        match T::timeout(queue, &request) {
            Timeout::Wait => bindings::blk_eh_timer_return_BLK_EH_RESET_TIMER,
            Timeout::Done => bindings::blk_eh_timer_return_BLK_EH_DONE,
        }
    }

    /// Ends a request that [`Batch`] sent to another CPU.
    ///
    /// # Safety
    ///
    /// See the module. `rq` was passed to `blk_mq_complete_request_remote`, with its status set.
    unsafe extern "C" fn complete(rq: *mut bindings::request) {
        // SAFETY: ownership came here with the request.
        unsafe { bindings::blk_mq_end_request(rq, request::status(rq).raw()) };
    }

    /// # Safety
    ///
    /// See the module. `data` is the tag set's `driver_data`.
    unsafe extern "C" fn init_hctx(
        hctx: *mut bindings::blk_mq_hw_ctx,
        data: *mut c_void,
        index: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: made by `TagSet` with `into_foreign`, and taken back after all queues are gone.
            let data = unsafe { T::TagSetData::borrow(data) };
            let data = HwData::new(T::init_queue(data, index)?);
            let data = KBox::new(data, GFP_KERNEL)?;
            // SAFETY: `driver_data` is the driver's.
            unsafe { (*hctx).driver_data = KBox::into_raw(data).cast() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See the module.
    unsafe extern "C" fn exit_hctx(hctx: *mut bindings::blk_mq_hw_ctx, _index: c_uint) {
        // SAFETY: set by `init_hctx`, and used no more: neither requests nor callbacks are under way.
        unsafe {
            let data = (*hctx).driver_data.cast::<HwData<T::QueueData>>();
            (*hctx).driver_data = ptr::null_mut();
            drop(KBox::from_raw(data));
        }
    }

    /// # Safety
    ///
    /// See the module.
    unsafe extern "C" fn init_request(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _index: c_uint,
        _node: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: the pdu is uninitialised memory of the right size; `TagSet` checks that it is
            // aligned. It does not move until `exit_request`.
            unsafe {
                let slot = Pdu::<T::RequestData>::prepare(Pdu::of(rq));
                T::init_request().__init(slot)?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See the module.
    unsafe extern "C" fn exit_request(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _index: c_uint,
    ) {
        // SAFETY: initialised by `init_request`, and used no more.
        unsafe { ptr::drop_in_place(Pdu::<T::RequestData>::of(rq)) };
    }

    /// # Safety
    ///
    /// See the module.
    unsafe extern "C" fn map_queues(set: *mut bindings::blk_mq_tag_set) {
        // SAFETY: by the module's promises; the block layer does not use the maps meanwhile.
        unsafe { TagSet::<T>::map_queues(set) };
    }

    const TABLE: bindings::blk_mq_ops = bindings::blk_mq_ops {
        queue_rq: Some(Self::queue_rq),
        queue_rqs: if T::HAS_QUEUE_RQS {
            Some(Self::queue_rqs)
        } else {
            None
        },
        commit_rqs: if T::HAS_COMMIT_RQS {
            Some(Self::commit_rqs)
        } else {
            None
        },
        timeout: if T::HAS_TIMEOUT {
            Some(Self::timeout)
        } else {
            None
        },
        poll: if T::HAS_POLL { Some(Self::poll) } else { None },
        complete: Some(Self::complete),
        init_hctx: Some(Self::init_hctx),
        exit_hctx: Some(Self::exit_hctx),
        init_request: Some(Self::init_request),
        exit_request: Some(Self::exit_request),
        map_queues: Some(Self::map_queues),
        ..pin_init::zeroed()
    };

    pub(super) const fn get() -> &'static bindings::blk_mq_ops {
        &Self::TABLE
    }
}
