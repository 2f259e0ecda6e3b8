// SPDX-License-Identifier: GPL-2.0-only

//! What kind of machine this is.
//!
//! C headers: `include/xen/xen.h`, `include/xen/platform_pci.h`

use portico_bindings as bindings;

/// Whether the kernel runs as a domain of Xen.
pub fn is_domain() -> bool {
    // SAFETY: reads a variable that is fixed at boot.
    unsafe { bindings::portico_xen_domain() }
}

/// Whether the domain is paravirtualised (PV), without an own physical address space.
pub fn is_pv_domain() -> bool {
    // SAFETY: reads a variable that is fixed at boot.
    unsafe { bindings::portico_xen_pv_domain() }
}

/// Whether the domain has hardware virtualisation (HVM or PVH).
pub fn is_hvm_domain() -> bool {
    // SAFETY: reads a variable that is fixed at boot.
    unsafe { bindings::portico_xen_hvm_domain() }
}

/// Whether the domain has hardware virtualisation and no emulated devices (PVH).
pub fn is_pvh_domain() -> bool {
    // SAFETY: reads a variable that is fixed at boot.
    unsafe { bindings::portico_xen_pvh_domain() }
}

/// Whether disks may be paravirtual: the emulated ones are unplugged, or there are none.
///
/// False where `xen_emul_unplug=never` or the platform keeps the emulated disks: a driver that took a
/// disk then would write to it beside the emulated controller.
pub fn has_pv_disk_devices() -> bool {
    // SAFETY: reads variables that are fixed at boot.
    unsafe { bindings::xen_has_pv_disk_devices() }
}

/// Whether paravirtual and emulated disks are meant to stand side by side
/// (`xen_emul_unplug=unnecessary`).
pub fn has_pv_and_legacy_disk_devices() -> bool {
    // SAFETY: reads variables that are fixed at boot.
    unsafe { bindings::xen_has_pv_and_legacy_disk_devices() }
}

/// Whether network interfaces may be paravirtual; see [`has_pv_disk_devices`].
pub fn has_pv_nic_devices() -> bool {
    // SAFETY: reads variables that are fixed at boot.
    unsafe { bindings::xen_has_pv_nic_devices() }
}
