// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands with a time limit, each in a process group of its own so that nothing outlives the limit.

use crate::proto::{Exec, Exit, Fault, FaultKind};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Search path of commands: Xen's own tools first.
pub const PATH: &str = "/usr/lib/xen-4.20/bin:/usr/sbin:/usr/bin:/usr/lib/busybox";

/// How long after a kill to wait for the end; a process stuck in the kernel does not end.
const AFTER_KILL: Duration = Duration::from_secs(3);

/// The process group that an operation has started, for killing it from outside.
#[derive(Debug, Default)]
pub struct Group(Mutex<GroupState>);

#[derive(Debug, Default)]
struct GroupState {
    running: Option<i32>,
    stopped: bool,
}

impl Group {
    /// Kills what runs, and whatever the operation would still start.
    pub fn stop(&self) {
        let mut state = self.0.lock().unwrap_or_else(|e| e.into_inner());
        state.stopped = true;
        if let Some(pgid) = state.running {
            kill_group(pgid);
        }
    }

    /// Whether [`Group::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).stopped
    }

    fn set(&self, running: Option<i32>) {
        let mut state = self.0.lock().unwrap_or_else(|e| e.into_inner());
        state.running = running;
        if let (true, Some(pgid)) = (state.stopped, running) {
            kill_group(pgid);
        }
    }
}

fn kill_group(pgid: i32) {
    // SAFETY: kill takes no pointers.
    unsafe { libc::kill(-pgid, libc::SIGKILL) };
}

/// Runs a command to its end, but no longer than until the deadline.
pub fn run(exec: &Exec, deadline: Instant, group: &Group) -> Result<Exit, Fault> {
    let Some((program, args)) = exec.argv.split_first() else {
        return Err(Fault::new(FaultKind::BadRequest, "a command without words"));
    };
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .env("PATH", PATH)
        .env("HOME", "/root")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| Fault::os(format_args!("cannot start {program}"), &e))?;
    group.set(Some(child.id() as i32));
    let stdout = drain(child.stdout.take(), exec.keep);
    let stderr = drain(child.stderr.take(), exec.keep);
    if let Some(mut stdin) = child.stdin.take() {
        let text = exec.stdin.clone();
        // Not joined: it ends when the child does.
        std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    }

    let ended = wait(&mut child, deadline);
    group.set(None);
    let Some(status) = ended else {
        kill_group(child.id() as i32);
        let gone = wait(&mut child, Instant::now() + AFTER_KILL).is_some();
        let kept = [stdout, stderr].map(|stream| collect(&stream, AFTER_KILL).0);
        return Err(Fault::new(
            FaultKind::Timeout,
            format!(
                "{} did not end within {:.1} s and was {}; it had printed: {} {}",
                exec.argv.join(" "),
                started.elapsed().as_secs_f64(),
                if gone {
                    "killed"
                } else {
                    "killed, but is stuck in the kernel"
                },
                tail(&kept[0]),
                tail(&kept[1]),
            ),
        ));
    };
    // A daemon may have kept the streams open: its output is not waited for.
    let (stdout, more_out) = collect(&stdout, Duration::from_millis(500));
    let (stderr, more_err) = collect(&stderr, Duration::from_millis(500));
    Ok(Exit {
        code: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout,
        stderr,
        left_out: more_out + more_err,
        ms: started.elapsed().as_millis() as u64,
    })
}

fn wait(child: &mut Child, deadline: Instant) -> Option<std::process::ExitStatus> {
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(pause),
            // PID 1 may have reaped it already; its status is then lost.
            Err(_) => return Some(std::process::ExitStatus::from_raw(0xff00)),
            Ok(None) => return None,
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Reads a stream to its end in a thread, keeping its beginning and its end.
fn drain(stream: Option<impl Read + Send + 'static>, keep: usize) -> Receiver<Kept> {
    let (send, receive) = mpsc::channel();
    if let Some(mut stream) = stream {
        std::thread::spawn(move || {
            let mut chunk = [0; 16 * 1024];
            let mut kept = Kept::new(keep);
            while let Ok(n @ 1..) = stream.read(&mut chunk) {
                kept.push(&chunk[..n]);
                if send.send(kept.clone()).is_err() {
                    return;
                }
            }
            kept.complete = true;
            let _ = send.send(kept);
        });
    }
    receive
}

/// The newest state of a drained stream, after at most `patience` without news.
fn collect(stream: &Receiver<Kept>, patience: Duration) -> (String, u64) {
    let mut last = Kept::new(0);
    while let Ok(kept) = stream.recv_timeout(patience) {
        last = kept;
        if last.complete {
            break;
        }
    }
    last.text()
}

#[derive(Clone)]
struct Kept {
    keep: usize,
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    left_out: u64,
    complete: bool,
}

impl Kept {
    fn new(keep: usize) -> Kept {
        Kept {
            keep,
            head: Vec::new(),
            tail: Default::default(),
            left_out: 0,
            complete: false,
        }
    }

    fn push(&mut self, mut bytes: &[u8]) {
        let room = (self.keep / 2)
            .saturating_sub(self.head.len())
            .min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        bytes = &bytes[room..];
        self.tail.extend(bytes);
        let over = self.tail.len().saturating_sub(self.keep - self.keep / 2);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    fn text(mut self) -> (String, u64) {
        if self.left_out > 0 {
            self.head.extend_from_slice(b"\n[...]\n");
        }
        self.head.extend(self.tail);
        (
            String::from_utf8_lossy(&self.head).into_owned(),
            self.left_out,
        )
    }
}

/// The last few hundred characters of a text.
pub fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(400);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[test]
    fn output_status_and_input_come_through() {
        let mut exec = Exec::shell("cat; echo bad >&2; exit 3");
        exec.stdin = "given".into();
        let exit = run(&exec, soon(5000), &Group::default()).unwrap();
        assert_eq!(
            (exit.code, exit.stdout.as_str(), exit.stderr.as_str()),
            (3, "given", "bad\n")
        );
    }

    #[test]
    fn the_limit_ends_children_too() {
        let fault = run(
            &Exec::shell("echo early; sleep 30 & wait"),
            soon(200),
            &Group::default(),
        )
        .unwrap_err();
        assert_eq!(fault.kind, FaultKind::Timeout);
        assert!(fault.message.contains("early"), "{}", fault.message);
    }

    #[test]
    fn long_output_keeps_both_ends() {
        let mut exec = Exec::shell("seq 1 20000");
        exec.keep = 64;
        let exit = run(&exec, soon(5000), &Group::default()).unwrap();
        assert!(exit.stdout.starts_with("1\n2\n") && exit.stdout.ends_with("\n20000\n"));
        assert!(exit.left_out > 100_000);
    }

    #[test]
    fn a_stopped_group_starts_nothing_that_lasts() {
        let group = Group::default();
        group.stop();
        let exit = run(&Exec::shell("sleep 30"), soon(5000), &group).unwrap();
        assert_eq!(exit.code, 128 + libc::SIGKILL);
    }
}
