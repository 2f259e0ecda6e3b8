// SPDX-License-Identifier: MIT OR Apache-2.0
//! The channel between dom0 and a guest: two mailboxes in xenstore under the guest's own
//! `data/portico`, which the guest may write.
//!
//! | node | written by | holds |
//! |---|---|---|
//! | `hello` | guest | [`Hello`](crate::proto::Hello) of its agent |
//! | `req` | dom0 | number of the request and count of pieces, `7 2` |
//! | `req/0` … | dom0 | pieces of the [`Request`] |
//! | `rsp`, `rsp/0` … | guest | the [`Response`], in the same way |
//!
//! A message is written in one transaction, so its pieces and its head agree. The guest names the nodes
//! by relative paths, which mean its own ones also after a restore under another domain number; there
//! the mailboxes are empty, and the guest writes `hello` again.

use crate::proto::{Fault, FaultKind, Op, Reply, Request, Response, GUEST_MESSAGE_MAX};
use std::time::{Duration, Instant, SystemTime};
use xen_user::{Error, Privcmd, Store};

/// Folder of the mailboxes below the domain's home.
pub const FOLDER: &str = "data/portico";

/// Bytes of a piece: xenstored allows a guest 2048 for a node with its permissions and children.
const PIECE: usize = 1900;

/// How often dom0 looks whether the guest is still there while it waits for an answer.
const LIVENESS: Duration = Duration::from_millis(500);

/// How long after the limit dom0 still waits: a guest that keeps the limit itself, says so only then.
/// Shorter than what the agent of dom0 waits for this call.
const GRACE: Duration = Duration::from_secs(3);

pub(crate) fn fault(what: &str, error: &Error) -> Fault {
    let kind = match error {
        Error::Open { source, .. } | Error::Call { source, .. } => source
            .raw_os_error()
            .map_or(FaultKind::Unexpected, FaultKind::Os),
        Error::Timeout(_) => FaultKind::Timeout,
        _ => FaultKind::Unexpected,
    };
    Fault::new(kind, format!("{what}: {error}"))
}

/// Writes a message into a mailbox.
pub(crate) fn put(store: &mut Store, mailbox: &str, id: u64, text: &str) -> xen_user::Result<()> {
    store.transaction(|store| {
        store.rm(mailbox)?;
        let pieces = text.as_bytes().chunks(PIECE);
        let count = pieces.len();
        for (i, piece) in pieces.enumerate() {
            store.write(&format!("{mailbox}/{i}"), piece)?;
        }
        store.write(mailbox, format!("{id} {count}"))
    })
}

/// Number of the message in a mailbox, if there is one.
pub(crate) fn head(store: &mut Store, mailbox: &str) -> xen_user::Result<Option<(u64, usize)>> {
    let text = store.read_text(mailbox)?.unwrap_or_default();
    Ok(text
        .split_once(' ')
        .and_then(|(id, count)| Some((id.parse().ok()?, count.parse().ok()?)))
        .filter(|(_, count)| *count <= GUEST_MESSAGE_MAX / PIECE + 1))
}

/// The message in a mailbox; none if it is empty or was changed meanwhile.
pub(crate) fn get(store: &mut Store, mailbox: &str) -> xen_user::Result<Option<(u64, Vec<u8>)>> {
    let Some((id, count)) = head(store, mailbox)? else {
        return Ok(None);
    };
    let mut text = Vec::new();
    for i in 0..count {
        match store.read(&format!("{mailbox}/{i}"))? {
            Some(piece) => text.extend(piece),
            None => return Ok(None),
        }
    }
    Ok((head(store, mailbox)? == Some((id, count))).then_some((id, text)))
}

/// dom0's side: has the guest's agent do something, waiting for the agent to come up if need be.
pub fn call(domid: u32, op: Op, deadline: Instant) -> Result<Reply, Fault> {
    let domain = u16::try_from(domid).map_err(|_| {
        Fault::new(
            FaultKind::BadRequest,
            format!("no such domain number: {domid}"),
        )
    })?;
    let left = deadline.saturating_duration_since(Instant::now());
    let id = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(1, |since| since.as_nanos() as u64)
        | 1;
    let request = Request {
        id,
        limit_ms: left.as_millis() as u64,
        op,
    };
    let text = serde_json::to_string(&request)
        .map_err(|e| Fault::new(FaultKind::BadRequest, e.to_string()))?;
    if text.len() > GUEST_MESSAGE_MAX {
        return Err(Fault::new(
            FaultKind::TooLarge,
            format!(
                "a request of {} bytes; a guest takes {GUEST_MESSAGE_MAX}",
                text.len()
            ),
        ));
    }
    let answer = exchange(domain, id, &text, deadline)?;
    let response: Response = serde_json::from_slice(&answer).map_err(|e| {
        Fault::new(
            FaultKind::Unexpected,
            format!("domain {domid} answered nonsense: {e}"),
        )
    })?;
    response.result
}

fn exchange(domain: u16, id: u64, text: &str, deadline: Instant) -> Result<Vec<u8>, Fault> {
    let lost = |e: Error| fault(&format!("xenstore channel to domain {domain}"), &e);
    let mut store = Store::open().map_err(lost)?;
    let mut xen = Privcmd::open().map_err(lost)?;
    alive(&mut xen, domain)?;
    let home = store.domain_path(domain).map_err(lost)?;
    let (requests, responses) = (
        format!("{home}/{FOLDER}/req"),
        format!("{home}/{FOLDER}/rsp"),
    );
    store.watch(&responses, "rsp").map_err(lost)?;
    put(&mut store, &requests, id, text).map_err(lost)?;
    loop {
        store.next_event(LIVENESS).map_err(lost)?;
        if let Some((answered, answer)) = get(&mut store, &responses).map_err(lost)? {
            if answered == id {
                // Leave nothing behind that counts against the guest's quota.
                store.rm(&requests).map_err(lost)?;
                store.rm(&responses).map_err(lost)?;
                return Ok(answer);
            }
        }
        alive(&mut xen, domain)?;
        if Instant::now() > deadline + GRACE {
            let up = store
                .read(&format!("{home}/{FOLDER}/hello"))
                .map_err(lost)?
                .is_some();
            return Err(Fault::new(
                FaultKind::Timeout,
                match up {
                    true => {
                        format!("the agent in domain {domain} is up but did not answer in time")
                    }
                    false => format!("the agent in domain {domain} did not come up in time"),
                },
            ));
        }
    }
}

fn alive(xen: &mut Privcmd, domain: u16) -> Result<(), Fault> {
    let lost = |e: Error| fault(&format!("state of domain {domain}"), &e);
    let gone = |how: &str| {
        Err(Fault::new(
            FaultKind::GuestGone,
            format!("domain {domain} {how}"),
        ))
    };
    match xen_user::domain_info(xen, domain).map_err(lost)? {
        None => gone("does not exist"),
        Some(info) if info.flags & 1 != 0 => gone("is being destroyed"),
        Some(info) if info.flags & 4 != 0 => match info.flags >> 16 & 0xff {
            0 => gone("has powered off"),
            1 => gone("has shut down for a reboot"),
            2 => gone("is suspended"),
            3 => gone("has crashed"),
            other => gone(&format!("has shut down for reason {other}")),
        },
        Some(_) => Ok(()),
    }
}
