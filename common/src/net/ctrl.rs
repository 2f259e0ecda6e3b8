// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control ring: how the back end spreads received packets over the queues, and which grants it
//! keeps mapped.
//!
//! One request is under way at a time. What it points to lies in one page of the ring's own, which is
//! granted while the request waits.

mod wire;

use core::fmt;
use core::mem::size_of;

use zerocopy::IntoBytes as _;

use crate::grant::{Access, GrantRef};
use crate::host::{end_or_abandon, NoMemory, Platform, SharedPage, NO_REF};
use crate::ring::{FrontRing, RingError};
use crate::shared::PAGE_SIZE;

pub use wire::*;

/// Entries of a table in one page.
pub const MAX_MAPPING: usize = PAGE_SIZE / size_of::<u32>();
/// Grants in one request.
pub const MAX_GREFS: usize = PAGE_SIZE / size_of::<CtrlGref>();

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Chooses the algorithm, `XEN_NETIF_CTRL_HASH_ALGORITHM_*`.
    SetHashAlgorithm(u32),
    /// Asks for the `XEN_NETIF_CTRL_HASH_TYPE_*` that the back end knows.
    GetHashFlags,
    /// Chooses the `XEN_NETIF_CTRL_HASH_TYPE_*`.
    SetHashFlags(u32),
    /// Sets the key; at most a page.
    SetHashKey(&'a [u8]),
    /// Asks for the entries that the mapping can have.
    GetHashMappingSize,
    /// Sets the number of entries of the mapping, which all become 0; with 0 the hash is taken modulo
    /// the number of queues.
    SetHashMappingSize(u32),
    /// Sets entries of the mapping; at most [`MAX_MAPPING`].
    SetHashMapping {
        /// The first of them.
        offset: u32,
        /// A queue each.
        queues: &'a [u32],
    },
    /// Asks how many grants the back end can keep mapped for a queue.
    GetGrefMappingSize {
        /// The queue.
        queue: u32,
    },
    /// Lets the back end keep grants mapped; at most [`MAX_GREFS`].
    AddGrefMapping {
        /// The queue.
        queue: u32,
        /// The grants.
        grefs: &'a [CtrlGref],
    },
    /// Lets the back end unmap them.
    DelGrefMapping {
        /// The queue.
        queue: u32,
        /// The grants.
        grefs: &'a [CtrlGref],
    },
}

impl Command<'_> {
    fn kind(&self) -> u16 {
        match self {
            Self::SetHashAlgorithm(_) => TYPE_SET_HASH_ALGORITHM,
            Self::GetHashFlags => TYPE_GET_HASH_FLAGS,
            Self::SetHashFlags(_) => TYPE_SET_HASH_FLAGS,
            Self::SetHashKey(_) => TYPE_SET_HASH_KEY,
            Self::GetHashMappingSize => TYPE_GET_HASH_MAPPING_SIZE,
            Self::SetHashMappingSize(_) => TYPE_SET_HASH_MAPPING_SIZE,
            Self::SetHashMapping { .. } => TYPE_SET_HASH_MAPPING,
            Self::GetGrefMappingSize { .. } => TYPE_GET_GREF_MAPPING_SIZE,
            Self::AddGrefMapping { .. } => TYPE_ADD_GREF_MAPPING,
            Self::DelGrefMapping { .. } => TYPE_DEL_GREF_MAPPING,
        }
    }
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtrlBusy {
    /// Another one waits for its answer.
    Waiting,
    /// What it points to does not fit in a page.
    TooLong,
    /// The ring broke.
    Closed,
}

/// Why the back end did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED`.
    NotSupported,
    /// `XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER`.
    InvalidParameter,
    /// `XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW`.
    BufferOverflow,
    /// A status that the protocol does not know.
    Unknown(u32),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSupported => f.write_str("not supported"),
            Self::InvalidParameter => f.write_str("invalid parameter"),
            Self::BufferOverflow => f.write_str("too long"),
            Self::Unknown(status) => write!(f, "unknown status {status}"),
        }
    }
}

/// What a back end did against the protocol. The ring is broken after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtrlViolation {
    /// The ring's indexes are wrong.
    Ring(RingError),
    /// The response is not to the request that waits.
    Unexpected {
        /// The response's id.
        id: u16,
        /// The response's type.
        kind: u16,
    },
    /// The request is answered, but its page is still mapped.
    Held {
        /// The page's grant.
        gref: GrantRef,
    },
}

impl fmt::Display for CtrlViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(error) => write!(f, "{error}"),
            Self::Unexpected { id, kind } => {
                write!(
                    f,
                    "control response {id} of type {kind} is to no waiting request"
                )
            }
            Self::Held { gref } => {
                write!(
                    f,
                    "control request is answered, but grant {gref} is still in use"
                )
            }
        }
    }
}

/// The control ring. It is made before the back end is told of it.
pub type CtrlRing<M> = FrontRing<M, CtrlRequest, CtrlResponse>;

/// The control ring and all that belongs to it.
pub struct Ctrl<H: Platform> {
    host: H,
    ring: CtrlRing<H::Ring>,
    page: H::Page,
    /// The page's reference.
    gref: GrantRef,
    /// The page is granted.
    granted: bool,
    /// The request that waits.
    waiting: Option<(u16, u16)>,
    next_id: u16,
    broken: bool,
}

impl<H: Platform> Ctrl<H> {
    /// Makes a queue over a new ring. It takes a page and a grant reference.
    pub fn new(host: H, ring: CtrlRing<H::Ring>) -> Result<Self, NoMemory> {
        let page = host.page()?;
        let gref = host.claim().ok_or(NoMemory)?;
        Ok(Self {
            host,
            ring,
            page,
            gref,
            granted: false,
            waiting: None,
            next_id: 0,
            broken: false,
        })
    }

    /// Whether a command waits for its answer.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Sends a command. `true`: notify the back end.
    pub fn send(&mut self, command: &Command<'_>) -> Result<bool, CtrlBusy> {
        if self.broken {
            return Err(CtrlBusy::Closed);
        }
        if self.waiting.is_some() {
            return Err(CtrlBusy::Waiting);
        }
        let gref = self.gref;
        let (data, bytes, access) = match *command {
            Command::GetHashFlags | Command::GetHashMappingSize => ([0; 3], &[][..], None),
            Command::SetHashAlgorithm(value)
            | Command::SetHashFlags(value)
            | Command::SetHashMappingSize(value)
            | Command::GetGrefMappingSize { queue: value } => ([value, 0, 0], &[][..], None),
            Command::SetHashKey(key) => ([gref, key.len() as u32, 0], key, Some(Access::ReadOnly)),
            Command::SetHashMapping { offset, queues } => (
                [gref, queues.len() as u32, offset],
                queues.as_bytes(),
                Some(Access::ReadOnly),
            ),
            Command::AddGrefMapping { queue, grefs } | Command::DelGrefMapping { queue, grefs } => {
                (
                    [queue, gref, grefs.len() as u32],
                    grefs.as_bytes(),
                    Some(Access::ReadWrite),
                )
            }
        };
        if bytes.len() > PAGE_SIZE {
            return Err(CtrlBusy::TooLong);
        }
        let Some(mut entry) = self.ring.next_entry() else {
            return Err(CtrlBusy::Waiting);
        };
        let (id, kind) = (self.next_id, command.kind());
        entry.set(0, &CtrlRequest { id, kind, data });
        self.next_id = id.wrapping_add(1);
        self.waiting = Some((id, kind));
        if let Some(access) = access {
            self.page.write(0, bytes);
            self.host.grant(gref, self.page.gfn(), access);
            self.granted = true;
        }
        Ok(self.ring.push())
    }

    /// Takes the answer, if it is there: `data` of the response. When there is none, the back end
    /// notifies with it.
    pub fn take(&mut self) -> Result<Option<Result<u32, Refused>>, CtrlViolation> {
        if self.broken {
            return Ok(None);
        }
        let answer = self.try_take();
        self.broken = answer.is_err();
        answer
    }

    fn try_take(&mut self) -> Result<Option<Result<u32, Refused>>, CtrlViolation> {
        let response = loop {
            if let Some(response) = self.ring.next_response().map_err(CtrlViolation::Ring)? {
                break response;
            }
            if !self.ring.final_check().map_err(CtrlViolation::Ring)? {
                return Ok(None);
            }
        };
        let (id, kind) = (response.id, response.kind);
        if self.waiting != Some((id, kind)) {
            return Err(CtrlViolation::Unexpected { id, kind });
        }
        if self.granted {
            if !self.host.end(self.gref) {
                return Err(CtrlViolation::Held { gref: self.gref });
            }
            self.granted = false;
        }
        self.waiting = None;
        Ok(Some(match response.status {
            STATUS_SUCCESS => Ok(response.data),
            STATUS_NOT_SUPPORTED => Err(Refused::NotSupported),
            STATUS_INVALID_PARAMETER => Err(Refused::InvalidParameter),
            STATUS_BUFFER_OVERFLOW => Err(Refused::BufferOverflow),
            status => Err(Refused::Unknown(status)),
        }))
    }
}

impl<H: Platform> Drop for Ctrl<H> {
    fn drop(&mut self) {
        let gref = core::mem::replace(&mut self.gref, NO_REF);
        if self.granted {
            end_or_abandon(&self.host, gref, self.page.gfn());
        } else {
            self.host.release(gref);
        }
    }
}

/// How received packets are spread over the queues: by the Toeplitz hash of their flow.
#[derive(Clone, Copy, Debug)]
pub struct Spread<'a> {
    /// `XEN_NETIF_CTRL_HASH_TYPE_*`.
    pub flags: u32,
    /// The key, see [`toeplitz`](super::toeplitz).
    pub key: &'a [u8],
    /// A queue for each hash modulo its length; empty: the hash modulo the number of queues.
    pub mapping: &'a [u32],
}

impl<'a> Spread<'a> {
    /// The commands that set it up, to be sent one after the other. The algorithm comes first, since
    /// without it the flags are refused.
    pub fn commands(self) -> impl Iterator<Item = Command<'a>> {
        let Self {
            flags,
            key,
            mapping,
        } = self;
        let head = [
            Command::SetHashAlgorithm(HASH_ALGORITHM_TOEPLITZ),
            Command::SetHashFlags(flags),
            Command::SetHashKey(key),
            Command::SetHashMappingSize(mapping.len() as u32),
        ];
        let chunks = mapping.chunks(MAX_MAPPING).zip(0u32..);
        let tail = chunks.map(|(queues, nth)| Command::SetHashMapping {
            offset: nth.wrapping_mul(MAX_MAPPING as u32),
            queues,
        });
        head.into_iter().chain(tail)
    }
}
