// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does what requests ask for. Each runs in a thread of its own, so an operation that is stuck in the
//! kernel (a read of a disk that never answers) costs its request only, not the agent.

use crate::exec::Group;
use crate::proto::{
    DomainState, Fault, FaultKind, Hello, Op, Reply, Request, Response, StoreOp, Usage,
};
use crate::{channel, disk, exec, fio, klog, modules, net};
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use xen_user::{Privcmd, Store};

/// How much longer than its limit an operation may take to say so itself.
const GRACE: Duration = Duration::from_secs(4);

/// Most bytes of a file that is read as text.
const FILE_MAX: u64 = 128 * 1024;

/// The agent's state.
#[derive(Debug)]
pub struct Agent {
    hello: Hello,
    in_dom0: bool,
    jobs: Mutex<HashMap<u64, Job>>,
    next_job: AtomicU64,
    /// XDP programs by their interfaces.
    programs: Mutex<HashMap<String, net::xdp::Attached>>,
}

#[derive(Debug)]
struct Job {
    result: Receiver<Result<Reply, Fault>>,
    group: Arc<Group>,
}

impl Agent {
    /// An agent that answers [`Op::Ping`] with `hello`.
    pub fn new(hello: Hello, in_dom0: bool) -> Arc<Agent> {
        Arc::new(Agent {
            hello,
            in_dom0,
            jobs: Mutex::default(),
            next_job: AtomicU64::new(1),
            programs: Mutex::default(),
        })
    }

    /// What it says of itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Does what a request asks for, within its limit and a few seconds.
    pub fn answer(self: &Arc<Agent>, request: Request) -> Response {
        let limit = Duration::from_millis(request.limit_ms);
        let (result, group) = self.begin(request.op, limit);
        let result = result.recv_timeout(limit + GRACE).unwrap_or_else(|e| {
            group.stop();
            Err(match e {
                RecvTimeoutError::Timeout => Fault::new(
                    FaultKind::Timeout,
                    format!("nothing came of it within {limit:?}: it is stuck in the kernel"),
                ),
                RecvTimeoutError::Disconnected => {
                    Fault::new(FaultKind::Unexpected, "the operation ended in a panic")
                }
            })
        });
        Response {
            id: request.id,
            result,
        }
    }

    fn begin(
        self: &Arc<Agent>,
        op: Op,
        limit: Duration,
    ) -> (Receiver<Result<Reply, Fault>>, Arc<Group>) {
        let (send, receive) = mpsc::channel();
        let group = Arc::new(Group::default());
        let (agent, own) = (Arc::clone(self), Arc::clone(&group));
        std::thread::spawn(move || {
            let _ = send.send(agent.run(op, Instant::now() + limit, &own));
        });
        (receive, group)
    }

    fn run(self: &Arc<Agent>, op: Op, deadline: Instant, group: &Group) -> Result<Reply, Fault> {
        match op {
            Op::Ping => Ok(Reply::Hello(self.hello.clone())),
            Op::Exec(what) => exec::run(&what, deadline, group).map(Reply::Exit),
            Op::Start { op, limit_ms } => {
                let (result, group) = self.begin(*op, Duration::from_millis(limit_ms));
                let id = self.next_job.fetch_add(1, Ordering::Relaxed);
                self.jobs().insert(id, Job { result, group });
                Ok(Reply::Job(id))
            }
            Op::Join(id) => self.join(id, deadline),
            Op::Stop(id) => {
                let jobs = self.jobs();
                jobs.get(&id).ok_or_else(|| no_job(id))?.group.stop();
                Ok(Reply::Done)
            }
            Op::ReadFile(path) => read_file(&path).map(Reply::Text),
            Op::WriteFile { path, data } => fs::write(&path, data)
                .map(|()| Reply::Done)
                .map_err(|e| Fault::os(path, &e)),
            Op::LoadModule {
                name,
                params,
                driver,
            } => modules::Modules::open(&self.hello.kernel)?
                .load(&name, &params, driver)
                .map(|()| Reply::Done),
            Op::UnloadModule(name) => modules::unload(&name).map(|()| Reply::Done),
            Op::Module(name) => Ok(Reply::Module(modules::state(&name))),
            Op::KernelLog { since } => klog::read(since).map(Reply::KernelLog),
            Op::Fill(what) => disk::fill(&what, deadline).map(|()| Reply::Done),
            Op::Check(what) => disk::check(&what, deadline).map(Reply::Checked),
            Op::Digest { path, offset, len } => {
                disk::digest(&path, offset, len, deadline).map(Reply::Digest)
            }
            Op::Fio(what) => fio::run(&what, deadline, group).map(Reply::Fio),
            Op::SetLink(link) => net::link::set(&link, deadline, group).map(|()| Reply::Done),
            Op::Link(name) => net::link::state(&name, deadline, group).map(Reply::Link),
            Op::Traffic(what) => net::exchange(&what, deadline, group).map(Reply::Traffic),
            Op::Announcements { link, millis } => {
                let until = deadline.min(Instant::now() + Duration::from_millis(millis));
                net::watch::announcements(&link, until, group).map(Reply::Announcements)
            }
            Op::AttachXdp { link, action } => {
                let attached = net::xdp::attach(&link, action)?;
                lock(&self.programs).insert(link, attached);
                Ok(Reply::Done)
            }
            Op::DetachXdp(link) => {
                let attached = lock(&self.programs).remove(&link).ok_or_else(|| {
                    let message = format!("there is no program of ours on {link}");
                    Fault::new(FaultKind::BadRequest, message)
                })?;
                attached.count().map(Reply::Count)
            }
            Op::Store(op) => store(op),
            Op::PowerOff => Ok(leave(libc::RB_POWER_OFF)),
            Op::Reboot => Ok(leave(libc::RB_AUTOBOOT)),
            Op::Domain(_) | Op::Usage(_) | Op::Guest { .. } if !self.in_dom0 => Err(Fault::new(
                FaultKind::BadRequest,
                "only the agent in dom0 can do this",
            )),
            Op::Domain(id) => domain(id).map(Reply::Domain),
            Op::Usage(id) => usage(id).map(Reply::Usage),
            Op::Guest { domid, op } => channel::call(domid, *op, deadline),
        }
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Job>> {
        lock(&self.jobs)
    }

    fn join(&self, id: u64, deadline: Instant) -> Result<Reply, Fault> {
        let job = self.jobs().remove(&id).ok_or_else(|| no_job(id))?;
        let left = deadline.saturating_duration_since(Instant::now());
        match job.result.recv_timeout(left) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                self.jobs().insert(id, job);
                Err(Fault::new(
                    FaultKind::Timeout,
                    format!("background operation {id} still runs after {left:?} more"),
                ))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Fault::new(
                FaultKind::Unexpected,
                format!("background operation {id} ended in a panic"),
            )),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn no_job(id: u64) -> Fault {
    Fault::new(
        FaultKind::BadRequest,
        format!("there is no background operation {id}, or it was joined"),
    )
}

fn read_file(path: &str) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(|e| Fault::os(path, &e))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(Fault::new(
            FaultKind::TooLarge,
            format!("{path} has more than {FILE_MAX} bytes; read a part of it with a command"),
        ));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Ends the system a moment later, so that the answer gets out first.
fn leave(how: libc::c_int) -> Reply {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        crate::boot::unmount_disks();
        // SAFETY: neither call takes pointers.
        unsafe {
            libc::sync();
            libc::reboot(how)
        }
    });
    Reply::Done
}

fn store(op: StoreOp) -> Result<Reply, Fault> {
    let lost = |e| channel::fault("xenstore", &e);
    let mut store = Store::open().map_err(lost)?;
    match op {
        StoreOp::Read(path) => store
            .read_text(&path)
            .map_err(lost)?
            .map(Reply::Text)
            .ok_or_else(|| {
                Fault::new(
                    FaultKind::Os(libc::ENOENT),
                    format!("there is no xenstore node {path}"),
                )
            }),
        StoreOp::Write(path, value) => store
            .write(&path, value)
            .map(|()| Reply::Done)
            .map_err(lost),
        StoreOp::Remove(path) => store.rm(&path).map(|()| Reply::Done).map_err(lost),
        StoreOp::List(path) => store.directory(&path).map(Reply::List).map_err(lost),
        StoreOp::Tree(path) => {
            let mut nodes = Vec::new();
            tree(&mut store, &path, &mut nodes).map_err(lost)?;
            Ok(Reply::Tree(nodes))
        }
    }
}

fn tree(store: &mut Store, path: &str, nodes: &mut Vec<(String, String)>) -> xen_user::Result<()> {
    // A node may go while its parent is being listed.
    if let Some(value) = store.read_text(path)? {
        nodes.push((path.to_owned(), value));
    }
    for name in store.directory(path)? {
        tree(store, &format!("{path}/{name}"), nodes)?;
    }
    Ok(())
}

fn number(domid: u32) -> Result<u16, Fault> {
    u16::try_from(domid).map_err(|_| {
        Fault::new(
            FaultKind::BadRequest,
            format!("no such domain number: {domid}"),
        )
    })
}

fn domain(domid: u32) -> Result<Option<DomainState>, Fault> {
    let lost = |e| channel::fault("hypervisor", &e);
    let mut xen = Privcmd::open().map_err(lost)?;
    let info = xen_user::domain_info(&mut xen, number(domid)?).map_err(lost)?;
    Ok(info.map(|info| DomainState {
        cpu_ns: info.cpu_time_ns,
        pages: info.pages,
        online_vcpus: info.vcpus,
        dying: info.flags & 1 != 0,
        shutdown: (info.flags & 4 != 0).then_some((info.flags >> 16) as u8),
    }))
}

fn usage(domid: u32) -> Result<Usage, Fault> {
    let lost = |e| channel::fault("hypervisor", &e);
    let mut xen = Privcmd::open().map_err(lost)?;
    let ports = xen_user::event_channels(&mut xen, number(domid)?).map_err(lost)?;
    let grants = xen_user::grant_entries(&mut xen, number(domid)?).map_err(lost)?;
    Ok(Usage {
        grant_version: grants.version,
        grants: grants.entries,
        grants_held: grants.mapped,
        ports_unbound: ports.unbound,
        ports_interdomain: ports.interdomain,
        ports_other: ports.other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Exec, VERSION};

    fn agent() -> Arc<Agent> {
        let hello = Hello {
            version: VERSION,
            run: 1,
            kernel: "none".into(),
            problems: Vec::new(),
        };
        Agent::new(hello, false)
    }

    fn ask(agent: &Arc<Agent>, limit_ms: u64, op: Op) -> Result<Reply, Fault> {
        let id = 5;
        let response = agent.answer(Request { id, limit_ms, op });
        assert_eq!(response.id, id);
        response.result
    }

    #[test]
    fn background_work_is_joined_once() {
        let agent = agent();
        let op = Box::new(Op::Exec(Exec::shell("sleep 0.3; echo done")));
        let started = ask(&agent, 1000, Op::Start { op, limit_ms: 5000 });
        let Ok(Reply::Job(job)) = started else {
            panic!("{started:?}");
        };
        assert_eq!(
            ask(&agent, 10, Op::Join(job)).unwrap_err().kind,
            FaultKind::Timeout
        );
        let joined = ask(&agent, 5000, Op::Join(job));
        assert!(
            matches!(&joined, Ok(Reply::Exit(exit)) if exit.stdout == "done\n"),
            "{joined:?}"
        );
        assert_eq!(
            ask(&agent, 10, Op::Join(job)).unwrap_err().kind,
            FaultKind::BadRequest
        );
    }

    #[test]
    fn what_dom0_does_is_refused_elsewhere() {
        let fault = ask(&agent(), 100, Op::Domain(0)).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BadRequest);
    }

    #[test]
    fn a_missing_file_is_an_error_with_its_name() {
        let fault = ask(&agent(), 100, Op::ReadFile("/nowhere/at/all".into())).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Os(libc::ENOENT));
        assert!(fault.message.contains("/nowhere/at/all"));
    }
}
