// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xenstore through `/dev/xen/xenbus`, which speaks the wire protocol of `portico_core::xenstore`.

use crate::error::{Error, Result};
use crate::sys::{open, poll_readable};
use portico_core::xenstore::request::{Request, Transaction};
use portico_core::xenstore::wire::{
    XsdError, XsdSockmsg, XsdSockmsgType, HEADER_LEN, MESSAGE_MAX, XENSTORE_PAYLOAD_MAX,
};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

pub use portico_core::xenstore::request::{Access, Permission};

/// How long xenstored may take for one answer before the connection is given up.
const ANSWER: Duration = Duration::from_secs(20);
/// How often a transaction is tried again that another one ran into.
const TRIES: u32 = 100;

/// A watched node, or one below it, may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The node that changed.
    pub path: String,
    /// The token that the watch was made with.
    pub token: String,
}

/// A connection to xenstored.
#[derive(Debug)]
pub struct Store {
    wire: File,
    events: VecDeque<WatchEvent>,
    next: u32,
    transaction: Option<Transaction>,
}

impl Store {
    /// Opens `/dev/xen/xenbus`.
    pub fn open() -> Result<Self> {
        Ok(Store {
            wire: open("/dev/xen/xenbus", 0)?,
            events: VecDeque::new(),
            next: 0,
            transaction: None,
        })
    }

    /// The value of a node; `None` when there is no such node.
    pub fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>> {
        missing(self.call(path, Request::Read(path)))
    }

    /// The value of a node as text, with what is not UTF-8 replaced.
    pub fn read_text(&mut self, path: &str) -> Result<Option<String>> {
        let value = self.read(path)?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    /// Writes a node's value; the node and those above it come into being if need be.
    pub fn write(&mut self, path: &str, value: impl AsRef<[u8]>) -> Result<()> {
        self.call(path, Request::Write(path, value.as_ref()))
            .map(drop)
    }

    /// Makes an empty node, if it is not there yet.
    pub fn mkdir(&mut self, path: &str) -> Result<()> {
        self.call(path, Request::Mkdir(path)).map(drop)
    }

    /// Removes a node and all below it; nothing happens when it is not there.
    pub fn rm(&mut self, path: &str) -> Result<()> {
        missing(self.call(path, Request::Rm(path))).map(drop)
    }

    /// The names of the nodes below a node; empty when there is no such node.
    pub fn directory(&mut self, path: &str) -> Result<Vec<String>> {
        let names = missing(self.call(path, Request::Directory(path)))?;
        Ok(strings(&names.unwrap_or_default()))
    }

    /// Sets a node's permissions. The first entry names the owner.
    pub fn set_perms(&mut self, path: &str, permissions: &[Permission]) -> Result<()> {
        self.call(path, Request::SetPerms(path, permissions))
            .map(drop)
    }

    /// A node's permissions as xenstored writes them, such as `n0` and `r7`.
    pub fn perms(&mut self, path: &str) -> Result<Vec<String>> {
        Ok(strings(&self.call(path, Request::GetPerms(path))?))
    }

    /// The path of a domain's own nodes.
    pub fn domain_path(&mut self, domain: u16) -> Result<String> {
        Ok(text(&self.call("", Request::GetDomainPath(domain))?))
    }

    /// Asks to be told of changes of a node and all below it. One event comes at once.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<()> {
        self.call(path, Request::Watch { path, token }).map(drop)
    }

    /// Ends a watch. Events that have come already are still given.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<()> {
        self.call(path, Request::Unwatch { path, token }).map(drop)
    }

    /// The next watch event, waiting for it up to `timeout`.
    pub fn next_event(&mut self, timeout: Duration) -> Result<Option<WatchEvent>> {
        if self.events.is_empty() && poll_readable(&[self.wire.as_fd()], Some(timeout))?[0] {
            let (header, _) = self.receive()?;
            if header.msg_type != XsdSockmsgType::WatchEvent as u32 {
                return Err(Error::Protocol(format!("answer {header:?} to no request")));
            }
        }
        Ok(self.events.pop_front())
    }

    /// Whether an event has come already, so that the descriptor need not become readable for it.
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Runs `body` in a transaction, again when another one ran into it. An error of `body` undoes it.
    pub fn transaction<T>(&mut self, mut body: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        for _ in 0..TRIES {
            let id = text(&self.call("", Request::TransactionStart)?);
            let number: Option<NonZeroU32> = id.parse().ok();
            let number = number.ok_or_else(|| Error::Protocol(format!("transaction id {id:?}")))?;
            self.transaction = Some(Transaction(number));
            let done = body(self);
            let commit = done.is_ok();
            let ended = self.call("", Request::TransactionEnd { commit });
            self.transaction = None;
            match (done, ended) {
                (Ok(got), Ok(_)) => return Ok(got),
                (Err(e), _) | (Ok(_), Err(e)) if !e.is_store(XsdError::EAGAIN) => return Err(e),
                _ => {}
            }
        }
        Err(Error::Timeout(
            "a transaction that others do not run into".into(),
        ))
    }

    fn call(&mut self, path: &str, request: Request<'_>) -> Result<Vec<u8>> {
        let op = request.msg_type();
        self.next = self.next.wrapping_add(1);
        let id = self.next;
        let mut message = [0; MESSAGE_MAX];
        let len = request
            .encode(id, self.transaction, &mut message)
            .map_err(|e| Error::Protocol(format!("{op:?} of {path:?}: {e}")))?;
        // One write carries one message: the kernel frames by whole messages.
        (&self.wire)
            .write_all(&message[..len])
            .map_err(|source| Error::Call {
                what: format!("send {op:?} of {path:?} to xenstored"),
                source,
            })?;
        let until = Instant::now() + ANSWER;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if !poll_readable(&[self.wire.as_fd()], Some(left))?[0] {
                if left.is_zero() {
                    return Err(Error::Timeout(format!("{op:?} of {path:?} by xenstored")));
                }
                continue;
            }
            let (got, body) = self.receive()?;
            match XsdSockmsgType::from_wire(got.msg_type) {
                Some(XsdSockmsgType::WatchEvent) => {}
                Some(XsdSockmsgType::Error) if got.req_id == id => {
                    return Err(Error::Store {
                        op,
                        path: path.into(),
                        error: XsdError::from_name(&body),
                    })
                }
                Some(kind) if kind == op && got.req_id == id => return Ok(body),
                _ => return Err(Error::Protocol(format!("answer {got:?} to {op:?} {id}"))),
            }
        }
    }

    /// Reads one message, and keeps it if it is a watch event.
    fn receive(&mut self) -> Result<(XsdSockmsg, Vec<u8>)> {
        let io = |source| Error::Call {
            what: "receive from xenstored".into(),
            source,
        };
        let mut header = [0; HEADER_LEN];
        (&self.wire).read_exact(&mut header).map_err(io)?;
        let header = XsdSockmsg::read_from_bytes(&header)
            .map_err(|_| Error::Protocol("header of a wrong size".into()))?;
        if header.len as usize > XENSTORE_PAYLOAD_MAX {
            return Err(Error::Protocol(format!("message {header:?} is too long")));
        }
        let mut body = vec![0; header.len as usize];
        (&self.wire).read_exact(&mut body).map_err(io)?;
        if header.msg_type == XsdSockmsgType::WatchEvent as u32 {
            let mut parts = strings(&body).into_iter();
            if let (Some(path), Some(token)) = (parts.next(), parts.next()) {
                self.events.push_back(WatchEvent { path, token });
            }
        }
        Ok((header, body))
    }
}

impl AsFd for Store {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}

/// Nothing instead of an error when a node is not there.
fn missing<T>(got: Result<T>) -> Result<Option<T>> {
    match got {
        Err(e) if e.is_store(XsdError::ENOENT) => Ok(None),
        other => other.map(Some),
    }
}

/// A payload without its closing zero.
fn text(body: &[u8]) -> String {
    let end = body.iter().position(|b| *b == 0).unwrap_or(body.len());
    String::from_utf8_lossy(&body[..end]).into_owned()
}

/// The strings of a payload, each closed by a zero.
fn strings(body: &[u8]) -> Vec<String> {
    body.split_inclusive(|b| *b == 0).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_at_their_zeros() {
        assert_eq!(strings(b"state\0backend\0"), ["state", "backend"]);
        assert_eq!(strings(b""), [""; 0]);
        assert_eq!(strings(b"\0x"), ["", "x"]);
        assert_eq!(text(b"OK\0"), "OK");
        assert_eq!(text(b"7"), "7");
    }

    #[test]
    fn a_missing_node_is_not_an_error() {
        let refused = |error| Error::Store {
            op: XsdSockmsgType::Read,
            path: "/x".into(),
            error,
        };
        assert!(matches!(
            missing::<()>(Err(refused(XsdError::ENOENT))),
            Ok(None)
        ));
        assert!(missing::<()>(Err(refused(XsdError::EACCES))).is_err());
    }
}
