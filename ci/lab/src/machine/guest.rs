// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests: their configuration, their life from create to destroy, and their console.

use std::fmt;
use std::time::Duration;

use anyhow::{bail, Context as _, Result};
use portico_agent::proto::{Driver, Fault, Hello, Op, Reply};
use serde::Serialize;

use super::verdict::judge_guest;
use super::{Failure, Machine, Verdict, Vif};

/// A guest may take this long to come up before it counts as hung.
const UP_LIMIT: Duration = Duration::from_secs(120);

/// `xl` commands that build, move or end a domain.
pub(super) const XL_LIMIT: Duration = Duration::from_secs(90);

/// How Xen runs a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestType {
    /// Hardware virtualisation with an emulated platform.
    Hvm,
    /// Hardware virtualisation without one.
    Pvh,
    /// Paravirtualised.
    Pv,
}

impl GuestType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hvm, Self::Pvh, Self::Pv];

    /// Its name in xl's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hvm => "hvm",
            Self::Pvh => "pvh",
            Self::Pv => "pv",
        }
    }
}

impl std::str::FromStr for GuestType {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|kind| kind.name() == text) {
            Some(kind) => Ok(kind),
            None => bail!("there is no guest type {text:?}: it is hvm, pvh or pv"),
        }
    }
}

/// A disk of a guest, as xl's disk specification has it.
#[derive(Clone, Debug)]
pub struct Disk {
    /// `phy:` and a block device of dom0, or `file:` and a file there.
    pub target: String,
    /// Name in the guest, such as `xvda`.
    pub vdev: String,
    /// May it be written?
    pub writable: bool,
    /// More words of the specification, such as `cdrom`.
    pub more: Vec<String>,
}

impl Disk {
    /// A writable disk on a block device of dom0.
    pub fn device(path: &str, vdev: &str) -> Self {
        Self {
            target: format!("phy:{path}"),
            vdev: vdev.into(),
            writable: true,
            more: Vec::new(),
        }
    }

    fn specification(&self) -> String {
        let mode = if self.writable { "w" } else { "r" };
        let mut vdev = self.vdev.clone();
        for word in &self.more {
            vdev.push(':');
            vdev.push_str(word);
        }
        format!("{},{vdev},{mode}", self.target)
    }
}

/// How a guest is to be.
#[derive(Clone, Debug)]
pub struct GuestSpec {
    /// Its name.
    pub name: String,
    /// How Xen runs it.
    pub kind: GuestType,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Whose modules it loads.
    pub driver: Driver,
    /// Modules that it loads on its way up.
    pub modules: Vec<String>,
    /// More words for its kernel's command line.
    pub cmdline: Vec<String>,
    /// Its disks.
    pub disks: Vec<Disk>,
    /// Its network interfaces; see [`GuestSpec::plug`].
    pub vifs: Vec<Vif>,
    /// More lines of xl's configuration.
    pub config: Vec<String>,
}

impl GuestSpec {
    /// A guest with one processor, our or the stock block driver, and no disk.
    pub fn new(name: &str, kind: GuestType, driver: Driver) -> Self {
        Self {
            name: name.into(),
            kind,
            vcpus: 1,
            memory_mib: 320,
            driver,
            modules: vec!["xen-blkfront".into()],
            cmdline: Vec::new(),
            disks: Vec::new(),
            vifs: Vec::new(),
            config: Vec::new(),
        }
    }

    /// Gives it a network interface, and has it load the driver.
    pub fn plug(&mut self, vif: Vif) {
        self.vifs.push(vif);
        let module = super::net::MODULE;
        if !self.modules.iter().any(|name| name == module) {
            self.modules.push(module.into());
        }
    }

    fn configuration(&self) -> String {
        let kernel = match self.kind {
            GuestType::Hvm => "bzImage",
            GuestType::Pvh | GuestType::Pv => "vmlinux",
        };
        let disks: Vec<String> = self
            .disks
            .iter()
            .map(|disk| format!("{:?}", disk.specification()))
            .collect();
        let vifs: Vec<String> = self
            .vifs
            .iter()
            .map(|vif| format!("{:?}", vif.specification()))
            .collect();
        let mut cmdline = format!(
            "console=hvc0 loglevel=5 mitigations=off panic=1 lab.role=guest lab.driver={}",
            self.driver.name()
        );
        if !self.modules.is_empty() {
            cmdline.push_str(&format!(" lab.modules={}", self.modules.join(",")));
        }
        if self.kind != GuestType::Hvm {
            // Reads an AMD register that is not there and faults.
            cmdline.push_str(" initcall_blacklist=print_s5_reset_status_mmio");
        }
        for word in &self.cmdline {
            cmdline.push(' ');
            cmdline.push_str(word);
        }
        let mut lines = vec![
            format!("name={:?}", self.name),
            format!("type={:?}", self.kind.name()),
            format!("kernel=\"/guest/{kernel}\""),
            "ramdisk=\"/guest/initramfs\"".into(),
            format!("cmdline={cmdline:?}"),
            format!("memory={}", self.memory_mib),
            format!("vcpus={}", self.vcpus),
            format!("disk=[{}]", disks.join(", ")),
            format!("vif=[{}]", vifs.join(", ")),
            // Emulated or scaled time makes boots stall under TCG.
            "tsc_mode=\"native\"".into(),
            "on_crash=\"preserve\"".into(),
            "on_poweroff=\"preserve\"".into(),
            "on_reboot=\"preserve\"".into(),
        ];
        if self.kind == GuestType::Hvm {
            lines.extend(
                [
                    "vga=\"none\"",
                    "serial=\"null\"",
                    "parallel=\"none\"",
                    "usb=0",
                    "vnc=0",
                    "sdl=0",
                    "acpi=1",
                    "hap=1",
                    "xen_platform_pci=1",
                ]
                .map(str::to_owned),
            );
        }
        lines.extend(self.config.iter().cloned());
        lines.join("\n") + "\n"
    }
}

/// A guest that was created.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its domain number; another one after a restore.
    pub domid: u32,
    /// Whose driver it loads.
    pub driver: Driver,
    /// Seconds from `xl create` to the first answer of its agent.
    pub up_seconds: f64,
    kind: GuestType,
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} guest {} (domain {})",
            self.kind.name(),
            self.name,
            self.domid
        )
    }
}

fn console_log(name: &str) -> String {
    format!("/var/log/xen/console/guest-{name}.log")
}

impl Machine {
    /// Creates a guest and waits for its agent.
    ///
    /// # Errors
    ///
    /// When xl refuses, a [`Failure`] with the guest's console when it does not come up, and when it
    /// says that something failed on its way up.
    pub fn create(&mut self, spec: &GuestSpec) -> Result<Guest> {
        let path = format!("/tmp/{}.cfg", spec.name);
        self.dom0().write(&path, &spec.configuration())?;
        // Not to be taken for what an earlier guest of this name has printed.
        self.dom0().write(&console_log(&spec.name), "")?;
        let begun = self.seconds();
        if let Err(error) = self.dom0().run(&["xl", "create", &path], XL_LIMIT) {
            let show = "tail -n 20 /var/log/xen/*.log";
            let logs = self.dom0().shell(show, XL_LIMIT)?.stdout;
            bail!("cannot create guest {}: {error:#}\n{logs}", spec.name);
        }
        let mut guest = Guest {
            name: spec.name.clone(),
            domid: self.domid(&spec.name)?,
            driver: spec.driver,
            up_seconds: 0.0,
            kind: spec.kind,
        };
        let hello = match self.at(&guest).ask(Op::Ping, UP_LIMIT) {
            Ok(Reply::Hello(hello)) => hello,
            Ok(other) => bail!("{guest} greeted with {other:?}"),
            Err(error) => return Err(self.guest_failure(&guest, &error)),
        };
        guest.up_seconds = self.seconds() - begun;
        self.welcome(&guest, &hello)?;
        Ok(guest)
    }

    fn welcome(&mut self, guest: &Guest, hello: &Hello) -> Result<()> {
        if hello.problems.is_empty() {
            return Ok(());
        }
        let error = anyhow::anyhow!("did not come up well: {}", hello.problems.join("; "));
        Err(self.guest_failure(guest, &error))
    }

    /// Number of the domain with a name.
    fn domid(&mut self, name: &str) -> Result<u32> {
        let text = self.dom0().run(&["xl", "domid", name], XL_LIMIT)?;
        text.trim()
            .parse()
            .with_context(|| format!("xl domid printed {text:?}"))
    }

    /// What a guest has printed on its console so far. Its log goes to the folder of logs too.
    ///
    /// # Errors
    ///
    /// When dom0 does not answer.
    pub fn console(&mut self, guest: &Guest) -> Result<String> {
        let path = console_log(&guest.name);
        let text = self
            .dom0()
            .run(&["tail", "-c", "100000", &path], Duration::from_secs(20))?
            .replace('\r', "");
        std::fs::write(self.logs.join(format!("guest-{}.log", guest.name)), &text)?;
        Ok(text)
    }

    /// The error with the end of the guest's console and the verdict of the hypervisor's log.
    pub fn guest_failure(&mut self, guest: &Guest, error: &anyhow::Error) -> anyhow::Error {
        if error.downcast_ref::<Fault>().is_none() && error.downcast_ref::<Failure>().is_some() {
            return anyhow::anyhow!("{guest}: {error}");
        }
        let mut failure = Failure::new(&format!("{guest}: {error:#}"), &self.logs);
        if let Ok(console) = self.console(guest) {
            if failure.verdict == Verdict::Unknown {
                failure.verdict = judge_guest(&console);
            }
            let lines: Vec<&str> = console.lines().collect();
            let from = lines.len().saturating_sub(30);
            failure.tail = format!(
                "{}\nend of the guest's console:\n{}",
                failure.tail,
                lines[from..].join("\n")
            );
        }
        failure.into()
    }

    /// Whether the logs show the emulator's own fault so far.
    pub fn emulator_fault(&self) -> bool {
        Failure::new("", &self.logs).verdict == Verdict::Emulator
    }

    /// Saves a guest to a file in dom0, which ends its domain.
    ///
    /// # Errors
    ///
    /// When xl fails.
    pub fn save(&mut self, guest: &Guest, path: &str) -> Result<()> {
        self.dom0()
            .run(&["xl", "save", &guest.name, path], XL_LIMIT)?;
        Ok(())
    }

    /// Restores a guest from a file and waits for its agent.
    ///
    /// # Errors
    ///
    /// When xl fails or the agent does not answer.
    pub fn restore(&mut self, guest: &mut Guest, path: &str) -> Result<()> {
        self.dom0().run(&["xl", "restore", path], XL_LIMIT)?;
        guest.domid = self.domid(&guest.name)?;
        match self.at(guest).ask(Op::Ping, UP_LIMIT) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.guest_failure(guest, &error)),
        }
    }

    /// Plugs a disk in.
    ///
    /// # Errors
    ///
    /// When xl fails.
    pub fn attach(&mut self, guest: &Guest, disk: &Disk) -> Result<()> {
        let specification = disk.specification();
        self.dom0().run(
            &["xl", "block-attach", &guest.name, &specification],
            XL_LIMIT,
        )?;
        Ok(())
    }

    /// Unplugs a disk; with `force` also one in use.
    ///
    /// # Errors
    ///
    /// When xl fails.
    pub fn detach(&mut self, guest: &Guest, vdev: &str, force: bool) -> Result<()> {
        let mut argv = vec!["xl", "block-detach"];
        argv.extend(force.then_some("--force"));
        argv.extend([guest.name.as_str(), vdev]);
        self.dom0().run(&argv, XL_LIMIT)?;
        Ok(())
    }

    /// Ends a guest at once. Its console log is kept.
    ///
    /// # Errors
    ///
    /// When xl fails.
    pub fn destroy(&mut self, guest: &Guest) -> Result<()> {
        self.console(guest)?;
        self.dom0().run(&["xl", "destroy", &guest.name], XL_LIMIT)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_says_what_was_asked_for() {
        let mut spec = GuestSpec::new("g", GuestType::Pvh, Driver::Ours);
        spec.disks.push(Disk::device("/dev/ram0", "xvda"));
        let text = spec.configuration();
        assert!(text.contains("disk=[\"phy:/dev/ram0,xvda,w\"]"), "{text}");
        assert!(text.contains("lab.driver=ours") && text.contains("initcall_blacklist="));
        spec.plug(Vif::new(2));
        let text = spec.configuration();
        let vif = "vif=[\"mac=00:16:3e:00:00:02,bridge=xenbr0,type=vif\"]";
        assert!(text.contains(vif), "{text}");
        assert!(text.contains("lab.modules=xen-blkfront,xen-netfront"));
        let mut disk = Disk::device("/dev/ram0", "xvdb");
        disk.more.push("cdrom".into());
        disk.writable = false;
        assert_eq!(disk.specification(), "phy:/dev/ram0,xvdb:cdrom,r");
    }
}
