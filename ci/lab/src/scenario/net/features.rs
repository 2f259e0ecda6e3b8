// SPDX-License-Identifier: MIT OR Apache-2.0
//! What front and back end negotiate: queues, event channels, sizes, offloads. Each is seen in effect
//! in the store or in the interface, and carries verified traffic. Settings of one guest type share a
//! guest: the interface is plugged in anew for each.

use std::collections::BTreeMap;

use anyhow::{ensure, Context as _, Result};
use portico_agent::proto::{Driver, LinkState};

use crate::context::Context;
use crate::machine::{Device, Guest, GuestSpec, GuestType, Machine, Vif, BRIDGE};
use crate::part::Tally;
use crate::report::Facts;

use super::super::facts::nodes;
use super::super::stage::{with_guest, Stage};
use super::super::{driven_by, ETH0};
use super::console;
use super::multicast;
use super::traffic::{self, eth0, Load, DOM0, LITTLE, MUCH};

/// The checksum that can be switched: the stock driver always leaves that of IPv4 to the device.
const V6_CHECKSUM: &str = "tx-checksum-ipv6";

/// What the guest's kernel may leave to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offloads {
    /// All that is offered.
    All,
    /// No segmentation.
    NoGso,
    /// No scatter-gather, so no segmentation either.
    NoSg,
    /// No checksum of IPv6, and nothing that builds on it.
    None,
}

impl Offloads {
    /// ethtool's names with their settings, and what must be seen of them.
    fn features(self) -> Vec<(&'static str, bool)> {
        match self {
            Offloads::All => vec![
                (V6_CHECKSUM, true),
                ("sg", true),
                ("tso", true),
                ("gro", true),
            ],
            Offloads::NoGso => vec![
                (V6_CHECKSUM, true),
                ("sg", true),
                ("tso", false),
                ("gro", false),
            ],
            Offloads::NoSg => vec![(V6_CHECKSUM, true), ("tso", false), ("sg", false)],
            Offloads::None => vec![
                ("tso", false),
                ("sg", false),
                (V6_CHECKSUM, false),
                ("gro", false),
            ],
        }
    }
}

/// Settings of both ends.
#[derive(Clone, Copy, Debug)]
struct Setting {
    queues: u64,
    split: bool,
    mtu: u32,
    offloads: Offloads,
}

impl Setting {
    fn name(self) -> String {
        format!(
            "{} queues, {} channels, MTU {}, offloads {:?}",
            self.queues,
            if self.split { "split" } else { "shared" },
            self.mtu,
            self.offloads
        )
    }
}

/// A guest and the settings that are tried in it.
#[derive(Clone, Debug)]
struct Group {
    kind: GuestType,
    vcpus: u32,
    settings: Vec<Setting>,
}

/// Several queues want as many vCPUs; those are steady in PV guests only, where the emulator has no
/// world to switch.
fn guest(queues: u64) -> (GuestType, u32) {
    match queues {
        1 => (GuestType::Hvm, 1),
        _ => (GuestType::Pv, queues as u32),
    }
}

fn all() -> Vec<Group> {
    let mut groups = Vec::new();
    for queues in 1..=4 {
        let mut settings = Vec::new();
        for split in [false, true] {
            for mtu in [1500, 9000] {
                for offloads in [
                    Offloads::All,
                    Offloads::NoGso,
                    Offloads::NoSg,
                    Offloads::None,
                ] {
                    // Without scatter-gather a packet fits a page.
                    if mtu > 1500 && matches!(offloads, Offloads::NoSg | Offloads::None) {
                        continue;
                    }
                    settings.push(Setting {
                        queues,
                        split,
                        mtu,
                        offloads,
                    });
                }
            }
        }
        let (kind, vcpus) = guest(queues);
        groups.push(Group {
            kind,
            vcpus,
            settings,
        });
    }
    groups
}

/// Each value at least once, in two guests.
fn some() -> Vec<Group> {
    let group = |queues, settings: &[(bool, u32, Offloads)]| {
        let (kind, vcpus) = guest(queues);
        let settings = settings.iter().map(|&(split, mtu, offloads)| Setting {
            queues,
            split,
            mtu,
            offloads,
        });
        Group {
            kind,
            vcpus,
            settings: settings.collect(),
        }
    };
    vec![
        group(
            1,
            &[
                (false, 1500, Offloads::None),
                (true, 9000, Offloads::All),
                (true, 1500, Offloads::NoSg),
            ],
        ),
        group(2, &[(true, 9000, Offloads::NoGso)]),
    ]
}

pub(in super::super) fn run(ctx: &Context, driver: Driver, full: bool) -> Result<Tally> {
    let mut stage = Stage::new(ctx, "net-features", driver, |machine| machine.bridge(1500))?;
    let (groups, load) = if full {
        (all(), MUCH)
    } else {
        (some(), LITTLE)
    };
    for group in groups {
        let (first, count) = (group.settings[0].name(), group.settings.len());
        let name = format!("{} from {first}, {count} settings", group.kind.name());
        stage.case(&name, |machine, facts| {
            let mut spec = GuestSpec::new("features", group.kind, driver);
            spec.vcpus = group.vcpus;
            spec.modules.clear();
            with_guest(machine, &spec, facts, |machine, guest, facts| {
                let mut loaded = false;
                for setting in &group.settings {
                    let seen = one(machine, guest, *setting, load, loaded)
                        .with_context(|| setting.name())?;
                    loaded = true;
                    facts.insert(setting.name(), seen.into());
                }
                Ok(())
            })
        })?;
    }
    stage.case("guest to guest", |machine, facts| {
        two_guests(machine, driver, load, facts)
    })?;
    stage.case("trusted=0", |machine, facts| {
        untrusted(machine, driver, load, facts)
    })?;
    stage.case("multicast", |machine, facts| {
        multicast::multicast(machine, driver, facts)
    })?;
    stage.case("netconsole", |machine, facts| {
        console::netconsole(machine, driver, facts)
    })?;
    stage.finish()
}

/// One setting; returns what was seen.
fn one(
    machine: &mut Machine,
    guest: &Guest,
    setting: Setting,
    load: Load,
    loaded: bool,
) -> Result<Facts> {
    let mut facts = Facts::new();
    machine.bridge(setting.mtu)?;
    let split = if setting.split { "Y" } else { "N" };
    for (parameter, value) in [
        ("max_queues", setting.queues.to_string().as_str()),
        ("separate_tx_rx_irq", split),
    ] {
        let path = format!("/sys/module/xen_netback/parameters/{parameter}");
        machine.dom0().write(&path, value)?;
    }
    let vif = eth0();
    let parameters = format!("max_queues={}", setting.queues);
    machine.switch_driver(
        guest,
        &Device::Vif(vif.clone()),
        (guest.driver, &parameters),
        loaded,
    )?;
    driven_by(machine, guest, ETH0, &mut facts)?;
    let mut link = vif.link("eth0");
    link.mtu = Some(setting.mtu);
    link.features = setting
        .offloads
        .features()
        .into_iter()
        .map(|(name, on)| (name.to_owned(), on))
        .collect();
    machine.at(guest).set_link(&link)?;
    let flows = if setting.queues > 1 { 4 } else { 1 };
    traffic::verified(machine, guest, DOM0, load.flows(flows), &mut facts)?;
    in_effect(machine, guest, setting, &mut facts)?;
    Ok(facts)
}

fn in_effect(
    machine: &mut Machine,
    guest: &Guest,
    setting: Setting,
    facts: &mut Facts,
) -> Result<()> {
    let front = nodes(
        machine,
        &format!("/local/domain/{}/device/vif/0", guest.domid),
    )?;
    facts.insert("front_keys".into(), serde_json::to_value(&front)?);
    let queues = match front.get("multi-queue-num-queues") {
        Some(text) => text.parse()?,
        None => 1,
    };
    ensure!(
        queues == setting.queues,
        "multi-queue-num-queues is {queues}"
    );
    for queue in 0..queues {
        let prefix = match queues {
            1 => String::new(),
            _ => format!("queue-{queue}/"),
        };
        ensure!(
            has(&front, &prefix, "event-channel-tx") == setting.split
                && has(&front, &prefix, "event-channel-rx") == setting.split
                && has(&front, &prefix, "event-channel") != setting.split,
            "the keys of queue {queue} are not those of {} channels",
            if setting.split { "split" } else { "shared" }
        );
    }
    let link = machine.at(guest).link("eth0")?;
    ensure!(link.mtu == setting.mtu, "the MTU is {}", link.mtu);
    ensure!(
        u64::from(link.tx_queues) == setting.queues && u64::from(link.rx_queues) == setting.queues,
        "the interface has {} and {} queues",
        link.tx_queues,
        link.rx_queues
    );
    for (name, on) in setting.offloads.features() {
        let long = long_name(name);
        ensure!(
            link.feature(long) == Some(on),
            "{long} is {:?}",
            link.feature(long)
        );
    }
    quiet_counters(&link)?;
    facts.insert(
        "counters".into(),
        link.counters
            .iter()
            .cloned()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .map(|(k, v)| (k, v.into()))
            .collect::<Facts>()
            .into(),
    );
    Ok(())
}

fn has(front: &BTreeMap<String, String>, prefix: &str, key: &str) -> bool {
    front.contains_key(&format!("{prefix}{key}"))
}

/// The name under which ethtool shows what it takes a short name for.
fn long_name(short: &str) -> &'static str {
    match short {
        "tx-checksum-ipv6" => V6_CHECKSUM,
        "sg" => "scatter-gather",
        "tso" => "tcp-segmentation-offload",
        _ => "generic-receive-offload",
    }
}

/// Fails if the interface counts errors.
pub(super) fn quiet_counters(link: &LinkState) -> Result<()> {
    for name in ["rx_errors", "tx_errors"] {
        ensure!(link.counter(name) == 0, "{name} is {}", link.counter(name));
    }
    Ok(())
}

/// Traffic that the bridge passes from one guest to the other.
fn two_guests(machine: &mut Machine, driver: Driver, load: Load, facts: &mut Facts) -> Result<()> {
    machine.bridge(1500)?;
    let (one, two) = (eth0(), Vif::new(3));
    let specification = |name: &str, vif: &Vif| {
        let mut spec = GuestSpec::new(name, GuestType::Hvm, driver);
        spec.plug(vif.clone());
        spec
    };
    let first = specification("one", &one);
    with_guest(machine, &first, facts, |machine, first, facts| {
        let second = specification("two", &two);
        with_guest(machine, &second, facts, |machine, second, facts| {
            for (guest, vif) in [(&*first, &one), (&*second, &two)] {
                machine.at(guest).set_link(&vif.link("eth0"))?;
            }
            let (v4, v6) = (two.v4(), two.v6());
            traffic::verified(machine, first, [&v4, &v6], load, facts)?;
            let seen = machine.dom0().shell(
                &format!("cat /sys/class/net/{BRIDGE}/brif/*/state"),
                std::time::Duration::from_secs(20),
            )?;
            facts.insert("ports".into(), seen.stdout.lines().count().into());
            Ok(())
        })
    })
}

/// A back end that must see nothing but packets.
fn untrusted(machine: &mut Machine, driver: Driver, load: Load, facts: &mut Facts) -> Result<()> {
    machine.bridge(1500)?;
    let mut spec = GuestSpec::new("untrusted", GuestType::Hvm, driver);
    spec.modules.clear();
    with_guest(machine, &spec, facts, |machine, guest, facts| {
        let vif = eth0();
        let how = (driver, "trusted=0");
        machine.switch_driver(guest, &Device::Vif(vif.clone()), how, false)?;
        driven_by(machine, guest, ETH0, facts)?;
        machine.at(guest).set_link(&vif.link("eth0"))?;
        let words = match driver {
            Driver::Stock => "bouncing transmitted data",
            Driver::Ours => "bounce buffer: enabled",
        };
        let said = machine.at(guest).kernel_log(0)?.lines;
        ensure!(
            said.iter().any(|line| line.text.contains(words)),
            "the driver does not say: {words}"
        );
        traffic::verified(machine, guest, DOM0, load, facts)?;
        quiet_counters(&machine.at(guest).link("eth0")?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_both_lists() {
        for groups in [some(), all()] {
            let settings: Vec<Setting> = groups.into_iter().flat_map(|g| g.settings).collect();
            let has = |test: fn(&Setting) -> bool| settings.iter().any(test);
            assert!(has(|s| s.queues == 1) && has(|s| s.queues == 2));
            assert!(has(|s| s.split) && has(|s| !s.split));
            assert!(has(|s| s.mtu == 1500) && has(|s| s.mtu == 9000));
            for offloads in [
                Offloads::All,
                Offloads::NoGso,
                Offloads::NoSg,
                Offloads::None,
            ] {
                assert!(settings.iter().any(|s| s.offloads == offloads));
            }
        }
    }
}
