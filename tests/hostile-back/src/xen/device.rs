// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's life: hand-shake, serving, closing.

use super::backend::{Backend, Interfaces};
use super::commands::{Command, Commands};
use super::nodes::{number, Nodes};
use crate::inject::Injector;
use crate::script::{DeviceFault, Event, Fault, Rule};
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
pub struct Device<B: Backend> {
    store: Store,
    nodes: Nodes,
    interfaces: Interfaces,
    injector: Injector<B::Op, B::Fault>,
    backend: B,
    start: Instant,
    connected: Option<Instant>,
    front: Option<u32>,
    back: u32,
    /// When the nodes go, whatever the front end does.
    deadline: Option<Instant>,
    ended: bool,
}

impl<B: Backend> Device<B> {
    /// Takes charge of nodes that exist, with the state Initialising.
    pub fn new(
        store: Store,
        nodes: Nodes,
        rules: Vec<Rule<B::Op, B::Fault>>,
        backend: B,
    ) -> Result<Self> {
        Ok(Device {
            store,
            nodes,
            interfaces: Interfaces {
                gntdev: Gntdev::open()?,
                evtchn: Rc::new(EventChannels::open()?),
            },
            injector: Injector::new(rules),
            backend,
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
        self.backend.disconnect();
        if remove {
            self.nodes.remove(&mut self.store)?;
        }
        self.report("ended", json!({ "faults": self.injector.fired() }));
        Ok(())
    }

    /// Waits for an event channel, the store or a command, and no longer than to what is due next.
    fn wait(&self, until: Option<Instant>, commands: &Commands) -> Result<Vec<bool>> {
        let due = (0..self.backend.queues())
            .filter_map(|queue| self.backend.next_due(queue))
            .min();
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
        let mut fds = vec![self.interfaces.evtchn.as_fd(), self.store.as_fd()];
        fds.extend(commands.fd());
        Ok(poll_readable(&fds, timeout)?)
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Serves the queues whose event channels were notified.
    fn notified(&mut self) -> Result<()> {
        let evtchn = Rc::clone(&self.interfaces.evtchn);
        for port in evtchn.pending()? {
            evtchn.unmask(port)?;
            if let Some(queue) = self.backend.queue_of(port) {
                self.backend.notified(queue);
                self.serve(queue)?;
            }
        }
        Ok(())
    }

    /// Serves queues that hold back what is due now, and does the faults whose time has come.
    fn due(&mut self) -> Result<()> {
        let now = self.now();
        for queue in 0..self.backend.queues() {
            // A fault may have taken it away meanwhile.
            if queue >= self.backend.queues() {
                break;
            }
            if self.backend.next_due(queue).is_some_and(|due| due <= now) {
                self.serve(queue)?;
            }
        }
        if let Some(since) = self.connected {
            let faults = self.injector.elapsed(since.elapsed().as_millis() as u64);
            self.apply(&faults)?;
        }
        Ok(())
    }

    fn serve(&mut self, queue: usize) -> Result<()> {
        let now = self.now();
        // A fault of the device may take the queue away, and may leave requests behind.
        while queue < self.backend.queues() {
            match self.backend.serve(queue, now, &mut self.injector) {
                Ok(faults) if faults.is_empty() => break,
                Ok(faults) => self.device_faults(&faults)?,
                Err(error) => {
                    self.report(
                        "front-broke-ring",
                        json!({ "queue": queue, "error": error }),
                    );
                    self.backend.disconnect();
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
        let connected = self
            .backend
            .connect(&mut self.store, &self.nodes, &self.interfaces);
        match connected {
            Ok(choice) => {
                self.connected = Some(Instant::now());
                self.set_state(CONNECTED)?;
                self.report("connected", choice);
                self.moment(Event::Connected)?;
                // Requests may have come before the event channels were bound.
                for queue in 0..self.backend.queues() {
                    self.serve(queue)?;
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
        self.backend.disconnect();
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

    fn command(&mut self, command: Result<Command<B::Fault>, String>) -> Result<()> {
        match command {
            Ok(Command::Stats) => self.report("stats", self.stats()),
            Ok(Command::Detach) => self.detach()?,
            Ok(Command::Quit) => self.ended = true,
            Ok(Command::Fault(fault)) => self.apply(&[fault])?,
            Ok(Command::Own(command)) => match self.backend.command(&command) {
                Ok(keys) => {
                    for (key, value) in keys {
                        self.store.write(&self.nodes.back(&key), value)?;
                    }
                    self.set_state(self.back)?;
                }
                Err(text) => self.report("not-a-command", json!({ "text": text })),
            },
            Err(text) => self.report("not-a-command", json!({ "text": text })),
        }
        Ok(())
    }

    fn moment(&mut self, moment: Event<B::Op>) -> Result<()> {
        let faults = self.injector.moment(moment);
        self.apply(&faults)
    }

    fn apply(&mut self, faults: &[B::Fault]) -> Result<()> {
        self.backend.fault(faults);
        self.device_faults(faults)
    }

    fn device_faults(&mut self, faults: &[B::Fault]) -> Result<()> {
        for fault in faults {
            self.report("fault", serde_json::to_value(fault)?);
            match fault.device() {
                Some(DeviceFault::Key {
                    name,
                    value: Some(value),
                }) => {
                    self.store.write(&self.nodes.back(name), value)?;
                }
                Some(DeviceFault::Key { name, value: None }) => {
                    self.store.rm(&self.nodes.back(name))?;
                }
                Some(DeviceFault::State(state)) => {
                    self.store.write(&self.nodes.back("state"), state)?;
                }
                Some(DeviceFault::RemoveBackend) => self.store.rm(&self.nodes.back)?,
                Some(DeviceFault::RemoveFrontend) => self.store.rm(&self.nodes.front)?,
                Some(DeviceFault::Disconnect) => self.backend.disconnect(),
                Some(DeviceFault::Exit) => {
                    self.report("stats", self.stats());
                    std::process::exit(0);
                }
                None => {}
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
            "queues": self.backend.stats(),
            "faults": self.injector.fired(),
        })
    }

    fn report(&self, event: &str, detail: Value) {
        let line = json!({ "event": event, "ms": self.now(), "detail": detail });
        // Standard output may be a pipe that nobody reads any more: the device must go on.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes());
    }
}
