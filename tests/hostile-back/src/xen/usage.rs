// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest holds, for people.

use anyhow::{bail, Result};
use serde_json::{json, Value};
use xen_user::{domain_info, event_channels, grant_entries, Privcmd};

/// Prints event channels, grants, CPU time and pages of a guest.
pub fn usage(domain: u16) -> Result<()> {
    let mut xen = Privcmd::open()?;
    let Some(info) = domain_info(&mut xen, domain)? else {
        bail!("there is no domain {domain}");
    };
    let ports = event_channels(&mut xen, domain)?;
    let grants = grant_entries(&mut xen, domain)?;
    let report: Value = json!({
        "domain": domain,
        "cpu_time_ns": info.cpu_time_ns,
        "pages": info.pages,
        "vcpus": info.vcpus,
        "flags": info.flags,
        "event_channels": {
            "unbound": ports.unbound, "interdomain": ports.interdomain, "other": ports.other,
        },
        "grants": {
            "version": grants.version, "frames": grants.frames,
            "entries": grants.entries, "mapped": grants.mapped,
        },
    });
    println!("{report}");
    Ok(())
}
