// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that a peer can read and write at any moment, and the barriers that order it.
//!
//! Every access to such memory goes through relaxed atomic loads and stores of whole words: a value
//! is copied once into a local, and the compiler can neither read it a second time nor tear it.
//! This is the only module that names atomics or barriers, so that a platform (or loom) can bring its
//! own.

use core::ptr::NonNull;

#[cfg(not(loom))]
use core::sync::atomic as imp;
#[cfg(loom)]
use loom::sync::atomic as imp;

pub use imp::Ordering;

/// One 32-bit word of shared memory.
pub type Word = imp::AtomicU32;

/// Bytes in a page of Xen's interfaces.
pub const PAGE_SIZE: usize = 4096;

/// Memory shared with a peer.
///
/// # Safety
///
/// [`as_ptr`](Self::as_ptr) returns the same pointer at every call, aligned to 8, to
/// [`len`](Self::len) bytes that stay readable and writable while the value exists, moved or not,
/// and that nothing on this side accesses other than through this module. Under `cfg(loom)` the
/// pointer leads to `len() / 4` initialised [`Word`]s instead of plain bytes.
pub unsafe trait SharedMemory {
    /// The first byte.
    fn as_ptr(&self) -> NonNull<u8>;
    /// The length in bytes.
    fn len(&self) -> usize;
    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes the full barrier out, so that a loom model can show that it would notice.
#[cfg(loom)]
pub static NO_BARRIER: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// Full barrier: no load or store before it is reordered with one after it.
///
/// It orders this CPU against a peer on another CPU, so it is a real barrier on a uniprocessor too.
#[inline]
pub fn mb() {
    #[cfg(loom)]
    if NO_BARRIER.load(Ordering::Relaxed) {
        return;
    }
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    // SAFETY: a locked or of zero leaves the word on top of the stack as it is. On x86 a locked
    // operation orders ordinary memory like `mfence`, and is several times cheaper.
    unsafe {
        core::arch::asm!("lock or dword ptr [rsp - 4], 0", options(nostack));
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    imp::fence(Ordering::SeqCst);
}

/// Full barrier right behind an atomic read-modify-write of a [`Word`]. On x86 that was one already.
#[inline]
pub fn mb_after_rmw() {
    #[cfg(loom)]
    if NO_BARRIER.load(Ordering::Relaxed) {
        return;
    }
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    imp::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    imp::fence(Ordering::SeqCst);
}

/// A span of shared memory with word access at byte offsets.
pub struct Shared<M> {
    /// INVARIANT: `base` and `len` are what `mem` answered when the value was made.
    base: NonNull<u8>,
    len: usize,
    mem: M,
}

// SAFETY: `base` points into memory that `mem` keeps alive wherever it is, and all access to it is
// atomic, so the pair may go where `mem` may go.
unsafe impl<M: Send> Send for Shared<M> {}
// SAFETY: as above; through `&Shared` only atomic accesses are made.
unsafe impl<M: Sync> Sync for Shared<M> {}

impl<M: SharedMemory> Shared<M> {
    /// Wraps `mem`.
    pub fn new(mem: M) -> Self {
        // INVARIANT: taken from `mem`, whose answers do not change.
        Self {
            base: mem.as_ptr(),
            len: mem.len(),
            mem,
        }
    }
}

impl<M> Shared<M> {
    /// The same span, borrowed: whoever writes much through it has the address at hand.
    #[inline]
    pub(crate) fn borrowed(&self) -> Shared<&M> {
        // INVARIANT: as here, and `mem` cannot go away meanwhile.
        Shared {
            base: self.base,
            len: self.len,
            mem: &self.mem,
        }
    }

    /// The length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The memory behind.
    pub fn memory(&self) -> &M {
        &self.mem
    }

    /// The word at byte offset `at`; `None` for one that is not a multiple of 4 or not in the memory.
    #[inline]
    pub fn get(&self, at: usize) -> Option<&Word> {
        let fits = at % 4 == 0 && at <= self.len.checked_sub(4)?;
        // SAFETY: just checked.
        fits.then(|| unsafe { self.word(at) })
    }

    /// The word at byte offset `at`.
    ///
    /// # Safety
    ///
    /// `at` is a multiple of 4 and `at + 4 <= self.len()`.
    #[inline]
    pub(crate) unsafe fn word(&self, at: usize) -> &Word {
        debug_assert!(at % 4 == 0 && at + 4 <= self.len);
        #[cfg(not(loom))]
        // SAFETY: in bounds and aligned by the caller's promise; `SharedMemory` keeps it valid and
        // all accesses are atomic.
        unsafe {
            self.base.add(at).cast::<Word>().as_ref()
        }
        #[cfg(loom)]
        // SAFETY: as above, with one `Word` for every four bytes.
        unsafe {
            self.base.cast::<Word>().add(at / 4).as_ref()
        }
    }

    /// Copies `src` to byte offset `at`: if `at` is said to be a multiple of 8, which is known better
    /// when compiling than when running, in the widest words that fit.
    ///
    /// # Safety
    ///
    /// `at` is a multiple of 4, so is the length of `src`, and `at + src.len() <= self.len()`. With
    /// `WIDE`, `at` is a multiple of 8.
    #[inline(always)]
    pub(crate) unsafe fn store<const WIDE: bool>(&self, at: usize, src: &[u8]) {
        debug_assert!(
            at % if WIDE { 8 } else { 4 } == 0 && src.len() % 4 == 0 && at + src.len() <= self.len
        );
        let mut done = 0;
        #[cfg(not(loom))]
        if WIDE {
            for chunk in src.chunks_exact(8) {
                let Ok(bytes) = <[u8; 8]>::try_from(chunk) else {
                    continue;
                };
                // SAFETY: within `src`, so within the span; `base` and `at + done` are multiples of 8.
                let word = unsafe { self.base.add(at + done).cast::<imp::AtomicU64>().as_ref() };
                word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
                done += 8;
            }
        }
        for chunk in src.get(done..).unwrap_or_default().chunks_exact(4) {
            let Ok(bytes) = <[u8; 4]>::try_from(chunk) else {
                continue;
            };
            // SAFETY: within `src`, so within the span; `at + done` is a multiple of 4.
            unsafe { self.word(at + done) }.store(u32::from_ne_bytes(bytes), Ordering::Relaxed);
            done += 4;
        }
    }

    /// Copies from byte offset `at` to `dst`, each word once; as for the width, see
    /// [`store`](Self::store).
    ///
    /// # Safety
    ///
    /// `at` is a multiple of 4, so is the length of `dst`, and `at + dst.len() <= self.len()`. With
    /// `WIDE`, `at` is a multiple of 8.
    #[inline(always)]
    pub(crate) unsafe fn load<const WIDE: bool>(&self, at: usize, dst: &mut [u8]) {
        debug_assert!(
            at % if WIDE { 8 } else { 4 } == 0 && dst.len() % 4 == 0 && at + dst.len() <= self.len
        );
        let mut done = 0;
        #[cfg(not(loom))]
        if WIDE {
            for chunk in dst.chunks_exact_mut(8) {
                // SAFETY: within `dst`, so within the span; `base` and `at + done` are multiples of 8.
                let word = unsafe { self.base.add(at + done).cast::<imp::AtomicU64>().as_ref() };
                chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
                done += 8;
            }
        }
        for chunk in dst.get_mut(done..).unwrap_or_default().chunks_exact_mut(4) {
            // SAFETY: within `dst`, so within the span; `at + done` is a multiple of 4.
            let word = unsafe { self.word(at + done) };
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
            done += 4;
        }
    }
}
