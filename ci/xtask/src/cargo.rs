// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cargo that runs us, for the host crates.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::Result;
use portico_lab::context::Host;
use portico_lab::run::Run;
use portico_lab::setup::Toolchain;

/// Cargo in the checkout; `what` says what it is to do.
pub(crate) fn cargo(host: &Host, what: &str) -> Run {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Run::new(cargo, what).dir(&host.checkout)
}

/// A folder with Xen's public headers alone. They come from the build sysroot, whose other headers
/// must not be mixed with the host's.
pub(crate) fn xen_include(host: &Host, toolchain: &Toolchain) -> Result<PathBuf> {
    let headers = toolchain.build_root.host_path("usr/include/xen");
    let folder = host.target.join("xen-include");
    fs::create_dir_all(&folder)?;
    let link = folder.join("xen");
    if fs::read_link(&link).ok().as_ref() != Some(&headers) {
        let _ = fs::remove_file(&link);
        symlink(&headers, &link)?;
    }
    Ok(folder)
}
