// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernels that Portico is built for.

use anyhow::{bail, ensure, Context as _, Result};

use crate::context::{Host, Kernel};
use crate::mirror::Mirror;
use crate::root::Root;
use crate::sysroot;

/// Supported kernels, newest first: releases of the distribution's generic flavour. The modules
/// build for each, and were seen working on it.
pub const SUPPORTED: &[&str] = &["7.3.4+deb13-amd64"];

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
    let available = |release: &str| -> Result<bool> {
        let mirror = match &mirror {
            Some(mirror) => mirror,
            None => mirror.insert(Mirror::open(host)?),
        };
        Ok(mirror
            .version(&format!("linux-headers-{release}"))?
            .is_some()
            && mirror
                .version(&format!("linux-binary-{release}"))?
                .is_some())
    };
    let cached = |release: &str| is_cached(host, release);
    pick(SUPPORTED, cached, available, |line| host.progress.say(line))
}

fn is_cached(host: &Host, release: &str) -> bool {
    sysroot::find(host, sysroot::Kind::Build, release).is_some()
        && sysroot::find(host, sysroot::Kind::Lab, release).is_some()
}

/// The first of `list` that is in the cache or that the mirror has. A mirror that cannot be read
/// leaves what is in the cache.
fn pick(
    list: &[&str],
    cached: impl Fn(&str) -> bool,
    mut available: impl FnMut(&str) -> Result<bool>,
    say: impl Fn(String),
) -> Result<String> {
    for (at, &release) in list.iter().enumerate() {
        if cached(release) {
            return Ok(release.to_owned());
        }
        match available(release) {
            Ok(true) => return Ok(release.to_owned()),
            Ok(false) => say(format!(
                "kernel {release}: the mirror does not have it any more; trying the next older one"
            )),
            Err(error) => {
                let Some(release) = list[at..].iter().find(|release| cached(release)) else {
                    return Err(error);
                };
                say(format!(
                    "the mirror cannot be read; using kernel {release}, which is in the cache"
                ));
                return Ok((*release).to_owned());
            }
        }
    }
    bail!(
        "the mirror has none of the supported kernels ({}): a newer checkout of Portico may know \
         newer ones",
        list.join(", ")
    );
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Picks from `new`, `mid` and `old`; also what was said.
    fn picked(cached: &[&str], mirror: Option<&[&str]>) -> (Result<String>, Vec<String>) {
        let said = RefCell::new(Vec::new());
        let result = pick(
            &["new", "mid", "old"],
            |release| cached.contains(&release),
            |release| match mirror {
                Some(has) => Ok(has.contains(&release)),
                None => bail!("no network"),
            },
            |line| said.borrow_mut().push(line),
        );
        (result, said.into_inner())
    }

    #[test]
    fn the_newest_kernel_that_can_be_had_is_picked() {
        assert_eq!(picked(&[], Some(&["new", "mid"])).0.unwrap(), "new");
        assert_eq!(picked(&["mid"], Some(&["new"])).0.unwrap(), "new");
        let (release, said) = picked(&[], Some(&["old"]));
        assert_eq!(release.unwrap(), "old");
        assert_eq!(said.len(), 2);
        assert!(said[0].starts_with("kernel new: the mirror does not have it any more"));
        let error = picked(&[], Some(&[])).0.unwrap_err().to_string();
        assert!(error.contains("(new, mid, old)"));
    }

    #[test]
    fn without_a_mirror_the_cache_is_used() {
        assert_eq!(picked(&["new"], None).0.unwrap(), "new");
        let (release, said) = picked(&["old"], None);
        assert_eq!(release.unwrap(), "old");
        assert!(said[0].contains("using kernel old"));
        assert_eq!(picked(&[], None).0.unwrap_err().to_string(), "no network");
    }
}
