// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running a tool inside a sysroot.
//!
//! Every run gets mount and process namespaces of its own: the sysroot is seen read-only, with
//! fresh `/proc`, `/tmp` and `/run`, the host's `/dev`, and the folders that the caller binds.
//! When the tool ends, or is killed, its processes and mounts end with it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{bail, Result};

use crate::run::Run;

/// Mount points for callers, made in every sysroot (which is read-only once it is cached).
pub const MOUNT_POINTS: [&str; 3] = ["/build", "/work", "/usr/src/portico"];

/// Enters: `$1` is the sysroot, then pairs of host path and path inside, `--`, and the command.
const ENTER: &str = r#"
set -e
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done
shift
exec chroot "$root" "$@"
"#;

/// Options of `unshare` for a private world. An ordinary user becomes root of a user namespace.
pub(crate) fn unshare_options() -> Vec<&'static str> {
    let mut options = vec![
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
    ];
    if !rustix::process::geteuid().is_root() {
        options.extend(["--user", "--map-root-user", "--map-auto"]);
    }
    options
}

/// The search path of tools on the host that may lie in `sbin`, and inside sysroots.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A sysroot that is ready.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
    binds: Vec<(PathBuf, String)>,
}

impl Root {
    /// The sysroot in the folder `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            binds: Vec::new(),
        }
    }

    /// The folder of the sysroot on the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside the sysroot, as seen from the host. Symbolic links are not followed.
    pub fn host_path(&self, inside: &str) -> PathBuf {
        self.path.join(inside.trim_start_matches('/'))
    }

    /// The same sysroot with the host's file or folder `host` seen at `inside`, which must exist
    /// (see [`MOUNT_POINTS`]). It is writable.
    #[must_use]
    pub fn bind(&self, host: impl Into<PathBuf>, inside: &str) -> Self {
        let mut root = self.clone();
        root.binds.push((host.into(), inside.to_owned()));
        root
    }

    /// A run of `tool` inside; `what` completes the sentence "cannot …" in errors. The
    /// environment is empty but for `PATH`, `HOME` and `LC_ALL`.
    pub fn enter(&self, tool: &str, what: &str) -> Run {
        let mut args: Vec<OsString> = Vec::new();
        args.extend(unshare_options().into_iter().map(OsString::from));
        args.extend(["--", "sh", "-c", ENTER, "enter"].map(OsString::from));
        args.push(self.path.clone().into());
        for (host, inside) in &self.binds {
            args.push(host.clone().into());
            args.push(inside.into());
        }
        args.push("--".into());
        args.push(tool.into());
        Run::new("unshare", what)
            .named(tool)
            .only_env(&[("PATH", PATH), ("HOME", "/tmp"), ("LC_ALL", "C.UTF-8")])
            .args(args)
    }

    /// The real path inside the sysroot of a path whose links must be read as the sysroot
    /// sees them.
    ///
    /// # Errors
    ///
    /// When a part of the path does not exist or links form a loop.
    pub fn resolve(&self, inside: &str) -> Result<PathBuf> {
        let mut todo: Vec<OsString> = split(Path::new(inside));
        let mut real = self.path.clone();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                if real != self.path {
                    real.pop();
                }
                continue;
            }
            let next = real.join(&part);
            let kind = match next.symlink_metadata() {
                Ok(data) => data.file_type(),
                Err(error) => bail!("{inside} in {}: {error}", self.path.display()),
            };
            if !kind.is_symlink() {
                real = next;
                continue;
            }
            links += 1;
            if links > 40 {
                bail!("{inside} in {}: too many links", self.path.display());
            }
            let target = std::fs::read_link(&next)?;
            if target.is_absolute() {
                real = self.path.clone();
            }
            todo.extend(split(&target));
        }
        Ok(real)
    }
}

/// The normal parts of a path, last one first.
fn split(path: &Path) -> Vec<OsString> {
    use std::path::Component;
    let mut parts: Vec<OsString> = path
        .components()
        .filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir))
        .map(|c| c.as_os_str().to_owned())
        .collect();
    parts.reverse();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_read_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        std::fs::write(dir.path().join("usr/lib/real"), "x").unwrap();
        symlink("usr/lib", dir.path().join("lib")).unwrap();
        symlink("/lib/real", dir.path().join("usr/lib/absolute")).unwrap();
        symlink("../../../../lib/real", dir.path().join("usr/lib/above")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        let want = dir.path().join("usr/lib/real");
        for path in ["/lib/real", "/lib/absolute", "/usr/lib/above"] {
            assert_eq!(root.resolve(path).unwrap(), want);
        }
        assert!(root.resolve("/loop").is_err());
        assert!(root.resolve("/none").is_err());
    }

    #[test]
    fn bound_folders_and_the_command_are_passed_apart() {
        let run = Root::new("/r").bind("/h", "/work").enter("ls", "list");
        let args = run.arguments();
        let tail: Vec<_> = args.iter().rev().take(5).rev().collect();
        assert_eq!(tail, ["/r", "/h", "/work", "--", "ls"]);
    }
}
