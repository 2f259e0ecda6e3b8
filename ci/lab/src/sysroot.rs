// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sysroots of a kernel: `build`, in which modules are compiled, `lab`, with QEMU, Xen and what the
//! images of dom0 and guests are put together from, and `selftests`, for the kernel's own tests.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::apt::SUITE;
use crate::cache::Inputs;
use crate::context::Host;
use crate::mirror::Mirror;
use crate::root::{self, Root, MOUNT_POINTS, PATH};
use crate::run::Run;
use crate::tools;

/// Raised when the way sysroots are made changes what is in them.
const FORMAT: u32 = 1;

/// What builds modules, and the kernel's Rust metadata. rustc must be the release's own: its
/// version is part of every Rust symbol's hash.
const BUILD_PACKAGES: &[&str] = &[
    "bash",
    "bc",
    "bindgen",
    "bison",
    "cpio",
    "flex",
    "gcc-14",
    "kmod",
    "libelf-dev",
    "libssl-dev",
    "libxen-dev",
    "make",
    "pahole",
    "perl",
    "python3-minimal",
    "rust-clippy",
    "rust-src",
    "rustc",
    "xz-utils",
    "zstd",
];

/// What boots machines and fills images.
const LAB_PACKAGES: &[&str] = &[
    "bash",
    "busybox-static",
    "cpio",
    "e2fsprogs",
    "ethtool",
    "fio",
    "iproute2",
    "ipxe-qemu",
    "kmod",
    "mount",
    "qemu-system-x86",
    "qemu-system-xen",
    "qemu-utils",
    "seabios",
    "xen-hypervisor-4.20-amd64",
    "xen-utils-4.20",
    "xen-utils-common",
    "xenstore-utils",
    "xz-utils",
    "zstd",
];

/// What the kernel's own tests of network drivers are built with, and what they call.
const SELFTESTS_PACKAGES: &[&str] = &[
    "bash",
    "bpftool",
    "clang",
    "ethtool",
    "gcc",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "libc6-dev",
    "libelf-dev",
    "make",
    "openssh-client",
    "openssh-server",
    "procps",
    "python3",
    "python3-jsonschema",
    "python3-yaml",
    "rsync",
    "socat",
    "xz-utils",
    "zlib1g-dev",
];

/// Which of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Compiler, headers.
    Build,
    /// QEMU, Xen, tools, the kernel.
    Lab,
    /// What the kernel's own tests need, on both ends.
    Selftests,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Build => "root-build",
            Kind::Lab => "root-lab",
            Kind::Selftests => "root-selftests",
        }
    }

    /// Bytes that making it takes.
    fn room(self) -> u64 {
        match self {
            Kind::Build => 3 << 30,
            Kind::Lab | Kind::Selftests => 2 << 30,
        }
    }

    fn packages(self, kernel: &str) -> Vec<String> {
        let (common, own): (_, &[&str]) = match self {
            Kind::Build => (BUILD_PACKAGES, &["linux-headers"]),
            Kind::Lab => (LAB_PACKAGES, &["linux-binary", "linux-modules"]),
            Kind::Selftests => (SELFTESTS_PACKAGES, &[]),
        };
        common
            .iter()
            .map(|&p| p.to_owned())
            .chain(own.iter().map(|p| format!("{p}-{kernel}")))
            .collect()
    }

    fn inputs(self, kernel: &str) -> Inputs {
        Inputs::new(FORMAT)
            .with("suite", SUITE)
            .with("packages", &self.packages(kernel).join(","))
            .with("mount points", &MOUNT_POINTS.join(","))
            .with("setup", SETUP)
            .with("owner", if tools::is_root() { "root" } else { "user" })
    }
}

/// Runs outside with the sysroot as `$1`: mount points, and for the build sysroot (`$2` is its
/// kernel) the places over which the kernel's Rust metadata is laid.
const SETUP: &str = r#"
set -e
for dir in build work usr/src/portico; do mkdir -p "$1/$dir"; done
if [ -d "$1/usr/src/linux-headers-$2" ]; then
    mkdir -p "$1/usr/src/linux-headers-$2/rust"
    : > "$1/usr/src/linux-headers-$2/scripts/target.json"
fi
rm -rf "$1/var/cache/apt" "$1/var/lib/apt/lists" "$1"/var/log/*
"#;

/// Documentation and translations are left out.
const LEFT_OUT: &[&str] = &["doc", "man", "info", "locale", "bash-completion"];

/// Whether the sysroot is in the cache.
pub fn find(host: &Host, kind: Kind, kernel: &str) -> Option<Root> {
    let path = host.cache.find(kind.name(), &kind.inputs(kernel))?;
    Some(Root::new(path.join("root")))
}

/// The sysroot, made when it is not in the cache.
///
/// # Errors
///
/// When the mirror cannot be read or a package cannot be installed.
pub fn get(
    host: &Host,
    kind: Kind,
    kernel: &str,
    mirror: impl FnOnce() -> Result<Mirror>,
) -> Result<Root> {
    let path = host.cache.entry(
        kind.name(),
        &kind.inputs(kernel),
        &host.progress,
        |folder| make(host, kind, kernel, &mirror()?, folder),
    )?;
    Ok(Root::new(path.join("root")))
}

fn make(host: &Host, kind: Kind, kernel: &str, mirror: &Mirror, folder: &Path) -> Result<()> {
    host.cache.room(kind.room())?;
    let name = kind.name();
    let step = host.progress.step(format!(
        "making the sysroot {name} ({SUITE}, kernel {kernel})"
    ));
    let root = folder.join("root");
    let setup = folder.join("setup");
    std::fs::write(&setup, SETUP)?;
    let mut run = Run::new("unshare", format!("make the sysroot {name}"))
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", PATH)
        .args(root::unshare_options())
        .args(["--", "mmdebstrap", "--mode=root", "--variant=apt"])
        .args(["--format=directory", "--architectures=amd64"])
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg("--aptopt=Acquire::Languages \"none\"")
        .arg("--aptopt=Acquire::Retries \"3\"")
        // The cache flushes the whole at its end; dpkg need not do it for each file.
        .arg("--dpkgopt=force-unsafe-io");
    for option in proxies()? {
        run = run.arg(format!("--aptopt={option}"));
    }
    for folder in LEFT_OUT {
        run = run.arg(format!("--dpkgopt=path-exclude=/usr/share/{folder}/*"));
    }
    run.arg(format!("--include={}", kind.packages(kernel).join(",")))
        .arg(format!(
            "--customize-hook=sh '{}' \"$1\" '{kernel}'",
            setup.display()
        ))
        .arg(SUITE)
        .arg(&root)
        .arg(mirror.sources())
        .log(host.log(name))
        .run(Some(&step))?;
    std::fs::remove_file(setup).context("removing the set-up script")?;
    step.done("");
    Ok(())
}

/// The proxies of the system's apt configuration, as mmdebstrap reads none of it.
fn proxies() -> Result<Vec<String>> {
    let dump = Run::new("apt-config", "read the system's apt configuration")
        .args(["dump", "Acquire"])
        .output()?;
    Ok(dump
        .lines()
        .filter(|line| line.to_ascii_lowercase().contains("proxy") && !line.contains("\"\""))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_kind_and_kernel() {
        let key = |kind: Kind, kernel| format!("{:?}", kind.inputs(kernel));
        assert_ne!(key(Kind::Build, "7.3.4"), key(Kind::Build, "7.2.12"));
        assert_ne!(key(Kind::Build, "7.3.4"), key(Kind::Lab, "7.3.4"));
        assert!(Kind::Lab
            .packages("7.3.4+deb13-amd64")
            .contains(&"linux-binary-7.3.4+deb13-amd64".to_owned()));
    }

    #[test]
    fn the_setup_makes_every_mount_point() {
        for point in MOUNT_POINTS {
            assert!(SETUP.contains(point.trim_start_matches('/')));
        }
    }
}
