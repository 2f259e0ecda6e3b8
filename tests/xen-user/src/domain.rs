// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the hypervisor knows of a domain: `XEN_DOMCTL_getdomaininfo`.

use crate::error::{Error, Result};
use crate::hypercall::{op, Privcmd};
use zerocopy::FromZeros;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

/// `XEN_DOMCTL_INTERFACE_VERSION` of the Xen versions whose `getdomaininfo` has this layout: 4.19 and
/// 4.20 say 0x17. The hypervisor refuses any other.
const VERSION: u32 = 0x17;
const GETDOMAININFO: u32 = 5;

/// `struct xen_domctl` with `struct xen_domctl_getdomaininfo`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
struct Domctl {
    cmd: u32,
    interface_version: u32,
    domain: u16,
    pad: [u16; 3],
    info_domain: u16,
    info_pad: u16,
    flags: u32,
    tot_pages: u64,
    max_pages: u64,
    outstanding_pages: u64,
    shr_pages: u64,
    paged_pages: u64,
    shared_info_frame: u64,
    cpu_time: u64,
    nr_online_vcpus: u32,
    max_vcpu_id: u32,
    rest: [u64; 7],
}

const _: () = assert!(size_of::<Domctl>() == 16 + 128);

/// A domain, as far as leak accounting and measurements need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its number.
    pub domain: u16,
    /// `XEN_DOMINF_*`: bit 0 dying, 1 HVM, 2 shut down, 3 paused, 4 blocked, 5 running.
    pub flags: u32,
    /// Pages that it owns.
    pub pages: u64,
    /// Time that its vCPUs have run, in nanoseconds.
    pub cpu_time_ns: u64,
    /// vCPUs that are online.
    pub vcpus: u32,
}

/// What the hypervisor knows of a domain; `None` when there is no such domain.
pub fn domain_info(xen: &mut Privcmd, domain: u16) -> Result<Option<DomainInfo>> {
    let mut arg = Domctl::new_zeroed();
    arg.cmd = GETDOMAININFO;
    arg.interface_version = VERSION;
    arg.domain = domain;
    // SAFETY: this domctl takes one `struct xen_domctl` and touches nothing else.
    match unsafe { xen.call("ask for a domain's state", op::DOMCTL, &[], &mut arg, &[]) } {
        Err(Error::Call { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(e) => Err(e),
        // Older hypervisors answered with the next domain that there is.
        Ok(_) if arg.info_domain != domain => Ok(None),
        Ok(_) => Ok(Some(DomainInfo {
            domain,
            flags: arg.flags,
            pages: arg.tot_pages,
            cpu_time_ns: arg.cpu_time,
            vcpus: arg.nr_online_vcpus,
        })),
    }
}

/// The time that a domain's vCPUs have run, in nanoseconds. Under an emulator whose clock counts
/// instructions, this is a count of the guest's instructions.
pub fn cpu_time_ns(domain: u16) -> Result<u64> {
    let info = domain_info(&mut Privcmd::open()?, domain)?;
    info.map(|info| info.cpu_time_ns)
        .ok_or_else(|| Error::Protocol(format!("there is no domain {domain}")))
}
