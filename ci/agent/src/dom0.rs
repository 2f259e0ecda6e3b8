// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0: brings the toolstack up and serves the host.

use crate::agent::Agent;
use crate::boot::{self, Problems};
use crate::modules::Modules;
use crate::proto::{Driver, Fault, FaultKind, Request, PORT_NAME};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Modules of the stock kernel that make a dom0, in the order of their need.
const MODULES: [&str; 11] = [
    "xen-evtchn",
    "xen-privcmd",
    "xen-gntdev",
    "xen-gntalloc",
    "xenfs",
    "xen-blkback",
    "xen-netback",
    "bridge",
    "virtio_blk",
    "loop",
    "tun",
];

/// Brings dom0 up.
pub fn bring_up(problems: &mut Problems) {
    for folder in [
        "/run/xen",
        "/run/xenstored",
        "/run/lock",
        "/var/lib/xen",
        "/var/lib/xenstored",
        "/var/log/xen/console",
        "/root",
    ] {
        problems.check(folder, fs::create_dir_all(folder));
    }
    let modules = problems.check("modules", Modules::open(&boot::kernel_release()));
    for name in MODULES {
        problems.load(modules.as_ref(), name, Driver::Stock);
    }
    problems.check("xenfs", boot::mount("xenfs", "/proc/xen", "xenfs"));
    problems.run(&["xenstored", "--pid-file=/run/xen/xenstored.pid"]);
    problems.run(&["xen-init-dom0"]);
    problems.run(&[
        "xenconsoled",
        "--log=guest",
        "--log-dir=/var/log/xen/console",
        "--pid-file=/run/xen/xenconsoled.pid",
    ]);
}

/// Answers the host's requests until the port breaks.
pub fn serve(agent: &std::sync::Arc<Agent>) -> Result<(), Fault> {
    let path = find_port(Instant::now() + Duration::from_secs(20))?;
    let lost = |e: std::io::Error| Fault::os(path.display(), &e);
    let mut output = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(lost)?;
    let mut input = BufReader::new(output.try_clone().map_err(lost)?);
    say_hello(agent, &mut output).map_err(lost)?;
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line).map_err(lost)? == 0 {
            // Nobody has the other end open.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        }
        let request: Request = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(e) => {
                boot::say(format_args!("the host sent nonsense: {e}"));
                continue;
            }
        };
        let response = agent.answer(request);
        send(&mut output, &response).map_err(lost)?;
    }
}

fn say_hello(agent: &Agent, output: &mut fs::File) -> std::io::Result<()> {
    send(output, agent.hello())
}

fn send(output: &mut fs::File, message: &impl serde::Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    output.write_all(line.as_bytes())
}

/// The device node of the virtio-serial port with our name.
fn find_port(deadline: Instant) -> Result<PathBuf, Fault> {
    loop {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == PORT_NAME {
                return Ok(PathBuf::from("/dev").join(entry.file_name()));
            }
        }
        if Instant::now() > deadline {
            return Err(Fault::new(
                FaultKind::Timeout,
                format!("no virtio-serial port named {PORT_NAME} has appeared"),
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
