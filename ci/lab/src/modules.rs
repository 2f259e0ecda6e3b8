// SPDX-License-Identifier: MIT OR Apache-2.0
//! Our modules, built by the kernel's own Kbuild in the build sysroot.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context as _, Result};

use crate::context::Host;
use crate::lock::Lock;
use crate::metadata::{jobs, Metadata};
use crate::root::Root;
use crate::stage;

/// Where the stage is seen inside the sysroot. Paths go into the modules, so it says nothing.
const INSIDE: &str = "/build";

/// What a build is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Modules to load.
    Build,
    /// The same with the kernel's clippy; the modules are not kept.
    Clippy,
}

/// Modules that were built.
#[derive(Clone, Debug)]
pub struct Modules {
    /// The folder in which Kbuild worked, with every object.
    pub stage: PathBuf,
    /// The finished `.ko` files, in the order in which they are linked and must be loaded.
    pub files: Vec<PathBuf>,
    /// What the build wrote.
    pub log: PathBuf,
}

/// Builds the modules of the checkout for the kernel `release`.
///
/// # Errors
///
/// When the tree cannot be staged or does not build; the error shows the end of the build's log.
pub fn build(
    host: &Host,
    build_root: &Root,
    metadata: &Metadata,
    release: &str,
    mode: Mode,
) -> Result<Modules> {
    let (name, what) = match mode {
        Mode::Build => (release.to_owned(), "building the modules"),
        Mode::Clippy => (format!("{release}-clippy"), "clippy over the modules"),
    };
    let linux = host.target.join("linux");
    fs::create_dir_all(&linux)?;
    let tree = linux.join(&name);
    let _lock = Lock::take(&linux.join(format!("{name}.lock")), what, &host.progress)?;
    let step = host.progress.step(format!("{what} for {release}"));
    stage::stage(host, &tree)?;

    let log = host.log(&format!("modules-{name}"));
    let root = metadata.over(build_root, release).bind(&tree, INSIDE);
    let mut make = root
        .enter("make", "build the modules")
        .args(["-C", &format!("/lib/modules/{release}/build")])
        .arg(format!("M={INSIDE}"))
        .arg(format!("-j{}", jobs()));
    if mode == Mode::Clippy {
        // Warnings are errors: an object that was built would not show them again.
        make = make.args(["CLIPPY=1", "W=e"]);
    }
    make.arg("modules").log(&log).run(Some(&step))?;

    let order =
        fs::read_to_string(tree.join("modules.order")).context("Kbuild left no modules.order")?;
    let built = in_order(&order, &tree);
    ensure!(
        !built.is_empty(),
        "Kbuild built no module: is obj-m set in linux/Kbuild?"
    );
    let files = match mode {
        Mode::Build => publish(host, build_root, release, &built)?,
        Mode::Clippy => Vec::new(),
    };
    step.done(names(&files));
    Ok(Modules {
        stage: tree,
        files,
        log,
    })
}

/// The `.ko` files of a `modules.order`, as seen from the host.
fn in_order(order: &str, tree: &Path) -> Vec<PathBuf> {
    order
        .lines()
        .map(|line| line.trim_start_matches(INSIDE).trim_start_matches('/'))
        .filter(|line| !line.is_empty())
        .map(|line| tree.join(line).with_extension("ko"))
        .collect()
}

/// Copies modules to `target/dist/linux/RELEASE/`, without debug information.
fn publish(
    host: &Host,
    build_root: &Root,
    release: &str,
    built: &[PathBuf],
) -> Result<Vec<PathBuf>> {
    let dist = host.dist().join("linux").join(release);
    fs::create_dir_all(&dist)?;
    let fresh = tempfile::Builder::new()
        .prefix(".new")
        .tempdir_in(&dist)
        .context("making a folder for the finished modules")?;
    let mut inside = Vec::new();
    for file in built {
        let name = file.file_name().unwrap_or_default();
        fs::copy(file, fresh.path().join(name))
            .with_context(|| format!("copying {}", file.display()))?;
        inside.push(format!("/work/{}", name.to_string_lossy()));
    }
    build_root
        .bind(fresh.path(), "/work")
        .enter("strip", "strip the modules' debug information")
        .arg("--strip-debug")
        .args(&inside)
        .run(None)?;
    built
        .iter()
        .map(|file| {
            let name = file.file_name().unwrap_or_default();
            let to = dist.join(name);
            fs::rename(fresh.path().join(name), &to)?;
            Ok(to)
        })
        .collect()
}

fn names(files: &[PathBuf]) -> String {
    files
        .iter()
        .filter_map(|file| file.file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_kbuild_is_kept() {
        let files = in_order("/build/portico.o\nxen-blkfront.o\n", Path::new("/t"));
        assert_eq!(
            files,
            [Path::new("/t/portico.ko"), Path::new("/t/xen-blkfront.ko")]
        );
        assert_eq!(names(&files), "portico.ko, xen-blkfront.ko");
    }
}
