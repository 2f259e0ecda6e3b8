// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a fresh machine to everything that a boot needs, each step taken only when it is missing.

use anyhow::Result;

use crate::context::{Context, Host};
use crate::kernel;
use crate::metadata::Metadata;
use crate::mirror::Mirror;
use crate::modules::{self, Mode, Modules};
use crate::root::Root;
use crate::statics;
use crate::sysroot::{self, Kind};
use crate::tools;

/// What modules are built with.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// The kernel's release.
    pub release: String,
    /// The sysroot with compiler and headers.
    pub build_root: Root,
    /// The kernel's Rust metadata.
    pub metadata: Metadata,
}

impl Toolchain {
    /// Makes what is missing for the kernel `wanted`, or for the newest that can be had.
    ///
    /// # Errors
    ///
    /// When a part cannot be had; the error says what to do.
    pub fn get(host: &Host, wanted: Option<&str>) -> Result<Self> {
        tools::ensure(host)?;
        let release = kernel::choose(host, wanted)?;
        let build_root = sysroot::get(host, Kind::Build, &release, || Mirror::open(host))?;
        let metadata = Metadata::get(host, &build_root, &release, || Mirror::open(host))?;
        Ok(Self {
            release,
            build_root,
            metadata,
        })
    }

    /// Builds our modules.
    ///
    /// # Errors
    ///
    /// When they do not build.
    pub fn modules(&self, host: &Host, mode: Mode) -> Result<Modules> {
        modules::build(host, &self.build_root, &self.metadata, &self.release, mode)
    }
}

/// Makes everything that a boot needs.
///
/// # Errors
///
/// When a part cannot be had or does not build.
pub fn prepare(host: &Host, wanted: Option<&str>) -> Result<Context> {
    let toolchain = Toolchain::get(host, wanted)?;
    let release = &toolchain.release;
    let lab_root = sysroot::get(host, Kind::Lab, release, || Mirror::open(host))?;
    let kernel = kernel::stock(&lab_root, release)?;
    let modules = toolchain.modules(host, Mode::Build)?;
    let statics = statics::build(host)?;
    Ok(Context {
        host: host.clone(),
        lab_root,
        kernel,
        modules: modules.files,
        agent: statics.agent,
        hostile_blkback: statics.hostile_blkback,
        hostile_netback: statics.hostile_netback,
        cases: Vec::new(),
    })
}
