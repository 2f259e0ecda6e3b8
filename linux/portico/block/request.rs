// SPDX-License-Identifier: GPL-2.0-only

//! Requests.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{operations::Operations, segment::Segments, status::Status};
use core::{cell::UnsafeCell, marker::PhantomData, mem, ptr::NonNull};
use portico_bindings as bindings;

/// What a request wants of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read sectors into the segments.
    Read,
    /// Write sectors from the segments.
    Write,
    /// Make everything that was completed before durable.
    Flush,
    /// Forget the sectors.
    Discard,
    /// Forget the sectors and leave no copy of them.
    SecureErase,
}

const OP_MASK: bindings::blk_opf_t = (1 << bindings::REQ_OP_BITS) - 1;
const FUA: bindings::blk_opf_t = 1 << bindings::req_flag_bits___REQ_FUA;

impl Op {
    /// The operation in `cmd_flags`, or `None` if it is one that drivers here never see.
    #[inline]
    pub(super) fn from_cmd_flags(cmd_flags: bindings::blk_opf_t) -> Option<Self> {
        Some(match cmd_flags & OP_MASK {
            bindings::req_op_REQ_OP_READ => Self::Read,
            bindings::req_op_REQ_OP_WRITE => Self::Write,
            bindings::req_op_REQ_OP_FLUSH => Self::Flush,
            bindings::req_op_REQ_OP_DISCARD => Self::Discard,
            bindings::req_op_REQ_OP_SECURE_ERASE => Self::SecureErase,
            _ => return None,
        })
    }
}

/// What lies behind every `struct request`.
#[repr(C)]
pub(super) struct Pdu<D> {
    /// How the request ended, between the driver's verdict and its completion.
    status: UnsafeCell<bindings::blk_status_t>,
    /// The driver's part.
    data: D,
}

impl<D> Pdu<D> {
    /// The pdu of a request.
    ///
    /// # Safety
    ///
    /// `rq` points to a request of a tag set whose `cmd_size` is the size of this type.
    #[inline]
    pub(super) unsafe fn of(rq: *mut bindings::request) -> *mut Self {
        // SAFETY: the pdu lies behind the request, in one allocation.
        unsafe { rq.add(1) }.cast()
    }

    /// The driver's part of an uninitialised pdu, whose other part is initialised here.
    ///
    /// # Safety
    ///
    /// `this` is valid for writes.
    pub(super) unsafe fn prepare(this: *mut Self) -> *mut D {
        // SAFETY: by the caller's promise.
        unsafe {
            (&raw mut (*this).status).write(UnsafeCell::new(0));
            &raw mut (*this).data
        }
    }
}

/// The status that [`set_status`] left with a request.
///
/// # Safety
///
/// `rq` is a request of one of this module's tag sets, and the caller owns it.
#[inline]
pub(super) unsafe fn status(rq: *mut bindings::request) -> Status {
    // SAFETY: the status comes first in every pdu; the owner alone accesses it.
    Status::from_raw(unsafe { *(*Pdu::<()>::of(rq)).status.get() })
}

/// Leaves a status with a request.
///
/// # Safety
///
/// As for [`status`].
#[inline]
pub(super) unsafe fn set_status(rq: *mut bindings::request, status: Status) {
    // SAFETY: as above.
    unsafe { *(*Pdu::<()>::of(rq)).status.get() = status.raw() };
}

/// A request that the driver owns.
///
/// Ownership starts when the block layer hands the request to [`Operations::queue_rq`] and ends when
/// it is ended ([`end`](Self::end), [`Batch::add`]), given back ([`requeue_now`](Self::requeue_now), the
/// error of `queue_rq`), or dropped, which ends it with [`Status::IO_ERROR`]. So a request cannot be completed twice, nor be looked at afterwards, and no
/// reference count is needed for that. While any request is owned, its disk cannot go away:
/// [`GenDisk`]'s drop waits for it.
///
/// # Invariants
///
/// `rq` points to a request of a queue with operations `T`, which was started, and whose operation
/// is one of [`Op`]. This value alone decides when it goes back to the block layer, which does not
/// change it before.
///
/// [`Batch::add`]: super::Batch::add
/// [`GenDisk`]: super::GenDisk
#[must_use = "a request that is dropped fails"]
pub struct Request<T: Operations> {
    rq: NonNull<bindings::request>,
    _ops: PhantomData<T>,
}

// SAFETY: a request may be ended in any context and by any thread, and its data is `Send`.
unsafe impl<T: Operations> Send for Request<T> {}
// SAFETY: through `&Request` the request is only read, and its data is `Sync`.
unsafe impl<T: Operations> Sync for Request<T> {}

impl<T: Operations> Request<T> {
    /// Takes ownership of a request.
    ///
    /// # Safety
    ///
    /// `rq` is as the type's invariants say, and nobody else owns it.
    #[inline]
    pub(super) unsafe fn from_raw(rq: NonNull<bindings::request>) -> Self {
        // INVARIANT: by the caller's promise.
        Self {
            rq,
            _ops: PhantomData,
        }
    }

    /// Gives up ownership.
    #[inline]
    pub(super) fn into_raw(self) -> *mut bindings::request {
        let rq = self.rq.as_ptr();
        mem::forget(self);
        rq
    }

    #[inline]
    fn cmd_flags(&self) -> bindings::blk_opf_t {
        // SAFETY: by the invariants; the flags do not change while the request is owned.
        unsafe { (*self.rq.as_ptr()).cmd_flags }
    }

    /// What the request wants.
    #[inline]
    pub fn op(&self) -> Op {
        // By the invariants it is never `None`.
        Op::from_cmd_flags(self.cmd_flags()).unwrap_or(Op::Flush)
    }

    /// Whether a write must be durable when it completes (forced unit access).
    #[inline]
    pub fn fua(&self) -> bool {
        self.cmd_flags() & FUA != 0
    }

    /// Start on the disk, in sectors of 512 bytes. Without a meaning for [`Op::Flush`].
    #[inline]
    pub fn sector(&self) -> u64 {
        // SAFETY: by the invariants; it does not change while the request is owned.
        unsafe { (*self.rq.as_ptr()).__sector }
    }

    /// Length on the disk, in sectors of 512 bytes; 0 for [`Op::Flush`].
    #[inline]
    pub fn sectors(&self) -> u64 {
        // SAFETY: by the invariants; it does not change while the request is owned.
        u64::from(unsafe { (*self.rq.as_ptr()).__data_len } >> bindings::SECTOR_SHIFT)
    }

    /// The tag: unique among the owned requests of one hardware queue, less than the queue depth.
    #[inline]
    pub fn tag(&self) -> u32 {
        // SAFETY: by the invariants; it does not change while the request is owned.
        unsafe { (*self.rq.as_ptr()).tag as u32 }
    }

    /// The driver's data of the request.
    #[inline]
    pub fn data(&self) -> &T::RequestData {
        // SAFETY: by the invariants the pdu is of this type; it was initialised when the tag set was
        // made and is only ever shared.
        unsafe { &(*Pdu::<T::RequestData>::of(self.rq.as_ptr())).data }
    }

    /// How many segments the block layer counted. A hint: it may have merged or split otherwise than
    /// [`segments`](Self::segments) does.
    #[inline]
    pub fn expected_segments(&self) -> usize {
        // SAFETY: by the invariants; it does not change while the request is owned.
        usize::from(unsafe { (*self.rq.as_ptr()).nr_phys_segments })
    }

    /// The memory of a read or write, in order, in pieces that each lie in one page. Empty for other
    /// operations.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        match self.op() {
            // SAFETY: the bios of a started request, with their vectors, stay as they are until it is
            // given back, and the iterator borrows `self`. Reads and writes have data in all bios.
            Op::Read | Op::Write => unsafe { Segments::new((*self.rq.as_ptr()).bio) },
            _ => Segments::empty(),
        }
    }

    /// Ends the request at once, on this CPU. In an interrupt handler prefer
    /// [`Batch`](super::Batch), which also heeds the queue's `rq_affinity`.
    #[inline]
    pub fn end(self, status: Status) {
        // SAFETY: a started request, whose ownership goes back to the block layer.
        unsafe { bindings::blk_mq_end_request(self.into_raw(), status.raw()) };
    }

    /// Gives the request back to be queued again soon.
    pub fn requeue_now(self) {
        // SAFETY: a started request, whose ownership goes back to the block layer.
        unsafe { bindings::blk_mq_requeue_request(self.into_raw(), true) };
    }

    /// Tells the block layer to send no more discards or secure erases to this disk. For a device
    /// that offered them and then did not know the operation; callable in any context.
    pub fn disable_discard(&self) {
        // SAFETY: an owned request belongs to a live queue. The two limits are plain words that the
        // block layer reads without a lock, and expects drivers to clear in this way
        // (`blk_queue_disable_discard`).
        unsafe {
            let limits = &raw mut (*(*self.rq.as_ptr()).q).limits;
            (&raw mut (*limits).max_discard_sectors).write_volatile(0);
            (&raw mut (*limits).max_secure_erase_sectors).write_volatile(0);
        }
    }
}

impl<T: Operations> Drop for Request<T> {
    fn drop(&mut self) {
        // SAFETY: a started request, whose ownership goes back to the block layer.
        unsafe { bindings::blk_mq_end_request(self.rq.as_ptr(), Status::IO_ERROR.raw()) };
    }
}

/// A request whose time is up, as [`Operations::timeout`] sees it.
///
/// It may be completed, by this or another CPU, while it is looked at: what it says is for messages.
///
/// # Invariants
///
/// `rq` points to a request of a queue with operations `T` that was started, and that is not freed or
/// used for another request during `'a`.
pub struct TimedOut<'a, T: Operations> {
    rq: NonNull<bindings::request>,
    _ops: PhantomData<&'a T>,
}

impl<T: Operations> TimedOut<'_, T> {
    /// # Safety
    ///
    /// `rq` is as the type's invariants say.
    pub(super) unsafe fn from_raw(rq: NonNull<bindings::request>) -> Self {
        // INVARIANT: by the caller's promise.
        Self {
            rq,
            _ops: PhantomData,
        }
    }

    /// What the request wants.
    pub fn op(&self) -> Op {
        // SAFETY: by the invariants; `cmd_flags` is read once, as it may change.
        let flags = unsafe { (&raw const (*self.rq.as_ptr()).cmd_flags).read_volatile() };
        Op::from_cmd_flags(flags).unwrap_or(Op::Flush)
    }

    /// Start on the disk, in sectors of 512 bytes.
    pub fn sector(&self) -> u64 {
        // SAFETY: by the invariants; read once, as it may change.
        unsafe { (&raw const (*self.rq.as_ptr()).__sector).read_volatile() }
    }

    /// Length on the disk, in sectors of 512 bytes; 0 if the request was completed meanwhile.
    pub fn sectors(&self) -> u64 {
        // SAFETY: by the invariants; read once, as it may change.
        let bytes = unsafe { (&raw const (*self.rq.as_ptr()).__data_len).read_volatile() };
        u64::from(bytes >> bindings::SECTOR_SHIFT)
    }

    /// The tag: unique in the hardware queue while the request is owned.
    pub fn tag(&self) -> u32 {
        // SAFETY: by the invariants; read once, as it may change.
        unsafe { (&raw const (*self.rq.as_ptr()).tag).read_volatile() as u32 }
    }

    /// The driver's data of the request.
    pub fn data(&self) -> &T::RequestData {
        // SAFETY: as for `Request::data`: the pdu lives as long as the tag set.
        unsafe { &(*Pdu::<T::RequestData>::of(self.rq.as_ptr())).data }
    }
}
