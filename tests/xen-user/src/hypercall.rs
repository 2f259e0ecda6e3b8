// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls through `/dev/xen/privcmd`.

use crate::error::{Error, Result};
use crate::sys::{ioc, ioctl, open, Mapped, PAGE};
use std::fs::File;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Hypercall numbers of `xen/include/public/xen.h`.
pub(crate) mod op {
    pub(crate) const GRANT_TABLE: u64 = 20;
    pub(crate) const EVENT_CHANNEL: u64 = 32;
    pub(crate) const DOMCTL: u64 = 36;
}

/// The open hypercall device, with one page that the kernel keeps in place for arguments: the
/// hypervisor reads them at an address that must not fault.
#[derive(Debug)]
pub struct Privcmd {
    device: File,
    _buffers: File,
    page: Mapped,
}

impl Privcmd {
    /// Opens `/dev/xen/privcmd` and `/dev/xen/hypercall`.
    pub fn open() -> Result<Self> {
        let device = open("/dev/xen/privcmd", 0)?;
        let buffers = open("/dev/xen/hypercall", 0)?;
        let page = Mapped::new(&buffers, 1, 0, true)
            .ok_or_else(|| Error::call("map a page for hypercall arguments"))?;
        Ok(Privcmd {
            device,
            _buffers: buffers,
            page,
        })
    }

    /// Issues hypercall `number`. Of its up to five arguments `before` come first, then the address of a
    /// copy of `arg`, which is copied back afterwards, then `after`.
    ///
    /// # Safety
    ///
    /// The hypercall must take an argument of the shape of `T` at that position, and must touch no
    /// memory of this process but that.
    pub(crate) unsafe fn call<T>(
        &mut self,
        what: &str,
        number: u64,
        before: &[u64],
        arg: &mut T,
        after: &[u64],
    ) -> Result<u32>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        const { assert!(size_of::<T>() <= PAGE) };
        let at = self.page.at();
        // SAFETY: the page is mapped for writing, only used through `&mut self`, and `T` fits in it.
        unsafe {
            at.copy_from_nonoverlapping(
                std::ptr::NonNull::from(arg.as_bytes()).cast(),
                size_of::<T>(),
            )
        };
        let mut request = [0u64; 6];
        request[0] = number;
        let address = [at.as_ptr() as u64];
        for (to, from) in request[1..]
            .iter_mut()
            .zip(before.iter().chain(&address).chain(after))
        {
            *to = *from;
        }
        // SAFETY: HYPERCALL reads the six words; by this function's contract the hypervisor goes no
        // further than the argument, which lies in our page.
        let got = unsafe { ioctl(&self.device, ioc(b'P', 0, 48), &mut request) }
            .ok_or_else(|| Error::call(what))?;
        // SAFETY: as for the copy before; `T` may be any bytes (`FromBytes`).
        *arg = unsafe { at.cast::<T>().read_unaligned() };
        Ok(got as u32)
    }

    /// Maps `frames` frames of resource `kind` (`XENMEM_resource_*`), part `id`, of a domain.
    pub(crate) fn map_resource(
        &self,
        domain: u16,
        kind: u32,
        id: u32,
        frames: u32,
    ) -> Result<Mapped> {
        let what = || format!("map {frames} frames of resource {kind} of domain {domain}");
        let map = Mapped::new(&self.device, frames as usize, 0, true)
            .ok_or_else(|| Error::call(what()))?;
        // struct privcmd_mmap_resource: dom, type, id, idx (32 bits each), num, addr (64 bits each).
        let address = map.at().as_ptr() as u64;
        let mut arg = [
            u64::from(domain) | u64::from(kind) << 32,
            u64::from(id),
            u64::from(frames),
            address,
        ];
        // SAFETY: MMAP_RESOURCE reads 32 bytes and fills only the range at `address`, which is a fresh
        // mapping of the device of that many pages.
        unsafe { ioctl(&self.device, ioc(b'P', 7, 32), &mut arg) }
            .ok_or_else(|| Error::call(what()))?;
        Ok(map)
    }
}
