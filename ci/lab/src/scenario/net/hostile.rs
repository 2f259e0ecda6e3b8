// SPDX-License-Identifier: MIT OR Apache-2.0
//! Faulty and hostile back ends of networks.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hostile_netback::catalogue::catalogue;
use hostile_netback::random;
use portico_agent::proto::{Amount, Driver, Link, Op, Reply, Traffic, TrafficKind};

use crate::context::Context;
use crate::machine::{Guest, Machine, Vif};
use crate::part::Tally;

use super::super::trial::{self, Load, Victim, SHORT};
use super::traffic;

/// The host behind the hostile back end, and the guest's address there.
const HOST: &str = "10.79.0.1";
const OWN: &str = "10.79.0.2/24";

/// How long an interface may take to get its connection.
const COMES_UP: Duration = Duration::from_secs(6);

/// Datagrams that are sent and come back.
const ECHOES: u64 = 60;

/// Of these so many may be lost where all are to come back: one may meet an interface that is new.
const LOST: u64 = 1;

/// Scripts of the short run: one of each sort.
const SOME: [&str; 11] = [
    "honest",
    "multicast-refused",
    "tx-wrong-id",
    "tx-keeps-grants",
    "rx-size-beyond-page",
    "rx-endless",
    "gso-size-0",
    "tx-producer-ahead",
    "storm",
    "rx-copy-0",
    "killed-under-load",
];

const NET: Victim = Victim {
    name: "net-hostile",
    prepare: |machine| machine.bridge(1500),
    equip: |spec| spec.modules = vec!["xen-netfront".into()],
    program: "hostile-netback",
    device: "7",
    gone: "[ ! -e /sys/class/net/eth0 ]",
    words: &["vif", "eth0", "netfront"],
    start,
    ended,
    fresh,
};

pub(in super::super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut scripts = catalogue();
    scripts.retain(|script| full || SOME.contains(&script.name.as_str()));
    scripts.extend((1..=if full { 100 } else { 2 }).map(random::script));
    trial::run(ctx, driver, NET, &scripts)
}

fn start(machine: &mut Machine, guest: &Guest) -> Result<Option<u64>> {
    let link = Link {
        name: "eth0".into(),
        addresses: vec![OWN.into()],
        ..Link::default()
    };
    let up = machine.at(guest).ask(Op::SetLink(link), COMES_UP);
    if up.is_err() {
        return Ok(None);
    }
    // Each is sent in fragments: packets of several sizes.
    let what = Traffic::new(HOST, TrafficKind::Echo, 3000, Amount::Count(ECHOES));
    let job = machine.at(guest).start(Op::Traffic(what), SHORT * 4)?;
    Ok(Some(job))
}

fn ended(reply: Result<Reply>) -> Load {
    match reply {
        Ok(Reply::Traffic(result)) => {
            let text = format!(
                "{} of {ECHOES} came back, {} bytes wrong",
                result.arrived, result.wrong_bytes
            );
            match result.arrived {
                0 => Load::Failed(text),
                n if n + LOST >= ECHOES && result.wrong_bytes == 0 => Load::Whole(text),
                _ => Load::Partly(text),
            }
        }
        Ok(other) => Load::Failed(format!("{other:?}")),
        Err(error) => Load::Failed(format!("{error:#}")),
    }
}

fn fresh(machine: &mut Machine, guest: &Guest) -> Result<()> {
    let vif = Vif::new(5);
    machine.attach_vif(guest, &vif)?;
    machine
        .at(guest)
        .set_link(&vif.link("eth0"))
        .context("a fresh interface")?;
    let peer = traffic::DOM0[0];
    for back in [false, true] {
        let mut what = Traffic::new(peer, TrafficKind::Stream, 1 << 14, Amount::Count(1 << 18));
        what.back = back;
        traffic::stream(machine, guest, &what)?;
    }
    machine.detach_vif(guest, &vif)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_list_names_scripts() {
        let scripts = catalogue();
        assert!(SOME
            .iter()
            .all(|some| scripts.iter().any(|script| script.name == *some)));
    }
}
