// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual CPU's upcall flag, and the selector that only the 2-level ABI uses.

use core::mem::offset_of;

use super::wire::{VcpuInfo, XEN_LEGACY_MAX_VCPUS};
use crate::shared::{Ordering, Shared, SharedMemory, Word};

/// `evtchn_upcall_pending` in the first word of [`VcpuInfo`].
const FLAG: u32 = u32::from_ne_bytes([0xff, 0, 0, 0]);

/// The [`VcpuInfo`] of one virtual CPU.
pub struct Upcall<M> {
    info: Shared<M>,
    /// Byte offset: a multiple of 8, and a [`VcpuInfo`] lies there.
    at: usize,
}

impl<M: SharedMemory> Upcall<M> {
    /// Takes the [`VcpuInfo`] at byte offset `at` of `info`, which was registered with Xen; `None` if
    /// it does not lie there.
    pub fn new(info: M, at: usize) -> Option<Self> {
        let info = Shared::new(info);
        let fits = at % 8 == 0 && at.checked_add(size_of::<VcpuInfo>())? <= info.len();
        fits.then_some(Self { info, at })
    }

    /// Takes the one of `vcpu` in the shared info page; `None` from
    /// [`XEN_LEGACY_MAX_VCPUS`] on, where a CPU must register one.
    pub fn in_shared_info(info: M, vcpu: usize) -> Option<Self> {
        if vcpu >= XEN_LEGACY_MAX_VCPUS {
            return None;
        }
        Self::new(info, vcpu.checked_mul(size_of::<VcpuInfo>())?)
    }

    fn word(&self, offset: usize) -> Option<&Word> {
        self.info.get(self.at.checked_add(offset)?)
    }

    /// Whether Xen asks for a scan.
    pub fn pending(&self) -> bool {
        self.word(0)
            .is_some_and(|word| word.load(Ordering::Acquire) & FLAG != 0)
    }

    /// Takes the flag off, before a scan: what Xen makes ready from now on sets it again.
    pub(super) fn take(&self) {
        if let Some(word) = self.word(0) {
            word.fetch_and(!FLAG, Ordering::AcqRel);
        }
    }

    /// Takes all bits of the selector off: bit n stands for the n-th 64 ports.
    pub(super) fn take_selected(&self) -> u64 {
        let take = |offset| {
            let half = offset_of!(VcpuInfo, evtchn_pending_sel).checked_add(offset);
            let word = half.and_then(|at| self.word(at));
            u64::from(word.map_or(0, |word| word.swap(0, Ordering::AcqRel)))
        };
        take(0) | take(4) << 32
    }
}
