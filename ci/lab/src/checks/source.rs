// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on source files: licence lines everywhere, no `unsafe` in drivers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Result};

use crate::run::Run;

/// Files that cannot carry a comment, or are not written by hand.
const WITHOUT_SPDX: &[&str] = &["json", "lock", "png", "svg"];

/// Every file of the checkout has the SPDX line of its folder's licence among its first lines.
///
/// # Errors
///
/// Names the files that do not. Returns how many files were read.
pub fn spdx(checkout: &Path) -> Result<usize> {
    let mut read = 0;
    let mut wrong = Vec::new();
    for file in files(checkout)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let extension = file.extension().unwrap_or_default().to_string_lossy();
        if name.starts_with("LICENSE") || WITHOUT_SPDX.contains(&&*extension) {
            continue;
        }
        // A file may be gone while others work in the checkout.
        let Ok(text) = fs::read(checkout.join(&file)) else {
            continue;
        };
        read += 1;
        let text = String::from_utf8_lossy(&text);
        let wanted = licence(&file);
        let found = text.lines().take(3).find_map(spdx_of);
        if found != Some(wanted) {
            wrong.push(match found {
                Some(other) => format!("{}: {other} instead of {wanted}", file.display()),
                None => format!("{}: no SPDX line ({wanted})", file.display()),
            });
        }
    }
    ensure!(read > 0, "no file to check in {}", checkout.display());
    if wrong.is_empty() {
        return Ok(read);
    }
    bail!(
        "{} files lack their licence line:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Files that git knows, or would add.
fn files(checkout: &Path) -> Result<Vec<PathBuf>> {
    let list = Run::new("git", "list the files of the checkout")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .dir(checkout)
        .output()?;
    Ok(list
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect())
}

/// The licence of a file by its folder.
fn licence(file: &Path) -> &'static str {
    if file.starts_with("linux") {
        "GPL-2.0-only"
    } else {
        "MIT OR Apache-2.0"
    }
}

fn spdx_of(line: &str) -> Option<&str> {
    let (_, id) = line.split_once("SPDX-License-Identifier:")?;
    Some(
        id.trim()
            .trim_end_matches("-->")
            .trim_end_matches("*/")
            .trim(),
    )
}

/// Drivers, which are the folders of `linux/` beside `portico`, forbid `unsafe` and hold none.
///
/// # Errors
///
/// Names each place. Returns how many files were read.
pub fn no_unsafe_in_drivers(checkout: &Path) -> Result<usize> {
    let mut wrong = Vec::new();
    let mut read = 0;
    for entry in fs::read_dir(checkout.join("linux"))? {
        let folder = entry?.path();
        if !folder.is_dir() || folder.ends_with("portico") {
            continue;
        }
        let mut forbidden = false;
        for file in rust_files(&folder)? {
            let text = fs::read_to_string(&file)?;
            read += 1;
            forbidden |= text.contains("#![forbid(unsafe_code)]");
            for (number, line) in text.lines().enumerate() {
                if has_unsafe(line) {
                    wrong.push(format!(
                        "{}:{}: {}",
                        file.display(),
                        number + 1,
                        line.trim()
                    ));
                }
            }
        }
        if !forbidden {
            wrong.push(format!("{}: no #![forbid(unsafe_code)]", folder.display()));
        }
    }
    ensure!(read > 0, "no driver found in {}/linux", checkout.display());
    if wrong.is_empty() {
        return Ok(read);
    }
    bail!(
        "drivers must be free of unsafe; what needs it belongs into linux/portico:\n{}",
        wrong.join("\n")
    );
}

/// Whether a line of code holds the keyword. The lint's name and comments do not count.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == "unsafe")
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Run::new("git", "make a checkout")
            .args(["init", "--quiet"])
            .dir(dir.path())
            .run(None)
            .unwrap();
        dir
    }

    fn line(comment: &str, licence: &str) -> String {
        format!("{comment} SPDX-License-Identifier: {licence}\n")
    }

    #[test]
    fn a_missing_or_wrong_licence_is_named() {
        let ours = line("//", "MIT OR Apache-2.0");
        let gpl = line("//", "GPL-2.0-only");
        let script = "#!/bin/sh\n".to_owned() + &line("#", "MIT OR Apache-2.0");
        let page = line("<!--", "MIT OR Apache-2.0 -->");
        let good = checkout(&[
            ("common/a.rs", &ours),
            ("linux/b.rs", &gpl),
            ("run", &script),
            ("README.md", &page),
            ("x.json", "{}"),
        ]);
        assert_eq!(spdx(good.path()).unwrap(), 4);
        let bad = checkout(&[("common/a.rs", &gpl), ("linux/b.rs", "fn b() {}")]);
        let error = spdx(bad.path()).unwrap_err().to_string();
        assert!(error.contains("common/a.rs: GPL-2.0-only instead of MIT OR Apache-2.0"));
        assert!(error.contains("linux/b.rs: no SPDX line (GPL-2.0-only)"));
    }

    #[test]
    fn unsafe_in_a_driver_is_named() {
        let good = "#![forbid(unsafe_code)]\n// unsafe is not used\nfn a() {}\n";
        let dir = checkout(&[
            ("linux/portico/lib.rs", "unsafe fn a() {}"),
            ("linux/xen-a/a.rs", good),
        ]);
        assert_eq!(no_unsafe_in_drivers(dir.path()).unwrap(), 1);
        fs::write(
            dir.path().join("linux/xen-a/b.rs"),
            "fn b() {\n    unsafe { x() }\n}",
        )
        .unwrap();
        let error = no_unsafe_in_drivers(dir.path()).unwrap_err().to_string();
        assert!(error.contains("b.rs:2: unsafe { x() }"));
        fs::write(dir.path().join("linux/xen-a/a.rs"), "fn a() {}").unwrap();
        let error = no_unsafe_in_drivers(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no #![forbid(unsafe_code)]"));
    }
}
