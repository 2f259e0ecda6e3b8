// SPDX-License-Identifier: MIT OR Apache-2.0
//! XDP: a program on the interface passes packets, drops them, sends them back or redirects them, and
//! counts them; all other traffic goes on as it did, and also after the program is gone.

use std::time::Duration;

use anyhow::{bail, ensure, Context as _, Result};
use portico_agent::proto::{Amount, Driver, Op, Reply, Traffic, TrafficKind, XdpAction};

use crate::context::Context;
use crate::machine::{Guest, GuestSpec, GuestType, Machine};
use crate::part::Tally;

use super::super::stage::{with_guest, Stage};
use super::super::{driven_by, ETH0};
use super::traffic::{self, eth0, DOM0, LITTLE, MUCH};

const SHORT: Duration = Duration::from_secs(30);

pub(in super::super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut stage = Stage::new(ctx, "net-xdp", driver, |machine| machine.bridge(1500))?;
    let kinds: &[GuestType] = if full {
        &GuestType::ALL
    } else {
        &[GuestType::Hvm]
    };
    let load = if full { MUCH } else { LITTLE };
    for kind in kinds {
        stage.case(kind.name(), |machine, facts| {
            let mut spec = GuestSpec::new("xdp", *kind, driver);
            spec.plug(eth0());
            with_guest(machine, &spec, facts, |machine, guest, facts| {
                driven_by(machine, guest, ETH0, facts)?;
                machine.at(guest).set_link(&eth0().link("eth0"))?;
                for action in XdpAction::ALL {
                    let seen =
                        one(machine, guest, action, full).with_context(|| format!("{action:?}"))?;
                    facts.insert(format!("{action:?}").to_lowercase(), seen.into());
                }
                traffic::verified(machine, guest, DOM0, load, facts)
                    .context("when the program is gone")
            })
        })?;
    }
    stage.finish()
}

/// One action; returns how many packets the program has counted.
fn one(machine: &mut Machine, guest: &Guest, action: XdpAction, full: bool) -> Result<u64> {
    let link = "eth0".to_owned();
    let attach = Op::AttachXdp {
        link: link.clone(),
        action,
    };
    machine.at(guest).ask(attach, SHORT * 2)?;
    // The interface may be set up anew for it.
    machine.at(guest).set_link(&eth0().link("eth0"))?;
    let returns = matches!(action, XdpAction::Tx | XdpAction::Redirect);
    // What does not come back is waited for.
    let count = match (returns, full) {
        (false, _) => 3,
        (true, false) => 50,
        (true, true) => 2000,
    };
    let mut what = Traffic::new(&eth0().v4(), TrafficKind::Echo, 200, Amount::Count(count));
    what.seed = count;
    let result = machine.dom0().traffic(&what, SHORT * 4)?;
    traffic::correct(&what, &result)?;
    let wanted = if returns { count } else { 0 };
    ensure!(
        result.arrived == wanted && result.sent == count,
        "{} of {} came back",
        result.arrived,
        result.sent
    );
    // Other traffic is not the program's business.
    let mut other = Traffic::new(
        DOM0[0],
        TrafficKind::Stream,
        1 << 14,
        Amount::Count(1 << 20),
    );
    for back in [false, true] {
        other.back = back;
        traffic::stream(machine, guest, &other)?;
    }
    let reply = machine.at(guest).ask(Op::DetachXdp(link), SHORT * 2)?;
    let Reply::Count(seen) = reply else {
        bail!("the program ended with {reply:?}");
    };
    ensure!(
        seen == count,
        "{count} packets were sent, the program saw {seen}"
    );
    Ok(seen)
}
