// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine under QEMU that runs Xen and dom0, driven through the agent in dom0.
//!
//! ```text
//! QEMU (TCG) ─ serial ─▶ console.log        Xen's and dom0's messages, and what killed them
//!            ─ virtio-serial on stdin/stdout ─▶ agent in dom0 ─ xenstore ─▶ agents in guests
//! ```
//!
//! The machine ends when its [`Machine`] is dropped. Each request to it has a time limit; one that
//! passes it ends in a [`Failure`] that shows the end of the logs.

mod calls;
mod guest;
mod net;
mod switch;
mod verdict;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ChildStdin;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};
use portico_agent::proto::{self, Hello, Op, Reply, Request, Response};

use crate::context::Context;
use crate::image::Images;
use crate::run::Running;
use crate::stop;

pub use guest::{Disk, Guest, GuestSpec, GuestType};
pub use net::{Vif, BRIDGE, DOM0_V4, DOM0_V6};
pub use switch::Device;
pub use verdict::{Failure, Verdict};

/// From QEMU's start to dom0's agent: some 15 s on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// How much longer than a request's limit to wait for the answer that says so.
const GRACE: Duration = Duration::from_secs(15);

/// How a machine is to be.
#[derive(Clone, Debug)]
pub struct MachineOptions {
    /// Name of the run: of its folder of logs.
    pub name: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Memory of dom0 in MiB.
    pub dom0_mib: u32,
    /// Processors.
    pub cpus: u32,
    /// vCPUs of dom0.
    pub dom0_vcpus: u32,
    /// Count instructions: one nanosecond of the machine's time is one instruction. Slow.
    pub icount: bool,
    /// More arguments for Xen.
    pub xen: Vec<String>,
    /// More arguments for dom0's kernel.
    pub dom0: Vec<String>,
    /// More arguments for QEMU, which sees the folder of logs as `/work`.
    pub qemu: Vec<String>,
    /// Disk images that dom0 gets as `/dev/vda` and so on.
    pub disks: Vec<PathBuf>,
}

impl MachineOptions {
    /// A machine with two processors and 3 GiB.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            memory_mib: 3072,
            dom0_mib: 1280,
            cpus: 2,
            dom0_vcpus: 1,
            icount: false,
            xen: Vec::new(),
            dom0: Vec::new(),
            qemu: Vec::new(),
            disks: Vec::new(),
        }
    }
}

/// A machine that runs.
#[derive(Debug)]
pub struct Machine {
    qemu: Running,
    input: ChildStdin,
    answers: Receiver<String>,
    next_id: u64,
    logs: PathBuf,
    hello: Hello,
    started: Instant,
    /// Seconds that may pass here while one passes in the machine.
    patience: u32,
    /// How many times as long as usual things may take in this machine.
    slowness: u32,
}

impl Machine {
    /// Starts QEMU, and waits until the agent in dom0 answers.
    ///
    /// # Errors
    ///
    /// A [`Failure`] when it does not come up, and others when QEMU cannot be started.
    pub fn boot(ctx: &Context, images: &Images, options: &MachineOptions) -> Result<Self> {
        let logs = ctx.report().join("logs").join(&options.name);
        std::fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
        let mut args = arguments(options, images);
        args.extend(options.qemu.iter().cloned());
        let mut root = ctx
            .lab_root
            .bind(&images.folder, "/build")
            .bind(parent(&images.vmlinux), "/usr/src/portico")
            .bind(&logs, "/work");
        for (i, disk) in options.disks.iter().enumerate() {
            // Two disks at the same mount point hide each other, so each file is bound by itself.
            let inside = format!("/work/disk{i}");
            std::fs::write(logs.join(format!("disk{i}")), "")?;
            root = root.bind(disk, &inside);
            args.push("-drive".into());
            args.push(format!(
                "file={inside},format=raw,if=virtio,cache=unsafe,discard=unmap"
            ));
        }
        let started = Instant::now();
        let mut qemu = root
            .enter("/usr/bin/qemu-system-x86_64", "run the machine")
            .args(&args)
            .log(logs.join("qemu.log"))
            .start()?;
        let (Some(input), Some(output)) = (qemu.stdin(), qemu.stdout()) else {
            bail!("QEMU has no standard input and output");
        };
        let (send, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let hello = Hello {
            version: 0,
            run: 0,
            kernel: String::new(),
            problems: Vec::new(),
        };
        let mut machine = Self {
            qemu,
            input,
            answers,
            next_id: 1,
            logs,
            hello,
            started,
            // With counted instructions, the machine's clock is several times slower than ours.
            patience: if options.icount { 10 } else { 1 },
            slowness: 1,
        };
        machine.meet()?;
        if !options.icount {
            machine.slowness = slowness(started.elapsed());
        }
        Ok(machine)
    }

    /// Takes the agent's first message.
    fn meet(&mut self) -> Result<()> {
        let line = self.line(
            Instant::now() + BOOT_LIMIT * self.patience,
            "dom0 to come up",
        )?;
        let hello: Hello = serde_json::from_str(&line)
            .with_context(|| format!("the first message of dom0's agent: {line}"))?;
        if hello.version != proto::VERSION {
            bail!(
                "dom0's agent speaks version {} of the protocol, this program {}: build again",
                hello.version,
                proto::VERSION
            );
        }
        if !hello.problems.is_empty() {
            return Err(self.failure(&format!(
                "dom0 did not come up well: {}",
                hello.problems.join("; ")
            )));
        }
        self.hello = hello;
        Ok(())
    }

    /// Seconds since QEMU was started.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// How many times as long as usual things may take here.
    pub fn slowness(&self) -> u32 {
        self.slowness
    }

    /// Folder of this machine's logs.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Release of dom0's kernel.
    pub fn kernel(&self) -> &str {
        &self.hello.kernel
    }

    /// Has dom0's agent do something. `limit` is for a machine of usual speed.
    ///
    /// # Errors
    ///
    /// The agent's [`proto::Fault`], which can be found by downcast, or a [`Failure`] when it does not
    /// answer at all.
    pub fn ask(&mut self, op: Op, limit: Duration) -> Result<Reply> {
        stop::check()?;
        let id = self.next_id;
        self.next_id += 1;
        let limit = self.scaled(limit);
        let what = short(&op);
        let request = Request {
            id,
            limit_ms: limit.as_millis() as u64,
            op,
        };
        let mut line = serde_json::to_string(&request)?;
        line.push('\n');
        if let Err(error) = self.input.write_all(line.as_bytes()) {
            return Err(self.failure(&format!("cannot send a request to dom0: {error}")));
        }
        let deadline = Instant::now() + (limit + GRACE) * self.patience;
        loop {
            let line = self.line(deadline, &format!("an answer to {what}"))?;
            let response: Response = serde_json::from_str(&line)
                .with_context(|| format!("an answer of dom0's agent: {line}"))?;
            // An answer that came too late for its own request is of no use any more.
            if response.id == id {
                return Ok(response.result?);
            }
        }
    }

    /// A limit for a machine of usual speed, for this one.
    fn scaled(&self, limit: Duration) -> Duration {
        limit * self.slowness
    }

    fn line(&mut self, deadline: Instant, what: &str) -> Result<String> {
        loop {
            stop::check()?;
            match self.answers.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.failure(&format!("waited in vain for {what}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.qemu.ended()?;
                    let how = status.map_or("closed its pipe".into(), |s| s.to_string());
                    return Err(
                        self.failure(&format!("QEMU ended ({how}) while waiting for {what}"))
                    );
                }
            }
        }
    }

    /// The failure with what the logs show.
    fn failure(&self, fact: &str) -> anyhow::Error {
        Failure::new(fact, &self.logs).into()
    }

    /// Switches the machine off and waits for QEMU's end.
    ///
    /// # Errors
    ///
    /// When dom0 does not answer or QEMU does not end.
    pub fn power_off(mut self) -> Result<()> {
        self.ask(Op::PowerOff, Duration::from_secs(10))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.qemu.ended()?.is_none() {
            stop::check()?;
            if Instant::now() > deadline {
                return Err(self.failure("dom0 was told to switch off, but QEMU still runs"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// How slow a machine is whose dom0 took so long to boot: where others want the same processors, every
/// limit is as many times longer.
fn slowness(boot: Duration) -> u32 {
    /// What it takes at most on two processors that nobody else wants.
    const USUAL: Duration = Duration::from_secs(16);
    const SLOWEST: u32 = 5;
    let times = boot.as_millis().div_ceil(USUAL.as_millis());
    u32::try_from(times).unwrap_or(SLOWEST).clamp(1, SLOWEST)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The beginning of a request, for messages.
fn short(op: &Op) -> String {
    let text = format!("{op:?}");
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// QEMU's arguments; the reasons for the odd ones stand beside them.
fn arguments(options: &MachineOptions, images: &Images) -> Vec<String> {
    let thread = if options.icount { "single" } else { "multi" };
    let xen = [
        "com1=115200,8n1 console=com1 loglvl=all guest_loglvl=all",
        // Deep idle states stall under emulation.
        "cpuidle=0",
        // Lazy FPU switching corrupts vector registers under TCG.
        "spec-ctrl=no,eager-fpu xpti=no",
        "sched=credit2",
    ];
    let mut xen = xen.join(" ");
    let (mib, vcpus) = (options.dom0_mib, options.dom0_vcpus);
    xen.push_str(&format!(
        " dom0_mem={mib}M,max:{mib}M dom0_max_vcpus={vcpus}"
    ));
    let mut dom0 = String::from(
        "console=hvc0 quiet loglevel=4 mitigations=off panic=1 sysrq_always_enabled=1 lab.role=dom0",
    );
    for (line, more) in [(&mut xen, &options.xen), (&mut dom0, &options.dom0)] {
        for word in more {
            line.push(' ');
            line.push_str(word);
        }
    }
    // QEMU splits the list of multiboot modules at commas; a doubled one stands for itself.
    let kernel = name(&images.vmlinux);
    let modules = format!(
        "/usr/src/portico/{kernel} {},/build/{}",
        dom0.replace(',', ",,"),
        name(&images.dom0)
    );
    let mut args: Vec<String> = [
        "-machine",
        "q35",
        // A time source that Xen and guests can take without calibration stalls.
        "-cpu",
        "EPYC,-monitor,-rdtscp,+invtsc,+svm,+npt",
        "-nodefaults",
        "-no-reboot",
        "-display",
        "none",
        "-vga",
        "none",
        "-net",
        "none",
        "-chardev",
        "file,id=console,path=/work/console.log",
        "-serial",
        "chardev:console",
        "-chardev",
        "stdio,id=agent,signal=off",
        "-device",
        "virtio-serial-pci",
    ]
    .map(str::to_owned)
    .into();
    args.extend([
        "-device".into(),
        format!("virtserialport,chardev=agent,name={}", proto::PORT_NAME),
        "-accel".into(),
        format!("tcg,thread={thread},tb-size=512"),
        "-smp".into(),
        options.cpus.to_string(),
        "-m".into(),
        format!("{}M", options.memory_mib),
        "-kernel".into(),
        format!("/build/{}", name(&images.xen)),
        "-append".into(),
        xen,
        "-initrd".into(),
        modules,
    ]);
    if options.icount {
        args.extend(["-icount".into(), "shift=0,sleep=off".into()]);
    }
    args
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_grow_with_the_time_to_boot() {
        let after = |seconds| slowness(Duration::from_secs(seconds));
        assert_eq!([0, 12, 16].map(after), [1; 3]);
        assert_eq!([17, 32, 33, 64].map(after), [2, 2, 3, 4]);
        assert_eq!(after(1000), 5);
    }
}
