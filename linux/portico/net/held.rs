// SPDX-License-Identifier: GPL-2.0-only

//! Packets that the other end has mapped still, although their device gave them up.
//!
//! The kernel keeps a page whose grant cannot be ended by a reference to it. Most packets begin with
//! memory of a slab, which has no such reference; so here it is the packet that is kept.

use core::mem;
use kernel::{
    prelude::*,
    sync::{global_lock, Arc},
};
use portico_core::grant::GrantRef;

use super::SkBuff;
use crate::{
    grant,
    work::{Delayed, Run},
};

/// Time between two tries, in milliseconds.
const RETRY_MS: u32 = 1000;

global_lock! {
    // SAFETY: `Keeper::new` initialises it, before any driver can be loaded.
    unsafe(uninit) static ALL: SpinLockIrq<All> = All {
        list: KVec::new(),
        retry: None,
    };
}

struct All {
    list: KVec<Held>,
    /// Scheduled while the list is not empty.
    retry: Option<Arc<Delayed<Retry>>>,
}

impl All {
    fn add(&mut self, held: Held) {
        // Not `push`, which would free the packet where there is no memory.
        if self.list.reserve(1, GFP_ATOMIC).is_err() {
            return held.leak();
        }
        if let Err(error) = self.list.push_within_capacity(held) {
            error.0.leak();
        }
    }
}

/// A grant that is still in use, and the packet that it reaches into.
struct Held {
    gref: GrantRef,
    packet: SkBuff,
}

impl Held {
    /// There is no way to keep it: neither the reference nor the packet is ever used again.
    #[cold]
    fn leak(self) {
        pr_warn!("grant {}: its packet is lost\n", self.gref);
        mem::forget(self.packet);
    }
}

/// Keeps a packet until the other end lets go of it; then the reference is released. May be called in
/// any context.
///
/// # Safety
///
/// The caller has claimed `gref` and granted a piece of the packet with it. It gives the reference up.
#[inline(never)]
pub(crate) unsafe fn hold(gref: GrantRef, packet: SkBuff) {
    let mut all = ALL.lock();
    all.add(Held { gref, packet });
    if let Some(retry) = &all.retry {
        retry.schedule(RETRY_MS);
    }
}

struct Retry;

impl Run for Retry {
    fn run(&self) -> Option<u32> {
        let tried = mem::take(&mut ALL.lock().list);
        let mut left = false;
        for held in tried {
            // SAFETY: `hold` was given the reference; it is used no more if it was released.
            if unsafe { grant::try_release(held.gref) } {
                continue;
            }
            left = true;
            ALL.lock().add(held);
        }
        left.then_some(RETRY_MS)
    }
}

/// Tries for as long as it exists, once per module.
pub struct Keeper(());

impl Keeper {
    /// For the module that this crate is in, which makes one when it is loaded. Fails without memory.
    ///
    /// # Safety
    ///
    /// There was none before.
    pub unsafe fn new() -> Result<Self> {
        // SAFETY: once, by the caller's promise.
        unsafe { ALL.init() };
        let retry = Arc::pin_init(Delayed::new(Arc::new(Retry, GFP_KERNEL)?), GFP_KERNEL)?;
        ALL.lock().retry = Some(retry);
        Ok(Self(()))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let retry = ALL.lock().retry.take();
        drop(retry);
        let left = mem::take(&mut ALL.lock().list);
        for held in left {
            held.leak();
        }
    }
}
