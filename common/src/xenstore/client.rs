// SPDX-License-Identifier: MIT OR Apache-2.0
//! The conversation: requests get ids, bytes become messages, replies find their requests.
//!
//! The owner moves the bytes: what [`Client::request`] encodes it writes to the store as a whole,
//! without bytes of another message between; what the store says it hands to [`Client::receive`].
//!
//! ```
//! # use portico_core::xenstore::{client::{Client, Incoming}, request::Request, wire::*};
//! let mut client = Client::<4, _>::new(vec![0; XENSTORE_PAYLOAD_MAX]);
//! let mut out = [0; MESSAGE_MAX];
//! let (id, len) = client.request(&Request::Read("name"), None, &mut out)?;
//! assert_eq!(&out[HEADER_LEN..len], b"name\0");
//!
//! // The answer, as it might come from the store.
//! let mut wire = [&2_u32.to_ne_bytes()[..], &id.to_ne_bytes(), &[0; 4], &2_u32.to_ne_bytes(), b"vm"].concat();
//! let incoming = client.receive(|buf| {
//!     let n = buf.len().min(wire.len());
//!     buf[..n].copy_from_slice(&wire[..n]);
//!     wire.drain(..n);
//!     n
//! });
//! assert_eq!(incoming, Ok(Some(Incoming::Reply { id, result: Ok(b"vm") })));
//! # Ok::<(), portico_core::xenstore::request::RequestError>(())
//! ```

use core::fmt;
use core::ops::DerefMut;
use core::str;

use zerocopy::IntoBytes;

use super::path::check_watch_path;
use super::request::{Request, RequestError, Transaction};
use super::wire::{XsdError, XsdSockmsg, XsdSockmsgType, HEADER_LEN, XENSTORE_PAYLOAD_MAX};

/// What the store did that ends the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A header announces more than [`XENSTORE_PAYLOAD_MAX`] bytes.
    Length(u32),
    /// A header of a type that no reply has.
    Type(u32),
    /// A reply whose `req_id` no request waits for.
    UnknownId(u32),
    /// A reply of another type than its request.
    WrongType {
        /// Its request.
        req_id: u32,
        /// The type that it has.
        got: XsdSockmsgType,
    },
    /// A watch event that is not a watch path and a token, both terminated.
    WatchEvent,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(len) => write!(
                f,
                "xenstore sent a message of {len} bytes, 4096 at most are allowed"
            ),
            Self::Type(t) => write!(f, "xenstore sent a message of type {t}, which no reply has"),
            Self::UnknownId(id) => write!(f, "xenstore answered request {id}, which nobody made"),
            Self::WrongType { req_id, got } => {
                write!(
                    f,
                    "xenstore answered request {req_id} with a message of type {}",
                    *got as u32
                )
            }
            Self::WatchEvent => {
                f.write_str("xenstore sent a watch event without a path and a token")
            }
        }
    }
}

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// The answer to the request with this id.
    Reply {
        /// As [`Client::request`] gave it out.
        id: u32,
        /// The payload as it came; [`reply`](super::reply) reads it.
        result: Result<&'a [u8], XsdError>,
    },
    /// A watched path changed.
    Watch {
        /// The path that changed: the watched one or one below it.
        path: &'a str,
        /// That of the watch.
        token: &'a str,
    },
}

/// Request that waits for its reply.
#[derive(Clone, Copy)]
struct Pending {
    req_id: u32,
    msg_type: XsdSockmsgType,
}

/// One connection to the store, with at most `N` requests under way.
///
/// `B` holds the payload that is coming in: [`XENSTORE_PAYLOAD_MAX`] bytes, in a place that the owner
/// chooses (`Vec<u8>`, `&mut [u8]`). A shorter one makes longer messages violations.
pub struct Client<const N: usize, B> {
    pending: [Option<Pending>; N],
    next_id: u32,
    header: XsdSockmsg,
    payload: B,
    /// Bytes of header and payload that are there.
    have: usize,
    broken: Option<Violation>,
}

impl<const N: usize, B: DerefMut<Target = [u8]>> Client<N, B> {
    /// A connection on which nothing was said.
    pub fn new(payload: B) -> Self {
        Self {
            pending: [None; N],
            next_id: 1,
            header: XsdSockmsg::default(),
            payload,
            have: 0,
            broken: None,
        }
    }

    /// Encodes `request` to the front of `out` and returns its id and its length in bytes, all of
    /// which the owner now sends.
    pub fn request(
        &mut self,
        request: &Request<'_>,
        transaction: Option<Transaction>,
        out: &mut [u8],
    ) -> Result<(u32, usize), RequestError> {
        if self.broken.is_some() {
            return Err(RequestError::Broken);
        }
        let req_id = self.free_id();
        let place = self
            .pending
            .iter_mut()
            .find(|p| p.is_none())
            .ok_or(RequestError::Busy)?;
        let len = request.encode(req_id, transaction, out)?;
        *place = Some(Pending {
            req_id,
            msg_type: request.msg_type(),
        });
        self.next_id = req_id.wrapping_add(1);
        Ok((req_id, len))
    }

    /// The next id that is neither 0 nor still waiting: at most `N` are, so `N` steps find one.
    fn free_id(&self) -> u32 {
        let mut id = self.next_id;
        for _ in 0..=N {
            if id != 0 && !self.pending.iter().flatten().any(|p| p.req_id == id) {
                break;
            }
            id = id.wrapping_add(1);
        }
        id
    }

    /// Number of requests without a reply.
    pub fn outstanding(&self) -> usize {
        self.pending.iter().flatten().count()
    }

    /// Takes bytes from `fill` until a message is complete (`Some`) or `fill` has no more (`None`).
    ///
    /// `fill` writes to the front of the slice that it gets and says how many bytes it wrote, 0 for
    /// none. It is never asked for bytes beyond the message, so nothing is left over between calls.
    ///
    /// A violation is final: every later call returns it again, until [`reset`](Self::reset).
    pub fn receive(
        &mut self,
        fill: impl FnMut(&mut [u8]) -> usize,
    ) -> Result<Option<Incoming<'_>>, Violation> {
        if let Some(violation) = self.broken {
            return Err(violation);
        }
        let len = match self.collect(fill) {
            Ok(Some(len)) => len,
            Ok(None) => return Ok(None),
            Err(violation) => return Err(*self.broken.insert(violation)),
        };
        self.have = 0;
        let settled = settle(&mut self.pending, self.header);
        let bytes = self.payload.get(..len).unwrap_or_default();
        let incoming = settled.and_then(|message| match message {
            Settled::Watch => watch_event(bytes).ok_or(Violation::WatchEvent),
            Settled::Reply(id) => Ok(Incoming::Reply {
                id,
                result: Ok(bytes),
            }),
            Settled::Failure(id) => Ok(Incoming::Reply {
                id,
                result: Err(XsdError::from_name(bytes)),
            }),
        });
        match incoming {
            Ok(incoming) => Ok(Some(incoming)),
            Err(violation) => Err(*self.broken.insert(violation)),
        }
    }

    /// Collects one message; its payload's length once it is complete.
    fn collect(
        &mut self,
        mut fill: impl FnMut(&mut [u8]) -> usize,
    ) -> Result<Option<usize>, Violation> {
        loop {
            let room = match self.have.checked_sub(HEADER_LEN) {
                None => self.header.as_mut_bytes().get_mut(self.have..),
                Some(done) => {
                    let payload = &mut *self.payload;
                    let len = usize::try_from(self.header.len).unwrap_or(usize::MAX);
                    if len > XENSTORE_PAYLOAD_MAX || len > payload.len() {
                        return Err(Violation::Length(self.header.len));
                    }
                    if done >= len {
                        return Ok(Some(len));
                    }
                    payload.get_mut(done..len)
                }
            };
            let room = room.unwrap_or_default();
            // A count beyond the room is the owner's mistake; taking the room keeps us in bounds.
            let got = fill(room).min(room.len());
            if got == 0 {
                return Ok(None);
            }
            self.have = self.have.saturating_add(got);
        }
    }

    /// Begins anew after the connection was lost or made again (resume, reconnection): a message that
    /// was coming in is forgotten. `lost` learns the ids of requests that will not be answered.
    pub fn reset(&mut self, mut lost: impl FnMut(u32)) {
        for place in &mut self.pending {
            if let Some(pending) = place.take() {
                lost(pending.req_id);
            }
        }
        self.have = 0;
        self.broken = None;
    }
}

/// What a complete message is, after its header was checked.
enum Settled {
    Watch,
    Reply(u32),
    Failure(u32),
}

/// Finds the request that a message answers and takes it off the list.
fn settle(pending: &mut [Option<Pending>], header: XsdSockmsg) -> Result<Settled, Violation> {
    let got = XsdSockmsgType::from_wire(header.msg_type).ok_or(Violation::Type(header.msg_type))?;
    if got == XsdSockmsgType::WatchEvent {
        return Ok(Settled::Watch);
    }
    let req_id = header.req_id;
    let place = pending
        .iter_mut()
        .find(|p| p.is_some_and(|p| p.req_id == req_id))
        .ok_or(Violation::UnknownId(req_id))?;
    let asked = place.take().map(|p| p.msg_type);
    if got == XsdSockmsgType::Error {
        Ok(Settled::Failure(req_id))
    } else if asked == Some(got) {
        Ok(Settled::Reply(req_id))
    } else {
        Err(Violation::WrongType { req_id, got })
    }
}

fn watch_event(payload: &[u8]) -> Option<Incoming<'_>> {
    let mut strings = payload.strip_suffix(&[0])?.split(|&byte| byte == 0);
    let (path, token) = (strings.next()?, strings.next()?);
    if strings.next().is_some() {
        return None;
    }
    check_watch_path(path).ok()?;
    Some(Incoming::Watch {
        path: str::from_utf8(path).ok()?,
        token: str::from_utf8(token).ok()?,
    })
}

#[cfg(test)]
mod tests;
