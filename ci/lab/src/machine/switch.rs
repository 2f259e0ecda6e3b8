// SPDX-License-Identifier: MIT OR Apache-2.0
//! One driver after the other for the same disk, in one boot.

use std::time::Duration;

use anyhow::{ensure, Context as _, Result};
use portico_agent::proto::Driver;

use super::{Disk, Guest, Machine};

const MODULE: &str = "xen-blkfront";
const STEP: Duration = Duration::from_secs(60);

impl Machine {
    /// Has `disk` driven by `driver`. `loaded`: a driver is loaded and has the disk, its only one.
    ///
    /// # Errors
    ///
    /// When the modules cannot be changed, another one than wanted is loaded, or the disk does not come
    /// back.
    pub fn switch_driver(
        &mut self,
        guest: &Guest,
        disk: &Disk,
        driver: Driver,
        loaded: bool,
    ) -> Result<()> {
        if loaded {
            // The bus holds a module that is bound to a device, so the disk is unplugged first.
            self.detach(guest, &disk.vdev, false)?;
            self.unload_driver(guest)?;
        }
        let mut at = self.at(guest);
        at.load(MODULE, "", driver)?;
        let state = at
            .module(MODULE)?
            .with_context(|| format!("{MODULE} was loaded, but is not there"))?;
        ensure!(
            state.taint.contains('O') == (driver == Driver::Ours),
            "the {} {MODULE} was asked for, but another one is loaded",
            driver.name()
        );
        self.attach(guest, disk)?;
        let vdev = &disk.vdev;
        let wait = format!(
            "i=0; while [ $i -lt 300 ]; do \
             [ \"$(cat /sys/class/block/{vdev}/size 2>/dev/null || echo 0)\" != 0 ] && \
             [ -b /dev/{vdev} ] && exit 0; sleep 0.05; i=$((i + 1)); done; exit 1"
        );
        let exit = self.at(guest).shell(&wait, STEP)?;
        ensure!(
            exit.code == 0,
            "{vdev} did not come back under the {} driver within {} ms",
            driver.name(),
            exit.ms
        );
        Ok(())
    }

    /// Removes the driver. The disk goes a moment after the tools have said so, and holds it till then.
    fn unload_driver(&mut self, guest: &Guest) -> Result<()> {
        let mut at = self.at(guest);
        let mut tries = 0;
        while let Err(error) = at.unload(MODULE) {
            tries += 1;
            if tries > 40 {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}
