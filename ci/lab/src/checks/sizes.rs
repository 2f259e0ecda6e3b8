// SPDX-License-Identifier: MIT OR Apache-2.0
//! The types of our bindings are as large as the running kernel's.
//!
//! bindgen asks clang, the kernel was built by GCC with its own configuration. The kernel's BTF
//! says what came out there; a crate of constant assertions over our bindings, compiled against
//! their metadata, says whether ours agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{ensure, Context as _, Result};

use crate::modules::Modules;
use crate::setup::Toolchain;

/// Types of the kernel's own bindings that we lean on.
const RELIED_ON: &[&str] = &[
    "bio",
    "bio_vec",
    "blk_mq_hw_ctx",
    "blk_mq_ops",
    "blk_mq_queue_data",
    "blk_mq_tag_set",
    "block_device",
    "block_device_operations",
    "device",
    "device_driver",
    "gendisk",
    "page",
    "queue_limits",
    "request",
    "request_queue",
];

/// What was compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Compared {
    /// Types found in both.
    pub same: usize,
    /// Types of ours that the kernel's BTF does not name.
    pub unknown: usize,
}

/// Compares the sizes of our bindings' types with the kernel's BTF.
///
/// # Errors
///
/// When one differs: rustc's message names the type.
pub fn same_as_kernel(toolchain: &Toolchain, modules: &Modules) -> Result<Compared> {
    let headers = format!("/usr/src/linux-headers-{}", toolchain.release);
    let btf = toolchain
        .build_root
        .enter("pahole", "read the kernel's BTF")
        .args(["--sizes", &format!("{headers}/vmlinux")])
        .output()?;
    let sizes = sizes(&btf);
    ensure!(
        !sizes.is_empty(),
        "pahole found no type in the kernel's BTF"
    );
    let generated = modules.stage.join("portico/bindings_generated.rs");
    let bindings = fs::read_to_string(&generated)
        .with_context(|| format!("reading {}: build the modules first", generated.display()))?;
    let mut names = types(&bindings);
    names.extend(RELIED_ON.iter().map(|&name| name.to_owned()));
    let known: BTreeSet<&String> = names.iter().filter(|n| sizes.contains_key(*n)).collect();

    let work = tempfile::tempdir()?;
    fs::write(work.path().join("sizes.rs"), assertions(&known, &sizes))?;
    toolchain
        .metadata
        .over(&toolchain.build_root, &toolchain.release)
        .bind(&modules.stage, "/build")
        .bind(work.path(), "/work")
        .enter(
            "rustc",
            "compare the sizes of our bindings with the kernel's BTF",
        )
        .env("RUSTC_BOOTSTRAP", "1")
        .args([
            "--edition=2021",
            "--crate-type=rlib",
            "--crate-name=portico_sizes",
        ])
        .args(["-Zunstable-options", "-Zcrate-attr=no_std", "-Cpanic=abort"])
        .args(["--sysroot=/dev/null", "--extern", "portico_bindings"])
        .arg(format!("--target={headers}/scripts/target.json"))
        .args(["-L", &format!("{headers}/rust"), "-L", "/build/.rmeta"])
        .args(["--emit=metadata=/work/sizes.rmeta", "/work/sizes.rs"])
        .log(work.path().join("log"))
        .run(None)?;
    Ok(Compared {
        same: known.len(),
        unknown: names.len() - known.len(),
    })
}

/// `name<TAB>size<TAB>holes` lines. A name may stand for several types of the kernel.
fn sizes(text: &str) -> BTreeMap<String, BTreeSet<u64>> {
    let mut sizes: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        if let (Some(name), Some(Ok(size))) = (fields.next(), fields.next().map(str::parse)) {
            sizes.entry(name.to_owned()).or_default().insert(size);
        }
    }
    sizes
}

/// Structures and unions that bindgen wrote and that bear a name of C.
fn types(bindings: &str) -> BTreeSet<String> {
    bindings
        .lines()
        .filter_map(|line| {
            let line = line.trim_start();
            line.strip_prefix("pub struct ")
                .or_else(|| line.strip_prefix("pub union "))
        })
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        .filter(|name| !name.contains("bindgen") && !name.contains("Bindgen"))
        .collect()
}

fn assertions(known: &BTreeSet<&String>, sizes: &BTreeMap<String, BTreeSet<u64>>) -> String {
    let mut text = String::from("//! Sizes of the kernel's types, from its BTF.\n");
    for name in known {
        let size = format!("core::mem::size_of::<portico_bindings::{name}>()");
        let condition: Vec<String> = sizes
            .get(*name)
            .into_iter()
            .flatten()
            .map(|wanted| format!("{size} == {wanted}"))
            .collect();
        text.push_str(&format!(
            "const _: () = assert!({}, \"the size of {name}\");\n",
            condition.join(" || ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_sizes_are_read() {
        let names = types(
            "pub struct xenbus_device {\n    pub union a__bindgen_ty_1 {\npub union u {\npub type t = u8;\n\
             pub struct __IncompleteArrayField<T>(x);\n",
        );
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(names, ["__IncompleteArrayField", "u", "xenbus_device"]);
        let sizes = sizes("u\t4\t0\nxenbus_device\t760\t2\nu\t8\t0\nnot a line\n");
        assert_eq!(sizes["u"], BTreeSet::from([4, 8]));
        let (u, x) = ("u".to_owned(), "xenbus_device".to_owned());
        let text = assertions(&BTreeSet::from([&u, &x]), &sizes);
        assert!(text.contains("size_of::<portico_bindings::u>() == 4 || "));
        assert!(text.contains("== 760, \"the size of xenbus_device\""));
    }
}
