// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device's nodes, as a toolstack makes them.

use anyhow::{bail, Context, Result};
use xen_user::{Access, Permission, Store};

/// The type in the back end's path. It is not the front end's, so that no back end in dom0's kernel takes
/// it.
fn back_type(kind: &str) -> String {
    format!("hostile-{kind}")
}

/// Where a device's nodes are.
pub struct Nodes {
    /// The guest.
    pub domain: u16,
    /// The front end's directory.
    pub front: String,
    /// The back end's directory.
    pub back: String,
    /// The device's number.
    pub device: u32,
    own: u16,
}

impl Nodes {
    /// The nodes of a device of a guest; `kind` is the front end's type, such as `vbd`.
    pub fn of(store: &mut Store, domain: u16, kind: &str, device: u32) -> Result<Self> {
        let own: u16 = number(store, "domid")?.unwrap_or(0);
        let front = format!("{}/device/{kind}/{device}", store.domain_path(domain)?);
        let back = format!(
            "{}/backend/{}/{domain}/{device}",
            store.domain_path(own)?,
            back_type(kind)
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

    /// Makes both directories, with what all devices have and these keys of each end.
    pub fn create(
        &self,
        store: &mut Store,
        front_keys: &[(&str, String)],
        back_keys: &[(&str, String)],
    ) -> Result<()> {
        let mut back: Vec<(&str, String)> = vec![
            ("frontend", self.front.clone()),
            ("frontend-id", self.domain.to_string()),
            ("online", "1".into()),
            ("state", "1".into()),
        ];
        back.extend_from_slice(back_keys);
        let mut front: Vec<(&str, String)> = vec![
            ("backend", self.back.clone()),
            ("backend-id", self.own.to_string()),
            ("state", "1".into()),
        ];
        front.extend_from_slice(front_keys);
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
