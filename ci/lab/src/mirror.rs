// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the mirror has at the moment: a package index of our own, apart from the system's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{bail, Context as _, Result};

use crate::apt::{self, SUITE};
use crate::cache::Inputs;
use crate::context::Host;
use crate::run::Run;

/// The index of one archive, no older than a day.
#[derive(Clone, Debug)]
pub struct Mirror {
    folder: PathBuf,
}

impl Mirror {
    /// The first archive of the system's configuration that serves the release, with its index
    /// of today.
    ///
    /// # Errors
    ///
    /// When no archive is set up or none can be read.
    pub fn open(host: &Host) -> Result<Self> {
        let archives = apt::archives(Path::new("/etc/apt"))?;
        let mut troubles = Vec::new();
        for archive in &archives {
            match Self::index(host, archive) {
                Ok(mirror) => return Ok(mirror),
                Err(error) => troubles.push(format!("{}: {error:#}", archive.uri())),
            }
            crate::stop::check()?;
        }
        bail!(
            "no archive of the system's apt configuration gives {SUITE} and {SUITE}-backports\n{}",
            troubles.join("\n")
        );
    }

    fn index(host: &Host, archive: &apt::Archive) -> Result<Self> {
        let days = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_secs()
            / 86_400;
        let inputs = Inputs::new(1)
            .with("archive", &format!("{archive:?}"))
            .with("day", &days.to_string());
        let kind = "apt-index";
        let folder = host.cache.entry(kind, &inputs, &host.progress, |folder| {
            let step = host.progress.step("reading the package index");
            fs::create_dir_all(folder.join("lists/partial"))?;
            fs::create_dir_all(folder.join("cache/archives/partial"))?;
            // The path must hold after the rename, so the key lies beside the entry.
            let keyring = host.cache.root().join("archive-key.asc");
            fs::write(folder.join("sources.list"), archive.sources(&keyring)?)?;
            Self {
                folder: folder.to_owned(),
            }
            .apt("apt-get", "read the package index")
            .arg("update")
            .arg("--error-on=any")
            .log(host.log("apt-update"))
            .run(Some(&step))?;
            step.done("");
            Ok(())
        })?;
        host.cache.forget_others(kind, &folder);
        Ok(Self { folder })
    }

    /// The sources of the archive, for making sysroots.
    pub fn sources(&self) -> PathBuf {
        self.folder.join("sources.list")
    }

    /// An apt tool that sees this index only, and nothing of the system's state.
    fn apt(&self, tool: &str, what: &str) -> Run {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let options = [
            format!("Dir::State={}", at("")),
            format!("Dir::State::lists={}", at("lists")),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Update::Post-Invoke-Success=".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ];
        let mut run = Run::new(tool, what).env("LC_ALL", "C.UTF-8");
        for option in options {
            run = run.arg("-o").arg(option);
        }
        run
    }

    /// The version of a package, when the mirror has it.
    ///
    /// # Errors
    ///
    /// When the index cannot be read.
    pub fn version(&self, package: &str) -> Result<Option<String>> {
        // `apt-cache madison` says nothing, and succeeds, for a package that is not there.
        let text = self
            .apt("apt-cache", "look into the package index")
            .args(["madison", package])
            .output()?;
        Ok(text
            .lines()
            .next()
            .and_then(|line| line.split('|').nth(1))
            .map(|version| version.trim().to_owned()))
    }

    /// Downloads a package into the folder `to` and returns the file. apt checks its hash.
    ///
    /// # Errors
    ///
    /// When it is not there or the download fails.
    pub fn download(
        &self,
        package: &str,
        version: &str,
        to: &Path,
        log: PathBuf,
    ) -> Result<PathBuf> {
        fs::create_dir_all(to)?;
        self.apt("apt-get", &format!("download {package}"))
            .args(["download", &format!("{package}={version}")])
            .dir(to)
            .log(log)
            .run(None)?;
        let prefix = format!("{package}_");
        fs::read_dir(to)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
            })
            .with_context(|| format!("the download of {package} left no file"))
    }
}
