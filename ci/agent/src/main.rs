// SPDX-License-Identifier: MIT OR Apache-2.0
//! The agent as a program: the first process of an initramfs, in the role that the kernel command line
//! gives it.

use portico_agent::agent::Agent;
use portico_agent::boot::{self, Problems, Settings};
use portico_agent::{dom0, guest, net};

fn main() {
    if std::process::id() == 1 {
        // /proc is needed for the path of this program.
        let _ = boot::mount("proc", "/proc", "proc");
        boot::first_process();
    }
    if std::env::var_os("PORTICO_CHILD").is_none() {
        eprintln!("portico-agent is started by the lab as the first process of a dom0 or a guest");
        std::process::exit(2);
    }
    let mut problems = Problems::default();
    boot::basics(&mut problems);
    let settings = Settings::read();
    match settings.role.as_str() {
        "dom0" => {
            dom0::bring_up(&mut problems);
            problems.check("traffic", net::serve());
            let agent = Agent::new(boot::hello(problems), true);
            if let Err(fault) = dom0::serve(&agent) {
                boot::say(fault);
            }
        }
        "guest" => {
            let rooted = std::env::var_os("PORTICO_ROOTED").is_some();
            if !rooted {
                guest::bring_up(&settings, &mut problems);
                if let Some(device) = &settings.root {
                    problems.note(boot::change_root(device));
                }
            }
            problems.check("traffic", net::serve());
            let agent = Agent::new(boot::hello(problems), false);
            boot::say("serving dom0");
            guest::serve(&agent);
        }
        other => boot::say(format_args!(
            "no role lab.role={other:?}: it is dom0 or guest"
        )),
    }
}
