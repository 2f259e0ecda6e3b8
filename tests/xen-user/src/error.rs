// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong, told in terms of the interface that refused.

use portico_core::xenstore::wire::{XsdError, XsdSockmsgType};
use std::{fmt, io};

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A refusal by one of Xen's user-space interfaces.
#[derive(Debug)]
pub enum Error {
    /// A device node could not be opened: not in dom0, or its module is not loaded.
    Open {
        /// The device node.
        path: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A system call or hypercall on an open device failed.
    Call {
        /// What was asked for.
        what: String,
        /// The kernel's or hypervisor's reason.
        source: io::Error,
    },
    /// xenstored answered with an error.
    Store {
        /// The operation.
        op: XsdSockmsgType,
        /// The node that it was asked about.
        path: String,
        /// Its reason.
        error: XsdError,
    },
    /// The other side of a connection said something that its protocol does not allow.
    Protocol(String),
    /// No answer came in time.
    Timeout(String),
}

impl Error {
    pub(crate) fn call(what: impl Into<String>) -> Self {
        Error::Call {
            what: what.into(),
            source: io::Error::last_os_error(),
        }
    }

    /// Whether xenstored answered with this error.
    pub fn is_store(&self, expected: XsdError) -> bool {
        matches!(self, Error::Store { error, .. } if *error == expected)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Open { path, source } => write!(
                f,
                "cannot open {path}: {source}; this runs as root in a control domain, with the module \
                 behind that device loaded"
            ),
            Error::Call { what, source } => write!(f, "cannot {what}: {source}"),
            Error::Store { op, path, error } => {
                write!(f, "xenstored refused {op:?} of {path:?}: {}", error.name())
            }
            Error::Protocol(what) => write!(f, "protocol violated: {what}"),
            Error::Timeout(what) => write!(f, "no answer in time: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Open { source, .. } | Error::Call { source, .. } => Some(source),
            _ => None,
        }
    }
}
