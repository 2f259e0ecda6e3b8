// SPDX-License-Identifier: GPL-2.0-only

//! What a driver does with requests.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    batch::Batch,
    disk_operations::DiskOperations,
    request::{Request, TimedOut},
    requests::Requests,
};
use core::{cell::UnsafeCell, marker::PhantomData, ptr::NonNull};
use kernel::{prelude::*, types::ForeignOwnable};
use portico_bindings as bindings;

/// What is to be done about a request whose time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Wait as long again.
    Wait,
    /// The request was completed.
    Done,
}

/// A driver of a block device, seen by the block layer: one implementation for each kind of device,
/// with static methods.
///
/// Nothing here sleeps except [`init_queue`](Self::init_queue) and
/// [`init_request`](Self::init_request).
#[vtable]
pub trait Operations: Sized + 'static {
    /// Data of the tag set, from which that of queues is made.
    type TagSetData: ForeignOwnable + Send + Sync;
    /// Data of a hardware queue, usually an `Arc` of the ring that it feeds.
    type QueueData: Send + Sync;
    /// Data of a request. One for each tag, made with the tag set and used again and again.
    type RequestData: Send + Sync;
    /// What the disk offers beside requests.
    type Disk: DiskOperations;

    /// Makes the data of hardware queue `index`. All of them are made anew when their number changes.
    fn init_queue(
        data: <Self::TagSetData as ForeignOwnable>::Borrowed<'_>,
        index: u32,
    ) -> Result<Self::QueueData>;

    /// Makes the data of a request.
    fn init_request() -> impl PinInit<Self::RequestData, Error>;

    /// Takes a request. It is started: its timer runs.
    ///
    /// `last`: the device must be told about the request now, and about those taken before. Otherwise
    /// another call, or [`commit_rqs`](Self::commit_rqs), follows soon.
    ///
    /// Runs in process context with interrupts on, in an RCU read-side section, so it does not sleep.
    /// Several CPUs may be in it for one hardware queue.
    ///
    /// # Errors
    ///
    /// The request, if there is no room for it now. It is tried again as soon as a [`Batch`] has
    /// completed a request of this hardware queue, and after 3 ms anyway. A request that will not
    /// succeed is ended instead.
    fn queue_rq(
        queue: HwQueue<'_, Self>,
        request: Request<Self>,
        last: bool,
    ) -> Result<(), Request<Self>>;

    /// Takes requests that come together, and tells the device about them at the end: one lock and one
    /// notification for all. Optional; without it they come through [`queue_rq`](Self::queue_rq), and
    /// with it those still do that an I/O scheduler holds or that come alone. Context as there.
    fn queue_rqs(queue: HwQueue<'_, Self>, requests: &mut Requests<'_, Self>) {
        let _ = (queue, requests);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Tells the device about the requests that were taken and of which none was the `last`.
    fn commit_rqs(queue: HwQueue<'_, Self>) {
        let _ = queue;
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Looks for completed requests of a polled queue and adds them to `batch`. Without this, there
    /// are no polled queues.
    fn poll(queue: HwQueue<'_, Self>, batch: &mut Batch) {
        let _ = (queue, batch);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// The time of a request is up. The driver still owns it, or is completing it just now. Process
    /// context, may sleep.
    fn timeout(queue: HwQueue<'_, Self>, request: &TimedOut<'_, Self>) -> Timeout {
        let _ = (queue, request);
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

/// What `driver_data` of a hardware queue points to.
#[repr(C)]
pub(super) struct HwData<D> {
    waiting: Waiting,
    data: D,
}

/// Whether a request was refused and waits for room.
///
/// C's `READ_ONCE` and `WRITE_ONCE` in place: the kernel crate's atomics call a function for each
/// access, and this is read for each batch.
struct Waiting(UnsafeCell<bool>);

// SAFETY: the flag is a byte, which is read and written as a whole.
unsafe impl Sync for Waiting {}

impl Waiting {
    #[inline]
    fn get(&self) -> bool {
        // SAFETY: the cell is valid. It can change meanwhile, and then either value will do.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline]
    fn set(&self, on: bool) {
        // SAFETY: as above.
        unsafe { self.0.get().write_volatile(on) };
    }
}

impl<D> HwData<D> {
    pub(super) fn new(data: D) -> Self {
        Self {
            waiting: Waiting(UnsafeCell::new(false)),
            data,
        }
    }
}

impl HwData<()> {
    /// Runs a hardware queue again, soon, if a request waits for room.
    ///
    /// # Safety
    ///
    /// `hctx` is a live hardware queue of this module's operations.
    #[inline]
    pub(super) unsafe fn restart(hctx: *mut bindings::blk_mq_hw_ctx) {
        // SAFETY: `driver_data` is a `HwData` of some type while the queue lives, and the flag comes
        // first in all of them.
        let waiting = unsafe { &*(*hctx).driver_data.cast::<Waiting>() };
        if waiting.get() {
            waiting.set(false);
            // SAFETY: the queue is live. Asynchronous, so any context will do.
            unsafe { bindings::blk_mq_run_hw_queue(hctx, true) };
        }
    }
}

/// A hardware queue, as a callback sees it.
///
/// # Invariants
///
/// `hctx` points to a hardware queue of operations `T` that is initialised and lives during `'a`.
pub struct HwQueue<'a, T: Operations> {
    hctx: NonNull<bindings::blk_mq_hw_ctx>,
    _ops: PhantomData<&'a T>,
}

impl<T: Operations> Clone for HwQueue<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Operations> Copy for HwQueue<'_, T> {}

impl<'a, T: Operations> HwQueue<'a, T> {
    /// # Safety
    ///
    /// `hctx` is as the type's invariants say.
    #[inline]
    pub(super) unsafe fn from_raw(hctx: NonNull<bindings::blk_mq_hw_ctx>) -> Self {
        // INVARIANT: by the caller's promise.
        Self {
            hctx,
            _ops: PhantomData,
        }
    }

    #[inline]
    fn hw_data(&self) -> &'a HwData<T::QueueData> {
        // SAFETY: `driver_data` was set by `init_hctx` and stays until `exit_hctx`, after `'a`.
        unsafe { &*(*self.hctx.as_ptr()).driver_data.cast() }
    }

    /// The driver's data of the queue.
    #[inline]
    pub fn data(&self) -> &'a T::QueueData {
        &self.hw_data().data
    }

    /// The index of the queue, less than the number of hardware queues.
    #[inline]
    pub fn index(&self) -> u32 {
        // SAFETY: by the invariants; it does not change.
        unsafe { (*self.hctx.as_ptr()).queue_num }
    }

    /// Notes that a request was refused.
    #[inline]
    pub(super) fn set_waiting(&self) {
        self.hw_data().waiting.set(true);
    }
}
