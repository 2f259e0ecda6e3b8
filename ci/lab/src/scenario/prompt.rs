// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest for people who work on drivers: each line of the terminal is a shell command in the guest, or
//! in dom0 if it begins with `!`.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use anyhow::Result;
use portico_agent::proto::Driver;

use crate::context::Context;
use crate::image;
use crate::machine::{Disk, GuestSpec, GuestType, Machine, MachineOptions};
use crate::stop;

/// A command may take this long.
const LIMIT: Duration = Duration::from_secs(600);

const HELP: &str = "\
xvda of the guest is /dev/ram0 of dom0; /dev/ram1 is free (`!xl block-attach lab phy:/dev/ram1 xvdb w`).
A line is a shell command in the guest, with `!` before it in dom0. Each runs in a shell of its own.
`stock` and `ours` change the driver; `exit` or end of input leaves.";

pub(super) fn run(ctx: &Context, kind: GuestType) -> Result<()> {
    let images = image::images(ctx)?;
    let step = ctx.host.progress.step("booting Xen, dom0 and a guest");
    let mut machine = Machine::boot(ctx, &images, &MachineOptions::new("lab"))?;
    machine
        .dom0()
        .load("brd", "rd_nr=2 rd_size=65536", Driver::Stock)?;
    let mut spec = GuestSpec::new("lab", kind, Driver::Ours);
    spec.disks.push(Disk::device("/dev/ram0", "xvda"));
    let guest = machine.create(&spec)?;
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
                let mut at = machine.at(&guest);
                let done = at
                    .unload("xen-blkfront")
                    .and_then(|()| at.load("xen-blkfront", "", driver));
                done.map(|()| None)
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
