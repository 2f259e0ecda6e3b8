// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's nodes, as a toolstack makes them.

use crate::options::Options;
use anyhow::{bail, Context, Result};
use xen_user::{Access, Permission, Store};

/// The type in the back end's path. It is not `vbd`, so that no back end in dom0's kernel takes it.
const TYPE: &str = "hostile-vbd";

/// Where a device's nodes are.
pub struct Nodes {
    /// The guest.
    pub domain: u16,
    /// The front end's directory.
    pub front: String,
    /// The back end's directory.
    pub back: String,
    device: u32,
    own: u16,
}

impl Nodes {
    /// The nodes of a device of a guest.
    pub fn of(store: &mut Store, domain: u16, device: u32) -> Result<Self> {
        let own: u16 = number(store, "domid")?.unwrap_or(0);
        let front = format!("{}/device/vbd/{device}", store.domain_path(domain)?);
        let back = format!(
            "{}/backend/{TYPE}/{domain}/{device}",
            store.domain_path(own)?
        );
        Ok(Nodes {
            domain,
            front,
            back,
            device,
            own,
        })
    }

    /// The nodes that a toolstack has made, given the back end's directory.
    pub fn existing(store: &mut Store, back: &str) -> Result<Self> {
        let Some(front) = store.read_text(&format!("{back}/frontend"))? else {
            bail!("{back} has no frontend key, so it is not a back end's directory");
        };
        let domain = number(store, &format!("{back}/frontend-id"))?
            .with_context(|| format!("{back} has no frontend-id key"))?;
        let device = front
            .rsplit('/')
            .next()
            .and_then(|last| last.parse().ok())
            .unwrap_or(0);
        let own = number(store, "domid")?.unwrap_or(0);
        Ok(Nodes {
            domain,
            front,
            back: back.into(),
            device,
            own,
        })
    }

    /// Makes both directories with all that a front end may look for.
    pub fn create(&self, store: &mut Store, options: &Options) -> Result<()> {
        let device_type = if options.cdrom { "cdrom" } else { "disk" };
        let mode = if options.read_only { "r" } else { "w" };
        let mut back: Vec<(&str, String)> = vec![
            ("frontend", self.front.clone()),
            ("frontend-id", self.domain.to_string()),
            ("online", "1".into()),
            ("removable", u32::from(options.removable).to_string()),
            ("bootable", "1".into()),
            ("dev", format!("vbd-{}", self.device)),
            ("type", TYPE.into()),
            ("mode", mode.into()),
            ("device-type", device_type.into()),
            ("state", "1".into()),
        ];
        back.extend(options.offers());
        back.extend(options.geometry());
        let front: Vec<(&str, String)> = vec![
            ("backend", self.back.clone()),
            ("backend-id", self.own.to_string()),
            ("virtual-device", self.device.to_string()),
            ("device-type", device_type.into()),
            ("state", "1".into()),
        ];
        let perm = |domid, access| Permission { domid, access };
        let to_read = [
            perm(self.own, Access::None),
            perm(self.domain, Access::Read),
        ];
        let theirs = [
            perm(self.domain, Access::None),
            perm(self.own, Access::Read),
        ];
        store.transaction(|store| {
            for path in [&self.back, &self.front] {
                store.rm(path)?;
                store.mkdir(path)?;
            }
            // New nodes inherit their directory's permissions.
            store.set_perms(&self.back, &to_read)?;
            store.set_perms(&self.front, &theirs)?;
            for (key, value) in &back {
                store.write(&format!("{}/{key}", self.back), value)?;
            }
            for (key, value) in &front {
                store.write(&format!("{}/{key}", self.front), value)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Removes both directories.
    pub fn remove(&self, store: &mut Store) -> Result<()> {
        store.rm(&self.front)?;
        store.rm(&self.back)?;
        Ok(())
    }

    /// The path of a key of the front end's.
    pub fn front(&self, key: &str) -> String {
        format!("{}/{key}", self.front)
    }

    /// The path of a key of the back end's.
    pub fn back(&self, key: &str) -> String {
        format!("{}/{key}", self.back)
    }
}

/// The number in a node; `None` when there is no node.
pub fn number<T: std::str::FromStr>(store: &mut Store, path: &str) -> Result<Option<T>> {
    let Some(text) = store.read_text(path)? else {
        return Ok(None);
    };
    match text.trim().parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => bail!("{path} holds {text:?}, which is not a number that fits"),
    }
}

/// The number of a virtual device: `xvda` and so on, or the number itself
/// (`docs/man/xen-vbd-interface.7`).
pub fn vdev(name: &str) -> Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let letters = name
        .strip_prefix("xvd")
        .filter(|rest| !rest.is_empty() && rest.len() <= 4);
    let disk = letters.and_then(|letters| {
        letters.bytes().try_fold(0u32, |n, letter| {
            letter
                .is_ascii_lowercase()
                .then(|| n * 26 + u32::from(letter - b'a') + 1)
        })
    });
    match disk {
        Some(disk @ 1..=16) => Ok(202 << 8 | (disk - 1) << 4),
        Some(disk) => Ok(1 << 28 | (disk - 1) << 8),
        None => bail!("{name:?} is neither a number nor xvda, xvdb, …"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_devices_have_the_numbers_of_the_vbd_interface() {
        assert_eq!(vdev("xvda").unwrap(), 51712);
        assert_eq!(vdev("xvdp").unwrap(), 51952);
        assert_eq!(vdev("xvdq").unwrap(), 1 << 28 | 16 << 8);
        assert_eq!(vdev("xvdaa").unwrap(), 1 << 28 | 26 << 8);
        assert_eq!(vdev("768").unwrap(), 768);
        for bad in ["", "xvd", "xvdA", "sda", "xvdaaaaa", "-1"] {
            assert!(vdev(bad).is_err(), "{bad}");
        }
    }
}
