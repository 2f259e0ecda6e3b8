// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel modules for an image: found by name, unpacked once, with what they depend on and the
//! `modules.dep` that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};
use object::{Object as _, ObjectSection as _};

use crate::cache::{Cache, Inputs};
use crate::context::Kernel;
use crate::progress::Progress;
use crate::root::Root;

/// Modules as they lie in an image, below `lib/modules/RELEASE`.
#[derive(Debug, Default)]
pub(super) struct ModuleSet {
    /// Path in the image's module folder, and the unpacked file on the host.
    pub(super) files: BTreeMap<String, PathBuf>,
    needs: BTreeMap<String, Vec<String>>,
}

impl ModuleSet {
    /// Content of `modules.dep`: each module with all that must be loaded before it, nearest first.
    pub(super) fn dependencies(&self) -> String {
        let mut text = String::new();
        for path in self.files.keys() {
            let mut order = Vec::new();
            self.collect(path, &mut order);
            text.push_str(&format!("{path}:"));
            for needed in order.iter().filter(|p| *p != path).rev() {
                text.push_str(&format!(" {needed}"));
            }
            text.push('\n');
        }
        text
    }

    /// Puts a module behind all that it needs.
    fn collect(&self, path: &str, order: &mut Vec<String>) {
        if order.iter().any(|p| p == path) {
            return;
        }
        let updates = path.starts_with("updates/");
        for name in self.needs.get(path).into_iter().flatten() {
            if let Some(needed) = self.find(name, updates) {
                self.collect(needed, order);
            }
        }
        order.push(path.to_owned());
    }

    fn find(&self, name: &str, updates_first: bool) -> Option<&String> {
        let mut found: Vec<&String> = self.files.keys().filter(|p| name_of(p) == name).collect();
        found.sort_by_key(|p| p.starts_with("updates/") != updates_first);
        found.first().copied()
    }

    /// Adds our own modules, under `updates/`.
    ///
    /// # Errors
    ///
    /// When one cannot be read or is no module.
    pub(super) fn add_ours(&mut self, modules: &[PathBuf]) -> Result<()> {
        for file in modules {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let path = format!("updates/{name}");
            self.needs.insert(path.clone(), depends(file)?);
            self.files.insert(path, file.clone());
        }
        Ok(())
    }
}

/// The stock modules of these names with all that they need, unpacked into the cache.
///
/// # Errors
///
/// When a module is not in the kernel's folder or cannot be unpacked.
pub(super) fn stock(
    kernel: &Kernel,
    names: &[&str],
    root: &Root,
    cache: &Cache,
    progress: &Progress,
) -> Result<ModuleSet> {
    let inputs = Inputs::new(1)
        .with("release", &kernel.release)
        .with("image", &super::stamp(&kernel.image)?)
        .with("modules", &names.join(" "));
    let entry = cache.entry("stock-modules", &inputs, progress, |folder| {
        unpack(&kernel.modules, names, root, folder)
    })?;
    let mut set = ModuleSet::default();
    let list = fs::read_to_string(entry.join("list"))?;
    for line in list.lines() {
        let file = entry.join(name_of(line)).with_extension("ko");
        set.needs.insert(line.to_owned(), depends(&file)?);
        set.files.insert(line.to_owned(), file);
    }
    Ok(set)
}

fn unpack(tree: &Path, names: &[&str], root: &Root, folder: &Path) -> Result<()> {
    let mut index = BTreeMap::new();
    walk(tree, tree, &mut index)?;
    let mut done = BTreeSet::new();
    let mut todo: BTreeSet<String> = names.iter().map(|n| n.replace('-', "_")).collect();
    let mut list = fs::File::create(folder.join("list"))?;
    while !todo.is_empty() {
        let mut script = String::from("set -e\n");
        for name in &todo {
            let Some(path) = index.get(name) else {
                bail!(
                    "the kernel package has no module {name} in {}",
                    tree.display()
                );
            };
            let plain = path.strip_suffix(".xz").unwrap_or(path);
            let tool = if plain == path { "cat" } else { "xz -dc" };
            script.push_str(&format!("{tool} /work/{path} > /build/{name}.ko\n"));
            writeln!(list, "{plain}")?;
        }
        root.bind(tree, "/work")
            .bind(folder, "/build")
            .enter("sh", "unpack kernel modules")
            .args(["-c", &script])
            .output()?;
        done.append(&mut todo);
        for name in done.clone() {
            let needed = depends(&folder.join(format!("{name}.ko")))?;
            todo.extend(needed.into_iter().filter(|n| !done.contains(n)));
        }
    }
    Ok(())
}

/// Module names to paths below the tree, without `updates/` (ours may be installed in a sysroot).
fn walk(tree: &Path, folder: &Path, index: &mut BTreeMap<String, String>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "updates" {
                walk(tree, &path, index)?;
            }
            continue;
        }
        let below = path.strip_prefix(tree)?.to_string_lossy().into_owned();
        if below.ends_with(".ko") || below.ends_with(".ko.xz") {
            index.insert(name_of(&below), below);
        }
    }
    Ok(())
}

fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// Names of the modules that a module says it needs.
fn depends(file: &Path) -> Result<Vec<String>> {
    let data = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let module = object::File::parse(&*data)
        .with_context(|| format!("{} is no kernel module", file.display()))?;
    let Some(section) = module.section_by_name(".modinfo") else {
        bail!("{} has no .modinfo: it is no kernel module", file.display());
    };
    let info = String::from_utf8_lossy(section.data()?).into_owned();
    Ok(info
        .split('\0')
        .filter_map(|field| field.strip_prefix("depends="))
        .flat_map(|list| list.split(','))
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_nearest_first_and_from_the_same_tree() {
        let mut set = ModuleSet::default();
        for (path, needs) in [
            ("kernel/a.ko", vec![]),
            ("kernel/b.ko", vec!["a"]),
            ("kernel/c.ko", vec!["a", "b"]),
            ("updates/b.ko", vec!["portico"]),
            ("updates/d.ko", vec!["b", "a"]),
            ("updates/portico.ko", vec![]),
        ] {
            set.files.insert(path.into(), PathBuf::new());
            set.needs
                .insert(path.into(), needs.into_iter().map(str::to_owned).collect());
        }
        let text = set.dependencies();
        let line = |name: &str| {
            text.lines()
                .find(|l| l.starts_with(name))
                .unwrap()
                .to_owned()
        };
        assert_eq!(line("kernel/c.ko"), "kernel/c.ko: kernel/b.ko kernel/a.ko");
        assert_eq!(
            line("updates/d.ko"),
            "updates/d.ko: kernel/a.ko updates/b.ko updates/portico.ko"
        );
    }
}
