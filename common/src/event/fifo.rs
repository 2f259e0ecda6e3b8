// SPDX-License-Identifier: MIT OR Apache-2.0
//! The FIFO ABI: Xen links pending events into queues, 16 priorities for each virtual CPU.
//!
//! Xen sets `PENDING` in a port's word. If the port is not masked and not in a queue it sets `LINKED`
//! and writes the port into the link of the queue's last word, if that one is still linked; otherwise
//! the queue was empty, and the port becomes its head in the control block, with the ready bit of its
//! priority and an upcall. The domain takes words off from the head by clearing `LINKED` and the link
//! in one go: the link that stood there says what comes next.
//!
//! While `BUSY` is set Xen is about to write a link, and may count on few changes: `MASKED` is not
//! cleared then.

use core::mem::offset_of;

use super::upcall::Upcall;
use super::wire::{
    EventWord, EvtchnFifoControlBlock, EVTCHN_FIFO_LINK_MASK, EVTCHN_FIFO_MAX_QUEUES,
    EVTCHN_FIFO_NR_CHANNELS,
};
use super::{Port, Unmasked};
use crate::shared::{Ordering, Shared, SharedMemory, Word, PAGE_SIZE};

/// Event words in a page of the array.
const WORDS_PER_PAGE: u32 = (PAGE_SIZE / 4) as u32;
/// Tries to take a mask away before the hypercall does it. Xen is busy for a few instructions.
const TRIES: u32 = 1000;

const PENDING: u32 = EventWord::PENDING.bits();
const MASKED: u32 = EventWord::MASKED.bits();
const LINKED: u32 = EventWord::LINKED.bits();
const BUSY: u32 = EventWord::BUSY.bits();

/// The event array: one word for each port.
///
/// The owner reserves memory for as many ports as it may ever use, and hands it to Xen page by page
/// as ports need it.
pub struct EventArray<M> {
    words: Shared<M>,
    /// Words that Xen knows.
    ports: Word,
}

/// One virtual CPU's control block and what this side remembers of its queues.
pub struct Queues<M> {
    upcall: Upcall<M>,
    control: Shared<M>,
    /// INVARIANT: a multiple of 4, and an [`EvtchnFifoControlBlock`] lies here.
    at: usize,
    /// Next port of each queue, or 0: ask the control block.
    heads: [Port; EVTCHN_FIFO_MAX_QUEUES],
    /// Queues that a scan has left unfinished.
    ready: u32,
}

/// Xen linked a port that the array does not have. The queue's rest is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLink(pub Port);

impl core::fmt::Display for BadLink {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "event queue leads to port {}, which is beyond the event array",
            self.0
        )
    }
}

impl<M: SharedMemory> EventArray<M> {
    /// Takes the reserved memory. Xen knows none of it yet.
    pub fn new(words: M) -> Self {
        Self {
            words: Shared::new(words),
            ports: Word::new(0),
        }
    }

    /// Number of ports that have a word.
    pub fn ports(&self) -> u32 {
        self.ports.load(Ordering::Acquire)
    }

    /// Masks all ports of the next page and returns its byte offset in the memory, for
    /// `EVTCHNOP_expand_array`; `None` when the memory or the ABI has no more. The owner serialises
    /// this with [`page_added`](Self::page_added), which follows if the hypercall succeeds.
    pub fn next_page(&self) -> Option<usize> {
        let first = self.ports();
        let end = first.checked_add(WORDS_PER_PAGE)?;
        let at = usize::try_from(first).ok()?.checked_mul(4)?;
        if end > EVTCHN_FIFO_NR_CHANNELS || at.checked_add(PAGE_SIZE)? > self.words.len() {
            return None;
        }
        for offset in (at..at.checked_add(PAGE_SIZE)?).step_by(4) {
            self.words.get(offset)?.store(MASKED, Ordering::Relaxed);
        }
        Some(at)
    }

    /// Xen has taken the page of [`next_page`](Self::next_page).
    pub fn page_added(&self) {
        self.ports.fetch_add(WORDS_PER_PAGE, Ordering::Release);
    }

    /// Forgets that Xen knew any page, as after a resume.
    pub fn reset(&self) {
        self.ports.store(0, Ordering::Release);
    }

    fn word(&self, port: Port) -> Option<&Word> {
        if port >= self.ports() {
            return None;
        }
        self.words.get(usize::try_from(port).ok()?.checked_mul(4)?)
    }

    fn has(&self, port: Port, flag: u32) -> bool {
        self.word(port)
            .is_some_and(|word| word.load(Ordering::Acquire) & flag != 0)
    }

    /// Whether an event is pending.
    pub fn is_pending(&self, port: Port) -> bool {
        self.has(port, PENDING)
    }

    /// Whether the port is masked.
    pub fn is_masked(&self, port: Port) -> bool {
        self.has(port, MASKED)
    }

    /// Takes a pending event off; whether there was one.
    pub fn clear(&self, port: Port) -> bool {
        let word = self.word(port);
        word.is_some_and(|word| word.fetch_and(!PENDING, Ordering::AcqRel) & PENDING != 0)
    }

    /// Masks a port: events become pending without an upcall.
    pub fn mask(&self, port: Port) {
        if let Some(word) = self.word(port) {
            word.fetch_or(MASKED, Ordering::AcqRel);
        }
    }

    /// Takes the mask away, on any CPU. If an event is pending, or Xen stays busy, the mask is left to
    /// the hypercall.
    pub fn unmask(&self, port: Port) -> Unmasked {
        let Some(word) = self.word(port) else {
            return Unmasked::Done;
        };
        let mut seen = word.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            if seen & MASKED == 0 {
                return Unmasked::Done;
            }
            if seen & PENDING != 0 {
                break;
            }
            let idle = seen & !BUSY;
            let swap =
                word.compare_exchange(idle, idle & !MASKED, Ordering::AcqRel, Ordering::Relaxed);
            match swap {
                Ok(_) => return Unmasked::Done,
                Err(now) => seen = now,
            }
        }
        Unmasked::Hypercall
    }

    /// Takes `port` off its queue. `Ok`: the next port, 0 at the end.
    fn unlink(&self, port: Port) -> Result<Port, BadLink> {
        let word = self.word(port).filter(|_| port != 0).ok_or(BadLink(port))?;
        let seen = word.fetch_and(!(LINKED | EVTCHN_FIFO_LINK_MASK), Ordering::AcqRel);
        Ok(seen & EVTCHN_FIFO_LINK_MASK)
    }

    /// Calls `handle` for ports of this CPU that are pending and not masked, after taking the event
    /// off, highest priority first, until all queues are empty or `budget` words were taken off.
    /// `true`: queues are left, or Xen has asked for another scan meanwhile.
    ///
    /// Runs on the CPU itself, from its upcall. To hold further events back `handle` masks its port.
    pub fn scan<V: SharedMemory>(
        &self,
        cpu: &mut Queues<V>,
        budget: u32,
        mut handle: impl FnMut(Port),
    ) -> Result<bool, BadLink> {
        // The flag first: Xen sets the ready bit first, so one that comes later brings the flag.
        cpu.upcall.take();
        for _ in 0..budget {
            cpu.ready |= cpu.take_ready();
            if cpu.ready == 0 {
                return Ok(cpu.upcall.pending());
            }
            let priority = cpu.ready.trailing_zeros();
            if let Some(port) = self.take(cpu, priority)? {
                handle(port);
            }
        }
        Ok(cpu.ready != 0 || cpu.upcall.pending())
    }

    /// Takes the first word of a queue off; its port, if there is an event to handle.
    fn take<V: SharedMemory>(
        &self,
        cpu: &mut Queues<V>,
        priority: u32,
    ) -> Result<Option<Port>, BadLink> {
        let remembered = cpu.heads.get(priority as usize).copied().unwrap_or(0);
        let port = if remembered != 0 {
            remembered
        } else {
            cpu.head(priority)
        };
        let next = self.unlink(port);
        // A broken link ends the queue too: Xen starts it anew at the control block.
        let head = next.unwrap_or(0);
        if let Some(remembered) = cpu.heads.get_mut(priority as usize) {
            *remembered = head;
        }
        if head == 0 {
            cpu.ready &= !1_u32.wrapping_shl(priority);
        }
        next?;
        Ok((!self.is_masked(port) && self.clear(port)).then_some(port))
    }
}

impl<M: SharedMemory> Queues<M> {
    /// Takes the control block at byte offset `at` of `control`, cleared, which `EVTCHNOP_init_control`
    /// tells Xen of. `None` if it is not aligned to 8 bytes and within the memory, or crosses a page.
    pub fn new(control: M, at: usize, upcall: Upcall<M>) -> Option<Self> {
        let control = Shared::new(control);
        let end = at.checked_add(size_of::<EvtchnFifoControlBlock>())?;
        // INVARIANT: checked here, and the memory does not change.
        if at % 8 != 0 || end > control.len() || at / PAGE_SIZE != end.checked_sub(1)? / PAGE_SIZE {
            return None;
        }
        for offset in (at..end).step_by(4) {
            control.get(offset)?.store(0, Ordering::Relaxed);
        }
        Some(Self {
            upcall,
            control,
            at,
            heads: [0; EVTCHN_FIFO_MAX_QUEUES],
            ready: 0,
        })
    }

    /// The CPU's upcall flag.
    pub fn upcall(&self) -> &Upcall<M> {
        &self.upcall
    }

    fn word(&self, offset: usize) -> Option<&Word> {
        self.control.get(self.at.checked_add(offset)?)
    }

    fn take_ready(&self) -> u32 {
        let word = self.word(offset_of!(EvtchnFifoControlBlock, ready));
        // Most scans end here: look before locking the word.
        let taken = word.map_or(0, |word| match word.load(Ordering::Relaxed) {
            0 => 0,
            _ => word.swap(0, Ordering::AcqRel),
        });
        taken & ((1 << EVTCHN_FIFO_MAX_QUEUES) - 1)
    }

    fn head(&self, priority: u32) -> Port {
        let at = (priority as usize)
            .wrapping_mul(4)
            .wrapping_add(offset_of!(EvtchnFifoControlBlock, head));
        self.word(at).map_or(0, |word| word.load(Ordering::Acquire))
    }
}
