// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network interfaces, set up by `ip` and `ethtool`.

use crate::exec::{self, Group};
use crate::proto::{Exec, Fault, FaultKind, Link, LinkState};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn folder(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

fn run(argv: &[&str], deadline: Instant, group: &Group) -> Result<String, Fault> {
    let exit = exec::run(&Exec::new(argv.iter().copied()), deadline, group)?;
    match exit.code {
        0 => Ok(exit.stdout),
        code => Err(Fault::new(
            FaultKind::Unexpected,
            format!(
                "`{}` ended with {code}: {}",
                argv.join(" "),
                exec::tail(&exit.stderr)
            ),
        )),
    }
}

/// Sets an interface up. One that is on its way is waited for, and so is its connection.
pub fn set(link: &Link, deadline: Instant, group: &Group) -> Result<(), Fault> {
    let name = link.name.as_str();
    if link.bridge && !folder(name).exists() {
        let words = [
            "ip",
            "link",
            "add",
            "name",
            name,
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
            "mcast_snooping",
            "0",
        ];
        run(&words, deadline, group)?;
    }
    while !folder(name).exists() {
        if Instant::now() > deadline {
            let message = format!("there is no network interface {name}");
            return Err(Fault::new(FaultKind::Timeout, message));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for (feature, on) in &link.features {
        let value = if *on { "on" } else { "off" };
        run(&["ethtool", "-K", name, feature, value], deadline, group)?;
    }
    if let Some(mtu) = link.mtu {
        run(
            &["ip", "link", "set", "dev", name, "mtu", &mtu.to_string()],
            deadline,
            group,
        )?;
    }
    run(&["ip", "link", "set", "dev", name, "up"], deadline, group)?;
    for address in &link.addresses {
        let mut words = vec!["ip", "address", "replace", address, "dev", name];
        // Nobody else has it, so that it can be used at once.
        if address.contains(':') {
            words.push("nodad");
        }
        run(&words, deadline, group)?;
    }
    // A bridge has one as soon as somebody is on it.
    let connected = || fs::read_to_string(folder(name).join("carrier")).is_ok_and(|c| c == "1\n");
    while !link.bridge && !connected() {
        if Instant::now() > deadline {
            let message = format!("{name} does not get connected");
            return Err(Fault::new(FaultKind::Timeout, message));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// State of an interface.
pub fn state(name: &str, deadline: Instant, group: &Group) -> Result<LinkState, Fault> {
    let folder = folder(name);
    let read = |file: &str| -> Option<String> {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        Some(text.trim().to_owned())
    };
    let Some(mac) = read("address") else {
        let message = format!("there is no network interface {name}");
        return Err(Fault::new(FaultKind::Os(libc::ENODEV), message));
    };
    let names = |folder: PathBuf| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let queues = names(folder.join("queues"));
    let count = |prefix: &str| queues.iter().filter(|q| q.starts_with(prefix)).count() as u32;
    let counters = names(folder.join("statistics"))
        .into_iter()
        .filter_map(|counter| {
            let value = read(&format!("statistics/{counter}"))?.parse().ok()?;
            Some((counter, value))
        });
    let features = run(&["ethtool", "-k", name], deadline, group)?;
    Ok(LinkState {
        mac,
        mtu: read("mtu").and_then(|text| text.parse().ok()).unwrap_or(0),
        // Unreadable while the interface is down.
        carrier: read("carrier").is_some_and(|text| text == "1"),
        tx_queues: count("tx-"),
        rx_queues: count("rx-"),
        counters: counters.collect(),
        features: parse(&features),
    })
}

/// `tx-checksumming: on`, or for one that cannot be changed, `tx-checksum-ipv6: off [fixed]`.
fn parse(text: &str) -> Vec<(String, bool)> {
    text.lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let on = value.split_whitespace().next()? == "on";
            Some((name.trim().to_owned(), on))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read() {
        let text = "Features for eth0:\nrx-checksumming: on\n\ttx-checksum-ipv4: off [fixed]\n";
        assert_eq!(
            parse(text),
            [
                ("rx-checksumming".to_owned(), true),
                ("tx-checksum-ipv4".to_owned(), false)
            ]
        );
    }
}
