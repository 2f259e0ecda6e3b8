// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest for people who work on drivers: each line of the terminal is a shell command in the guest, or
//! in dom0 if it begins with `!`.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use anyhow::Result;
use portico_agent::proto::Driver;

use crate::context::Context;
use crate::image;
use crate::machine::{Device, Disk, GuestSpec, GuestType, Machine, MachineOptions};
use crate::stop;

use super::net::traffic::eth0;

/// A command may take this long.
const LIMIT: Duration = Duration::from_secs(600);

const HELP: &str = "\
xvda of the guest is /dev/ram0 of dom0; /dev/ram1 is free (`!xl block-attach lab phy:/dev/ram1 xvdb w`).
eth0 has 10.77.0.2 and fd77::2; dom0 is 10.77.0.1 and fd77::1.
A line is a shell command in the guest, with `!` before it in dom0. Each runs in a shell of its own.
`stock` and `ours` change the drivers; `exit` or end of input leaves.";

pub(super) fn run(ctx: &Context, kind: GuestType) -> Result<()> {
    let images = image::images(ctx)?;
    let step = ctx.host.progress.step("booting Xen, dom0 and a guest");
    let mut machine = Machine::boot(ctx, &images, &MachineOptions::new("lab"))?;
    machine
        .dom0()
        .load("brd", "rd_nr=2 rd_size=65536", Driver::Stock)?;
    machine.bridge(1500)?;
    let disk = Disk::device("/dev/ram0", "xvda");
    let mut spec = GuestSpec::new("lab", kind, Driver::Ours);
    spec.disks.push(disk.clone());
    spec.plug(eth0());
    let guest = machine.create(&spec)?;
    machine.at(&guest).set_link(&eth0().link("eth0"))?;
    let devices = [Device::Disk(disk), Device::Vif(eth0())];
    step.done(guest.to_string());
    println!("{HELP}");
    let mut lines = std::io::stdin().lock().lines();
    loop {
        print!("{}# ", kind.name());
        std::io::stdout().flush()?;
        let Some(line) = lines.next() else { break };
        let line = line?;
        let result = match line.trim() {
            "" => continue,
            "exit" => break,
            word @ ("stock" | "ours") => {
                let driver = if word == "ours" {
                    Driver::Ours
                } else {
                    Driver::Stock
                };
                let mut change = || -> Result<()> {
                    for device in &devices {
                        machine.switch_driver(&guest, device, (driver, ""), true)?;
                    }
                    machine.at(&guest).set_link(&eth0().link("eth0"))
                };
                change().map(|()| None)
            }
            command => match command.strip_prefix('!') {
                Some(command) => machine.dom0().shell(command, LIMIT).map(Some),
                None => machine.at(&guest).shell(command, LIMIT).map(Some),
            },
        };
        stop::check()?;
        match result {
            Ok(Some(exit)) => {
                print!("{}{}", exit.stdout, exit.stderr);
                if exit.code != 0 {
                    println!("(exit code {})", exit.code);
                }
            }
            Ok(None) => println!("done"),
            Err(error) => println!("{error:#}"),
        }
    }
    machine.destroy(&guest)?;
    machine.power_off()
}
