// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running tools: each child leads a process group that ends with this run, its output goes to a
//! log, and a failure shows the end of that log.

use std::ffi::OsStr;
#[cfg(test)]
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Context as _, Result};
use rustix::process::Signal;

use crate::log::{explain, last_line, tail};
use crate::progress::Step;
use crate::stop;

/// A tool to run.
#[derive(Debug)]
pub struct Run {
    command: Command,
    tool: String,
    what: String,
    log: Option<PathBuf>,
    limit: Option<Duration>,
    cleanup: bool,
}

impl Run {
    /// A run of `tool`. `what` completes the sentence "cannot …" in errors.
    pub fn new(tool: impl AsRef<OsStr>, what: impl Into<String>) -> Self {
        let mut command = Command::new(tool.as_ref());
        command.process_group(0).stdin(Stdio::null());
        Self {
            command,
            tool: tool.as_ref().to_string_lossy().into_owned(),
            what: what.into(),
            log: None,
            limit: None,
            cleanup: false,
        }
    }

    /// The name that errors give to the tool, when it is started through another.
    #[must_use]
    pub(crate) fn named(mut self, tool: &str) -> Self {
        tool.clone_into(&mut self.tool);
        self
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Empties the environment but for these variables.
    #[must_use]
    pub fn only_env(mut self, env: &[(&str, &str)]) -> Self {
        self.command.env_clear().envs(env.iter().copied());
        self
    }

    /// Sets the working folder.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sends stdout and stderr to this file, which is made anew.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Ends the tool, and fails, after this time.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs although the whole run was stopped: for cleaning up.
    #[must_use]
    pub(crate) fn even_when_stopped(mut self) -> Self {
        self.cleanup = true;
        self
    }

    fn spawn(&mut self) -> Result<(Child, stop::Group)> {
        self.check()?;
        let child = self.command.spawn().map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                anyhow!(
                    "cannot {}: `{}` is not installed; `cargo xtask doctor` says how to get it",
                    self.what,
                    self.tool
                )
            } else {
                anyhow!("cannot {}: starting `{}`: {error}", self.what, self.tool)
            }
        })?;
        let group = stop::Group::new(child.id());
        Ok((child, group))
    }

    /// Runs to the end. With a `step`, the last line of the log is shown there.
    ///
    /// # Errors
    ///
    /// When the tool is missing, fails, passes its time limit, or the run is stopped.
    pub fn run(mut self, step: Option<&Step>) -> Result<()> {
        if let Some(log) = &self.log {
            if let Some(parent) = log.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let file = File::create(log).with_context(|| format!("writing {}", log.display()))?;
            self.command.stderr(file.try_clone()?).stdout(file);
        }
        let (mut child, group) = self.spawn()?;
        let status = self.wait(&mut child, &group, step)?;
        self.judge(status)
    }

    /// Runs to the end and returns stdout. stderr goes to the log, or is dropped.
    ///
    /// # Errors
    ///
    /// As [`Run::run`], and when stdout is not UTF-8.
    pub fn output(mut self) -> Result<String> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (child, _group) = self.spawn()?;
        let output = child.wait_with_output()?;
        stop::check()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!(
                "cannot {}: `{}` {}\n{}",
                self.what,
                self.tool,
                output.status,
                explain(&tail(&text))
            );
        }
        String::from_utf8(output.stdout)
            .map_err(|_| anyhow!("cannot {}: `{}` wrote no UTF-8", self.what, self.tool))
    }

    /// Starts the tool with stdin and stdout (and stderr) as pipes, for a caller that talks to it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(mut self) -> Result<Running> {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped());
        match &self.log {
            Some(log) => self.command.stderr(File::create(log)?),
            None => self.command.stderr(Stdio::null()),
        };
        let (child, group) = self.spawn()?;
        Ok(Running { child, group })
    }

    fn wait(
        &self,
        child: &mut Child,
        group: &stop::Group,
        step: Option<&Step>,
    ) -> Result<ExitStatus> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if self.limit.is_some_and(|limit| begun.elapsed() > limit) {
                stop::end_group(group.id(), Signal::KILL);
                child.wait()?;
                bail!(
                    "cannot {}: `{}` was still running after {} s{}",
                    self.what,
                    self.tool,
                    begun.elapsed().as_secs(),
                    self.log_tail()
                );
            }
            if let (Some(step), Some(log)) = (step, &self.log) {
                if let Some(line) = last_line(log) {
                    step.note(line);
                }
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    fn check(&self) -> Result<()> {
        if self.cleanup {
            return Ok(());
        }
        stop::check()
    }

    fn judge(&self, status: ExitStatus) -> Result<()> {
        self.check()?;
        if status.success() {
            return Ok(());
        }
        bail!(
            "cannot {}: `{}` {status}{}",
            self.what,
            self.tool,
            self.log_tail()
        );
    }

    fn log_tail(&self) -> String {
        let Some(log) = &self.log else {
            return String::new();
        };
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let end = explain(&tail(&text));
        format!("\n{end}\nthe whole log: {}", log.display())
    }

    /// The arguments so far, for tests.
    #[cfg(test)]
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        self.command.get_args().map(OsStr::to_owned).collect()
    }
}

/// A tool that runs beside us. It is killed with its whole group when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    group: stop::Group,
}

impl Running {
    /// The pipe to its stdin; can be taken once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The pipe from its stdout; can be taken once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its status when it has ended.
    ///
    /// # Errors
    ///
    /// When the status cannot be read.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Kills it and all that it started, and waits for its end.
    pub fn kill(&mut self) {
        stop::end_group(self.group.id(), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_end_of_the_log_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let error = Run::new("sh", "try it")
            .args([
                "-c",
                "echo first; echo tar: No space left on device; exit 3",
            ])
            .log(&log)
            .run(None)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("cannot try it: `sh` exit status: 3"));
        assert!(error.contains("first") && error.contains("the disk is full"));
    }

    #[test]
    fn a_missing_tool_is_named() {
        let error = Run::new("no-such-tool-here", "try it")
            .run(None)
            .unwrap_err();
        assert!(error
            .to_string()
            .contains("`no-such-tool-here` is not installed"));
    }

    #[test]
    fn a_time_limit_ends_the_whole_group() {
        let begun = Instant::now();
        let error = Run::new("sh", "wait")
            .args(["-c", "sleep 60 & sleep 60"])
            .limit(Duration::from_millis(300))
            .run(None)
            .unwrap_err();
        assert!(error.to_string().contains("still running"));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
