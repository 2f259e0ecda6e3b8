// SPDX-License-Identifier: MIT OR Apache-2.0
//! What parts share: made when the first of them asks, and not again.

use std::path::PathBuf;

use anyhow::{bail, Result};
use portico_lab::context::{Context, Host};
use portico_lab::modules::{Mode, Modules};
use portico_lab::setup::{self, Toolchain};

use crate::cargo;

/// A thing that is made once; its failure is told once in full.
struct Once<T>(Option<Result<T, ()>>);

impl<T> Once<T> {
    fn get(&mut self, what: &str, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        if self.0.is_none() {
            match make() {
                Ok(made) => self.0 = Some(Ok(made)),
                Err(error) => {
                    self.0 = Some(Err(()));
                    return Err(error);
                }
            }
        }
        match &self.0 {
            Some(Ok(made)) => Ok(made),
            _ => bail!("not run: {what} failed before"),
        }
    }
}

pub(super) struct World {
    pub(super) host: Host,
    kernel: Option<String>,
    toolchain: Once<Toolchain>,
    modules: Once<Modules>,
    context: Once<Context>,
}

impl World {
    pub(super) fn new(host: &Host, kernel: Option<&str>) -> Self {
        Self {
            host: host.clone(),
            kernel: kernel.map(str::to_owned),
            toolchain: Once(None),
            modules: Once(None),
            context: Once(None),
        }
    }

    /// The build sysroot and the kernel's metadata.
    pub(super) fn toolchain(&mut self) -> Result<&Toolchain> {
        let (host, kernel) = (&self.host, self.kernel.as_deref());
        self.toolchain
            .get("setting up the toolchain", || Toolchain::get(host, kernel))
    }

    /// A folder with Xen's public headers alone.
    pub(super) fn xen_include(&mut self) -> Result<PathBuf> {
        let toolchain = self.toolchain()?.clone();
        cargo::xen_include(&self.host, &toolchain)
    }

    /// The toolchain and the modules built with it.
    pub(super) fn modules(&mut self) -> Result<(Toolchain, &Modules)> {
        let toolchain = self.toolchain()?.clone();
        let host = &self.host;
        let modules = self.modules.get("building the modules", || {
            toolchain.modules(host, Mode::Build)
        })?;
        Ok((toolchain, modules))
    }

    /// Everything that a boot needs.
    pub(super) fn context(&mut self) -> Result<&Context> {
        let (host, kernel) = (&self.host, self.kernel.as_deref());
        self.context
            .get("setting up the lab", || setup::prepare(host, kernel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_and_not_tried_again() {
        let mut once: Once<u8> = Once(None);
        let first = once.get("making it", || bail!("the reason")).unwrap_err();
        assert_eq!(first.to_string(), "the reason");
        let second = once.get("making it", || Ok(1)).unwrap_err();
        assert_eq!(second.to_string(), "not run: making it failed before");
    }
}
