// SPDX-License-Identifier: MIT OR Apache-2.0
//! What replies carry, read out of bytes that are not trusted.

use core::num::NonZeroU32;

use super::request::{Access, Permission, Transaction};

/// A decimal number without sign, with or without a terminator; `None` for anything else, and for
/// one that exceeds 64 bits.
pub fn number(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_suffix(&[0]).unwrap_or(payload);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum.checked_mul(10)?.checked_add(digit.into())
    })
}

/// The reply to [`TransactionStart`](super::request::Request::TransactionStart).
pub fn transaction(payload: &[u8]) -> Option<Transaction> {
    let id = u32::try_from(number(payload)?).ok()?;
    NonZeroU32::new(id).map(Transaction)
}

/// The strings of a payload, each without its terminator. A last one without terminator counts too.
pub fn strings(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = payload.strip_suffix(&[0]).unwrap_or(payload);
    let empty = payload.is_empty();
    body.split(|&byte| byte == 0).filter(move |_| !empty)
}

/// One entry of the reply to [`GetPerms`](super::request::Request::GetPerms), such as `n0`.
pub fn permission(entry: &[u8]) -> Option<Permission> {
    let (&letter, domid) = entry.split_first()?;
    let access = match letter {
        b'n' => Access::None,
        b'r' => Access::Read,
        b'w' => Access::Write,
        b'b' => Access::Both,
        _ => return None,
    };
    Some(Permission {
        domid: u16::try_from(number(domid)?).ok()?,
        access,
    })
}

/// The reply to [`DirectoryPart`](super::request::Request::DirectoryPart).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryPart<'a> {
    /// Changes when the children do: begin again at offset 0 if it differs from the part before.
    pub generation: u64,
    /// Names with their terminators, for [`strings`]. Its length is what the offset grows by.
    pub names: &'a [u8],
    /// Whether this part was the last one.
    pub last: bool,
}

impl<'a> DirectoryPart<'a> {
    /// Reads the payload; `None` if it is not as the protocol says.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let end = payload.iter().position(|&byte| byte == 0)?;
        let (generation, rest) = payload.split_at_checked(end)?;
        let generation = number(generation)?;
        let names = rest.split_first()?.1;
        // An empty string ends the list: a terminator that begins it or that follows another.
        let (names, last) = match names {
            [0] => (&names[..0], true),
            [head @ .., 0, 0] if !head.is_empty() => (names.split_last()?.1, true),
            [.., 0] => (names, false),
            _ => return None,
        };
        let proper = !names.starts_with(&[0]) && !names.windows(2).any(|pair| pair == [0, 0]);
        proper.then_some(Self {
            generation,
            names,
            last,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"18446744073709551615\0"), Some(u64::MAX));
        for bad in [
            &b""[..],
            b"\0",
            b"-1",
            b"+1",
            b" 1",
            b"1 ",
            b"0x10",
            b"1\0\0",
            b"18446744073709551616",
        ] {
            assert_eq!(number(bad), None);
        }
        assert_eq!(transaction(b"7\0").map(|t| t.0.get()), Some(7));
        assert_eq!(transaction(b"0\0"), None);
        assert_eq!(transaction(b"4294967296\0"), None);
    }

    #[test]
    fn lists() {
        let list = |payload| strings(payload).collect::<Vec<_>>();
        assert!(list(b"").is_empty());
        assert_eq!(list(b"a\0bc\0"), [&b"a"[..], b"bc"]);
        assert_eq!(list(b"a\0bc"), [&b"a"[..], b"bc"]);
        assert_eq!(list(b"\0"), [b""]);
        assert_eq!(
            permission(b"b12"),
            Some(Permission {
                domid: 12,
                access: Access::Both
            })
        );
        for bad in [&b""[..], b"n", b"x0", b"n65536", b"n-1"] {
            assert_eq!(permission(bad), None);
        }
    }

    #[test]
    fn parts() {
        let part = |names, last| {
            Some(DirectoryPart {
                generation: 3,
                names,
                last,
            })
        };
        assert_eq!(DirectoryPart::parse(b"3\0a\0bc\0"), part(b"a\0bc\0", false));
        assert_eq!(
            DirectoryPart::parse(b"3\0a\0bc\0\0"),
            part(b"a\0bc\0", true)
        );
        assert_eq!(DirectoryPart::parse(b"3\0\0"), part(b"", true));
        for bad in [
            &b""[..],
            b"3",
            b"3\0",
            b"x\0a\0",
            b"3\0a",
            b"3\0\0\0",
            b"3\0a\0\0\0",
            b"3\0\0a\0",
        ] {
            assert_eq!(DirectoryPart::parse(bad), None, "{bad:?}");
        }
    }
}
