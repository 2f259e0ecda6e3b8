// SPDX-License-Identifier: GPL-2.0-only

//! Work that is done later, in a thread of the kernel.
//!
//! The kernel crate's delayed work cannot be cancelled, so a module could be unloaded under it. This
//! one is cancelled when it is dropped.
//!
//! C header: `include/linux/workqueue.h`

use kernel::{prelude::*, sync::Arc, types::Opaque};
use portico_bindings as bindings;

/// Does the work.
pub trait Run: Send + Sync + 'static {
    /// Called in process context, not concurrently with itself for one [`Delayed`]. Returns after how
    /// many milliseconds to call again, if at all.
    fn run(&self) -> Option<u32>;
}

/// Work that can be scheduled.
///
/// Dropping it cancels it and waits for it, so it must not be dropped by the work itself, nor under a
/// lock that the work takes.
///
/// # Invariants
///
/// `work` was initialised with `run` of this type as its function.
#[pin_data(PinnedDrop)]
pub struct Delayed<T: Run> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    target: Arc<T>,
}

impl<T: Run> Delayed<T> {
    /// Makes it, not scheduled yet.
    pub fn new(target: Arc<T>) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: initialised with `run`.
            work <- Opaque::ffi_init(|work| {
                // SAFETY: the memory is pinned, and not in use yet.
                unsafe { bindings::portico_init_delayed_work(work, Some(Self::run)) }
            }),
            target,
        })
    }

    /// Lets it run once in `milliseconds` from now, or at once with 0. If it waits for its time
    /// already, only the time is changed. May be called in any context.
    pub fn schedule(&self, milliseconds: u32) {
        // SAFETY: initialised, and pinned until it was cancelled.
        unsafe { bindings::portico_schedule_delayed_work(self.work.get(), milliseconds) };
    }

    /// Lets it run once in `milliseconds` from now, unless it waits for its time already. May be called in
    /// any context.
    #[inline]
    pub fn schedule_once(&self, milliseconds: u32) {
        // SAFETY: as above.
        unsafe { bindings::portico_queue_delayed_work(self.work.get(), milliseconds) };
    }

    /// Cancels it and waits until it does not run any more. It can be scheduled again.
    pub fn cancel(&self) {
        // SAFETY: initialised by the invariants.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }

    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: the kernel calls this for the `work_struct` at the start of the field `work` of a
        // `Delayed<T>`, which is not dropped before the function returns, as that cancels it.
        let this = unsafe {
            &*work
                .byte_sub(core::mem::offset_of!(bindings::delayed_work, work))
                .byte_sub(core::mem::offset_of!(Self, work))
                .cast::<Self>()
        };
        if let Some(milliseconds) = this.target.run() {
            this.schedule(milliseconds);
        }
    }
}

#[pinned_drop]
impl<T: Run> PinnedDrop for Delayed<T> {
    fn drop(self: Pin<&mut Self>) {
        self.cancel();
    }
}

// SAFETY: the functions of a work may be called from any thread, and `T` is `Send` and `Sync`.
unsafe impl<T: Run> Send for Delayed<T> {}
// SAFETY: as above.
unsafe impl<T: Run> Sync for Delayed<T> {}
