// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests, and how they are put on the wire.

use core::num::NonZeroU32;

use zerocopy::IntoBytes;

use super::path::{check_path, check_token, check_watch_path, PathError};
use super::wire::{XsdSockmsg, XsdSockmsgType, HEADER_LEN, XENSTORE_PAYLOAD_MAX};

/// A transaction that the store has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transaction(pub NonZeroU32);

/// What a permission allows its domain. In a list the first entry names the owner, and its access
/// is that of every domain that is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Access {
    /// Nothing.
    None = b'n',
    /// Reading.
    Read = b'r',
    /// Writing.
    Write = b'w',
    /// Both.
    Both = b'b',
}

/// One entry of a node's permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Whom it is about.
    pub domid: u16,
    /// What it allows.
    pub access: Access,
}

/// A request. Paths without a leading slash are relative to the domain's own directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The value of a node; the reply's payload is the value.
    Read(&'a str),
    /// Names of the children; the reply is a list of strings. `E2BIG` if they exceed one message.
    Directory(&'a str),
    /// The children from a byte offset on; the reply is a generation, then a list of strings that
    /// ends in an empty one.
    DirectoryPart(&'a str, u32),
    /// Sets a value, making the node and those above it as needed.
    Write(&'a str, &'a [u8]),
    /// Makes an empty node if it is not there.
    Mkdir(&'a str),
    /// Removes a node and all below it.
    Rm(&'a str),
    /// Asks for permissions; the reply is a list of strings such as `n0`.
    GetPerms(&'a str),
    /// Sets permissions; the first entry names the owner.
    SetPerms(&'a str, &'a [Permission]),
    /// Watches a path and all below it. One event comes at once.
    Watch {
        /// A path or a special name such as `@releaseDomain`.
        path: &'a str,
        /// Comes back in each event.
        token: &'a str,
    },
    /// Ends a watch.
    Unwatch {
        /// As in the watch.
        path: &'a str,
        /// As in the watch.
        token: &'a str,
    },
    /// Opens a transaction; the reply is its number.
    TransactionStart,
    /// Ends the transaction in which it is sent. `EAGAIN`: lost, start again.
    TransactionEnd {
        /// Whether to make the changes or to throw them away.
        commit: bool,
    },
    /// The base path of a domain.
    GetDomainPath(u16),
    /// Drops this connection's watches and transactions.
    ResetWatches,
}

/// Why a request was not encoded. Nothing was written to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// A path or token is not acceptable to the store.
    Path(PathError),
    /// The payload would exceed [`XENSTORE_PAYLOAD_MAX`].
    TooLong,
    /// The caller's buffer is shorter than the message.
    Buffer,
    /// The request may not stand in a transaction, or needs one.
    Transaction,
    /// A list of permissions without an owner.
    NoOwner,
    /// All places for requests without a reply are taken: wait for a reply.
    Busy,
    /// The conversation broke down earlier and was not reset.
    Broken,
}

impl core::fmt::Display for RequestError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Path(e) => e.fmt(f),
            Self::TooLong => f.write_str("xenstore request exceeds 4096 bytes"),
            Self::Buffer => f.write_str("buffer too short for the xenstore request"),
            Self::Transaction => {
                f.write_str("xenstore request inside or outside a transaction wrongly")
            }
            Self::NoOwner => f.write_str("xenstore permissions without an owner"),
            Self::Busy => f.write_str("too many xenstore requests without a reply"),
            Self::Broken => f.write_str("the xenstore connection broke and was not reset"),
        }
    }
}

impl From<PathError> for RequestError {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl Request<'_> {
    /// The type of the message, and of the reply if it succeeds.
    pub const fn msg_type(&self) -> XsdSockmsgType {
        match self {
            Self::Read(_) => XsdSockmsgType::Read,
            Self::Directory(_) => XsdSockmsgType::Directory,
            Self::DirectoryPart(..) => XsdSockmsgType::DirectoryPart,
            Self::Write(..) => XsdSockmsgType::Write,
            Self::Mkdir(_) => XsdSockmsgType::Mkdir,
            Self::Rm(_) => XsdSockmsgType::Rm,
            Self::GetPerms(_) => XsdSockmsgType::GetPerms,
            Self::SetPerms(..) => XsdSockmsgType::SetPerms,
            Self::Watch { .. } => XsdSockmsgType::Watch,
            Self::Unwatch { .. } => XsdSockmsgType::Unwatch,
            Self::TransactionStart => XsdSockmsgType::TransactionStart,
            Self::TransactionEnd { .. } => XsdSockmsgType::TransactionEnd,
            Self::GetDomainPath(_) => XsdSockmsgType::GetDomainPath,
            Self::ResetWatches => XsdSockmsgType::ResetWatches,
        }
    }

    const fn fits_transaction(&self, inside: bool) -> bool {
        match self {
            Self::TransactionEnd { .. } => inside,
            Self::Watch { .. }
            | Self::Unwatch { .. }
            | Self::TransactionStart
            | Self::GetDomainPath(_)
            | Self::ResetWatches => !inside,
            _ => true,
        }
    }

    /// Writes the whole message to the front of `out` and returns its length in bytes.
    /// A buffer of [`MESSAGE_MAX`](super::wire::MESSAGE_MAX) bytes always suffices.
    ///
    /// On an error `out` has no meaningful content.
    pub fn encode(
        &self,
        req_id: u32,
        transaction: Option<Transaction>,
        out: &mut [u8],
    ) -> Result<usize, RequestError> {
        if !self.fits_transaction(transaction.is_some()) {
            return Err(RequestError::Transaction);
        }
        let (header, payload) = out
            .split_at_mut_checked(HEADER_LEN)
            .ok_or(RequestError::Buffer)?;
        let mut body = Body {
            out: payload,
            len: 0,
        };
        self.payload(&mut body)?;
        let message = XsdSockmsg {
            msg_type: self.msg_type() as u32,
            req_id,
            tx_id: transaction.map_or(0, |t| t.0.get()),
            len: u32::try_from(body.len).map_err(|_| RequestError::TooLong)?,
        };
        header.copy_from_slice(message.as_bytes());
        HEADER_LEN
            .checked_add(body.len)
            .ok_or(RequestError::TooLong)
    }

    fn payload(&self, body: &mut Body<'_>) -> Result<(), RequestError> {
        match *self {
            Self::Read(path)
            | Self::Directory(path)
            | Self::Mkdir(path)
            | Self::Rm(path)
            | Self::GetPerms(path) => body.path(path),
            Self::DirectoryPart(path, offset) => {
                body.path(path)?;
                body.number(offset)?;
                body.bytes(&[0])
            }
            Self::Write(path, value) => {
                body.path(path)?;
                body.bytes(value)
            }
            Self::SetPerms(path, permissions) => {
                if permissions.is_empty() {
                    return Err(RequestError::NoOwner);
                }
                body.path(path)?;
                for permission in permissions {
                    body.bytes(&[permission.access as u8])?;
                    body.number(permission.domid.into())?;
                    body.bytes(&[0])?;
                }
                Ok(())
            }
            Self::Watch { path, token } | Self::Unwatch { path, token } => {
                check_watch_path(path.as_bytes())?;
                check_token(token.as_bytes())?;
                body.string(path)?;
                body.string(token)
            }
            Self::TransactionStart | Self::ResetWatches => body.bytes(&[0]),
            Self::TransactionEnd { commit } => body.string(if commit { "T" } else { "F" }),
            Self::GetDomainPath(domid) => {
                body.number(domid.into())?;
                body.bytes(&[0])
            }
        }
    }
}

/// The payload while it grows.
struct Body<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Body<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), RequestError> {
        let end = self
            .len
            .checked_add(bytes.len())
            .ok_or(RequestError::TooLong)?;
        if end > XENSTORE_PAYLOAD_MAX {
            return Err(RequestError::TooLong);
        }
        let room = self
            .out
            .get_mut(self.len..end)
            .ok_or(RequestError::Buffer)?;
        room.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// A string and its terminator.
    fn string(&mut self, string: &str) -> Result<(), RequestError> {
        self.bytes(string.as_bytes())?;
        self.bytes(&[0])
    }

    fn path(&mut self, path: &str) -> Result<(), RequestError> {
        check_path(path.as_bytes())?;
        self.string(path)
    }

    /// In decimal, without terminator.
    fn number(&mut self, number: u32) -> Result<(), RequestError> {
        let mut digits = [0; 10];
        let mut left = number;
        let mut start = digits.len();
        for digit in digits.iter_mut().rev() {
            // A remainder below 10, so the conversion keeps it.
            *digit = b'0' | (left % 10) as u8;
            left /= 10;
            start = start.wrapping_sub(1);
            if left == 0 {
                break;
            }
        }
        self.bytes(digits.get(start..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
