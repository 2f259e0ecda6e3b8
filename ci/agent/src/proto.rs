// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said between the host, the agent in dom0 and the agent in a guest.
//!
//! Host and dom0 exchange one JSON document a line over a virtio-serial port; dom0 and a guest
//! exchange the same documents through xenstore (see [`crate::channel`]). Every request carries the
//! time that it may take, and is answered exactly once.

use serde::{Deserialize, Serialize};

mod disk;
mod net;

pub use disk::{Checked, Fio, FioResult, FioSide, Pattern};
pub use net::{
    Amount, Announcement, Link, LinkState, Traffic, TrafficKind, TrafficResult, XdpAction, FRAME,
};

/// Version of this protocol; both sides must have the same one.
pub const VERSION: u32 = 2;

/// Name of the virtio-serial port that the host opens for dom0's agent.
pub const PORT_NAME: &str = "portico.agent";

/// Longest message between dom0 and a guest, in bytes.
pub const GUEST_MESSAGE_MAX: usize = 192 * 1024;

/// A request with its number and its time limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the sender, never 0, repeated in the answer.
    pub id: u64,
    /// Milliseconds after which the agent must answer, if only with [`FaultKind::Timeout`].
    pub limit_ms: u64,
    /// What to do.
    pub op: Op,
}

/// The answer to the [`Request`] with the same number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Response {
    /// The request's number.
    pub id: u64,
    /// What came of it.
    pub result: Result<Reply, Fault>,
}

/// First message of an agent after it has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the agent.
    pub version: u32,
    /// Random number of this run of the agent: another one means that the system was booted again.
    pub run: u64,
    /// Kernel release (`uname -r`).
    pub kernel: String,
    /// What failed while the system was brought up; empty when all is well.
    pub problems: Vec<String>,
}

/// What an agent can be asked to do. Paths and commands are those of the system it runs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Answer with [`Reply::Hello`].
    Ping,
    /// Run a command to its end.
    Exec(Exec),
    /// Run another operation in the background; answers with [`Reply::Job`].
    Start {
        /// What to run.
        op: Box<Op>,
        /// Milliseconds that it may take.
        limit_ms: u64,
    },
    /// Wait for a background operation and answer with its reply. A job can be joined once.
    Join(u64),
    /// Kill the processes of a background operation, or have it end; it must still be joined.
    Stop(u64),
    /// Read a file as text (bytes that are not UTF-8 are replaced).
    ReadFile(String),
    /// Write text to an existing or new file.
    WriteFile {
        /// File to write.
        path: String,
        /// New content.
        data: String,
    },
    /// Load a module with those that it depends on.
    LoadModule {
        /// Its name; `-` and `_` are the same.
        name: String,
        /// Parameters, `key=value` separated by blanks.
        params: String,
        /// Whose module to take when both exist.
        driver: Driver,
    },
    /// Remove a module.
    UnloadModule(String),
    /// State of a loaded module.
    Module(String),
    /// Lines of the kernel log from the sequence number on.
    KernelLog {
        /// First sequence number wanted; 0 for the oldest kept.
        since: u64,
    },
    /// Write a reproducible pattern to a file or block device and flush it.
    Fill(Pattern),
    /// Read a file or block device and compare it with the pattern.
    Check(Pattern),
    /// Hash a range of a file or block device, read past the page cache.
    Digest {
        /// File or block device.
        path: String,
        /// First byte; a multiple of 4096.
        offset: u64,
        /// Bytes; a multiple of 4096.
        len: u64,
    },
    /// Run fio.
    Fio(Fio),
    /// Set a network interface up, and wait for it if need be.
    SetLink(Link),
    /// State of a network interface; [`Reply::Link`].
    Link(String),
    /// Exchange traffic with another agent, and check what arrives. Ends well when it is stopped.
    Traffic(Traffic),
    /// Watch a network interface for unasked announcements of addresses until it is stopped or so many
    /// milliseconds have passed; [`Reply::Announcements`].
    Announcements {
        /// Name of the interface.
        link: String,
        /// Milliseconds to watch.
        millis: u64,
    },
    /// Have an XDP program do this to the UDP packets for port 7 that an interface receives.
    AttachXdp {
        /// Name of the interface.
        link: String,
        /// What is done.
        action: XdpAction,
    },
    /// Take the program from the interface; [`Reply::Count`] of the packets.
    DetachXdp(String),
    /// Operations on xenstore, in dom0 with absolute paths.
    Store(StoreOp),
    /// dom0: state, memory and CPU time of a domain.
    Domain(u32),
    /// dom0: grants and event channels that a domain has in use.
    Usage(u32),
    /// dom0: pass an operation to the agent in a guest.
    Guest {
        /// Domain number of the guest.
        domid: u32,
        /// What the guest's agent is to do.
        op: Box<Op>,
    },
    /// Switch the system off; answered before it happens.
    PowerOff,
    /// Restart the system; answered before it happens.
    Reboot,
}

/// Whose driver: the distribution's or ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// The module that the distribution's kernel package brought.
    Stock,
    /// The module in `updates/`.
    Ours,
}

impl Driver {
    /// Its name in reports and on the kernel command line.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Stock => "stock",
            Driver::Ours => "ours",
        }
    }

    /// The other way round of [`Driver::name`].
    pub fn from_name(name: &str) -> Option<Driver> {
        [Driver::Stock, Driver::Ours]
            .into_iter()
            .find(|driver| driver.name() == name)
    }
}

/// A command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Text for its standard input.
    #[serde(default)]
    pub stdin: String,
    /// Most bytes kept of each output stream: its beginning and its end.
    pub keep: usize,
}

impl Exec {
    /// A command line for the shell.
    pub fn shell(line: impl Into<String>) -> Exec {
        Exec::new(["sh", "-c", &line.into()])
    }

    /// A program with arguments.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Exec {
        Exec {
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: String::new(),
            keep: 64 * 1024,
        }
    }
}

/// An operation on xenstore.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreOp {
    /// Value of a node; [`Reply::Text`].
    Read(String),
    /// Create or change a node.
    Write(String, String),
    /// Remove a node and what is below it; fine if there is none.
    Remove(String),
    /// Names below a node; [`Reply::List`].
    List(String),
    /// All nodes below a path with their values; [`Reply::Tree`].
    Tree(String),
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done, nothing to tell.
    Done,
    /// To [`Op::Ping`].
    Hello(Hello),
    /// To [`Op::Exec`].
    Exit(Exit),
    /// To [`Op::Start`]: number for [`Op::Join`].
    Job(u64),
    /// Text of a file or node.
    Text(String),
    /// Names.
    List(Vec<String>),
    /// Nodes and values.
    Tree(Vec<(String, String)>),
    /// To [`Op::Module`].
    Module(Option<ModuleState>),
    /// To [`Op::KernelLog`].
    KernelLog(KernelLog),
    /// To [`Op::Check`].
    Checked(Checked),
    /// To [`Op::Digest`]: 16 hexadecimal digits.
    Digest(String),
    /// To [`Op::Fio`].
    Fio(FioResult),
    /// To [`Op::Link`].
    Link(LinkState),
    /// To [`Op::Traffic`].
    Traffic(TrafficResult),
    /// To [`Op::Announcements`].
    Announcements(Vec<Announcement>),
    /// To [`Op::DetachXdp`].
    Count(u64),
    /// To [`Op::Domain`]; none if there is no such domain.
    Domain(Option<DomainState>),
    /// To [`Op::Usage`].
    Usage(Usage),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal number if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Bytes left out of the middle of both streams together.
    pub left_out: u64,
    /// Milliseconds that it took, by the system's own clock.
    pub ms: u64,
}

/// A loaded module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleState {
    /// Reference count.
    pub refcount: i64,
    /// Letters that say how it taints the kernel (`O`: built out of tree).
    pub taint: String,
    /// Parameters that can be read.
    pub params: Vec<(String, String)>,
    /// Names of the modules that use it.
    pub holders: Vec<String>,
}

/// A piece of the kernel log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelLog {
    /// Sequence number to ask for next.
    pub next: u64,
    /// Records, oldest first.
    pub lines: Vec<LogLine>,
}

/// A record of the kernel log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Severity, 0 (emergency) to 7 (debug).
    pub level: u8,
    /// Microseconds since boot.
    pub at_us: u64,
    /// Text without the prefix.
    pub text: String,
}

/// A domain as the hypervisor knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainState {
    /// CPU time of all its vCPUs in nanoseconds.
    pub cpu_ns: u64,
    /// Pages that it owns.
    pub pages: u64,
    /// vCPUs online.
    pub online_vcpus: u32,
    /// It is being or has been taken down.
    pub dying: bool,
    /// It has shut down; the code says why (`SHUTDOWN_*` of `xen/include/public/sched.h`).
    pub shutdown: Option<u8>,
}

/// Grants and event channels of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Version of its grant table.
    pub grant_version: u32,
    /// Entries that permit access, without the toolstack's (console and xenstore).
    pub grants: u32,
    /// Those of them that another domain has mapped (known for version 1 only).
    pub grants_held: u32,
    /// Ports that wait for another domain to bind them.
    pub ports_unbound: u32,
    /// Ports bound to another domain.
    pub ports_interdomain: u32,
    /// Ports bound to virtual interrupts and for signals between vCPUs.
    pub ports_other: u32,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its kind, for programs.
    pub kind: FaultKind,
    /// What happened and what it was about, for people.
    pub message: String,
}

/// Kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The system call failed with this `errno`.
    Os(i32),
    /// It took longer than its limit; what it had started may go on if it cannot be killed.
    Timeout,
    /// The request makes no sense here.
    BadRequest,
    /// The guest's domain is gone, or it has crashed or shut down.
    GuestGone,
    /// A message is longer than the channel takes.
    TooLarge,
    /// An answer or a file was not as it should be.
    Unexpected,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.message, self.kind)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    /// A fault of a kind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Fault {
        Fault {
            kind,
            message: message.into(),
        }
    }

    /// A failed system call, with what it was about.
    pub fn os(what: impl std::fmt::Display, error: &std::io::Error) -> Fault {
        let kind = match error.raw_os_error() {
            Some(errno) => FaultKind::Os(errno),
            None => FaultKind::Unexpected,
        };
        Fault::new(kind, format!("{what}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let request = Request {
            id: 7,
            limit_ms: 10,
            op: Op::Guest {
                domid: 3,
                op: Box::new(Op::Exec(Exec::shell("echo 'two\nlines'"))),
            },
        };
        let line = serde_json::to_string(&request).unwrap();
        assert!(!line.contains('\n'));
        let back: Request = serde_json::from_str(&line).unwrap();
        assert_eq!(format!("{request:?}"), format!("{back:?}"));

        let response = Response {
            id: 7,
            result: Err(Fault::new(FaultKind::Os(libc::ENOENT), "gone")),
        };
        let line = serde_json::to_string(&response).unwrap();
        let back: Response = serde_json::from_str(&line).unwrap();
        assert_eq!(back.result, response.result);
    }
}
