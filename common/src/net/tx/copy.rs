// SPDX-License-Identifier: MIT OR Apache-2.0
//! Short packets, which are copied into memory that stays granted.

use super::submit::{extras, flags};
use super::{Busy, Left, TxQueue, COPY};
use crate::grant::{Access, GrantRef};
use crate::host::{end_or_abandon, NoMemory, SharedPage, NO_REF};
use crate::net::host::Host;
use crate::net::types::Meta;
use crate::net::wire::{self, TxRequest};
use crate::shared::PAGE_SIZE;

/// The longest packet that can be copied, in bytes. Linux' back end copies the first 128 bytes of a packet
/// and maps the rest; with twice that, what TCP sends beside bulk data and most requests fit.
pub const COPY_MAX: u32 = 256;

/// Packets that have their places in one page.
const PLACES: usize = PAGE_SIZE / COPY_MAX as usize;

/// A page that the back end may read for as long as the queue lives. Each slot of the queue has its place
/// in one.
pub(super) struct CopyPage<P> {
    page: P,
    gfn: u64,
    gref: GrantRef,
}

impl<H: Host> TxQueue<H> {
    /// Takes the memory for [`submit_copy`](Self::submit_copy), once: a page and a grant for 16 slots.
    pub fn allow_copies(&mut self) -> Result<(), NoMemory> {
        if self.copies.is_some() {
            return Ok(());
        }
        let pages = self.slots.len().div_ceil(PLACES);
        let host = &self.host;
        let copies = host.array(pages, |_| {
            let page = host.page()?;
            Ok(CopyPage {
                gfn: page.gfn(),
                page,
                gref: NO_REF,
            })
        })?;
        // Kept first: from here on dropping the queue ends the grants.
        for shared in self.copies.insert(copies).iter_mut() {
            shared.gref = self.host.claim().ok_or(NoMemory)?;
            self.host.grant(shared.gref, shared.gfn, Access::ReadOnly);
        }
        Ok(())
    }

    /// Writes a packet of `len` bytes into the ring, like [`submit`](Self::submit), which `copy` copies to
    /// an offset of a page. The caller keeps the packet, and has it back at once.
    ///
    /// `copy` may say that it failed; then, as after any other error, nothing has changed.
    #[inline]
    pub fn submit_copy(
        &mut self,
        len: u32,
        meta: &Meta,
        copy: impl FnOnce(&H::Page, usize) -> bool,
    ) -> Result<(), Busy> {
        let written = self.write_copy(len, meta, copy);
        self.stats.ring_full += u64::from(written == Err(Busy::Ring));
        written
    }

    #[inline(always)]
    fn write_copy(
        &mut self,
        len: u32,
        meta: &Meta,
        copy: impl FnOnce(&H::Page, usize) -> bool,
    ) -> Result<(), Busy> {
        if self.closed {
            return Err(Busy::Closed);
        }
        if len < wire::ETH_HLEN {
            return Err(Busy::Malformed);
        }
        if len > COPY_MAX {
            return Err(Busy::TooLong);
        }
        let copies = self.copies.as_ref().ok_or(Busy::Unsupported)?;
        let id = self.idle;
        let place = usize::from(id);
        let slot = self.slots.get_mut(place).ok_or(Busy::Ring)?;
        let shared = copies.get(place / PLACES).ok_or(Busy::Ring)?;
        let offset = place % PLACES * COPY_MAX as usize;
        let flags = flags(meta, &self.features);
        let mut draft = self.ring.draft();
        let room = draft.left();
        let mut first = draft.next_entry().ok_or(Busy::Ring)?;
        if flags & wire::NETTXF_EXTRA_INFO != 0 {
            extras(&mut draft, meta, &self.features)?;
        }
        let slots = room.wrapping_sub(draft.left());
        if !copy(&shared.page, offset) {
            return Err(Busy::Malformed);
        }
        let request = TxRequest {
            gref: shared.gref,
            offset: offset as u16,
            flags,
            id,
            size: len as u16,
        };
        first.set(0, &request);
        self.ring.commit(slots);
        self.extras = self.extras.wrapping_add(slots.wrapping_sub(1));
        self.idle = slot.link;
        slot.link = id;
        slot.fragment = COPY;
        slot.left = Left(1);
        self.stats.packets += 1;
        self.stats.copied += 1;
        self.stats.gso += u64::from(meta.gso.is_some());
        Ok(())
    }

    /// Ends the grants of what was copied into.
    pub(super) fn end_copies(&mut self) {
        for shared in self.copies.take().iter().flat_map(|copies| copies.iter()) {
            end_or_abandon(&self.host, shared.gref, shared.gfn);
        }
    }
}
