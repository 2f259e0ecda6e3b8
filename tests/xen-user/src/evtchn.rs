// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels through `/dev/xen/evtchn`.

use crate::error::{Error, Result};
use crate::sys::{ioc, ioctl, open};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// A local event channel port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u32);

/// An open event-channel device: the ports bound through it are closed with it.
#[derive(Debug)]
pub struct EventChannels(File);

impl EventChannels {
    /// Opens `/dev/xen/evtchn`.
    pub fn open() -> Result<Self> {
        open("/dev/xen/evtchn", libc::O_NONBLOCK).map(EventChannels)
    }

    /// Binds to the port `remote` that `domain` has allocated for us.
    pub fn bind_interdomain(&self, domain: u16, remote: u32) -> Result<Port> {
        let mut arg = [u32::from(domain), remote];
        // SAFETY: BIND_INTERDOMAIN takes two 32-bit words and points to nothing else.
        unsafe { ioctl(&self.0, ioc(b'E', 1, 8), &mut arg) }
            .map(|port| Port(port as u32))
            .ok_or_else(|| Error::call(format!("bind event channel {remote} of domain {domain}")))
    }

    /// Allocates a port to which `domain` may bind.
    pub fn bind_unbound(&self, domain: u16) -> Result<Port> {
        let mut arg = u32::from(domain);
        // SAFETY: BIND_UNBOUND_PORT takes one 32-bit word and points to nothing else.
        unsafe { ioctl(&self.0, ioc(b'E', 2, 4), &mut arg) }
            .map(|port| Port(port as u32))
            .ok_or_else(|| Error::call(format!("allocate an event channel for domain {domain}")))
    }

    /// Closes a port.
    pub fn unbind(&self, port: Port) -> Result<()> {
        let mut arg = port.0;
        // SAFETY: UNBIND takes one 32-bit word and points to nothing else.
        unsafe { ioctl(&self.0, ioc(b'E', 3, 4), &mut arg) }
            .map(drop)
            .ok_or_else(|| Error::call(format!("close event channel {}", port.0)))
    }

    /// Notifies the other end.
    pub fn notify(&self, port: Port) -> Result<()> {
        let mut arg = port.0;
        // SAFETY: NOTIFY takes one 32-bit word and points to nothing else.
        unsafe { ioctl(&self.0, ioc(b'E', 4, 4), &mut arg) }
            .map(drop)
            .ok_or_else(|| Error::call(format!("notify event channel {}", port.0)))
    }

    /// The ports that were notified since they were last unmasked; empty when there are none. Each stays
    /// masked until [`Self::unmask`].
    pub fn pending(&self) -> Result<Vec<Port>> {
        let mut buffer = [0; 4 * 64];
        match (&self.0).read(&mut buffer) {
            Ok(got) => Ok(buffer[..got]
                .chunks_exact(4)
                .map(|word| Port(u32::from_ne_bytes([word[0], word[1], word[2], word[3]])))
                .collect()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(source) => Err(Error::Call {
                what: "read pending event channels".into(),
                source,
            }),
        }
    }

    /// Lets a port be notified again.
    pub fn unmask(&self, port: Port) -> Result<()> {
        (&self.0)
            .write_all(&port.0.to_ne_bytes())
            .map_err(|source| Error::Call {
                what: format!("unmask event channel {}", port.0),
                source,
            })
    }
}

impl AsFd for EventChannels {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
