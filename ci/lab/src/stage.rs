// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree that Kbuild sees: `linux/` at its top, the core as `common/`, and the vendored crates
//! below `vendor/`, in the versions of `Cargo.lock`.
//!
//! A file is written only when its content differs, so its time stays and Kbuild builds no more
//! than what changed. What was staged before and has no source any more is removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};
use serde::Deserialize;

use crate::context::Host;
use crate::run::Run;

/// Crates of the registry that the modules are built with.
const VENDORED: &[&str] = &["static_assertions"];

/// List of what the last staging wrote.
const MANIFEST: &str = ".staged";

/// Stages the tree of the checkout into `stage`.
///
/// # Errors
///
/// When a source cannot be found or read, or the stage cannot be written.
pub fn stage(host: &Host, stage: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect(&host.checkout.join("linux"), Path::new(""), &mut files)?;
    collect(
        &host.checkout.join("common/src"),
        Path::new("common"),
        &mut files,
    )?;
    for (name, folder) in vendored(&host.checkout)? {
        let to = Path::new("vendor").join(name);
        collect(&folder.join("src"), &to.join("src"), &mut files)?;
        for entry in fs::read_dir(&folder)?.flatten() {
            // Documentation that sources include, and the licences.
            if entry.path().is_file() {
                files.push((entry.path(), to.join(entry.file_name())));
            }
        }
    }
    put(stage, &files)
}

/// Adds all files below `from` with their path in the stage, without hidden ones.
fn collect(from: &Path, to: &Path, files: &mut Vec<(PathBuf, PathBuf)>) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("reading {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &to, files)?;
        } else {
            files.push((entry.path(), to));
        }
    }
    Ok(())
}

fn put(stage: &Path, files: &[(PathBuf, PathBuf)]) -> Result<()> {
    fs::create_dir_all(stage).with_context(|| format!("making {}", stage.display()))?;
    let mut staged = BTreeSet::new();
    for (from, to) in files {
        let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        let path = stage.join(to);
        if fs::read(&path).ok().as_ref() != Some(&content) {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        }
        staged.insert(to.to_string_lossy().into_owned());
    }
    let manifest = stage.join(MANIFEST);
    for old in fs::read_to_string(&manifest).unwrap_or_default().lines() {
        if !staged.contains(old) {
            match fs::remove_file(stage.join(old)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing the staged {old}"));
                }
                _ => {}
            }
        }
    }
    let list: Vec<String> = staged.into_iter().collect();
    fs::write(&manifest, list.join("\n") + "\n")?;
    Ok(())
}

#[derive(Deserialize)]
struct CargoMetadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    manifest_path: PathBuf,
    source: Option<String>,
}

/// The folders of the vendored crates' sources.
fn vendored(checkout: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let text = Run::new(cargo(), "find the vendored crates")
        .args(["metadata", "--format-version", "1"])
        .dir(checkout)
        .output()?;
    let metadata: CargoMetadata = serde_json::from_str(&text)?;
    VENDORED
        .iter()
        .map(|&name| {
            let mut found: Vec<&Package> = metadata
                .packages
                .iter()
                .filter(|p| p.name == name && p.source.is_some())
                .collect();
            // A workspace may hold older majors for others; ours is the newest.
            found.sort_by_key(|p| numbers(&p.version));
            match found.last().and_then(|p| p.manifest_path.parent()) {
                Some(folder) => Ok((name, folder.to_owned())),
                None => bail!("{name} is not in Cargo.lock, but the modules need it"),
            }
        })
        .collect()
}

fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok())
        .collect()
}

/// The cargo that runs us, or the one in the path.
pub(crate) fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_written_and_what_went_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        for (name, text) in [("a", "1"), ("sub/b", "2"), (".hidden", "3")] {
            fs::write(from.join(name), text).unwrap();
        }
        let again = || {
            let mut files = Vec::new();
            collect(&from, Path::new("x"), &mut files).unwrap();
            put(&to, &files).unwrap();
        };
        again();
        assert!(to.join("x/sub/b").exists() && !to.join("x/.hidden").exists());
        let time = |name: &str| to.join(name).metadata().unwrap().modified().unwrap();
        let (a, b) = (time("x/a"), time("x/sub/b"));
        fs::write(to.join("x/a.o"), "built").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(from.join("a"), "1").unwrap();
        fs::write(from.join("sub/b"), "changed").unwrap();
        again();
        assert!(time("x/a") == a && time("x/sub/b") != b);
        fs::remove_file(from.join("a")).unwrap();
        again();
        assert!(!to.join("x/a").exists() && to.join("x/a.o").exists());
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(numbers("2.10.0") > numbers("2.9.4"));
        assert!(numbers("2.0.0") > numbers("1.3.2"));
    }
}
