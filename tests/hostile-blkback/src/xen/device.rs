// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's life: hand-shake, serving, closing.

use super::commands::{Command, Commands};
use super::guest::XenGuest;
use super::nodes::{number, Nodes};
use super::rings::Choice;
use crate::disk::Disk;
use crate::inject::Injector;
use crate::options::Options;
use crate::queue::Queue;
use crate::script::{Event, Fault, Script};
use anyhow::Result;
use serde_json::{json, Value};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
use xen_user::{poll_readable, EventChannels, Gntdev, Store};

/// States of `enum xenbus_state`.
const INITIALISING: u32 = 1;
const INIT_WAIT: u32 = 2;
const INITIALISED: u32 = 3;
const CONNECTED: u32 = 4;
const CLOSING: u32 = 5;
const CLOSED: u32 = 6;

/// How long a front end may take to let go before the nodes are removed under it.
const LET_GO: Duration = Duration::from_secs(10);

/// A running back end.
pub struct Device {
    store: Store,
    nodes: Nodes,
    gntdev: Gntdev,
    evtchn: Rc<EventChannels>,
    options: Options,
    injector: Injector,
    disk: Disk,
    queues: Vec<Queue<XenGuest>>,
    start: Instant,
    connected: Option<Instant>,
    front: Option<u32>,
    back: u32,
    /// When the nodes go, whatever the front end does.
    deadline: Option<Instant>,
    ended: bool,
}

impl Device {
    /// Takes charge of nodes that exist, with the state Initialising.
    pub fn new(store: Store, nodes: Nodes, script: Script, disk: Disk) -> Result<Self> {
        Ok(Device {
            store,
            nodes,
            gntdev: Gntdev::open()?,
            evtchn: Rc::new(EventChannels::open()?),
            options: script.options,
            injector: Injector::new(script.rules),
            disk,
            queues: Vec::new(),
            start: Instant::now(),
            connected: None,
            front: None,
            back: INITIALISING,
            deadline: None,
            ended: false,
        })
    }

    /// Serves until the device is detached, or `seconds` have passed. `remove`: the nodes are ours, and
    /// are removed at the end.
    pub fn run(mut self, seconds: Option<u64>, remove: bool) -> Result<()> {
        self.report(
            "created",
            json!({ "front": self.nodes.front, "back": self.nodes.back }),
        );
        let mut until = seconds.map(|s| Instant::now() + Duration::from_secs(s));
        let mut commands = Commands::open()?;
        self.moment(Event::Created)?;
        self.set_state(INIT_WAIT)?;
        self.moment(Event::InitWait)?;
        self.store.watch(&self.nodes.front("state"), "front")?;
        self.store.watch("@releaseDomain", "gone")?;
        while !self.ended {
            let now = Instant::now();
            if until.is_some_and(|until| until <= now) {
                until = None;
                self.detach()?;
            }
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                self.report("forced", json!({ "front": self.front }));
                break;
            }
            let ready = self.wait(until, &commands)?;
            if ready[0] {
                self.notified()?;
            }
            self.due()?;
            if ready[1] || self.store.has_event() {
                self.changed()?;
            }
            if ready.get(2) == Some(&true) {
                for command in commands.read() {
                    self.command(command)?;
                }
            }
        }
        self.report("stats", self.stats());
        self.queues.clear();
        if remove {
            self.nodes.remove(&mut self.store)?;
        }
        self.report("ended", json!({ "faults": self.injector.fired() }));
        Ok(())
    }

    /// Waits for an event channel, the store or a command, and no longer than to what is due next.
    fn wait(&self, until: Option<Instant>, commands: &Commands) -> Result<Vec<bool>> {
        let due = self.queues.iter().filter_map(Queue::next_due).min();
        let due = due.map(|ms| self.start + Duration::from_millis(ms));
        let elapsed = self.connected.zip(self.injector.next_elapsed());
        let elapsed = elapsed.map(|(since, ms)| since + Duration::from_millis(ms));
        let next = [until, self.deadline, due, elapsed]
            .into_iter()
            .flatten()
            .min();
        let timeout = if self.store.has_event() {
            Some(Duration::ZERO)
        } else {
            next.map(|next| next.saturating_duration_since(Instant::now()))
        };
        let mut fds = vec![self.evtchn.as_fd(), self.store.as_fd()];
        fds.extend(commands.fd());
        Ok(poll_readable(&fds, timeout)?)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Serves the queues whose event channels were notified.
    fn notified(&mut self) -> Result<()> {
        for port in self.evtchn.pending()? {
            self.evtchn.unmask(port)?;
            let found = self
                .queues
                .iter()
                .position(|queue| queue.guest().port == port);
            if let Some(i) = found {
                self.queues[i].stats.notified += 1;
                self.serve(i)?;
            }
        }
        Ok(())
    }

    /// Serves queues that hold back what is due now, and does the faults whose time has come.
    fn due(&mut self) -> Result<()> {
        let now = self.now();
        for i in 0..self.queues.len() {
            let due = self.queues.get(i).and_then(Queue::next_due);
            if due.is_some_and(|due| due <= now) {
                self.serve(i)?;
            }
        }
        if let Some(since) = self.connected {
            let faults = self.injector.elapsed(since.elapsed().as_millis() as u64);
            self.apply(&faults)?;
        }
        Ok(())
    }

    fn serve(&mut self, i: usize) -> Result<()> {
        let now = self.now();
        // A fault of the device may take the queue away, and may leave requests behind.
        while let Some(queue) = self.queues.get_mut(i) {
            match queue.serve(now, &mut self.disk, &self.options, &mut self.injector) {
                Ok(faults) if faults.is_empty() => break,
                Ok(faults) => self.device_faults(&faults)?,
                Err(e) => {
                    self.report(
                        "front-broke-ring",
                        json!({ "queue": i, "error": e.to_string() }),
                    );
                    self.queues.clear();
                    self.set_state(CLOSING)?;
                }
            }
        }
        Ok(())
    }

    /// Looks at what has changed in the store.
    fn changed(&mut self) -> Result<()> {
        while self.store.next_event(Duration::ZERO)?.is_some() {}
        let alive = self.store.read(&self.nodes.front)?.is_some();
        let state = number(&mut self.store, &self.nodes.front("state")).unwrap_or(None);
        if state == self.front && alive {
            return Ok(());
        }
        self.front = state;
        self.report("front", json!({ "state": state }));
        match state {
            Some(INITIALISING) if self.back == CLOSED => {
                self.set_state(INIT_WAIT)?;
                self.moment(Event::InitWait)?;
            }
            Some(INITIALISED | CONNECTED) if self.connected.is_none() => {
                self.moment(Event::Initialised)?;
                self.connect()?;
            }
            Some(CLOSING) => {
                self.leave()?;
                self.set_state(CLOSING)?;
            }
            Some(CLOSED) => {
                self.leave()?;
                self.set_state(CLOSED)?;
                let online = number(&mut self.store, &self.nodes.back("online")).unwrap_or(None);
                self.ended = online == Some(0u32);
            }
            None | Some(0) if !alive => {
                self.disconnect();
                self.ended = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<()> {
        let choice = Choice::read(&mut self.store, &self.nodes, &self.options);
        let connected = choice.and_then(|choice| {
            let persistent = self.options.persistent;
            let queues =
                choice.connect(self.nodes.domain, persistent, &self.gntdev, &self.evtchn)?;
            Ok((choice, queues))
        });
        match connected {
            Ok((choice, queues)) => {
                self.queues = queues;
                self.connected = Some(Instant::now());
                self.set_state(CONNECTED)?;
                self.report("connected", serde_json::to_value(&choice)?);
                self.moment(Event::Connected)?;
                // Requests may have come before the event channels were bound.
                for i in 0..self.queues.len() {
                    self.serve(i)?;
                }
            }
            Err(e) => {
                self.report("front-wrong", json!({ "error": format!("{e:#}") }));
                self.set_state(CLOSING)?;
            }
        }
        Ok(())
    }

    /// The front end goes, by Closing or at once.
    fn leave(&mut self) -> Result<()> {
        if self.connected.is_some() {
            self.moment(Event::Closing)?;
        }
        self.disconnect();
        Ok(())
    }

    fn disconnect(&mut self) {
        if self.connected.take().is_some() {
            self.report("disconnected", self.stats());
        }
        self.queues.clear();
    }

    /// Asks the front end to let go, as a toolstack does.
    fn detach(&mut self) -> Result<()> {
        self.deadline = Some(Instant::now() + LET_GO);
        self.store.write(&self.nodes.back("online"), "0")?;
        if self.front == Some(CLOSED) {
            self.ended = true;
            return Ok(());
        }
        self.set_state(CLOSING)
    }

    fn command(&mut self, command: Result<Command, String>) -> Result<()> {
        match command {
            Ok(Command::Stats) => self.report("stats", self.stats()),
            Ok(Command::Detach) => self.detach()?,
            Ok(Command::Quit) => self.ended = true,
            Ok(Command::Resize(sectors)) => self.resize(sectors)?,
            Ok(Command::Fault(fault)) => self.apply(&[fault])?,
            Err(text) => self.report("not-a-command", json!({ "text": text })),
        }
        Ok(())
    }

    /// Changes the disk's size, and says so as back ends do: Connected, once more.
    fn resize(&mut self, sectors: u64) -> Result<()> {
        if let Disk::Memory(data) = &mut self.disk {
            data.resize(sectors as usize * 512, 0);
        }
        self.options.sectors = sectors;
        self.store
            .write(&self.nodes.back("sectors"), sectors.to_string())?;
        self.set_state(self.back)
    }

    fn moment(&mut self, moment: Event) -> Result<()> {
        let faults = self.injector.moment(moment);
        self.apply(&faults)
    }

    fn apply(&mut self, faults: &[Fault]) -> Result<()> {
        for queue in &mut self.queues {
            queue.fault(faults);
        }
        self.device_faults(faults)
    }

    fn device_faults(&mut self, faults: &[Fault]) -> Result<()> {
        for fault in faults {
            self.report("fault", serde_json::to_value(fault)?);
            match fault {
                Fault::Key {
                    name,
                    value: Some(value),
                } => {
                    self.store.write(&self.nodes.back(name), value)?;
                }
                Fault::Key { name, value: None } => self.store.rm(&self.nodes.back(name))?,
                Fault::State(state) => self.store.write(&self.nodes.back("state"), state)?,
                Fault::RemoveBackend => self.store.rm(&self.nodes.back)?,
                Fault::RemoveFrontend => self.store.rm(&self.nodes.front)?,
                Fault::Disconnect => self.queues.clear(),
                Fault::Exit => {
                    self.report("stats", self.stats());
                    std::process::exit(0);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn set_state(&mut self, state: u32) -> Result<()> {
        self.back = state;
        // Under a removed directory there is nobody who would look.
        if self.store.read(&self.nodes.back)?.is_some() {
            self.store
                .write(&self.nodes.back("state"), state.to_string())?;
        }
        Ok(())
    }

    fn stats(&self) -> Value {
        json!({
            "queues": self.queues.iter().map(|queue| &queue.stats).collect::<Vec<_>>(),
            "faults": self.injector.fired(),
        })
    }

    fn report(&self, event: &str, detail: Value) {
        let line = json!({ "event": event, "ms": self.now(), "detail": detail });
        // Standard output may be a pipe that nobody reads any more: the device must go on.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes());
    }
}
