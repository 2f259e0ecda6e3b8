// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring of Xen's split drivers (`xen/include/public/io/ring.h`).
//!
//! One or more pages hold four indexes and a power of two of entries. The front end writes requests,
//! the back end writes each response over an entry whose request it has consumed. All indexes run
//! freely through 2^32 and are masked at use.
//!
//! | word | written by | says |
//! |---|---|---|
//! | `req_prod` | front | requests below it are valid |
//! | `req_event` | back | the front notifies when `req_prod` passes it |
//! | `rsp_prod` | back | responses below it are valid |
//! | `rsp_event` | front | the back notifies when `rsp_prod` passes it |
//!
//! No wake-up is lost by two rules: a producer publishes its index, then a full barrier, then reads
//! the peer's event index ([`FrontRing::push`], [`BackRing::push`]); a consumer that is about to
//! sleep writes its event index, then a full barrier, then looks once more at the peer's producer
//! index ([`FrontRing::final_check`], [`BackRing::final_check`]).
//!
//! Indexes that this side owns are kept privately and never read back from shared memory.

use core::fmt;
use core::marker::PhantomData;
use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::shared::{mb, Ordering, Shared, SharedMemory, PAGE_SIZE};

const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 4;
const RSP_PROD: usize = 8;
const RSP_EVENT: usize = 12;
/// Bytes in front of the first entry.
const HEADER: usize = 64;

/// Why a ring cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// The memory has no room for one entry, or is not made of whole pages.
    Size {
        /// Its length in bytes.
        len: usize,
    },
    /// The peer's producer index is outside of what is outstanding.
    Producer {
        /// The index that the peer wrote.
        prod: u32,
        /// The next index that this side consumes.
        cons: u32,
        /// How many entries the peer may have produced at most since `cons`.
        limit: u32,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { len } => write!(f, "{len} bytes do not make a ring"),
            Self::Producer { prod, cons, limit } => write!(
                f,
                "producer index {prod} is beyond consumer index {cons} by more than {limit}"
            ),
        }
    }
}

/// How many entries a ring of `len` bytes has: the largest power of two that fits after the header.
pub const fn ring_size<Req, Rsp>(len: usize) -> u32 {
    let entry = entry_size::<Req, Rsp>();
    let fit = len.saturating_sub(HEADER) / entry;
    if fit == 0 || fit > 1 << 30 {
        0
    } else {
        1 << fit.ilog2()
    }
}

const fn entry_size<Req, Rsp>() -> usize {
    const { assert!(size_of::<Req>() % 4 == 0 && size_of::<Rsp>() % 4 == 0) };
    const { assert!(size_of::<Req>() > 0 && size_of::<Rsp>() > 0) };
    if size_of::<Req>() > size_of::<Rsp>() {
        size_of::<Req>()
    } else {
        size_of::<Rsp>()
    }
}

/// Whether every entry starts at a multiple of 8.
const fn wide<Req, Rsp>() -> bool {
    HEADER % 8 == 0 && entry_size::<Req, Rsp>() % 8 == 0
}

/// What both sides share: the memory and the mask.
struct Raw<M, Req, Rsp> {
    /// INVARIANT: `shared` holds the header and `mask + 1` entries.
    shared: Shared<M>,
    /// Number of entries minus one; the number is a power of two.
    mask: u32,
    _entries: PhantomData<fn(Req, Rsp)>,
}

impl<M: SharedMemory, Req, Rsp> Raw<M, Req, Rsp> {
    fn new(mem: M) -> Result<Self, RingError> {
        let shared = Shared::new(mem);
        let len = shared.len();
        let size = ring_size::<Req, Rsp>(len);
        if size == 0 || len % PAGE_SIZE != 0 {
            return Err(RingError::Size { len });
        }
        // INVARIANT: `ring_size` says that so many entries fit.
        Ok(Self {
            shared,
            mask: size - 1,
            _entries: PhantomData,
        })
    }

    #[inline]
    fn size(&self) -> u32 {
        self.mask.wrapping_add(1)
    }

    /// Byte offset of the entry for `index`.
    #[inline]
    fn entry(&self, index: u32) -> usize {
        HEADER + (index & self.mask) as usize * entry_size::<Req, Rsp>()
    }

    /// The entry for `index`, to be written.
    #[inline]
    fn entry_mut(&self, index: u32) -> EntryMut<'_, M, Req, Rsp> {
        // INVARIANT: by `Raw`'s, the entry lies in the memory.
        EntryMut {
            shared: self.shared.borrowed(),
            at: self.entry(index),
            _entry: PhantomData,
        }
    }

    #[inline]
    fn load_index(&self, at: usize, order: Ordering) -> u32 {
        // SAFETY: `at` is one of the four header words, and a ring has a header.
        unsafe { self.shared.word(at) }.load(order)
    }

    #[inline]
    fn store_index(&self, at: usize, value: u32, order: Ordering) {
        // SAFETY: as in `load_index`.
        unsafe { self.shared.word(at) }.store(value, order);
    }

    /// Reads the entry for `index`, each word once.
    #[inline]
    fn copy_out<T: FromBytes + IntoBytes>(&self, index: u32) -> T {
        const { assert!(size_of::<T>() <= entry_size::<Req, Rsp>()) };
        let mut value = T::new_zeroed();
        let (at, bytes) = (self.entry(index), value.as_mut_bytes());
        if const { wide::<Req, Rsp>() } {
            // SAFETY: the entry lies in the ring by the invariant, and `T` is not larger than an entry
            // and, as all entry types, a multiple of 4. All entries start at multiples of 8.
            unsafe { self.shared.load::<true>(at, bytes) };
        } else {
            // SAFETY: likewise, but entries start at multiples of 4.
            unsafe { self.shared.load::<false>(at, bytes) };
        }
        value
    }

    /// Publishes `prod` in word `index_at` and tells whether the peer, whose event word is `event_at`,
    /// waits for something between `old` and `prod`.
    #[inline]
    fn publish(&self, index_at: usize, event_at: usize, old: u32, prod: u32) -> bool {
        self.store_index(index_at, prod, Ordering::Release);
        mb();
        let event = self.load_index(event_at, Ordering::Relaxed);
        prod.wrapping_sub(event) < prod.wrapping_sub(old)
    }
}

/// An entry that is being written; nothing is visible to the peer before the push.
pub struct EntryMut<'a, M, Req, Rsp> {
    /// The ring's memory. INVARIANT: an entry starts at `at`.
    shared: Shared<&'a M>,
    at: usize,
    _entry: PhantomData<fn(Req, Rsp)>,
}

impl<M, Req, Rsp> EntryMut<'_, M, Req, Rsp> {
    /// Writes `value` at byte offset `at` of the entry.
    ///
    /// Both `at` and the size of `value` are multiples of 4. What would not fit is not written: the
    /// entry is the ring's own, so a wrong offset is a defect of the caller, not of the peer.
    #[inline(always)]
    pub fn set<T: IntoBytes + Immutable>(&mut self, at: usize, value: &T) {
        const { assert!(size_of::<T>() % 4 == 0) };
        let fits = at % 4 == 0 && at <= entry_size::<Req, Rsp>().saturating_sub(size_of::<T>());
        debug_assert!(fits && size_of::<T>() <= entry_size::<Req, Rsp>());
        if fits && size_of::<T>() <= entry_size::<Req, Rsp>() {
            if const { wide::<Req, Rsp>() } && at % 8 == 0 {
                // SAFETY: `self.at` is the start of an entry in the ring, and the value lies within it.
                // Both `self.at` and `at` are multiples of 8.
                unsafe { self.shared.store::<true>(self.at + at, value.as_bytes()) };
            } else {
                // SAFETY: likewise, but multiples of 4.
                unsafe { self.shared.store::<false>(self.at + at, value.as_bytes()) };
            }
        }
    }

    /// Writes `value` at place `nth` of the values of its type that start at byte offset `at`, like
    /// [`set`](Self::set).
    #[inline(always)]
    pub fn set_nth<T: IntoBytes + Immutable>(&mut self, at: usize, nth: usize, value: &T) {
        if nth < entry_size::<Req, Rsp>().saturating_sub(at) / size_of::<T>() {
            self.set(at + nth * size_of::<T>(), value);
        }
    }
}

/// Requests that are being written, behind those that count already.
pub struct Draft<'a, M, Req, Rsp> {
    raw: &'a Raw<M, Req, Rsp>,
    /// The next one.
    index: u32,
    /// Entries that are free.
    left: u32,
}

impl<'a, M: SharedMemory, Req, Rsp> Draft<'a, M, Req, Rsp> {
    /// Number of requests that can still be written.
    #[inline]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The entry that the next written request takes, 0 to [`size`](FrontRing::size) - 1.
    #[inline(always)]
    pub fn next_index(&self) -> u32 {
        self.index & self.raw.mask
    }

    /// Takes the next free entry, or `None` on a full ring.
    #[inline(always)]
    pub fn next_entry(&mut self) -> Option<EntryMut<'a, M, Req, Rsp>> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.raw.entry_mut(self.index);
        self.index = self.index.wrapping_add(1);
        Some(entry)
    }
}

/// Responses that are read and not yet taken.
pub struct Seen<'a, M, Req, Rsp> {
    raw: &'a Raw<M, Req, Rsp>,
    /// The next one.
    index: u32,
    /// Responses that are there.
    left: u32,
}

impl<M: SharedMemory, Req, Rsp> Seen<'_, M, Req, Rsp> {
    /// Copies the next response and its entry's index, 0 to [`size`](FrontRing::size) - 1; `None` when
    /// none is left. `T` is the type of responses or what takes the place of one.
    #[inline(always)]
    pub fn read<T: FromBytes + IntoBytes>(&mut self) -> Option<(u32, T)> {
        self.left = self.left.checked_sub(1)?;
        let index = self.index;
        self.index = index.wrapping_add(1);
        Some((index & self.raw.mask, self.raw.copy_out(index)))
    }
}

/// The front end's side: produces requests, consumes responses.
pub struct FrontRing<M, Req, Rsp> {
    raw: Raw<M, Req, Rsp>,
    /// Requests below it are written.
    req_prod_pvt: u32,
    /// Requests below it are published.
    req_prod: u32,
    /// Responses below it are consumed.
    rsp_cons: u32,
    /// The peer's producer index when it was last read and found right.
    rsp_prod: u32,
}

impl<M: SharedMemory, Req, Rsp> FrontRing<M, Req, Rsp> {
    /// Takes the memory and writes the indexes of an empty ring.
    pub fn new(mem: M) -> Result<Self, RingError> {
        Self::starting_at(mem, 0)
    }

    /// Like [`new`](Self::new), with all indexes starting at `index`.
    pub fn starting_at(mem: M, index: u32) -> Result<Self, RingError> {
        let raw = Raw::new(mem)?;
        raw.store_index(REQ_PROD, index, Ordering::Relaxed);
        raw.store_index(RSP_PROD, index, Ordering::Relaxed);
        raw.store_index(REQ_EVENT, index.wrapping_add(1), Ordering::Relaxed);
        raw.store_index(RSP_EVENT, index.wrapping_add(1), Ordering::Relaxed);
        Ok(Self {
            raw,
            req_prod_pvt: index,
            req_prod: index,
            rsp_cons: index,
            rsp_prod: index,
        })
    }

    /// Number of entries.
    #[inline]
    pub fn size(&self) -> u32 {
        self.raw.size()
    }

    /// Number of requests that can still be written.
    #[inline]
    pub fn free(&self) -> u32 {
        self.size()
            .wrapping_sub(self.req_prod_pvt.wrapping_sub(self.rsp_cons))
    }

    /// Number of requests that are written and not yet published.
    #[inline]
    pub fn unpushed(&self) -> u32 {
        self.req_prod_pvt.wrapping_sub(self.req_prod)
    }

    /// Number of published requests without a consumed response.
    #[inline]
    pub fn outstanding(&self) -> u32 {
        self.req_prod.wrapping_sub(self.rsp_cons)
    }

    /// Takes the next free entry, or `None` on a full ring.
    ///
    /// The caller writes all that the operation defines; the rest of the entry keeps what the peer or
    /// an earlier request left there, which the peer knows already.
    #[inline]
    pub fn next_entry(&mut self) -> Option<EntryMut<'_, M, Req, Rsp>> {
        if self.free() == 0 {
            return None;
        }
        let index = self.req_prod_pvt;
        self.req_prod_pvt = index.wrapping_add(1);
        Some(self.raw.entry_mut(index))
    }

    /// Begins to write requests that count only when all of them are written.
    #[inline]
    pub fn draft(&self) -> Draft<'_, M, Req, Rsp> {
        Draft {
            raw: &self.raw,
            index: self.req_prod_pvt,
            left: self.free(),
        }
    }

    /// Takes over the first `count` requests of a [`draft`](Self::draft).
    #[inline]
    pub fn commit(&mut self, count: u32) {
        debug_assert!(count <= self.free());
        self.req_prod_pvt = self.req_prod_pvt.wrapping_add(count.min(self.free()));
    }

    /// Takes back the last `count` written requests, which were not published.
    pub fn unwrite(&mut self, count: u32) {
        let count = count.min(self.unpushed());
        self.req_prod_pvt = self.req_prod_pvt.wrapping_sub(count);
    }

    /// The entry that the next written request takes, 0 to [`size`](Self::size) - 1.
    #[inline]
    pub fn next_index(&self) -> u32 {
        self.req_prod_pvt & self.raw.mask
    }

    /// Publishes the written requests. `true`: the back end waits for a notification.
    #[inline]
    #[must_use = "the back end may sleep until it is notified"]
    pub fn push(&mut self) -> bool {
        let old = self.req_prod;
        if old == self.req_prod_pvt {
            return false;
        }
        self.req_prod = self.req_prod_pvt;
        self.raw.publish(REQ_PROD, REQ_EVENT, old, self.req_prod)
    }

    /// Looks at the peer's producer index, when all that was seen of it is consumed. `true`: there is
    /// at least one response to take.
    #[inline]
    fn refresh(&mut self) -> Result<bool, RingError> {
        let prod = self.raw.load_index(RSP_PROD, Ordering::Acquire);
        let limit = self.outstanding();
        // A producer that went backwards is, modulo 2^32, far ahead.
        if prod.wrapping_sub(self.rsp_cons) > limit {
            return Err(RingError::Producer {
                prod,
                cons: self.rsp_cons,
                limit,
            });
        }
        self.rsp_prod = prod;
        Ok(prod != self.rsp_cons)
    }

    /// Takes the next response, copied once.
    #[inline]
    pub fn next_response(&mut self) -> Result<Option<Rsp>, RingError>
    where
        Rsp: FromBytes + IntoBytes,
    {
        if self.rsp_prod == self.rsp_cons && !self.refresh()? {
            return Ok(None);
        }
        let response = self.raw.copy_out(self.rsp_cons);
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        Ok(Some(response))
    }

    /// Looks at the peer's producer index, whatever was seen of it. `true`: there is at least one
    /// response to take.
    #[inline]
    pub fn look(&mut self) -> Result<bool, RingError> {
        self.refresh()
    }

    /// Whether responses were seen and not taken.
    #[inline]
    pub fn has_seen(&self) -> bool {
        self.rsp_prod != self.rsp_cons
    }

    /// Takes the next of the responses that were seen, copied once.
    #[inline]
    pub fn next_seen(&mut self) -> Option<Rsp>
    where
        Rsp: FromBytes + IntoBytes,
    {
        if !self.has_seen() {
            return None;
        }
        let response = self.raw.copy_out(self.rsp_cons);
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        Some(response)
    }

    /// The entry of the response `ahead` of the next one, 0 to [`size`](Self::size) - 1.
    #[inline]
    pub fn response_index(&self, ahead: u32) -> u32 {
        self.rsp_cons.wrapping_add(ahead) & self.raw.mask
    }

    /// The responses that were seen and not taken, from the one `ahead` of the next.
    #[inline]
    pub fn seen(&self, ahead: u32) -> Seen<'_, M, Req, Rsp> {
        let left = self.rsp_prod.wrapping_sub(self.rsp_cons);
        Seen {
            raw: &self.raw,
            index: self.rsp_cons.wrapping_add(ahead),
            left: left.saturating_sub(ahead),
        }
    }

    /// Looks again at the peer's producer index. `true`: there are more responses than were seen.
    pub fn see_more(&mut self) -> Result<bool, RingError> {
        let seen = self.rsp_prod;
        self.refresh()?;
        Ok(self.rsp_prod.wrapping_sub(self.rsp_cons) > seen.wrapping_sub(self.rsp_cons))
    }

    /// Takes `count` responses that were peeked at.
    #[inline]
    pub fn take_responses(&mut self, count: u32) {
        let seen = self.rsp_prod.wrapping_sub(self.rsp_cons);
        self.rsp_cons = self.rsp_cons.wrapping_add(count.min(seen));
    }

    /// Asks for a notification with the next response. `true`: one is there already, so the caller
    /// must go on taking.
    #[inline]
    pub fn final_check(&mut self) -> Result<bool, RingError> {
        self.final_check_after(1)
    }

    /// Like [`final_check`](Self::final_check), but the notification comes with the `count`th response
    /// from here; at the latest with that to the last published request.
    #[inline]
    pub fn final_check_after(&mut self, count: u32) -> Result<bool, RingError> {
        if self.rsp_prod != self.rsp_cons {
            return Ok(true);
        }
        let count = count.min(self.outstanding()).max(1);
        self.raw.store_index(
            RSP_EVENT,
            self.rsp_cons.wrapping_add(count),
            Ordering::Relaxed,
        );
        mb();
        self.refresh()
    }

    /// Asks for a notification with the first response beyond those that were seen, taken or not.
    /// `true`: one is there already.
    pub fn final_check_beyond(&mut self) -> Result<bool, RingError> {
        let seen = self.rsp_prod;
        self.raw
            .store_index(RSP_EVENT, seen.wrapping_add(1), Ordering::Relaxed);
        mb();
        self.refresh()?;
        Ok(self.rsp_prod != seen)
    }

    /// The memory of the ring.
    pub fn memory(&self) -> &M {
        self.raw.shared.memory()
    }
}

/// The back end's side: consumes requests, produces responses. For tests and tools.
pub struct BackRing<M, Req, Rsp> {
    raw: Raw<M, Req, Rsp>,
    /// Responses below it are written.
    rsp_prod_pvt: u32,
    /// Responses below it are published.
    rsp_prod: u32,
    /// Requests below it are consumed.
    req_cons: u32,
    /// The peer's producer index when it was last read and found right.
    req_prod: u32,
}

impl<M: SharedMemory, Req, Rsp> BackRing<M, Req, Rsp> {
    /// Attaches to a ring that a front end has initialised, going on from its `rsp_prod`.
    pub fn attach(mem: M) -> Result<Self, RingError> {
        let raw = Raw::new(mem)?;
        let index = raw.load_index(RSP_PROD, Ordering::Acquire);
        let limit = raw.size();
        let prod = raw.load_index(REQ_PROD, Ordering::Acquire);
        if prod.wrapping_sub(index) > limit {
            return Err(RingError::Producer {
                prod,
                cons: index,
                limit,
            });
        }
        Ok(Self {
            raw,
            rsp_prod_pvt: index,
            rsp_prod: index,
            req_cons: index,
            req_prod: index,
        })
    }

    /// Number of entries.
    pub fn size(&self) -> u32 {
        self.raw.size()
    }

    #[inline]
    fn refresh(&mut self) -> Result<bool, RingError> {
        let prod = self.raw.load_index(REQ_PROD, Ordering::Acquire);
        // Requests that wait for a response still take up entries.
        let limit = self
            .size()
            .wrapping_sub(self.req_cons.wrapping_sub(self.rsp_prod_pvt));
        if prod.wrapping_sub(self.req_cons) > limit {
            return Err(RingError::Producer {
                prod,
                cons: self.req_cons,
                limit,
            });
        }
        self.req_prod = prod;
        Ok(prod != self.req_cons)
    }

    /// Takes the next request, copied once.
    #[inline]
    pub fn next_request(&mut self) -> Result<Option<Req>, RingError>
    where
        Req: FromBytes + IntoBytes,
    {
        if self.req_prod == self.req_cons && !self.refresh()? {
            return Ok(None);
        }
        let request = self.raw.copy_out(self.req_cons);
        self.req_cons = self.req_cons.wrapping_add(1);
        Ok(Some(request))
    }

    /// Number of requests that are there to be taken.
    pub fn unconsumed(&mut self) -> Result<u32, RingError> {
        self.refresh()?;
        Ok(self.req_prod.wrapping_sub(self.req_cons))
    }

    /// Asks for a notification with the next request. `true`: one is there already.
    #[inline]
    pub fn final_check(&mut self) -> Result<bool, RingError> {
        if self.req_prod != self.req_cons {
            return Ok(true);
        }
        self.raw
            .store_index(REQ_EVENT, self.req_cons.wrapping_add(1), Ordering::Relaxed);
        mb();
        self.refresh()
    }

    /// Writes a response over the oldest entry that has none; `false` when no request waits for one.
    #[inline]
    pub fn put_response(&mut self, response: &Rsp) -> bool
    where
        Rsp: IntoBytes + Immutable,
    {
        if self.rsp_prod_pvt == self.req_cons {
            return false;
        }
        self.put_response_unchecked(response);
        true
    }

    /// Writes a response at the producer index, whether or not a request waits for one: what a faulty
    /// back end does.
    pub fn put_response_unchecked(&mut self, response: &Rsp)
    where
        Rsp: IntoBytes + Immutable,
    {
        self.raw.entry_mut(self.rsp_prod_pvt).set(0, response);
        self.rsp_prod_pvt = self.rsp_prod_pvt.wrapping_add(1);
    }

    /// Publishes the written responses. `true`: the front end waits for a notification.
    #[inline]
    #[must_use = "the front end may sleep until it is notified"]
    pub fn push(&mut self) -> bool {
        let old = self.rsp_prod;
        if old == self.rsp_prod_pvt {
            return false;
        }
        self.rsp_prod = self.rsp_prod_pvt;
        self.raw.publish(RSP_PROD, RSP_EVENT, old, self.rsp_prod)
    }

    /// Writes any value as the producer index: what a hostile back end does.
    pub fn set_rsp_prod(&mut self, prod: u32) {
        self.raw.store_index(RSP_PROD, prod, Ordering::Release);
    }

    /// The memory of the ring.
    pub fn memory(&self) -> &M {
        self.raw.shared.memory()
    }
}
