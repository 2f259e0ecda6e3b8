// SPDX-License-Identifier: MIT OR Apache-2.0
//! One driver after the other for the same device, in one boot.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use portico_agent::proto::Driver;

use super::{Disk, Guest, Machine, Vif};

const STEP: Duration = Duration::from_secs(60);

/// A device that can be plugged in.
#[derive(Clone, Debug)]
pub enum Device {
    /// A disk.
    Disk(Disk),
    /// A network interface, which is `eth0`.
    Vif(Vif),
}

impl Device {
    /// The front end's module.
    pub fn module(&self) -> &'static str {
        match self {
            Device::Disk(_) => "xen-blkfront",
            Device::Vif(_) => super::net::MODULE,
        }
    }

    /// Its name in the guest.
    pub fn name(&self) -> &str {
        match self {
            Device::Disk(disk) => &disk.vdev,
            Device::Vif(_) => "eth0",
        }
    }

    /// A condition of the shell that holds when the guest has it.
    fn is_there(&self) -> String {
        let name = self.name();
        match self {
            Device::Disk(_) => format!(
                "[ \"$(cat /sys/class/block/{name}/size 2>/dev/null || echo 0)\" != 0 ] && \
                 [ -b /dev/{name} ]"
            ),
            Device::Vif(vif) => format!(
                "[ \"$(cat /sys/class/net/{name}/address 2>/dev/null)\" = {} ]",
                vif.mac()
            ),
        }
    }
}

impl Machine {
    /// Plugs a device in.
    ///
    /// # Errors
    ///
    /// When xl fails.
    pub fn plug(&mut self, guest: &Guest, device: &Device) -> Result<()> {
        match device {
            Device::Disk(disk) => self.attach(guest, disk),
            Device::Vif(vif) => self.attach_vif(guest, vif),
        }
    }

    /// Unplugs a device.
    ///
    /// # Errors
    ///
    /// When xl fails.
    pub fn unplug(&mut self, guest: &Guest, device: &Device) -> Result<()> {
        match device {
            Device::Disk(disk) => self.detach(guest, &disk.vdev, false),
            Device::Vif(vif) => self.detach_vif(guest, vif),
        }
    }

    /// Has `device` driven by `driver`, loaded with parameters. `loaded`: a driver is loaded and has
    /// the device, its only one.
    ///
    /// # Errors
    ///
    /// When the modules cannot be changed, another one than wanted is loaded, or the device does not
    /// come back.
    pub fn switch_driver(
        &mut self,
        guest: &Guest,
        device: &Device,
        (driver, parameters): (Driver, &str),
        loaded: bool,
    ) -> Result<()> {
        let module = device.module();
        if loaded {
            // The bus holds a module that is bound to a device, so the device is unplugged first.
            self.unplug(guest, device)?;
            self.unload_driver(guest, module)?;
        }
        let mut at = self.at(guest);
        at.load(module, parameters, driver)?;
        let state = at
            .module(module)?
            .with_context(|| format!("{module} was loaded, but is not there"))?;
        ensure!(
            state.taint.contains('O') == (driver == Driver::Ours),
            "the {} {module} was asked for, but another one is loaded",
            driver.name()
        );
        self.plug(guest, device)?;
        let wait = format!(
            "i=0; while [ $i -lt 300 ]; do {} && exit 0; sleep 0.05; i=$((i + 1)); done; exit 1",
            device.is_there()
        );
        let exit = self.at(guest).shell(&wait, STEP)?;
        ensure!(
            exit.code == 0,
            "{} did not come back under the {} driver within {} ms",
            device.name(),
            driver.name(),
            exit.ms
        );
        Ok(())
    }

    /// Removes the driver. The device goes a moment after the tools have said so, and holds it till then.
    fn unload_driver(&mut self, guest: &Guest, module: &str) -> Result<()> {
        let mut at = self.at(guest);
        let mut tries = 0;
        while let Err(error) = at.unload(module) {
            tries += 1;
            if tries > 40 {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}
