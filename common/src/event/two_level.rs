// SPDX-License-Identifier: MIT OR Apache-2.0
//! The 2-level ABI: bitmaps of pending and masked ports, with a selector for each virtual CPU.
//!
//! Xen sets a port's pending bit; if the port was not pending and is not masked it sets the bit of its
//! 64 ports in the selector of the bound CPU, and that CPU's upcall flag. The words here are 32 bits
//! wide: bit n of a 64-bit word of the ABI is bit n % 32 of one of its halves.

use core::mem::offset_of;

use super::upcall::Upcall;
use super::wire::{SharedInfo, EVTCHN_2L_NR_CHANNELS};
use super::{Port, Unmasked};
use crate::shared::{mb_after_rmw, Ordering, Shared, SharedMemory, Word};

const PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
const MASK: usize = offset_of!(SharedInfo, evtchn_mask);
const HALVES: usize = EVTCHN_2L_NR_CHANNELS as usize / 32;

/// The shared info page of a domain.
pub struct TwoLevel<M> {
    info: Shared<M>,
}

/// One virtual CPU's part.
pub struct Vcpu<M> {
    upcall: Upcall<M>,
    /// Ports that are bound to this CPU: others are left for theirs.
    bound: [Word; HALVES],
}

impl<M: SharedMemory> TwoLevel<M> {
    /// Takes the shared info page; `None` if it is too short. All ports become masked.
    pub fn new(info: M) -> Option<Self> {
        let info = Shared::new(info);
        if info.len() < size_of::<SharedInfo>() {
            return None;
        }
        for half in 0..HALVES {
            info.get(half.wrapping_mul(4).wrapping_add(MASK))?
                .store(!0, Ordering::Release);
        }
        Some(Self { info })
    }

    /// The half word of `port` in the bitmap at `base`, and its bit there.
    fn bit(&self, base: usize, port: Port) -> Option<(&Word, u32)> {
        if port >= EVTCHN_2L_NR_CHANNELS {
            return None;
        }
        let half = usize::try_from(port / 32).ok()?;
        let word = self.info.get(half.checked_mul(4)?.checked_add(base)?)?;
        Some((word, 1 << (port % 32)))
    }

    fn is_set(&self, base: usize, port: Port) -> bool {
        self.bit(base, port)
            .is_some_and(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    /// Whether an event is pending.
    pub fn is_pending(&self, port: Port) -> bool {
        self.is_set(PENDING, port)
    }

    /// Whether the port is masked.
    pub fn is_masked(&self, port: Port) -> bool {
        self.is_set(MASK, port)
    }

    /// Takes a pending event off; whether there was one.
    pub fn clear(&self, port: Port) -> bool {
        let Some((word, bit)) = self.bit(PENDING, port) else {
            return false;
        };
        word.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Masks a port: events become pending without an upcall.
    pub fn mask(&self, port: Port) {
        if let Some((word, bit)) = self.bit(MASK, port) {
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    /// Takes the mask away, in an HVM or PVH domain, on any CPU.
    ///
    /// An event that is pending would not be delivered: Xen saw the mask. So the mask is put back and
    /// the hypercall, which takes it away again, delivers.
    pub fn unmask(&self, port: Port) -> Unmasked {
        let Some((word, bit)) = self.bit(MASK, port) else {
            return Unmasked::Done;
        };
        word.fetch_and(!bit, Ordering::AcqRel);
        // Xen sets the pending bit, then looks at the mask: one of the two sides sees the other.
        mb_after_rmw();
        if !self.is_pending(port) {
            return Unmasked::Done;
        }
        word.fetch_or(bit, Ordering::AcqRel);
        Unmasked::Hypercall
    }

    /// Calls `handle` for each port of this CPU that is pending and not masked, at most once for each,
    /// after taking its event off. `true`: Xen has asked for another scan meanwhile.
    ///
    /// Runs on the CPU itself, from its upcall. To hold further events back `handle` masks its port.
    pub fn scan<V: SharedMemory>(&self, cpu: &Vcpu<V>, mut handle: impl FnMut(Port)) -> bool {
        cpu.upcall.take();
        // The flag first: Xen sets the selector first, so a bit that comes later brings the flag.
        let mut selected = cpu.upcall.take_selected();
        while selected != 0 {
            // Below 64: each bit stands for two half words.
            let first = (selected.trailing_zeros() as usize).wrapping_mul(2);
            selected &= selected.wrapping_sub(1);
            self.scan_half(cpu, first, &mut handle);
            self.scan_half(cpu, first.wrapping_add(1), &mut handle);
        }
        cpu.upcall.pending()
    }

    fn scan_half<V>(&self, cpu: &Vcpu<V>, half: usize, handle: &mut impl FnMut(Port)) {
        let word = |base: usize| self.info.get(half.checked_mul(4)?.checked_add(base)?);
        let (Some(pending), Some(mask)) = (word(PENDING), word(MASK)) else {
            return;
        };
        let Some(bound) = cpu.bound.get(half) else {
            return;
        };
        let bound = bound.load(Ordering::Relaxed);
        let mut ready = pending.load(Ordering::Acquire) & !mask.load(Ordering::Acquire) & bound;
        while ready != 0 {
            let bit = ready & ready.wrapping_neg();
            ready &= !bit;
            if pending.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
                // Half words are below 128, ports below 4096.
                let first = (half as u32).wrapping_mul(32);
                handle(first.wrapping_add(bit.trailing_zeros()));
            }
        }
    }
}

impl<M: SharedMemory> Vcpu<M> {
    /// No port is bound.
    pub fn new(upcall: Upcall<M>) -> Self {
        Self {
            upcall,
            bound: core::array::from_fn(|_| Word::new(0)),
        }
    }

    /// The CPU's upcall flag.
    pub fn upcall(&self) -> &Upcall<M> {
        &self.upcall
    }

    /// Counts `port`, which a hypercall has bound to this CPU, as one of its own.
    pub fn bind(&self, port: Port) {
        if let Some(word) = self.bound.get(port as usize / 32) {
            word.fetch_or(1 << (port % 32), Ordering::Relaxed);
        }
    }

    /// Undoes [`bind`](Self::bind).
    pub fn unbind(&self, port: Port) {
        if let Some(word) = self.bound.get(port as usize / 32) {
            word.fetch_and(!(1 << (port % 32)), Ordering::Relaxed);
        }
    }
}
