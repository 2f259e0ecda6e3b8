// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether what was built fits the shipped kernel: its Rust symbols, and what each module says of
//! itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{bail, ensure, Context as _, Result};
use object::{Object as _, ObjectSection as _};

use crate::metadata;
use crate::modules::Modules;
use crate::setup::Toolchain;

/// The rebuilt kernel crates export exactly the Rust symbols of the shipped kernel.
///
/// # Errors
///
/// Names symbols that differ. Returns how many there are.
pub fn same_as_shipped(toolchain: &Toolchain) -> Result<usize> {
    let symvers = format!("usr/src/linux-headers-{}/Module.symvers", toolchain.release);
    let shipped = metadata::shipped(&toolchain.build_root.host_path(&symvers))?;
    metadata::compare(&toolchain.metadata.exported()?, &shipped)?;
    Ok(shipped.len())
}

/// Each module is made for this kernel, under a licence that its symbols need.
///
/// # Errors
///
/// Says which module says what. Returns how many were read.
pub fn modules_fit(modules: &Modules, release: &str) -> Result<usize> {
    for file in &modules.files {
        let info = modinfo(file)?;
        let name = file.display();
        let get = |key: &str| info.get(key).map_or("", String::as_str);
        let magic = get("vermagic");
        ensure!(
            magic.split(' ').next() == Some(release),
            "{name} is made for {magic:?}, not for {release}"
        );
        ensure!(
            get("license").starts_with("GPL"),
            "{name} has the licence {:?}; the kernel's symbols need GPL",
            get("license")
        );
        if get("name") != "portico" {
            ensure!(
                get("depends").split(',').any(|d| d == "portico"),
                "{name} does not depend on portico, so modprobe would not load that first"
            );
        }
    }
    Ok(modules.files.len())
}

/// What a module says of itself: the last value of each key.
fn modinfo(file: &Path) -> Result<BTreeMap<String, String>> {
    let data = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let object = object::File::parse(&*data)
        .with_context(|| format!("{} is no object file", file.display()))?;
    let Some(section) = object.section_by_name(".modinfo") else {
        bail!("{} has no .modinfo: it is no module", file.display());
    };
    let text = section.data()?;
    Ok(text
        .split(|&byte| byte == 0)
        .filter_map(|entry| {
            let entry = String::from_utf8_lossy(entry);
            let (key, value) = entry.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.ko");
        fs::write(&file, "text").unwrap();
        assert!(modinfo(&file)
            .unwrap_err()
            .to_string()
            .contains("no object file"));
        let own = std::env::current_exe().unwrap();
        assert!(modinfo(&own)
            .unwrap_err()
            .to_string()
            .contains("no .modinfo"));
    }
}
