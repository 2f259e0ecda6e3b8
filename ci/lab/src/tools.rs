// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tools of the host. What is missing is installed when we may, and named otherwise.

use std::path::PathBuf;

use anyhow::{bail, Result};

use crate::context::Host;
use crate::root::PATH;
use crate::run::Run;

/// A tool that the host must have, and the package that brings it.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The command.
    pub name: &'static str,
    /// The distribution's package.
    pub package: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Only ordinary users need it.
    pub user_only: bool,
}

/// All tools of the host beside Rust.
pub const TOOLS: &[Tool] = &[
    tool("mmdebstrap", "mmdebstrap", "makes the sysroots"),
    tool("dpkg-deb", "dpkg", "unpacks packages"),
    tool("apt-get", "apt", "reads the package index"),
    tool("unshare", "util-linux", "enters the sysroots"),
    tool("mount", "mount", "enters the sysroots"),
    tool("chroot", "coreutils", "enters the sysroots"),
    tool("cc", "gcc", "links the static binaries"),
    tool("git", "git", "lists the files of the checkout"),
    Tool {
        user_only: true,
        ..tool(
            "newuidmap",
            "uidmap",
            "gives an ordinary user the ids of a sysroot",
        )
    },
];

const fn tool(name: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool {
        name,
        package,
        purpose,
        user_only: false,
    }
}

/// Whether this run has root's rights.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Where a tool lies on the host.
pub fn find(name: &str) -> Option<PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&own)
        .chain(std::env::split_paths(PATH))
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// The tools that this user needs and the host lacks.
pub fn missing() -> Vec<Tool> {
    TOOLS
        .iter()
        .filter(|tool| !tool.user_only || !is_root())
        .filter(|tool| find(tool.name).is_none())
        .copied()
        .collect()
}

/// The one command that installs these tools.
pub fn install_command(tools: &[Tool]) -> String {
    let mut packages: Vec<&str> = tools.iter().map(|tool| tool.package).collect();
    packages.dedup();
    format!("sudo apt-get install --yes {}", packages.join(" "))
}

/// Makes sure that every tool of the host is there. As root the missing ones are installed.
///
/// # Errors
///
/// When one is missing and cannot be installed.
pub fn ensure(host: &Host) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|tool| tool.name).collect();
    let names = names.join(", ");
    let command = install_command(&missing);
    if !is_root() {
        bail!("missing on this machine: {names}. Install by\n    {command}\nand run again");
    }
    if find("apt-get").is_none() {
        bail!("missing on this machine: {names}, and no apt-get to install them");
    }
    host.progress.say(format!(
        "missing on this machine: {names}; as root, installing from the distribution"
    ));
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let step = host.progress.step("installing the missing tools");
    let install = || {
        Run::new("apt-get", "install the missing tools")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(&packages)
            .log(host.log("apt-install"))
            .run(Some(&step))
    };
    // Without package lists, or with old ones, the first try fails.
    if install().is_err() {
        crate::stop::check()?;
        Run::new("apt-get", "update the system's package lists")
            .arg("update")
            .log(host.log("apt-install-update"))
            .run(Some(&step))?;
        install()?;
    }
    step.done(names);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_the_packages() {
        let missing: Vec<Tool> = TOOLS
            .iter()
            .filter(|t| ["unshare", "newuidmap"].contains(&t.name))
            .copied()
            .collect();
        assert_eq!(
            install_command(&missing),
            "sudo apt-get install --yes util-linux uidmap"
        );
        assert!(find("sh").is_some() && find("no-such-tool").is_none());
    }
}
