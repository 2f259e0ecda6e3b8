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

/// Loom with room for models that fill pages before they begin.
fn run(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.check(model);
}

/// Runs `model` in all interleavings.
pub fn explore(model: impl Fn() + Sync + Send + 'static) {
    let _turn = turn();
    run(None, model);
}

/// Runs a larger `model` in the interleavings in which threads are preempted three times in all, unless
/// `LOOM_MAX_PREEMPTIONS` says otherwise.
pub fn explore_bounded(model: impl Fn() + Sync + Send + 'static) {
    let _turn = turn();
    run(Some(3), model);
}

/// Whether `model` fails in some interleaving when [`mb`](portico_core::shared::mb) does nothing.
pub fn catches(model: impl Fn() + Sync + Send + 'static) -> bool {
    let _turn = turn();
    NO_BARRIER.store(true, std::sync::atomic::Ordering::SeqCst);
    let outcome = catch_unwind(AssertUnwindSafe(|| run(None, model)));
    NO_BARRIER.store(false, std::sync::atomic::Ordering::SeqCst);
    outcome.is_err()
}
