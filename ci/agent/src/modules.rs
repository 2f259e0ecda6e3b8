// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel modules: loaded with what they depend on, in the order that `modules.dep` gives.

use crate::proto::{Driver, Fault, FaultKind, ModuleState};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Modules of the running kernel, from `lib/modules/V/modules.dep`.
#[derive(Debug)]
pub struct Modules {
    base: PathBuf,
    /// Path below `base` and the paths that it needs, nearest first.
    entries: Vec<(String, Vec<String>)>,
}

impl Modules {
    /// Reads the list of a kernel release.
    pub fn open(release: &str) -> Result<Modules, Fault> {
        let base = Path::new("/lib/modules").join(release);
        let path = base.join("modules.dep");
        let text = fs::read_to_string(&path).map_err(|e| Fault::os(path.display(), &e))?;
        Ok(Modules {
            base,
            entries: parse(&text),
        })
    }

    /// Loads a module and what it needs. Those that are loaded already are left alone.
    pub fn load(&self, name: &str, params: &str, driver: Driver) -> Result<(), Fault> {
        let (path, needs) = find(&self.entries, name, driver).ok_or_else(|| {
            Fault::new(
                FaultKind::BadRequest,
                format!(
                    "no {} module {name} in {}",
                    driver.name(),
                    self.base.display()
                ),
            )
        })?;
        let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        for needed in needs.iter().rev() {
            self.insert(needed, &from_command_line(&line, needed))?;
        }
        self.insert(
            path,
            &format!("{} {params}", from_command_line(&line, path)),
        )
    }

    fn insert(&self, path: &str, params: &str) -> Result<(), Fault> {
        let full = self.base.join(path);
        let file = fs::File::open(&full).map_err(|e| Fault::os(full.display(), &e))?;
        let text = CString::new(params)
            .map_err(|_| Fault::new(FaultKind::BadRequest, "a zero byte in module parameters"))?;
        // SAFETY: the descriptor is open and `text` is a C string; both live over the call.
        let done =
            unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), text.as_ptr(), 0) };
        if done == 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            e => Err(Fault::os(format_args!("cannot load {path}"), &e)),
        }
    }
}

/// Removes a module.
pub fn unload(name: &str) -> Result<(), Fault> {
    let text = CString::new(canonical(name))
        .map_err(|_| Fault::new(FaultKind::BadRequest, "a zero byte in a module name"))?;
    // SAFETY: `text` is a C string that lives over the call.
    let done = unsafe { libc::syscall(libc::SYS_delete_module, text.as_ptr(), libc::O_NONBLOCK) };
    if done == 0 {
        return Ok(());
    }
    Err(Fault::os(
        format_args!("cannot remove module {name}"),
        &io::Error::last_os_error(),
    ))
}

/// State of a loaded module; none if it is not loaded.
pub fn state(name: &str) -> Option<ModuleState> {
    let dir = Path::new("/sys/module").join(canonical(name));
    let read =
        |file: &str| fs::read_to_string(dir.join(file)).map(|text| text.trim_end().to_owned());
    // Built-in modules with parameters have a folder too, but no state.
    read("initstate").ok()?;
    let params = names(&dir.join("parameters"))
        .into_iter()
        .filter_map(|p| {
            read(&format!("parameters/{p}"))
                .ok()
                .map(|value| (p, value))
        })
        .collect();
    Some(ModuleState {
        refcount: read("refcnt").ok()?.parse().ok()?,
        taint: read("taint").unwrap_or_default(),
        params,
        holders: names(&dir.join("holders")),
    })
}

fn names(dir: &Path) -> Vec<String> {
    let mut list: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    list.sort();
    list
}

fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// Name of the module in a file such as `kernel/drivers/block/brd.ko`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    canonical(file.split('.').next().unwrap_or(file))
}

/// Parameters of a module on the kernel's command line, as modprobe takes them: `module.key=value`.
fn from_command_line(line: &str, path: &str) -> String {
    let name = name_of(path);
    let own: Vec<&str> = line
        .split_whitespace()
        .filter_map(|word| word.split_once('.'))
        .filter(|(module, _)| canonical(module) == name)
        .map(|(_, parameter)| parameter)
        .collect();
    own.join(" ")
}

fn is_ours(path: &str) -> bool {
    path.starts_with("updates/")
}

fn parse(text: &str) -> Vec<(String, Vec<String>)> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| {
            (
                path.trim().to_owned(),
                needs.split_whitespace().map(str::to_owned).collect(),
            )
        })
        .collect()
}

/// A module that exists in one version only is taken whichever driver is wanted.
fn find<'a>(
    entries: &'a [(String, Vec<String>)],
    name: &str,
    driver: Driver,
) -> Option<(&'a str, &'a [String])> {
    let wanted = canonical(name);
    let mut found: Vec<_> = entries
        .iter()
        .filter(|(path, _)| name_of(path) == wanted)
        .collect();
    if found.len() > 1 {
        found.retain(|(path, _)| is_ours(path) == (driver == Driver::Ours));
    }
    found
        .first()
        .map(|(path, needs)| (path.as_str(), needs.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_from_the_command_line_too() {
        let line =
            "quiet xen_blkfront.max_queues=2 xen-blkfront.trusted=0 brd.rd_nr=1 xen_blkfront.x";
        assert_eq!(
            from_command_line(line, "updates/xen-blkfront.ko"),
            "max_queues=2 trusted=0 x"
        );
        assert_eq!(from_command_line(line, "kernel/portico.ko"), "");
    }

    #[test]
    fn the_wanted_driver_is_found() {
        let entries = parse(
            "kernel/drivers/block/xen-blkfront.ko:\n\
             updates/xen-blkfront.ko: updates/portico.ko\n\
             updates/portico.ko:\n\
             kernel/net/bridge.ko: kernel/net/stp.ko kernel/net/llc.ko\n",
        );
        let path = |name, driver| find(&entries, name, driver).map(|f| f.0);
        assert_eq!(
            path("xen_blkfront", Driver::Ours),
            Some("updates/xen-blkfront.ko")
        );
        assert_eq!(
            path("xen-blkfront", Driver::Stock),
            Some("kernel/drivers/block/xen-blkfront.ko")
        );
        assert_eq!(path("bridge", Driver::Ours), Some("kernel/net/bridge.ko"));
        assert_eq!(path("loop", Driver::Stock), None);
        assert_eq!(find(&entries, "bridge", Driver::Stock).unwrap().1.len(), 2);
    }
}
