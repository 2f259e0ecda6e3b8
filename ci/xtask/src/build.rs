// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask build`.

use anyhow::Result;
use clap::ValueEnum;
use portico_lab::context::Host;
use portico_lab::modules::Mode;
use portico_lab::setup::Toolchain;
use portico_lab::{statics, tools};

/// What to build.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum What {
    /// The Linux modules.
    Linux,
    /// The guest agent and the hostile back ends: static programs.
    Agent,
    /// Everything.
    All,
}

pub(crate) fn run(host: &Host, kernel: Option<&str>, what: What) -> Result<()> {
    tools::ensure(host)?;
    let mut files = Vec::new();
    if what != What::Agent {
        let modules = Toolchain::get(host, kernel)?.modules(host, Mode::Build)?;
        files.extend(modules.files);
    }
    if what != What::Linux {
        let statics = statics::build(host)?;
        files.extend([
            statics.agent,
            statics.hostile_blkback,
            statics.hostile_netback,
        ]);
    }
    for file in files {
        let shown = file.strip_prefix(&host.checkout).unwrap_or(&file);
        println!("{}", shown.display());
    }
    Ok(())
}
