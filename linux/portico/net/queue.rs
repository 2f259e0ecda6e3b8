// SPDX-License-Identifier: GPL-2.0-only

//! One queue of a device, in both directions.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    mem::offset_of,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};
use kernel::{
    prelude::*,
    types::{NotThreadSafe, Opaque},
};
use portico_bindings as bindings;

use super::{napi, operations::Operations, page_pool::PagePool};

/// Softirqs are off on this CPU for `'a`.
#[derive(Clone, Copy)]
pub struct BhOff<'a>(PhantomData<&'a ()>, NotThreadSafe);

impl BhOff<'_> {
    /// # Safety
    ///
    /// Softirqs are off for as long as the value lives.
    #[inline]
    pub(super) unsafe fn new() -> Self {
        Self(PhantomData, NotThreadSafe)
    }
}

/// Whether interrupts are disabled on this CPU. Where packets are sent, they are so under netpoll only.
#[inline]
pub fn irqs_disabled() -> bool {
    // SAFETY: it has no conditions.
    unsafe { bindings::portico_irqs_disabled() }
}

/// A queue of a device: a transmit queue of the stack, a NAPI context, and the driver's own.
///
/// # Invariants
///
/// `napi` was added to the device `dev`, with the poll function of `T`, and is deleted before the queue
/// is freed. `txq` is a transmit queue of `dev`, which lives as long.
#[pin_data]
pub struct Queue<T: Operations> {
    #[pin]
    napi: Opaque<bindings::napi_struct>,
    pub(super) pool: PagePool,
    dev: NonNull<bindings::net_device>,
    txq: NonNull<bindings::netdev_queue>,
    index: u16,
    /// Protected by the lock of `txq`.
    tx: UnsafeCell<T::Tx>,
    #[pin]
    data: T::Queue,
}

// SAFETY: `tx` goes from one thread to another with the lock, everything else is `Sync`, or the stack's.
unsafe impl<T: Operations> Send for Queue<T> {}
// SAFETY: as above.
unsafe impl<T: Operations> Sync for Queue<T> {}

impl<T: Operations> Queue<T> {
    /// # Safety
    ///
    /// `dev` is a device made for `T` that is not registered yet and has more than `index` transmit
    /// queues. The queue is pinned until [`del`](Self::del) was called, which happens before the device is
    /// freed.
    pub(super) unsafe fn new(
        dev: NonNull<bindings::net_device>,
        index: u16,
        tx: T::Tx,
        data: impl PinInit<T::Queue, Error>,
    ) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            // SAFETY: the device is valid.
            let txq = unsafe { bindings::portico_netdev_tx_queue(dev.as_ptr(), u32::from(index)) };
            let txq = NonNull::new(txq).ok_or(EINVAL)?;
            // SAFETY: as above.
            let pool = unsafe { PagePool::new(dev.as_ptr(), index, T::POOL_SIZE) }?;
            Ok(try_pin_init!(Self {
                dev,
                txq,
                index,
                pool,
                tx: UnsafeCell::new(tx),
                data <- data,
                // Last: a NAPI context that was added must be deleted.
                napi <- Opaque::ffi_init(|napi: *mut bindings::napi_struct| {
                    // SAFETY: zeroed memory is what C passes, too; pinned and deleted by the caller's promise.
                    unsafe {
                        napi.write(pin_init::zeroed());
                        bindings::portico_napi_add(
                            dev.as_ptr(),
                            napi,
                            Some(napi::poll::<T>),
                            u32::from(*index),
                        );
                    }
                }),
            }? Error))
        })
    }

    /// The queue that a NAPI context is part of.
    ///
    /// # Safety
    ///
    /// `napi` is that of a `Queue<T>`, which lives during `'a`.
    #[inline]
    pub(super) unsafe fn from_napi<'a>(napi: *mut bindings::napi_struct) -> &'a Self {
        // SAFETY: by the caller's promise.
        unsafe { &*napi.byte_sub(offset_of!(Self, napi)).cast() }
    }

    #[inline]
    pub(super) fn napi(&self) -> *mut bindings::napi_struct {
        self.napi.get()
    }

    /// What start_xmit works on.
    ///
    /// # Safety
    ///
    /// This thread holds the lock of the transmit queue during `'a`.
    #[inline]
    pub(super) unsafe fn locked_tx<'a>(&'a self) -> (&'a mut T::Tx, TxQueue<'a>) {
        // SAFETY: by the caller's promise.
        unsafe { (&mut *self.tx.get(), TxQueue::new(self.txq)) }
    }

    #[inline]
    pub(super) fn raw_dev(&self) -> *mut bindings::net_device {
        self.dev.as_ptr()
    }

    /// Deletes the NAPI context. Sleeps.
    ///
    /// # Safety
    ///
    /// Once, with the context disabled, and nothing uses the queue any more.
    pub(super) unsafe fn del(&self) {
        // SAFETY: added, by the invariants.
        unsafe { bindings::portico_napi_del(self.napi()) };
    }

    /// The index of the queue.
    #[inline]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The driver's data of the queue.
    #[inline]
    pub fn data(&self) -> &T::Queue {
        &self.data
    }

    /// Tells whoever asks which interrupt has it polled. Sleeps.
    pub fn set_irq(&self, irq: Option<u32>) {
        let irq = irq.and_then(|irq| c_int::try_from(irq).ok()).unwrap_or(-1);
        // SAFETY: added, by the invariants; the number is only shown.
        unsafe { bindings::portico_napi_set_irq(self.napi(), irq) };
    }

    /// Lets [`Operations::poll`] run soon, on this CPU. Any context. Nothing happens while the device is
    /// down.
    #[inline]
    pub fn schedule(&self) {
        let napi = self.napi();
        // SAFETY: added, by the invariants; a context that is disabled is not scheduled.
        unsafe {
            if bindings::napi_schedule_prep(napi) {
                bindings::__napi_schedule(napi);
            }
        }
    }

    /// Runs `what` under the lock of the transmit queue, if nobody has it. Interrupts are disabled.
    pub(super) fn try_locked_tx(&self, what: impl FnOnce(&Self, &mut T::Tx, TxQueue<'_>)) {
        // SAFETY: the queue of the stack lives as long as this.
        if !unsafe { bindings::portico_txq_trylock(self.txq.as_ptr()) } {
            return;
        }
        {
            // SAFETY: locked just now.
            let (tx, txq) = unsafe { self.locked_tx() };
            what(self, tx, txq);
        }
        // SAFETY: locked above, and what it protects is not referred to any more.
        unsafe { bindings::portico_txq_unlock_irqs_off(self.txq.as_ptr()) };
    }

    /// Takes the lock of the transmit queue, under which also
    /// [`Operations::start_xmit`] runs. Not in a hard interrupt.
    #[inline]
    pub fn lock_tx(&self) -> TxGuard<'_, T> {
        // SAFETY: the queue of the stack lives as long as this.
        unsafe { bindings::portico_txq_lock(self.txq.as_ptr()) };
        // INVARIANT: locked just now.
        TxGuard {
            queue: self,
            _thread: kernel::types::NotThreadSafe,
        }
    }
}

/// The transmit queue, locked.
///
/// # Invariants
///
/// This thread holds the lock of `queue.txq`, taken with softirqs off.
pub struct TxGuard<'a, T: Operations> {
    queue: &'a Queue<T>,
    _thread: kernel::types::NotThreadSafe,
}

impl<T: Operations> TxGuard<'_, T> {
    /// The driver's part, and the stack's.
    #[inline]
    pub fn parts(&mut self) -> (&mut T::Tx, TxQueue<'_>) {
        // SAFETY: the lock is held while the guard is borrowed.
        let txq = unsafe { TxQueue::new(self.queue.txq) };
        (&mut *self, txq)
    }
}

impl<T: Operations> Deref for TxGuard<'_, T> {
    type Target = T::Tx;

    #[inline]
    fn deref(&self) -> &T::Tx {
        // SAFETY: the lock is held.
        unsafe { &*self.queue.tx.get() }
    }
}

impl<T: Operations> DerefMut for TxGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T::Tx {
        // SAFETY: the lock is held.
        unsafe { &mut *self.queue.tx.get() }
    }
}

impl<T: Operations> Drop for TxGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: locked by this thread.
        unsafe { bindings::portico_txq_unlock(self.queue.txq.as_ptr()) };
    }
}

/// The stack's side of a transmit queue that is locked.
///
/// # Invariants
///
/// `txq` is a valid transmit queue, whose lock this thread holds during `'a`.
#[derive(Clone, Copy)]
pub struct TxQueue<'a> {
    txq: NonNull<bindings::netdev_queue>,
    _locked: PhantomData<&'a ()>,
    _here: NotThreadSafe,
}

impl<'a> TxQueue<'a> {
    /// # Safety
    ///
    /// `txq` is as the type's invariants say.
    #[inline]
    pub(super) unsafe fn new(txq: NonNull<bindings::netdev_queue>) -> Self {
        // INVARIANT: by the caller's promise.
        Self {
            txq,
            _locked: PhantomData,
            _here: NotThreadSafe,
        }
    }

    /// Whether a further packet follows at once (`netdev_xmit_more`). Only in
    /// [`Operations::start_xmit`].
    #[inline]
    pub fn more(&self) -> bool {
        // SAFETY: reads a word of this CPU.
        unsafe { bindings::portico_xmit_more() }
    }

    /// Counts a packet that goes to the device, for the limit on what is under way (BQL). Returns whether
    /// to tell the device now: no other packet follows at once, or none can. Only in
    /// [`Operations::start_xmit`].
    #[inline]
    pub fn sent(&self, bytes: u32) -> bool {
        // SAFETY: locked, by the invariants.
        unsafe { bindings::portico_txq_sent(self.txq.as_ptr(), bytes) }
    }

    /// Counts packets that the device is done with: all that [`sent`](Self::sent) has counted, and no
    /// others.
    #[inline]
    pub fn completed(&self, packets: u32, bytes: u32) {
        // SAFETY: locked, by the invariants.
        unsafe { bindings::portico_txq_completed(self.txq.as_ptr(), packets, bytes) };
    }

    /// Forgets what is under way. From now on the limit on that is not less than `least` bytes.
    pub fn reset(&self, least: u32) {
        // SAFETY: locked, by the invariants.
        unsafe { bindings::portico_txq_reset(self.txq.as_ptr(), least) };
    }

    /// Lets no further packet come.
    #[inline]
    pub fn stop(&self) {
        // SAFETY: locked, by the invariants.
        unsafe { bindings::portico_txq_stop(self.txq.as_ptr()) };
    }

    /// Lets packets come again.
    #[inline]
    pub fn wake(&self) {
        // SAFETY: locked, by the invariants.
        unsafe { bindings::netif_tx_wake_queue(self.txq.as_ptr()) };
    }

    /// Whether [`stop`](Self::stop) was called since the last [`wake`](Self::wake).
    #[inline]
    pub fn is_stopped(&self) -> bool {
        // SAFETY: valid, by the invariants.
        unsafe { is_stopped(self.txq) }
    }

    /// Keeps the watchdog quiet: something was sent beside [`Operations::start_xmit`].
    #[inline]
    pub fn touch(&self) {
        // SAFETY: locked, by the invariants.
        unsafe { bindings::portico_txq_touch(self.txq.as_ptr()) };
    }
}

/// # Safety
///
/// The transmit queue is valid.
#[inline]
unsafe fn is_stopped(txq: NonNull<bindings::netdev_queue>) -> bool {
    const STATE: usize = bindings::portico_net_offsets_PORTICO_TXQ_STATE as usize;
    const OFF: usize = bindings::portico_net_bits_PORTICO_TXQ_DRV_XOFF as usize;
    // SAFETY: by the caller's promise; its state is a word, which others may change.
    unsafe { txq.as_ptr().byte_add(STATE).cast::<usize>().read_volatile() & OFF != 0 }
}
