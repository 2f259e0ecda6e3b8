// SPDX-License-Identifier: MIT OR Apache-2.0
//! The types of our bindings are as large as the shipped kernel's.
//!
//! bindgen asks clang, the kernel was built by GCC with its own configuration. What came out there
//! stands in the kernel's BTF; what our bindings say stands in a section of `portico.ko`, a line
//! with name and size for each type that the code leans on (`linux/portico/layout.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{bail, ensure, Context as _, Result};
use object::{Object as _, ObjectSection as _};

use crate::modules::Modules;
use crate::setup::Toolchain;

/// The section of `portico.ko` with our sizes.
const SECTION: &str = ".portico.layout";

/// Compares our sizes with the kernel's BTF.
///
/// # Errors
///
/// Names each type that differs, or that the kernel does not know. Returns how many were compared.
pub fn same_as_kernel(toolchain: &Toolchain, modules: &Modules) -> Result<usize> {
    let portico = modules
        .files
        .iter()
        .find(|file| file.ends_with("portico.ko"))
        .context("the build left no portico.ko")?;
    let data = fs::read(portico).with_context(|| format!("reading {}", portico.display()))?;
    let object = object::File::parse(&*data)?;
    let section = object
        .section_by_name(SECTION)
        .with_context(|| format!("{} has no section {SECTION}", portico.display()))?;
    let ours = ours(&String::from_utf8_lossy(section.data()?))?;

    let vmlinux = format!("/usr/src/linux-headers-{}/vmlinux", toolchain.release);
    let btf = toolchain
        .build_root
        .enter("pahole", "read the kernel's BTF")
        .args(["--sizes", &vmlinux])
        .output()?;
    compare(&ours, &kernels(&btf))?;
    Ok(ours.len())
}

/// `name blanks size` lines.
fn ours(text: &str) -> Result<BTreeMap<String, u64>> {
    text.lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            match (words.next(), words.next().map(str::parse)) {
                (Some(name), Some(Ok(size))) => Ok((name.to_owned(), size)),
                _ => bail!("{SECTION} holds {line:?}, which is no name and size"),
            }
        })
        .collect()
}

/// `name<TAB>size<TAB>holes` lines. A name may stand for several types of the kernel.
fn kernels(text: &str) -> BTreeMap<String, BTreeSet<u64>> {
    let mut sizes: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        if let (Some(name), Some(Ok(size))) = (fields.next(), fields.next().map(str::parse)) {
            sizes.entry(name.to_owned()).or_default().insert(size);
        }
    }
    sizes
}

fn compare(ours: &BTreeMap<String, u64>, kernel: &BTreeMap<String, BTreeSet<u64>>) -> Result<()> {
    ensure!(!ours.is_empty(), "{SECTION} is empty");
    let wrong: Vec<String> = ours
        .iter()
        .filter_map(|(name, size)| match kernel.get(name) {
            None => Some(format!(
                "{name}: {size} here, and unknown to the kernel's BTF"
            )),
            Some(known) if known.contains(size) => None,
            Some(known) => Some(format!("{name}: {size} here, {known:?} in the kernel")),
        })
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "the bindings do not fit the kernel:\n{}\nlook at the flags that linux/Kbuild gives to \
         bindgen",
        wrong.join("\n")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_differs_is_named() {
        let kernel = kernels("bio\t136\t1\nu\t4\t0\nu\t8\t0\nnot a line\n");
        let check = |text: &str| compare(&ours(text).unwrap(), &kernel);
        check("bio       136\nu    8\n").unwrap();
        let error = check("bio 128\nnew 8\n").unwrap_err().to_string();
        assert!(error.contains("bio: 128 here, {136} in the kernel"));
        assert!(error.contains("new: 8 here, and unknown"));
        assert!(check("").is_err());
        assert!(ours("bio x\n").is_err());
    }
}
