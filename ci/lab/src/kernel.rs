// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernels that Portico is built for.

use anyhow::{bail, ensure, Context as _, Result};

use crate::context::{Host, Kernel};
use crate::mirror::Mirror;
use crate::root::Root;
use crate::sysroot;

/// Supported kernels, newest first: releases of the distribution's generic flavour.
pub const SUPPORTED: &[&str] = &["7.3.4+deb13-amd64", "7.2.12+deb13-amd64"];

/// The kernel that the lab uses: `wanted`, or the newest supported one that can be had.
///
/// # Errors
///
/// When `wanted` is not supported, or no kernel can be had.
pub fn choose(host: &Host, wanted: Option<&str>) -> Result<String> {
    if let Some(wanted) = wanted {
        ensure!(
            SUPPORTED.contains(&wanted),
            "kernel {wanted} is not supported; there are: {}",
            SUPPORTED.join(", ")
        );
        return Ok(wanted.to_owned());
    }
    let mut mirror = None;
    for (at, &release) in SUPPORTED.iter().enumerate() {
        if is_cached(host, release) {
            return Ok(release.to_owned());
        }
        if mirror.is_none() {
            mirror = Some(match Mirror::open(host) {
                Ok(mirror) => mirror,
                Err(error) => return offline(host, &SUPPORTED[at..], error),
            });
        }
        let Some(mirror) = &mirror else { continue };
        if mirror
            .version(&format!("linux-headers-{release}"))?
            .is_some()
            && mirror
                .version(&format!("linux-binary-{release}"))?
                .is_some()
        {
            return Ok(release.to_owned());
        }
        host.progress.say(format!(
            "kernel {release}: the mirror does not have it any more; trying the next older one"
        ));
    }
    bail!(
        "the mirror has none of the supported kernels ({}): a newer checkout of Portico may know \
         newer ones",
        SUPPORTED.join(", ")
    );
}

fn is_cached(host: &Host, release: &str) -> bool {
    sysroot::find(host, sysroot::Kind::Build, release).is_some()
        && sysroot::find(host, sysroot::Kind::Lab, release).is_some()
}

fn offline(host: &Host, rest: &[&str], error: anyhow::Error) -> Result<String> {
    match rest.iter().find(|release| is_cached(host, release)) {
        Some(release) => {
            host.progress.say(format!(
                "the mirror cannot be read; using kernel {release}, which is in the cache"
            ));
            Ok((*release).to_owned())
        }
        None => Err(error),
    }
}

/// The stock kernel inside the lab sysroot.
///
/// # Errors
///
/// When its image or modules are not where the distribution puts them.
pub fn stock(lab_root: &Root, release: &str) -> Result<Kernel> {
    let modules = lab_root.host_path(&format!("usr/lib/modules/{release}"));
    let image = [
        modules.join("vmlinuz"),
        lab_root.host_path(&format!("boot/vmlinuz-{release}")),
    ]
    .into_iter()
    .find(|path| path.is_file())
    .with_context(|| {
        format!(
            "no image of kernel {release} in {}",
            lab_root.path().display()
        )
    })?;
    Ok(Kernel {
        release: release.to_owned(),
        image,
        modules,
    })
}
