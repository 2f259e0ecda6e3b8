// SPDX-License-Identifier: MIT OR Apache-2.0
//! No code of ours may panic: our objects refer to no function that does.
//!
//! Relocations are read, not symbol tables alone, so each finding says which of our functions holds
//! the reference. `core` is part of the kernel image and stands outside of our objects.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context as _, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind};
use rustc_demangle::demangle;

/// One function that can panic.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Finding {
    /// The object, below the folder that was read.
    pub object: String,
    /// The function that holds the reference.
    pub from: String,
    /// What it refers to.
    pub to: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.object, self.from, self.to)
    }
}

/// Checks the objects of our Rust crates below `stage`, in the folders of the sources. What Kbuild
/// links or generates lies at the top and is left out.
///
/// # Errors
///
/// Lists the references. Returns how many objects were read.
pub fn none(stage: &Path) -> Result<usize> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(stage)? {
        let folder = entry?.path();
        if folder.is_dir() && !folder.ends_with("vendor") {
            objects_below(&folder, &mut objects)?;
        }
    }
    ensure!(
        !objects.is_empty(),
        "no object in {}: build the modules first",
        stage.display()
    );
    let mut findings = BTreeSet::new();
    for path in &objects {
        let name = path
            .strip_prefix(stage)
            .unwrap_or(path)
            .display()
            .to_string();
        let data = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        findings.extend(in_object(&name, &data)?);
    }
    if findings.is_empty() {
        return Ok(objects.len());
    }
    let list: Vec<String> = findings.iter().map(Finding::to_string).collect();
    bail!(
        "{} places in our objects can panic; check before, use `get`, or return an error:\n{}",
        list.len(),
        list.join("\n")
    );
}

fn objects_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            objects_below(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "o") {
            found.push(path);
        }
    }
    Ok(())
}

/// The references of one object to functions that panic.
///
/// # Errors
///
/// When it is no object file.
pub fn in_object(name: &str, data: &[u8]) -> Result<BTreeSet<Finding>> {
    let file = object::File::parse(data).with_context(|| format!("{name} is no object file"))?;
    let mut findings = BTreeSet::new();
    for section in file.sections() {
        if section.kind() != SectionKind::Text {
            continue;
        }
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else {
                continue;
            };
            let target = file.symbol_by_index(index)?;
            let symbol = target.name().unwrap_or_default();
            if !panics(symbol) {
                continue;
            }
            let from = file
                .symbols()
                .filter(|s| s.section_index() == Some(section.index()) && s.is_definition())
                .find(|s| (s.address()..s.address() + s.size().max(1)).contains(&offset))
                .map_or_else(
                    || section.name().unwrap_or("?").to_owned(),
                    |s| plain(s.name().unwrap_or_default()),
                );
            findings.insert(Finding {
                object: name.to_owned(),
                from,
                to: plain(symbol),
            });
        }
    }
    Ok(findings)
}

/// A name without its hashes.
fn plain(symbol: &str) -> String {
    format!("{:#}", demangle(symbol))
}

/// Whether a symbol is a function of `core` or `alloc`, or of the runtime, that ends in a panic.
fn panics(symbol: &str) -> bool {
    const RUNTIME: &[&str] = &["rust_begin_unwind", "rust_panic", "rust_eh_personality"];
    if RUNTIME.contains(&symbol) {
        return true;
    }
    // The crate's name stands in the mangled symbol, also where a path begins with a type: `<[T]>`.
    if !(symbol.contains("_4core") || symbol.contains("_5alloc")) {
        return false;
    }
    let name = plain(symbol);
    let last = name.rsplit("::").next().unwrap_or_default();
    name.starts_with("core::panicking::")
        || last.contains("panic")
        || last.ends_with("_fail")
        || last.ends_with("_failed")
        || last == "capacity_overflow"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_points_of_panics_are_known_by_name() {
        for symbol in [
            "_RNvNtCs2lKf6AS60Zg_4core9panicking9panic_fmt",
            "_RNvNtNtCs2lKf6AS60Zg_4core9panicking11panic_const24panic_const_add_overflow",
            "_RNvNtCs2lKf6AS60Zg_4core6option13unwrap_failed",
            "_RNvNvMNtCs2lKf6AS60Zg_4core5sliceSp15copy_from_slice17len_mismatch_fail",
            "_RNvNtNtCs2lKf6AS60Zg_4core5slice5index24slice_end_index_len_fail",
            "_RNvNtCs2lKf6AS60Zg_4core4cell22panic_already_borrowed",
            "rust_begin_unwind",
        ] {
            assert!(panics(symbol), "{symbol}");
        }
        for symbol in [
            "_RNvNtNtCs2lKf6AS60Zg_4core3fmt9Formatter9write_str",
            "_RNvNtCsg1_6kernel5print11call_printk",
            "_RNvNtCsg1_7portico5block14request_failed",
            "memcpy",
        ] {
            assert!(!panics(symbol), "{symbol}");
        }
    }

    /// Compiles to an object, as rustc of the host does it.
    fn object(source: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("a.rs"), dir.path().join("a.o"));
        fs::write(&input, source).unwrap();
        crate::run::Run::new(std::env::var("RUSTC").unwrap_or("rustc".into()), "compile")
            .args([
                "--crate-type=lib",
                "--emit=obj",
                "-O",
                "-Csymbol-mangling-version=v0",
            ])
            .arg("-o")
            .args([&output, &input])
            .run(None)
            .unwrap();
        fs::read(output).unwrap()
    }

    #[test]
    fn the_function_that_panics_is_named() {
        let bad = object("#[no_mangle] pub fn at(a: &[u8], i: usize) -> u8 { a[i] }");
        let found: Vec<Finding> = in_object("a.o", &bad).unwrap().into_iter().collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].from, "at");
        assert_eq!(found[0].to, "core::panicking::panic_bounds_check");
        let good =
            object("#[no_mangle] pub fn at(a: &[u8], i: usize) -> u8 { *a.get(i).unwrap_or(&0) }");
        assert!(in_object("a.o", &good).unwrap().is_empty());
        assert!(in_object("a.o", b"text").is_err());
    }
}
