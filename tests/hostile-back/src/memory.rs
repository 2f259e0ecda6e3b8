// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the back end asks of the world. Real Xen answers it in the lab, a simulated hypervisor on the
//! host.

use portico_core::shared::SharedMemory;

/// Bytes in a page.
pub const PAGE: usize = 4096;

/// Mapped pages of the guest; unmapped when dropped.
pub trait Pages {
    /// Copies from byte `at`, which lies in page `at / PAGE` of those mapped together.
    fn read(&self, at: usize, to: &mut [u8]);
    /// Copies to byte `at`. The pages were mapped for writing.
    fn write(&self, at: usize, from: &[u8]);
}

/// The memory of a ring, which a fault may also reach past the ring's rules.
pub trait RingPages: SharedMemory + Clone + Send + 'static {
    /// The word at byte `at`, a multiple of 4 within the memory.
    fn load(&self, at: usize) -> u32;
    /// Stores the word at byte `at`, a multiple of 4 within the memory.
    fn store(&self, at: usize, value: u32);
}

/// The guest at the other end of one queue.
pub trait Guest {
    /// Its pages.
    type Pages: Pages;
    /// Its ring.
    type Ring: RingPages;
    /// Maps granted pages, one after another; `None` when one of them is not granted.
    fn map(&self, refs: &[u32], writable: bool) -> Option<Self::Pages>;
    /// Notifies it.
    fn notify(&self);
}
