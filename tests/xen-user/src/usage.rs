// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest holds, read from outside it: event channels by `EVTCHNOP_status` of each port, grants by
//! mapping the guest's grant table. A driver that leaks shows here, whatever its guest believes.

use crate::error::{Error, Result};
use crate::hypercall::{op, Privcmd};
use crate::sys::PAGE;
use zerocopy::FromZeros;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

/// `EVTCHNOP_status`.
const STATUS: u64 = 5;
/// `GNTTABOP_query_size`, `GNTTABOP_get_version`.
const QUERY_SIZE: u64 = 6;
const GET_VERSION: u64 = 10;
/// `XENMEM_resource_grant_table`, shared frames.
const RESOURCE_GRANT_TABLE: u32 = 1;
/// `GNTTAB_NR_RESERVED_ENTRIES`: the toolstack's, for the console and xenstore.
const RESERVED: usize = 8;
/// `GTF_type_mask`.
const TYPE_MASK: u16 = 3;
/// `GTF_reading | GTF_writing`, set by the hypervisor while the page is mapped.
const IN_USE: u16 = 0x18;

/// A guest's event channels that are not closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventChannelUse {
    /// Allocated for another domain, which has not bound yet.
    pub unbound: u32,
    /// Connected to another domain.
    pub interdomain: u32,
    /// Virtual and physical interrupts and those between vCPUs.
    pub other: u32,
}

/// A guest's grant entries that are valid, without the toolstack's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrantUse {
    /// The version of the grant table (1 or 2).
    pub version: u32,
    /// Frames that the table has.
    pub frames: u32,
    /// Entries that permit access.
    pub entries: u32,
    /// Those of them that another domain has mapped now (version 1 only).
    pub mapped: u32,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
struct EvtchnStatus {
    dom: u16,
    pad: u16,
    port: u32,
    status: u32,
    vcpu: u32,
    u: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
struct QuerySize {
    dom: u16,
    pad: u16,
    nr_frames: u32,
    max_nr_frames: u32,
    status: i16,
    pad2: u16,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
struct GetVersion {
    dom: u16,
    pad: u16,
    version: u32,
}

/// Counts the event channels of a domain.
pub fn event_channels(xen: &mut Privcmd, domain: u16) -> Result<EventChannelUse> {
    let mut count = EventChannelUse::default();
    // The hypervisor says EINVAL beyond the last port that the guest has room for.
    for port in 0.. {
        let mut arg = EvtchnStatus::new_zeroed();
        arg.dom = domain;
        arg.port = port;
        let what = "ask for an event channel's state";
        // SAFETY: EVTCHNOP_status takes one `struct evtchn_status` and touches nothing else.
        match unsafe { xen.call(what, op::EVENT_CHANNEL, &[STATUS], &mut arg, &[]) } {
            Ok(_) => {}
            Err(Error::Call { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => break,
            Err(e) => return Err(e),
        }
        match arg.status {
            0 => {}
            1 => count.unbound += 1,
            2 => count.interdomain += 1,
            _ => count.other += 1,
        }
    }
    Ok(count)
}

/// Counts the grant entries of a domain that permit access.
pub fn grant_entries(xen: &mut Privcmd, domain: u16) -> Result<GrantUse> {
    let mut size = QuerySize::new_zeroed();
    size.dom = domain;
    let what = "ask for a grant table's size";
    // SAFETY: GNTTABOP_query_size takes an array of one such structure and touches nothing else.
    unsafe { xen.call(what, op::GRANT_TABLE, &[QUERY_SIZE], &mut size, &[1]) }?;
    let mut version = GetVersion::new_zeroed();
    version.dom = domain;
    let what = "ask for a grant table's version";
    // SAFETY: as above, with `struct gnttab_get_version`.
    unsafe { xen.call(what, op::GRANT_TABLE, &[GET_VERSION], &mut version, &[1]) }?;
    if size.status != 0 || size.nr_frames == 0 {
        return Err(Error::Protocol(format!(
            "the grant table of domain {domain} has {} frames, status {}",
            size.nr_frames, size.status
        )));
    }
    let table = xen.map_resource(domain, RESOURCE_GRANT_TABLE, 0, size.nr_frames)?;
    let entry = if version.version == 2 { 16 } else { 8 };
    let mut count = GrantUse {
        version: version.version,
        frames: size.nr_frames,
        ..Default::default()
    };
    for i in RESERVED..size.nr_frames as usize * PAGE / entry {
        // SAFETY: the table is mapped readable for `nr_frames` pages, and each entry begins with its
        // 16-bit flags at an even address.
        let flags = unsafe { table.at().add(i * entry).cast::<u16>().read_volatile() };
        count.entries += u32::from(flags & TYPE_MASK != 0);
        count.mapped += u32::from(flags & TYPE_MASK != 0 && flags & IN_USE != 0);
    }
    Ok(count)
}
