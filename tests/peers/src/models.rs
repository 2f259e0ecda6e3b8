// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running loom models, as the code stands and with its barrier taken out.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portico_core::shared::NO_BARRIER;

/// The barrier is there or not for all threads: one exploration at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `model` in all interleavings.
pub fn explore(model: impl Fn() + Sync + Send + 'static) {
    let _turn = turn();
    loom::model(model);
}

/// Whether `model` fails in some interleaving when [`mb`](portico_core::shared::mb) does nothing.
pub fn catches(model: impl Fn() + Sync + Send + 'static) -> bool {
    let _turn = turn();
    NO_BARRIER.store(true, std::sync::atomic::Ordering::SeqCst);
    let outcome = catch_unwind(AssertUnwindSafe(|| loom::model(model)));
    NO_BARRIER.store(false, std::sync::atomic::Ordering::SeqCst);
    outcome.is_err()
}
