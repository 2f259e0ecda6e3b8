// SPDX-License-Identifier: MIT OR Apache-2.0
//! Our programs for dom0 and guests, as static binaries: they run in any image.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::context::Host;
use crate::run::Run;
use crate::stage::cargo;

const TARGET: &str = "x86_64-unknown-linux-gnu";

const PROGRAMS: [&str; 3] = ["portico-agent", "hostile-blkback", "hostile-netback"];

/// The finished programs.
#[derive(Clone, Debug)]
pub struct Statics {
    /// The agent of guests and dom0.
    pub agent: PathBuf,
    /// The hostile block back end.
    pub hostile_blkback: PathBuf,
    /// The hostile network back end.
    pub hostile_netback: PathBuf,
}

/// Builds the programs and puts them into `target/dist/`.
///
/// # Errors
///
/// When one does not build.
pub fn build(host: &Host) -> Result<Statics> {
    let step = host.progress.step("building the agent and the back ends");
    let out = host.target.join("static");
    Run::new(cargo(), "build the agent and the back ends")
        .args(["build", "--release", "--target", TARGET, "--target-dir"])
        .arg(&out)
        .args(PROGRAMS.iter().flat_map(|name| ["--package", name]))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .dir(&host.checkout)
        .log(host.log("statics"))
        .run(Some(&step))?;
    fs::create_dir_all(host.dist())?;
    let publish = |name: &str| -> Result<PathBuf> {
        let from = out.join(TARGET).join("release").join(name);
        let to = host.dist().join(name);
        let fresh = host.dist().join(format!(".{name}.new"));
        fs::copy(&from, &fresh).with_context(|| format!("copying {}", from.display()))?;
        fs::rename(&fresh, &to)?;
        Ok(to)
    };
    let statics = Statics {
        agent: publish("portico-agent")?,
        hostile_blkback: publish("hostile-blkback")?,
        hostile_netback: publish("hostile-netback")?,
    };
    step.done("");
    Ok(statics)
}
