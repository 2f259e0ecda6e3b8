// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folders of a checkout, and all that must be ready before a machine can boot.

use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};

use crate::cache::Cache;
use crate::progress::Progress;
use crate::root::Root;

/// The checkout, the cache and where progress is shown. Costs nothing to make.
#[derive(Clone, Debug)]
pub struct Host {
    /// The top of the checkout.
    pub checkout: PathBuf,
    /// `target/` of the checkout, whatever cargo uses for its own output.
    pub target: PathBuf,
    /// The cache outside the checkout.
    pub cache: Cache,
    /// Where steps are shown.
    pub progress: Progress,
}

impl Host {
    /// Finds the checkout around the working folder and opens the cache.
    ///
    /// # Errors
    ///
    /// When the working folder is not in a checkout, or the cache cannot be opened.
    pub fn find() -> Result<Self> {
        let here = std::env::current_dir().context("reading the working folder")?;
        let Some(checkout) = here.ancestors().find(|dir| is_checkout(dir)) else {
            bail!(
                "{} is not in a checkout of Portico: change into one and run again",
                here.display()
            );
        };
        Ok(Self {
            checkout: checkout.to_owned(),
            target: checkout.join("target"),
            cache: Cache::open()?,
            progress: Progress::new(),
        })
    }

    /// Where finished artefacts go.
    pub fn dist(&self) -> PathBuf {
        self.target.join("dist")
    }

    /// Where results go, as JSON, text and HTML.
    pub fn report(&self) -> PathBuf {
        self.target.join("report")
    }

    /// Where the logs of tools go.
    pub fn log(&self, name: &str) -> PathBuf {
        self.target.join("log").join(format!("{name}.log"))
    }
}

fn is_checkout(dir: &Path) -> bool {
    dir.join("Cargo.toml").is_file() && dir.join("ci/lab").is_dir() && dir.join("linux").is_dir()
}

/// The stock kernel that dom0 and the guests run.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its release, such as `uname -r` prints it.
    pub release: String,
    /// The bootable image (bzImage).
    pub image: PathBuf,
    /// The folder `lib/modules/RELEASE` of its stock modules (`.ko.xz` below `kernel/`).
    pub modules: PathBuf,
}

/// Everything that is ready before a machine can boot.
#[derive(Clone, Debug)]
pub struct Context {
    /// Checkout, cache, progress.
    pub host: Host,
    /// The sysroot with QEMU, Xen, dom0's tools, fio and the kernel.
    pub lab_root: Root,
    /// The stock kernel, inside `lab_root`.
    pub kernel: Kernel,
    /// Our modules, built for `kernel`, in the order in which they must be loaded.
    pub modules: Vec<PathBuf>,
    /// The agent of guests and dom0: a static binary.
    pub agent: PathBuf,
    /// The hostile block back end: a static binary.
    pub hostile_blkback: PathBuf,
    /// The hostile network back end: a static binary.
    pub hostile_netback: PathBuf,
    /// Words of which one must be in a case's name for it to be run; all cases without any.
    pub cases: Vec<String>,
}

impl Context {
    /// Where results go.
    pub fn report(&self) -> PathBuf {
        self.host.report()
    }

    /// Whether a module is among ours.
    pub fn has_module(&self, name: &str) -> bool {
        let own = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == name);
        self.modules.iter().any(own)
    }

    /// Scratch space of the lab in the checkout: images, logs of boots.
    pub fn work(&self) -> PathBuf {
        self.host.target.join("lab")
    }
}
