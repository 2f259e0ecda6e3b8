// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of other domains through `/dev/xen/gntdev`.

use crate::error::{Error, Result};
use crate::evtchn::Port;
use crate::pages::SharedPages;
use crate::sys::{ioc, ioctl, open, Mapped, PAGE};
use portico_core::shared::SharedMemory;
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

/// The most grants that one call maps: more than any block request or ring holds.
const MAX_GRANTS: usize = 1024;

/// What happens when mapped pages go away, also by the death of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmapNotify {
    /// Set this byte (counted from the first page's start) to zero.
    pub clear_byte: Option<usize>,
    /// Notify this port.
    pub port: Option<Port>,
}

/// The open grant device.
#[derive(Clone, Debug)]
pub struct Gntdev(Arc<File>);

impl Gntdev {
    /// Opens `/dev/xen/gntdev`.
    pub fn open() -> Result<Self> {
        open("/dev/xen/gntdev", 0).map(|file| Gntdev(Arc::new(file)))
    }

    /// Maps the pages that `domain` granted us by `refs`, one after another, for reading and, if
    /// `writable`, for writing. One reference that is not valid fails the whole.
    pub fn map(&self, domain: u16, refs: &[u32], writable: bool) -> Result<Grants> {
        let what = || {
            format!(
                "map {} grants of domain {domain} (first {:?})",
                refs.len(),
                refs.first()
            )
        };
        if refs.is_empty() || refs.len() > MAX_GRANTS {
            return Err(Error::Call {
                what: what(),
                source: io::Error::from_raw_os_error(libc::EINVAL),
            });
        }
        // struct ioctl_gntdev_map_grant_ref: count, pad, index, then (domid, ref) pairs.
        let mut arg = [0u32; 4 + 2 * MAX_GRANTS];
        arg[0] = refs.len() as u32;
        for (slot, gref) in arg[4..].chunks_exact_mut(2).zip(refs) {
            slot[0] = u32::from(domain);
            slot[1] = *gref;
        }
        // SAFETY: MAP_GRANT_REF reads the header and `count` pairs, which `arg` has room for.
        unsafe { ioctl(&self.0, ioc(b'G', 0, 24), &mut arg) }.ok_or_else(|| Error::call(what()))?;
        let index = u64::from(arg[2]) | u64::from(arg[3]) << 32;
        let mut grants = Grants {
            pages: None,
            device: self.0.clone(),
            index,
            count: refs.len() as u32,
        };
        let map =
            Mapped::new(&self.0, refs.len(), index, writable).ok_or_else(|| Error::call(what()))?;
        grants.pages = Some(SharedPages::new(map, writable));
        Ok(grants)
    }

    /// Maps the pages of a ring.
    pub fn map_ring(&self, domain: u16, refs: &[u32]) -> Result<RingPages> {
        // INVARIANT: mapped for writing.
        Ok(RingPages(Arc::new(self.map(domain, refs, true)?)))
    }
}

/// Mapped pages of another domain, unmapped when dropped.
#[derive(Debug)]
pub struct Grants {
    /// Only `None` while the mapping is being made or unmade.
    pages: Option<SharedPages>,
    device: Arc<File>,
    index: u64,
    count: u32,
}

impl Grants {
    /// The pages, in the order of the references.
    pub fn pages(&self) -> &SharedPages {
        self.pages
            .as_ref()
            .expect("pages live as long as their grants")
    }

    /// Arranges what happens when the pages are unmapped. It replaces what was arranged before.
    pub fn notify_on_unmap(&self, notify: UnmapNotify) -> Result<()> {
        let at = notify.clear_byte.unwrap_or(0);
        assert!(
            at < self.count as usize * PAGE,
            "byte {at} is beyond the pages"
        );
        let index = self.index + at as u64;
        let action = u32::from(notify.clear_byte.is_some()) | u32::from(notify.port.is_some()) << 1;
        let port = notify.port.map_or(0, |port| port.0);
        let mut arg = [index as u32, (index >> 32) as u32, action, port];
        // SAFETY: SET_UNMAP_NOTIFY takes 16 bytes and points to nothing else.
        unsafe { ioctl(&self.device, ioc(b'G', 7, 16), &mut arg) }
            .map(drop)
            .ok_or_else(|| Error::call("arrange a notification at unmapping"))
    }
}

impl Drop for Grants {
    fn drop(&mut self) {
        // The kernel ends the mapping with the last of the process's view and the device's entry.
        self.pages = None;
        let mut arg = [self.index as u32, (self.index >> 32) as u32, self.count, 0];
        // A failure means that the entry is gone already.
        // SAFETY: UNMAP_GRANT_REF takes 16 bytes and points to nothing else.
        let _ = unsafe { ioctl(&self.device, ioc(b'G', 1, 16), &mut arg) };
    }
}

/// The pages of a ring, unmapped when the last clone is dropped.
///
/// # Invariants
///
/// They are mapped for writing.
#[derive(Clone, Debug)]
pub struct RingPages(Arc<Grants>);

impl RingPages {
    /// The grants behind.
    pub fn grants(&self) -> &Grants {
        &self.0
    }
}

// SAFETY: the mapping is readable and writable by the invariant, begins at a page, and stays where it is
// until the last clone is dropped. It is reached by volatile and atomic accesses only.
unsafe impl SharedMemory for RingPages {
    fn as_ptr(&self) -> NonNull<u8> {
        self.0.pages().as_ptr()
    }

    fn len(&self) -> usize {
        self.0.pages().len()
    }
}
