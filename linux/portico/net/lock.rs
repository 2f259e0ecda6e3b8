// SPDX-License-Identifier: GPL-2.0-only

//! A lock between threads and the softirq in which the network stack works.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use kernel::{
    bindings::lock_class_key,
    ffi::c_char,
    sync::lock::{Backend, Lock},
};
use portico_bindings as bindings;

/// A spin lock whose holder is not interrupted by softirqs on its CPU (`spin_lock_bh`). It may be taken
/// in threads and in softirqs, and not in hard interrupts.
pub type SpinLockBh<T> = Lock<T, SpinLockBhBackend>;

/// The backend of [`SpinLockBh`].
pub struct SpinLockBhBackend;

/// Makes a [`SpinLockBh`], with a lock class of its own.
#[macro_export]
macro_rules! new_spinlock_bh {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::net::SpinLockBh::new(
            $inner, ::kernel::optional_name!($($name)?), ::kernel::static_lock_class!())
    };
}

#[inline]
fn raw(lock: *mut bindings::spinlock_t) -> *mut bindings::raw_spinlock_t {
    // Without PREEMPT_RT, a `spinlock_t` begins with its `raw_spinlock_t`.
    lock.cast()
}

// SAFETY: C's spin lock is one. `relock` is the default one.
unsafe impl Backend for SpinLockBhBackend {
    type State = bindings::spinlock_t;
    type GuardState = ();

    #[inline]
    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut lock_class_key) {
        // SAFETY: by the caller's promises.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    #[inline]
    unsafe fn lock(ptr: *mut Self::State) {
        // SAFETY: initialised, by the caller's promise.
        unsafe { bindings::_raw_spin_lock_bh(raw(ptr)) }
    }

    #[inline]
    unsafe fn unlock(ptr: *mut Self::State, _guard_state: &()) {
        // SAFETY: the caller holds the lock.
        unsafe { bindings::_raw_spin_unlock_bh(raw(ptr)) }
    }

    #[inline]
    unsafe fn try_lock(ptr: *mut Self::State) -> Option<()> {
        // SAFETY: initialised, by the caller's promise.
        (unsafe { bindings::_raw_spin_trylock_bh(raw(ptr)) } != 0).then_some(())
    }

    #[inline]
    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: initialised, by the caller's promise.
        unsafe { bindings::spin_assert_is_held(ptr) }
    }
}
