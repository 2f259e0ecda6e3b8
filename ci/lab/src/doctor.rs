// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this machine has, what it lacks, and how to get that.

use std::path::Path;

use crate::context::Host;
use crate::kernel::SUPPORTED;
use crate::run::Run;
use crate::sysroot::{self, Kind};
use crate::{apt, root, tools};

/// How a finding stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing; nothing fails for it.
    Note,
    /// Something will fail.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How it stands.
    pub verdict: Verdict,
    /// The fact.
    pub text: String,
    /// What to do.
    pub remedy: Option<String>,
}

fn good(text: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Good,
        text: text.into(),
        remedy: None,
    }
}

fn note(text: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Note,
        ..good(text)
    }
}

fn missing(text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Missing,
        text: text.into(),
        remedy: Some(remedy.into()),
    }
}

/// Looks at everything that the other commands need. Changes nothing.
pub fn examine(host: &Host) -> Vec<Finding> {
    let mut findings = vec![machine()];
    findings.extend(host_tools());
    findings.push(namespaces());
    findings.push(mirrors());
    findings.push(space(host));
    findings.push(memory());
    findings.push(acceleration());
    findings.push(removal(host));
    findings.extend(SUPPORTED.iter().map(|release| cached(host, release)));
    findings
}

fn machine() -> Finding {
    let arch = std::env::consts::ARCH;
    if arch == "x86_64" {
        good("machine is x86-64")
    } else {
        missing(
            format!("machine is {arch}"),
            "Portico's modules, Xen and the lab are for x86-64: use such a machine",
        )
    }
}

fn host_tools() -> Vec<Finding> {
    let lacking = tools::missing();
    let mut findings: Vec<Finding> = tools::TOOLS
        .iter()
        .filter(|tool| !tool.user_only || !tools::is_root())
        .map(|tool| match tools::find(tool.name) {
            Some(path) => good(format!("{}: {}", tool.name, path.display())),
            None => lacking_tool(tool),
        })
        .collect();
    if !lacking.is_empty() && !tools::is_root() {
        let command = tools::install_command(&lacking);
        findings.push(missing(
            "tools are missing",
            format!("install them by: {command}"),
        ));
    }
    findings
}

/// As root, the first command that needs a tool installs it.
fn lacking_tool(tool: &tools::Tool) -> Finding {
    let fact = format!("{} ({}) is not installed", tool.name, tool.purpose);
    if tools::is_root() && tools::find("apt-get").is_some() {
        note(format!(
            "{fact}; the next command that needs it installs it"
        ))
    } else {
        missing(fact, format!("package {}", tool.package))
    }
}

fn namespaces() -> Finding {
    if tools::find("unshare").is_none() || tools::find("mount").is_none() {
        return note("private namespaces were not tried, as tools for that are missing");
    }
    let tried = Run::new("unshare", "make private namespaces")
        .args(root::unshare_options())
        .args(["--", "sh", "-c", "mount -t tmpfs tmpfs /mnt"])
        .env("PATH", root::PATH)
        .output();
    match tried {
        Ok(_) => good("private mount and process namespaces can be made"),
        Err(error) if tools::is_root() => missing(
            format!("{error:#}"),
            "in a container: run it with the right to mount (such as --privileged)",
        ),
        Err(error) => missing(
            format!("{error:#}"),
            "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, and ids for this \
             user in /etc/subuid and /etc/subgid), or run as root",
        ),
    }
}

fn mirrors() -> Finding {
    match apt::archives(Path::new("/etc/apt")) {
        Ok(archives) => {
            let uris: Vec<&str> = archives.iter().map(apt::Archive::uri).collect();
            good(format!("apt is set up with {}", uris.join(", ")))
        }
        Err(error) => missing(format!("{error:#}"), "see sources.list(5)"),
    }
}

fn space(host: &Host) -> Finding {
    /// Bytes that the whole cache and the builds need at their peak.
    const WANTED: u64 = 10 << 30;
    let at = host.cache.root().display();
    match host.cache.free() {
        Ok(free) if free >= WANTED => good(format!("{} GiB free in {at}", free >> 30)),
        Ok(free) => missing(
            format!("{} GiB free in {at}", free >> 30),
            format!(
                "setting up from nothing needs {} GiB: free some, or set XDG_CACHE_HOME to a \
                 folder on a larger disk",
                WANTED >> 30
            ),
        ),
        Err(error) => missing(format!("{at}: {error:#}"), "set XDG_CACHE_HOME"),
    }
}

fn memory() -> Finding {
    /// KiB that a machine with Xen, dom0 and a guest takes, and cargo beside it.
    const WANTED: u64 = 4 << 20;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    match available {
        Some(free) if free < WANTED => missing(
            format!("{} MiB of memory free", free >> 10),
            format!(
                "booting the lab takes {} MiB: end other programs",
                WANTED >> 10
            ),
        ),
        Some(free) => good(format!("{} MiB of memory free", free >> 10)),
        None => note("how much memory is free is not known"),
    }
}

fn acceleration() -> Finding {
    if Path::new("/dev/kvm").exists() {
        note("/dev/kvm exists; Xen is booted under TCG, which does not need it")
    } else {
        note("no /dev/kvm; none is needed, Xen is booted under TCG")
    }
}

/// How to get rid of it all: an ordinary user's sysroots hold files of other ids.
fn removal(host: &Host) -> Finding {
    let namespace = if tools::is_root() {
        ""
    } else {
        "unshare --user --map-root-user --map-auto "
    };
    let at = host.cache.root().display();
    note(format!(
        "the cache can be removed by: {namespace}rm -rf {at}"
    ))
}

fn cached(host: &Host, release: &str) -> Finding {
    let has = |kind| sysroot::find(host, kind, release).is_some();
    match (has(Kind::Build), has(Kind::Lab)) {
        (true, true) => good(format!("kernel {release}: sysroots are in the cache")),
        (true, false) => note(format!("kernel {release}: build sysroot in the cache")),
        (false, true) => note(format!("kernel {release}: lab sysroot in the cache")),
        (false, false) => note(format!("kernel {release}: not in the cache")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::progress::Progress;

    #[test]
    fn every_missing_thing_has_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host {
            checkout: dir.path().to_owned(),
            target: dir.path().join("target"),
            cache: Cache::at(dir.path().join("cache")).unwrap(),
            progress: Progress::new(),
        };
        let findings = examine(&host);
        assert!(findings.len() > 8);
        for finding in findings {
            assert!(finding.verdict != Verdict::Missing || finding.remedy.is_some());
        }
    }
}
