// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent's operations as methods: a request and the one reply that fits it, in dom0 or in a guest.

use std::time::Duration;

use anyhow::{bail, Result};
use portico_agent::proto::{
    Checked, DomainState, Driver, Exec, Exit, Fio, FioResult, KernelLog, Link, LinkState,
    ModuleState, Op, Pattern, Reply, StoreOp, Traffic, TrafficResult, Usage,
};

use super::{Guest, Machine};

/// Limit of operations that take no time worth mentioning.
const SHORT: Duration = Duration::from_secs(30);

/// The agent of one system of a machine: of dom0 or of a guest.
#[derive(Debug)]
pub struct At<'a> {
    machine: &'a mut Machine,
    domid: Option<u32>,
}

impl Machine {
    /// dom0's agent.
    pub fn dom0(&mut self) -> At<'_> {
        At {
            machine: self,
            domid: None,
        }
    }

    /// A guest's agent.
    pub fn at(&mut self, guest: &Guest) -> At<'_> {
        At {
            domid: Some(guest.domid),
            machine: self,
        }
    }
}

macro_rules! expect {
    ($reply:expr, $pattern:pat => $value:expr) => {
        match $reply {
            $pattern => $value,
            other => bail!("an answer that does not fit its request: {other:?}"),
        }
    };
}

fn done(reply: Reply) -> Result<()> {
    expect!(reply, Reply::Done => {});
    Ok(())
}

impl At<'_> {
    /// Any operation.
    ///
    /// # Errors
    ///
    /// See [`Machine::ask`]; so with all that follow.
    pub fn ask(&mut self, op: Op, limit: Duration) -> Result<Reply> {
        match self.domid {
            None => self.machine.ask(op, limit),
            Some(domid) => {
                let op = Box::new(op);
                self.machine.ask(Op::Guest { domid, op }, limit)
            }
        }
    }

    /// Runs a shell command; its status is in the result.
    pub fn shell(&mut self, line: &str, limit: Duration) -> Result<Exit> {
        let op = Op::Exec(Exec::shell(line));
        Ok(expect!(self.ask(op, limit)?, Reply::Exit(exit) => exit))
    }

    /// Runs a program that must succeed, and returns what it printed.
    pub fn run(&mut self, argv: &[&str], limit: Duration) -> Result<String> {
        let op = Op::Exec(Exec::new(argv.iter().copied()));
        let exit = expect!(self.ask(op, limit)?, Reply::Exit(exit) => exit);
        if exit.code != 0 {
            bail!(
                "`{}` ended with {}: {} {}",
                argv.join(" "),
                exit.code,
                exit.stdout.trim(),
                exit.stderr.trim()
            );
        }
        Ok(exit.stdout)
    }

    /// Starts an operation in the background.
    pub fn start(&mut self, op: Op, limit: Duration) -> Result<u64> {
        let op = Op::Start {
            op: Box::new(op),
            limit_ms: self.machine.scaled(limit).as_millis() as u64,
        };
        Ok(expect!(self.ask(op, SHORT)?, Reply::Job(job) => job))
    }

    /// Waits for the end of a background operation.
    pub fn join(&mut self, job: u64, limit: Duration) -> Result<Reply> {
        self.ask(Op::Join(job), limit)
    }

    /// Content of a file.
    pub fn read(&mut self, path: &str) -> Result<String> {
        Ok(expect!(self.ask(Op::ReadFile(path.into()), SHORT)?, Reply::Text(text) => text))
    }

    /// Writes a file.
    pub fn write(&mut self, path: &str, data: &str) -> Result<()> {
        let (path, data) = (path.into(), data.into());
        done(self.ask(Op::WriteFile { path, data }, SHORT)?)
    }

    /// Loads a module.
    pub fn load(&mut self, name: &str, params: &str, driver: Driver) -> Result<()> {
        let (name, params) = (name.into(), params.into());
        let op = Op::LoadModule {
            name,
            params,
            driver,
        };
        done(self.ask(op, SHORT)?)
    }

    /// Removes a module.
    pub fn unload(&mut self, name: &str) -> Result<()> {
        done(self.ask(Op::UnloadModule(name.into()), SHORT)?)
    }

    /// State of a module; none if it is not loaded.
    pub fn module(&mut self, name: &str) -> Result<Option<ModuleState>> {
        Ok(expect!(self.ask(Op::Module(name.into()), SHORT)?, Reply::Module(state) => state))
    }

    /// The kernel log from a sequence number on, all of it.
    pub fn kernel_log(&mut self, since: u64) -> Result<KernelLog> {
        let mut all = KernelLog {
            next: since,
            lines: Vec::new(),
        };
        loop {
            let op = Op::KernelLog { since: all.next };
            let log = expect!(self.ask(op, SHORT)?, Reply::KernelLog(log) => log);
            if log.lines.is_empty() {
                return Ok(all);
            }
            all.next = log.next;
            all.lines.extend(log.lines);
        }
    }

    /// Writes a pattern to a disk.
    pub fn fill(&mut self, what: &Pattern, limit: Duration) -> Result<()> {
        done(self.ask(Op::Fill(what.clone()), limit)?)
    }

    /// Compares a disk with a pattern.
    pub fn check(&mut self, what: &Pattern, limit: Duration) -> Result<Checked> {
        Ok(expect!(self.ask(Op::Check(what.clone()), limit)?, Reply::Checked(checked) => checked))
    }

    /// Hashes a range of a disk.
    pub fn digest(&mut self, path: &str, offset: u64, len: u64, limit: Duration) -> Result<String> {
        let path = path.into();
        let op = Op::Digest { path, offset, len };
        Ok(expect!(self.ask(op, limit)?, Reply::Digest(digest) => digest))
    }

    /// Runs fio.
    pub fn fio(&mut self, what: &Fio, limit: Duration) -> Result<FioResult> {
        Ok(expect!(self.ask(Op::Fio(what.clone()), limit)?, Reply::Fio(result) => result))
    }

    /// Sets a network interface up.
    pub fn set_link(&mut self, link: &Link) -> Result<()> {
        done(self.ask(Op::SetLink(link.clone()), SHORT)?)
    }

    /// State of a network interface.
    pub fn link(&mut self, name: &str) -> Result<LinkState> {
        Ok(expect!(self.ask(Op::Link(name.into()), SHORT)?, Reply::Link(state) => state))
    }

    /// Exchanges traffic with another agent.
    pub fn traffic(&mut self, what: &Traffic, limit: Duration) -> Result<TrafficResult> {
        let op = Op::Traffic(what.clone());
        Ok(expect!(self.ask(op, limit)?, Reply::Traffic(result) => result))
    }

    /// Has a background operation end.
    pub fn stop(&mut self, job: u64) -> Result<()> {
        done(self.ask(Op::Stop(job), SHORT)?)
    }

    /// Value of a xenstore node.
    pub fn store_read(&mut self, path: &str) -> Result<String> {
        let op = Op::Store(StoreOp::Read(path.into()));
        Ok(expect!(self.ask(op, SHORT)?, Reply::Text(text) => text))
    }

    /// Changes a xenstore node.
    pub fn store_write(&mut self, path: &str, value: &str) -> Result<()> {
        let op = Op::Store(StoreOp::Write(path.into(), value.into()));
        done(self.ask(op, SHORT)?)
    }

    /// Nodes below a xenstore path with their values.
    pub fn store_tree(&mut self, path: &str) -> Result<Vec<(String, String)>> {
        let op = Op::Store(StoreOp::Tree(path.into()));
        Ok(expect!(self.ask(op, SHORT)?, Reply::Tree(nodes) => nodes))
    }

    /// State of a domain; only dom0's agent can tell.
    pub fn domain(&mut self, domid: u32) -> Result<Option<DomainState>> {
        Ok(expect!(self.ask(Op::Domain(domid), SHORT)?, Reply::Domain(state) => state))
    }

    /// Grants and event channels of a domain; only dom0's agent can tell.
    pub fn usage(&mut self, domid: u32) -> Result<Usage> {
        Ok(expect!(self.ask(Op::Usage(domid), SHORT)?, Reply::Usage(usage) => usage))
    }
}
