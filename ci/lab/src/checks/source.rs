// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on source files: licence lines everywhere, no `unsafe` in drivers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context as _, Result};

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
///
/// # Errors
///
/// When git cannot list them.
pub fn files(checkout: &Path) -> Result<Vec<PathBuf>> {
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

/// Drivers, which are the folders of `linux/` beside `portico`, hold no `unsafe`, and were compiled
/// with the compiler forbidding it: Kbuild's record of each command below `stage` says so.
///
/// # Errors
///
/// Names each place. Returns how many files were read.
pub fn no_unsafe_in_drivers(checkout: &Path, stage: &Path) -> Result<usize> {
    let mut wrong = Vec::new();
    let mut read = 0;
    for entry in fs::read_dir(checkout.join("linux"))? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_owned();
        if !folder.is_dir() || name == "portico" {
            continue;
        }
        for file in rust_files(&folder)? {
            let text = fs::read_to_string(&file)?;
            read += 1;
            for (number, line) in text.lines().enumerate() {
                if has_unsafe(line) {
                    let at = format!("{}:{}", file.display(), number + 1);
                    wrong.push(format!("{at}: {}", line.trim()));
                }
            }
        }
        wrong.extend(not_forbidden(&stage.join(name))?);
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

/// The crates of a driver's staged folder that were compiled without `-Funsafe_code`.
fn not_forbidden(folder: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut crates = 0;
    let entries = fs::read_dir(folder)
        .with_context(|| format!("reading {}: build the modules first", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if !path.to_string_lossy().ends_with(".o.cmd") {
            continue;
        }
        let record = fs::read_to_string(&path)?;
        let command = record.lines().next().unwrap_or_default();
        if command.split_whitespace().any(|word| word == "rustc") {
            crates += 1;
            if !command.contains(" -Funsafe_code") {
                wrong.push(format!(
                    "{}: compiled without -Funsafe_code",
                    path.display()
                ));
            }
        }
    }
    if crates == 0 {
        wrong.push(format!(
            "{}: no record of a compiled crate",
            folder.display()
        ));
    }
    Ok(wrong)
}

/// Whether a line of code holds the keyword. The lint's name and comments do not count.
fn has_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == "unsafe")
}

/// The Rust sources below a folder.
///
/// # Errors
///
/// When a folder cannot be read.
pub fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
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
        let dir = checkout(&[
            ("linux/portico/lib.rs", "unsafe fn a() {}"),
            ("linux/xen-a/a.rs", "// unsafe is not used\nfn a() {}\n"),
            (
                "stage/xen-a/.a.o.cmd",
                "savedcmd_a.o := rustc -Funsafe_code a.rs\n",
            ),
        ]);
        let stage = dir.path().join("stage");
        let check = || no_unsafe_in_drivers(dir.path(), &stage);
        assert_eq!(check().unwrap(), 1);
        let bad = "fn b() {\n    unsafe { x() }\n}";
        fs::write(dir.path().join("linux/xen-a/b.rs"), bad).unwrap();
        let error = check().unwrap_err().to_string();
        assert!(error.contains("b.rs:2: unsafe { x() }"));
        fs::write(stage.join("xen-a/.a.o.cmd"), "savedcmd_a.o := rustc a.rs\n").unwrap();
        let error = check().unwrap_err().to_string();
        assert!(error.contains("compiled without -Funsafe_code"));
    }
}
