// SPDX-License-Identifier: MIT OR Apache-2.0
//! Networks: a bridge in dom0, and interfaces of guests on it, which xl and its stock hot plug script
//! put there.

use anyhow::Result;
use portico_agent::proto::Link;

use super::guest::XL_LIMIT;
use super::{Guest, Machine};

/// The front end's module.
pub(super) const MODULE: &str = "xen-netfront";

/// Name of the bridge.
pub const BRIDGE: &str = "xenbr0";

/// dom0's addresses on the bridge.
pub const DOM0_V4: &str = "10.77.0.1";
/// The same for IPv6.
pub const DOM0_V6: &str = "fd77::1";

/// A network interface of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vif {
    /// Last byte of its Ethernet address and of its IP addresses; 2 to 254.
    pub number: u8,
    /// The bridge that it is on.
    pub bridge: String,
    /// Largest packet; none: the bridge's.
    pub mtu: Option<u32>,
    /// More words of xl's specification, such as `trusted=0`.
    pub more: Vec<String>,
}

impl Vif {
    /// An interface on [`BRIDGE`].
    pub fn new(number: u8) -> Self {
        Self {
            number,
            bridge: BRIDGE.into(),
            mtu: None,
            more: Vec::new(),
        }
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> String {
        format!("00:16:3e:00:00:{:02x}", self.number)
    }

    /// Its IPv4 address.
    pub fn v4(&self) -> String {
        format!("10.77.0.{}", self.number)
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> String {
        format!("fd77::{:x}", self.number)
    }

    /// The interface in the guest with its addresses.
    pub fn link(&self, name: &str) -> Link {
        Link {
            name: name.into(),
            mtu: self.mtu,
            addresses: vec![format!("{}/24", self.v4()), format!("{}/64", self.v6())],
            ..Link::default()
        }
    }

    pub(super) fn words(&self) -> Vec<String> {
        let mut words = vec![
            format!("mac={}", self.mac()),
            format!("bridge={}", self.bridge),
            // No emulated card beside it.
            "type=vif".into(),
        ];
        words.extend(self.mtu.map(|mtu| format!("mtu={mtu}")));
        words.extend(self.more.iter().cloned());
        words
    }

    pub(super) fn specification(&self) -> String {
        self.words().join(",")
    }
}

impl Machine {
    /// Makes the bridge with dom0's addresses on it.
    ///
    /// # Errors
    ///
    /// When dom0 cannot.
    pub fn bridge(&mut self, mtu: u32) -> Result<()> {
        let link = Link {
            name: BRIDGE.into(),
            bridge: true,
            mtu: Some(mtu),
            addresses: vec![format!("{DOM0_V4}/24"), format!("{DOM0_V6}/64")],
            ..Link::default()
        };
        self.dom0().set_link(&link)
    }

    /// Plugs an interface in.
    ///
    /// # Errors
    ///
    /// When xl fails.
    pub fn attach_vif(&mut self, guest: &Guest, vif: &Vif) -> Result<()> {
        let words = vif.words();
        let mut argv = vec!["xl", "network-attach", &guest.name];
        argv.extend(words.iter().map(String::as_str));
        self.dom0().run(&argv, XL_LIMIT)?;
        Ok(())
    }

    /// Unplugs an interface.
    ///
    /// # Errors
    ///
    /// When xl fails.
    pub fn detach_vif(&mut self, guest: &Guest, vif: &Vif) -> Result<()> {
        let mac = vif.mac();
        let argv = ["xl", "network-detach", &guest.name, &mac];
        self.dom0().run(&argv, XL_LIMIT)?;
        Ok(())
    }
}
