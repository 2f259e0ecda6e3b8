// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest, through gntdev and evtchn.

use crate::memory::{Guest, Pages, RingPages};
use portico_core::shared::SharedMemory;
use std::rc::Rc;
use xen_user::{EventChannels, Gntdev, Grants, Port};

/// The guest at the other end of one queue.
pub struct XenGuest {
    /// Its domain number.
    pub domain: u16,
    /// Where its pages are mapped.
    pub gntdev: Gntdev,
    /// Where its port is bound.
    pub evtchn: Rc<EventChannels>,
    /// Our end of the queue's event channel.
    pub port: Port,
}

impl Guest for XenGuest {
    type Pages = Mapped;
    type Ring = Ring;

    fn map(&self, refs: &[u32], writable: bool) -> Option<Mapped> {
        match self.gntdev.map(self.domain, refs, writable) {
            Ok(grants) => Some(Mapped(grants)),
            Err(e) => {
                eprintln!("{e}");
                None
            }
        }
    }

    fn notify(&self) {
        if let Err(e) = self.evtchn.notify(self.port) {
            eprintln!("{e}");
        }
    }
}

impl Drop for XenGuest {
    fn drop(&mut self) {
        // The guest may have closed its end; ours goes away with the device at the latest.
        let _ = self.evtchn.unbind(self.port);
    }
}

/// Mapped pages of the guest.
pub struct Mapped(Grants);

impl Pages for Mapped {
    fn read(&self, at: usize, to: &mut [u8]) {
        self.0.pages().read(at, to);
    }

    fn write(&self, at: usize, from: &[u8]) {
        self.0.pages().write(at, from);
    }
}

/// A ring of the guest.
#[derive(Clone)]
pub struct Ring(pub xen_user::RingPages);

// SAFETY: what `xen_user::RingPages` promises, whose answers are passed on.
unsafe impl SharedMemory for Ring {
    fn as_ptr(&self) -> std::ptr::NonNull<u8> {
        self.0.as_ptr()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl RingPages for Ring {
    fn load(&self, at: usize) -> u32 {
        self.0.grants().pages().load(at)
    }

    fn store(&self, at: usize, value: u32) {
        self.0.grants().pages().store(at, value);
    }
}
