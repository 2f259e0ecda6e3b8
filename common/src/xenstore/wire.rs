// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wire types of the store: `xen/io/xs_wire.h`.

use static_assertions::const_assert_eq;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes in each direction of the shared page.
pub const XENSTORE_RING_SIZE: usize = 1024;
/// Most bytes that may follow a header. Exceeding it makes the store drop the connection.
pub const XENSTORE_PAYLOAD_MAX: usize = 4096;
/// Longest absolute path in bytes, without a terminator.
pub const XENSTORE_ABS_PATH_MAX: usize = 3072;
/// Longest relative path in bytes, without a terminator.
pub const XENSTORE_REL_PATH_MAX: usize = 2048;

/// `server_features`: the ring can be reconnected through the `connection` field.
pub const XENSTORE_SERVER_FEATURE_RECONNECTION: u32 = 1;
/// `server_features`: the `error` field exists.
pub const XENSTORE_SERVER_FEATURE_ERROR: u32 = 2;

/// `connection`: the steady state.
pub const XENSTORE_CONNECTED: u32 = 0;
/// `connection`: the guest asked for a reconnection that is still under way.
pub const XENSTORE_RECONNECT: u32 = 1;

/// `error`: none.
pub const XENSTORE_ERROR_NONE: u32 = 0;
/// `error`: the store could not communicate.
pub const XENSTORE_ERROR_COMM: u32 = 1;
/// `error`: an index of ours was more than a ring away from its partner.
pub const XENSTORE_ERROR_RINGIDX: u32 = 2;
/// `error`: we violated the protocol, for instance with too long a payload.
pub const XENSTORE_ERROR_PROTO: u32 = 3;

/// `struct xsd_sockmsg`: the header of every message, in either direction.
///
/// Fields are in the byte order of the guest (little-endian on x86).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct XsdSockmsg {
    /// `type`: an [`XsdSockmsgType`]. From the store: not trusted.
    pub msg_type: u32,
    /// Chosen by the client, repeated in the reply. Watch events carry 0.
    pub req_id: u32,
    /// Transaction, or 0.
    pub tx_id: u32,
    /// Bytes that follow, at most [`XENSTORE_PAYLOAD_MAX`]. From the store: not trusted.
    pub len: u32,
}
const_assert_eq!(size_of::<XsdSockmsg>(), 16);
const_assert_eq!(core::mem::offset_of!(XsdSockmsg, req_id), 4);
const_assert_eq!(core::mem::offset_of!(XsdSockmsg, tx_id), 8);
const_assert_eq!(core::mem::offset_of!(XsdSockmsg, len), 12);

/// Bytes of a header.
pub const HEADER_LEN: usize = size_of::<XsdSockmsg>();
/// Bytes of the longest message.
pub const MESSAGE_MAX: usize = HEADER_LEN + XENSTORE_PAYLOAD_MAX;

/// `struct xenstore_domain_interface`, the page shared with the store. Only its layout stands here:
/// the page is never borrowed as this type, because the store writes to it.
///
/// The indexes run freely, need not start at 0, and are reduced modulo [`XENSTORE_RING_SIZE`].
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XenstoreDomainInterface {
    /// Requests. Written by the guest.
    pub req: [u8; XENSTORE_RING_SIZE],
    /// Replies and watch events. Written by the store.
    pub rsp: [u8; XENSTORE_RING_SIZE],
    /// Written by the store.
    pub req_cons: u32,
    /// Written by the guest.
    pub req_prod: u32,
    /// Written by the guest.
    pub rsp_cons: u32,
    /// Written by the store.
    pub rsp_prod: u32,
    /// `XENSTORE_SERVER_FEATURE_*`. Written by the store.
    pub server_features: u32,
    /// `XENSTORE_CONNECTED` or `XENSTORE_RECONNECT`. The guest sets the latter, the store the former.
    pub connection: u32,
    /// `XENSTORE_ERROR_*`. Written by the store.
    pub error: u32,
}
const_assert_eq!(core::mem::offset_of!(XenstoreDomainInterface, rsp), 1024);
const_assert_eq!(
    core::mem::offset_of!(XenstoreDomainInterface, req_cons),
    2048
);
const_assert_eq!(
    core::mem::offset_of!(XenstoreDomainInterface, req_prod),
    2052
);
const_assert_eq!(
    core::mem::offset_of!(XenstoreDomainInterface, rsp_cons),
    2056
);
const_assert_eq!(
    core::mem::offset_of!(XenstoreDomainInterface, rsp_prod),
    2060
);
const_assert_eq!(
    core::mem::offset_of!(XenstoreDomainInterface, server_features),
    2064
);
const_assert_eq!(
    core::mem::offset_of!(XenstoreDomainInterface, connection),
    2068
);
const_assert_eq!(core::mem::offset_of!(XenstoreDomainInterface, error), 2072);
const_assert_eq!(size_of::<XenstoreDomainInterface>(), 2076);

macro_rules! message_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// `enum xsd_sockmsg_type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum XsdSockmsgType {
            $($(#[$doc])* $name = $value,)*
        }

        impl XsdSockmsgType {
            /// The type that a header's field stands for; `None` if it is none.
            pub const fn from_wire(value: u32) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

message_types! {
    /// `XS_CONTROL` (once `XS_DEBUG`): commands to the daemon.
    Control = 0,
    /// `XS_DIRECTORY`: names of the children of a node.
    Directory = 1,
    /// `XS_READ`: value of a node.
    Read = 2,
    /// `XS_GET_PERMS`: permissions of a node.
    GetPerms = 3,
    /// `XS_WATCH`: begin to watch a path.
    Watch = 4,
    /// `XS_UNWATCH`: end a watch.
    Unwatch = 5,
    /// `XS_TRANSACTION_START`.
    TransactionStart = 6,
    /// `XS_TRANSACTION_END`.
    TransactionEnd = 7,
    /// `XS_INTRODUCE`: tell the store of a domain.
    Introduce = 8,
    /// `XS_RELEASE`: a domain is gone.
    Release = 9,
    /// `XS_GET_DOMAIN_PATH`: base path of a domain.
    GetDomainPath = 10,
    /// `XS_WRITE`: set a node's value, making the node if needed.
    Write = 11,
    /// `XS_MKDIR`: make a node.
    Mkdir = 12,
    /// `XS_RM`: remove a node and all below it.
    Rm = 13,
    /// `XS_SET_PERMS`: set a node's permissions.
    SetPerms = 14,
    /// `XS_WATCH_EVENT`: from the store only; a watched path changed.
    WatchEvent = 15,
    /// `XS_ERROR`: from the store only; the answer to a request that failed.
    Error = 16,
    /// `XS_IS_DOMAIN_INTRODUCED`.
    IsDomainIntroduced = 17,
    /// `XS_RESUME`: a domain goes on after a suspend that was given up.
    Resume = 18,
    /// `XS_SET_TARGET`: let a domain act for another.
    SetTarget = 19,
    /// `XS_RESET_WATCHES`: drop all watches and transactions of this connection.
    ResetWatches = 21,
    /// `XS_DIRECTORY_PART`: children of a node, a part at a time.
    DirectoryPart = 22,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $errno:literal,)*) => {
        /// `xsd_errors`: what a request can fail with. On the wire it is the name in capital letters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum XsdError {
            $($(#[$doc])* $name,)*
            /// A well-formed name that `xs_wire.h` does not list.
            Unlisted,
        }

        impl XsdError {
            /// The error that the payload of an [`XsdSockmsgType::Error`] names. One terminator
            /// at the end is part of the protocol and taken off; its absence is forgiven.
            pub fn from_name(payload: &[u8]) -> Self {
                let name = payload.strip_suffix(&[0]).unwrap_or(payload);
                $(if name == stringify!($name).as_bytes() {
                    return Self::$name;
                })*
                Self::Unlisted
            }

            /// The name on the wire, without terminator.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Unlisted => "unlisted error",
                }
            }

            /// Xen's number of the error (`xen/errno.h`, the same as Linux on x86), positive.
            /// An unlisted error counts as `EINVAL`, as it does in Linux.
            pub const fn errno(self) -> u16 {
                match self {
                    $(Self::$name => $errno,)*
                    Self::Unlisted => 22,
                }
            }

            /// The error with that number, if the store has a name for it.
            pub const fn from_errno(errno: u16) -> Option<Self> {
                match errno {
                    $($errno => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// All listed errors.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        impl core::fmt::Display for XsdError {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

errors! {
    /// The request is malformed.
    EINVAL = 22,
    /// Not allowed for this domain.
    EACCES = 13,
    /// It is already there.
    EEXIST = 17,
    /// Unused by today's stores.
    EISDIR = 21,
    /// No such node, watch or transaction.
    ENOENT = 2,
    /// The store has no memory.
    ENOMEM = 12,
    /// A quota of this domain is exhausted.
    ENOSPC = 28,
    /// The store failed.
    EIO = 5,
    /// Unused by today's stores.
    ENOTEMPTY = 39,
    /// The store does not know this request.
    ENOSYS = 38,
    /// The connection may only read.
    EROFS = 30,
    /// Too many transactions are open.
    EBUSY = 16,
    /// The transaction lost against another one: do it again from its start.
    EAGAIN = 11,
    /// The domain is already introduced.
    EISCONN = 106,
    /// Too long: a path, a value or a reply.
    E2BIG = 7,
    /// Not permitted.
    EPERM = 1,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_numbers_agree() {
        let mut known = 0;
        for value in 0..64 {
            if let Some(t) = XsdSockmsgType::from_wire(value) {
                assert_eq!(t as u32, value);
                known += 1;
            }
        }
        assert_eq!(known, 22);
        assert_eq!(
            XsdSockmsgType::from_wire(20),
            None,
            "XS_RESTRICT was removed"
        );
        assert_eq!(XsdSockmsgType::from_wire(0xffff), None, "XS_INVALID");
    }

    #[test]
    fn errors_go_to_names_and_back() {
        for &e in XsdError::ALL {
            assert_eq!(XsdError::from_name(e.name().as_bytes()), e);
            let mut terminated = e.name().as_bytes().to_vec();
            terminated.push(0);
            assert_eq!(XsdError::from_name(&terminated), e);
            assert_eq!(XsdError::from_errno(e.errno()), Some(e));
        }
        for odd in [
            &b""[..],
            b"\0",
            b"EINVAL\0\0",
            b"einval\0",
            b"EHWPOISON\0",
            b"\xff\xfe",
        ] {
            assert_eq!(XsdError::from_name(odd), XsdError::Unlisted);
        }
        assert_eq!(XsdError::from_errno(0), None);
    }
}
