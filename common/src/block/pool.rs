// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grant references and pages that one ring keeps at hand.
//!
//! [`Refs`] saves the way to the host's global list of references. [`Pool`] holds the pages that data
//! is copied through when grants are persistent, or when the back end must not see more than the
//! request's own bytes. Both are last in, first out, so that what is warm is used again.

use super::host::{Access, GrantRef, Host, NoMemory, SharedPage};
pub(super) use crate::host::end_or_abandon;
pub use crate::host::NO_REF;

/// A stack of fixed capacity.
pub struct Stack<H: Host, T: Copy> {
    /// The first `len` elements are on the stack. INVARIANT: `len <= items.len()`.
    items: H::Array<T>,
    len: usize,
}

impl<H: Host, T: Copy> Stack<H, T> {
    /// An empty stack that holds up to `capacity` elements; `filler` stands in the unused ones.
    pub fn new(host: &H, capacity: usize, filler: T) -> Result<Self, NoMemory> {
        Ok(Self {
            items: host.array(capacity, |_| Ok(filler))?,
            len: 0,
        })
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an element on top; `false` when there is no room.
    #[inline]
    pub fn push(&mut self, item: T) -> bool {
        match self.items.get_mut(self.len) {
            Some(place) => {
                *place = item;
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// Takes the top element.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let top = self.len.checked_sub(1)?;
        let item = *self.items.get(top)?;
        self.len = top;
        Some(item)
    }

    /// The elements, coldest first.
    pub fn as_slice(&self) -> &[T] {
        self.items.get(..self.len).unwrap_or_default()
    }
}

/// Claimed references that grant nothing.
pub struct Refs<H: Host> {
    spare: Stack<H, GrantRef>,
    /// How many of them nobody has needed since the last [`trim`](Self::trim).
    idle: usize,
}

impl<H: Host> Refs<H> {
    /// Keeps up to `capacity` references at hand, none at first.
    pub fn new(host: &H, capacity: usize) -> Result<Self, NoMemory> {
        Ok(Self {
            spare: Stack::new(host, capacity, NO_REF)?,
            idle: 0,
        })
    }

    /// Sees to it that `n` references are at hand.
    #[inline]
    pub fn reserve(&mut self, host: &H, n: usize) -> bool {
        self.spare.len() >= n || self.claim(host, n)
    }

    /// Takes references from the host until `n` are at hand.
    #[cold]
    fn claim(&mut self, host: &H, n: usize) -> bool {
        while self.spare.len() < n {
            let Some(gref) = host.claim() else {
                return false;
            };
            if !self.spare.push(gref) {
                host.release(gref);
                return false;
            }
        }
        true
    }

    /// Takes a reference; `None` if the host has none.
    #[inline]
    pub fn take(&mut self, host: &H) -> Option<GrantRef> {
        let Some(gref) = self.spare.pop() else {
            self.idle = 0;
            return host.claim();
        };
        self.idle = self.idle.min(self.spare.len());
        Some(gref)
    }

    /// Puts a reference back that grants nothing.
    #[inline]
    pub fn put(&mut self, host: &H, gref: GrantRef) {
        if !self.spare.push(gref) {
            host.release(gref);
        }
    }

    /// Gives back what nobody has needed since the last call: the host's references are for all of its
    /// devices. Then takes `more` that may not be needed either.
    pub fn trim(&mut self, host: &H, more: impl FnOnce(&mut Self)) {
        for _ in 0..self.idle {
            if let Some(gref) = self.spare.pop() {
                host.release(gref);
            }
        }
        more(self);
        self.idle = self.spare.len();
    }

    /// Gives all back to the host.
    pub fn clear(&mut self, host: &H) {
        while let Some(gref) = self.spare.pop() {
            host.release(gref);
        }
    }
}

struct PoolPage<P> {
    page: P,
    /// The reference that grants it, or [`NO_REF`].
    gref: GrantRef,
}

/// What [`Pool::grant`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The page was granted before: nothing was done.
    Already(GrantRef),
    /// The page was granted now.
    Now(GrantRef),
}

impl Granted {
    /// The reference.
    #[inline]
    pub fn gref(self) -> GrantRef {
        match self {
            Self::Already(gref) | Self::Now(gref) => gref,
        }
    }
}

/// Pages that data is copied through.
pub struct Pool<H: Host> {
    pages: H::Array<PoolPage<H::Page>>,
    free: Stack<H, u32>,
}

impl<H: Host> Pool<H> {
    /// Takes `pages` pages.
    pub fn new(host: &H, pages: usize) -> Result<Self, NoMemory> {
        let mut free = Stack::new(host, pages, 0)?;
        let pages = host.array(pages, |index| {
            free.push(u32::try_from(index).map_err(|_| NoMemory)?);
            Ok(PoolPage {
                page: host.page()?,
                gref: NO_REF,
            })
        })?;
        Ok(Self { pages, free })
    }

    /// Number of pages that can be taken.
    #[inline]
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Takes the page that was put back last.
    #[inline]
    pub fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Puts a page back, with its grant if it has one.
    #[inline]
    pub fn put(&mut self, index: u32) {
        self.free.push(index);
    }

    /// The page `index`.
    #[inline]
    pub fn page(&self, index: u32) -> Option<&H::Page> {
        self.pages.get(index as usize).map(|page| &page.page)
    }

    /// Grants the page `index`, unless it is granted already.
    #[inline]
    pub fn grant(
        &mut self,
        host: &H,
        refs: &mut Refs<H>,
        index: u32,
        access: Access,
    ) -> Option<Granted> {
        let page = self.pages.get_mut(index as usize)?;
        if page.gref != NO_REF {
            return Some(Granted::Already(page.gref));
        }
        let gref = refs.take(host)?;
        host.grant(gref, page.page.gfn(), access);
        page.gref = gref;
        Some(Granted::Now(gref))
    }

    /// Ends the grant of page `index`. The reference that could not be ended comes back as an error.
    #[inline]
    pub fn end(&mut self, host: &H, refs: &mut Refs<H>, index: u32) -> Result<(), GrantRef> {
        let Some(page) = self.pages.get_mut(index as usize) else {
            return Ok(());
        };
        if page.gref == NO_REF {
            return Ok(());
        }
        if !host.end(page.gref) {
            return Err(page.gref);
        }
        refs.put(host, page.gref);
        page.gref = NO_REF;
        Ok(())
    }

    /// Ends the grants of free pages that the back end has let go, coldest first; returns how many.
    pub fn purge(&mut self, host: &H) -> usize {
        let mut ended = 0;
        for &index in self.free.as_slice() {
            let Some(page) = self.pages.get_mut(index as usize) else {
                continue;
            };
            if page.gref != NO_REF && host.try_release(page.gref) {
                page.gref = NO_REF;
                ended += 1;
            }
        }
        ended
    }

    /// Number of pages with a grant.
    pub fn granted(&self) -> usize {
        self.pages.iter().filter(|page| page.gref != NO_REF).count()
    }

    /// Ends every grant, or leaves it to the host.
    pub fn revoke(&mut self, host: &H) {
        for page in self.pages.iter_mut() {
            end_or_abandon(host, page.gref, page.page.gfn());
            page.gref = NO_REF;
        }
    }
}
