// SPDX-License-Identifier: MIT OR Apache-2.0
//! What both roles need before anything else: mounts, the kernel command line, modules, and a first
//! process that does nothing but wait for children.

use crate::exec::Group;
use crate::modules::Modules;
use crate::proto::{Driver, Exec, Fault, Hello, VERSION};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What the kernel command line tells the agent, as `lab.NAME=VALUE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `role`: `dom0` or `guest`.
    pub role: String,
    /// `driver`: whose modules to prefer, `stock` or `ours`.
    pub driver: Option<Driver>,
    /// `modules`: names separated by commas, loaded in this order.
    pub modules: Vec<String>,
    /// `root`: block device with the real root file system; none to stay in the initramfs.
    pub root: Option<String>,
}

impl Settings {
    /// Reads `/proc/cmdline`.
    pub fn read() -> Settings {
        Settings::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    fn parse(line: &str) -> Settings {
        let mut settings = Settings::default();
        for word in line.split_whitespace() {
            let Some((key, value)) = word.strip_prefix("lab.").and_then(|w| w.split_once('='))
            else {
                continue;
            };
            match key {
                "role" => settings.role = value.into(),
                "driver" => settings.driver = Driver::from_name(value),
                "modules" => settings.modules = value.split(',').map(str::to_owned).collect(),
                "root" => settings.root = Some(value.into()),
                _ => {}
            }
        }
        settings
    }
}

/// Collects what fails on the way up; the host decides what it means.
#[derive(Debug, Default)]
pub struct Problems(pub Vec<String>);

impl Problems {
    /// Notes a failure, and says it on the console too, in case the agent gets no further.
    pub fn note(&mut self, what: impl std::fmt::Display) {
        say(&what);
        self.0.push(what.to_string());
    }

    /// Notes the failure of a step, if it failed.
    pub fn check<T, E: std::fmt::Display>(
        &mut self,
        what: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        result
            .map_err(|e| self.note(format_args!("{what}: {e}")))
            .ok()
    }

    /// Runs a command that should end well within some seconds.
    pub fn run(&mut self, argv: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let exit = crate::exec::run(
            &Exec::new(argv.iter().copied()),
            deadline,
            &Group::default(),
        );
        match exit {
            Ok(exit) if exit.code == 0 => {}
            Ok(exit) => self.note(format_args!(
                "{} ended with {}: {} {}",
                argv.join(" "),
                exit.code,
                exit.stdout.trim(),
                exit.stderr.trim()
            )),
            Err(fault) => self.note(fault),
        }
    }

    /// Loads a module.
    pub fn load(&mut self, modules: Option<&Modules>, name: &str, driver: Driver) {
        if let Some(modules) = modules {
            self.check(name, modules.load(name, "", driver));
        }
    }
}

/// Writes a line to the console.
pub fn say(what: impl std::fmt::Display) {
    // With no console there is nobody to tell.
    let _ = fs::write("/dev/console", format!("portico-agent: {what}\r\n"));
}

/// Mounts a file system, making its folder first. One that is mounted already is fine.
pub fn mount(source: &str, target: &str, kind: &str) -> Result<(), Fault> {
    let _ = fs::create_dir_all(target);
    let text = |s: &str| CString::new(s).unwrap_or_default();
    let (from, to, fs_kind) = (text(source), text(target), text(kind));
    // SAFETY: the three C strings live over the call, and no data is passed.
    let done = unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            fs_kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    let error = io::Error::last_os_error();
    if done == 0 || error.raw_os_error() == Some(libc::EBUSY) {
        return Ok(());
    }
    Err(Fault::os(
        format_args!("cannot mount {kind} on {target}"),
        &error,
    ))
}

/// Mounts what every Linux system has, and makes the commands of busybox reachable.
pub fn basics(problems: &mut Problems) {
    for (source, target, kind) in [
        ("proc", "/proc", "proc"),
        ("sysfs", "/sys", "sysfs"),
        ("devtmpfs", "/dev", "devtmpfs"),
        ("devpts", "/dev/pts", "devpts"),
        ("tmpfs", "/tmp", "tmpfs"),
        ("tmpfs", "/run", "tmpfs"),
        ("debugfs", "/sys/kernel/debug", "debugfs"),
    ] {
        problems.check(target, mount(source, target, kind));
    }
    for (name, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "fd/0"),
        ("/dev/stdout", "fd/1"),
        ("/dev/stderr", "fd/2"),
    ] {
        let _ = std::os::unix::fs::symlink(target, name);
    }
    // In a folder that comes last in the search path: full programs go first.
    let folder = "/usr/lib/busybox";
    problems.check(folder, fs::create_dir_all(folder));
    problems.run(&["busybox", "--install", "-s", folder]);
}

/// Release of the running kernel.
pub fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What the agent says of itself once the system is up.
pub fn hello(problems: Problems) -> Hello {
    let mut run = [0; 8];
    if fs::File::open("/dev/urandom")
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut run))
        .is_err()
    {
        run = u64::from(std::process::id()).to_le_bytes();
    }
    Hello {
        version: VERSION,
        run: u64::from_le_bytes(run),
        kernel: kernel_release(),
        problems: problems.0,
    }
}

/// As process 1: runs the agent in a child and reaps orphans until it ends. The agent itself would
/// otherwise have to tell its own children from those that it inherits.
pub fn first_process() -> ! {
    let child =
        std::env::current_exe().and_then(|exe| Command::new(exe).env("PORTICO_CHILD", "1").spawn());
    match &child {
        Ok(_) => {}
        Err(e) => say(format_args!("cannot start myself again: {e}")),
    }
    let agent = child.map_or(-1, |child| child.id() as i32);
    loop {
        // SAFETY: a null status pointer is allowed.
        let gone = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
        if gone == agent || gone < 0 {
            say("the agent has ended; switching off");
            // SAFETY: neither call takes pointers.
            unsafe {
                libc::sync();
                libc::reboot(libc::RB_POWER_OFF);
            }
            std::thread::sleep(Duration::from_secs(5));
        }
    }
}

/// Changes to the real root file system on `device` and starts the agent from there. Returns only when
/// that failed.
pub fn change_root(device: &str) -> Fault {
    const NEW: &str = "/newroot";
    let deadline = Instant::now() + Duration::from_secs(30);
    while !Path::new(device).exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    if let Err(fault) = mount(device, NEW, "ext4") {
        return fault;
    }
    let done = std::env::set_current_dir(NEW)
        .and_then(|()| std::os::unix::fs::chroot("."))
        .and_then(|()| std::env::set_current_dir("/"));
    if let Err(e) = done {
        return Fault::os(format_args!("cannot change root to {device}"), &e);
    }
    let e = Command::new("/sbin/portico-agent")
        .env("PORTICO_ROOTED", "1")
        .exec();
    Fault::os(format_args!("cannot start the agent on {device}"), &e)
}

/// Unmounts file systems on block devices, or makes them read-only where they are in use.
pub fn unmount_disks() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines().rev() {
        let mut fields = line.split(' ');
        let (Some(device), Some(target)) = (fields.next(), fields.next()) else {
            continue;
        };
        if !device.starts_with("/dev/") {
            continue;
        }
        let Ok(target) = CString::new(target) else {
            continue;
        };
        let flags = libc::MS_REMOUNT | libc::MS_RDONLY;
        // SAFETY: `target` is a C string that lives over the calls; the other pointers may be null for
        // a remount.
        unsafe {
            libc::sync();
            if libc::umount2(target.as_ptr(), 0) != 0 {
                libc::mount(
                    std::ptr::null(),
                    target.as_ptr(),
                    std::ptr::null(),
                    flags,
                    std::ptr::null(),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_understood() {
        let settings = Settings::parse(
            "console=hvc0 lab.role=guest lab.driver=ours lab.modules=xen-blkfront,ext4 quiet",
        );
        assert_eq!(settings.role, "guest");
        assert_eq!(settings.driver, Some(Driver::Ours));
        assert_eq!(settings.modules, ["xen-blkfront", "ext4"]);
        assert_eq!(settings.root, None);
    }
}
