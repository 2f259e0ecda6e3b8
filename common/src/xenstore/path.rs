// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which paths, watch paths and tokens the store takes (`docs/misc/xenstore.txt`, "PATHS").

use super::wire::{XENSTORE_ABS_PATH_MAX, XENSTORE_PAYLOAD_MAX, XENSTORE_REL_PATH_MAX};

/// What is wrong with a path or token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It has no byte.
    Empty,
    /// Longer than [`XENSTORE_ABS_PATH_MAX`] or [`XENSTORE_REL_PATH_MAX`] (a token: than a payload).
    TooLong,
    /// A byte other than `A-Z a-z 0-9 - / _ @` (in a token: a NUL).
    Byte(u8),
    /// Two slashes in a row.
    DoubleSlash,
    /// A slash at the end of a path other than `/`.
    TrailingSlash,
    /// `@` begins the name of a special watch, and stands nowhere else.
    Special,
}

impl core::fmt::Display for PathError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => f.write_str("empty xenstore path"),
            Self::TooLong => f.write_str("xenstore path or token too long"),
            Self::Byte(b) => write!(
                f,
                "byte {b:#04x} is not allowed in a xenstore path or token"
            ),
            Self::DoubleSlash => f.write_str("xenstore path with two slashes in a row"),
            Self::TrailingSlash => f.write_str("xenstore path that ends in a slash"),
            Self::Special => f.write_str("'@' in a xenstore path that is not a special watch"),
        }
    }
}

/// Checks a path of a node: absolute, or relative to the domain's own `/local/domain/<id>`.
pub fn check_path(path: &[u8]) -> Result<(), PathError> {
    let absolute = path.first() == Some(&b'/');
    let max = if absolute {
        XENSTORE_ABS_PATH_MAX
    } else {
        XENSTORE_REL_PATH_MAX
    };
    if path.len() > max {
        return Err(PathError::TooLong);
    }
    let mut last = 0;
    for &byte in path {
        match byte {
            b'/' if last == b'/' => return Err(PathError::DoubleSlash),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'/' | b'_' => (),
            b'@' => return Err(PathError::Special),
            other => return Err(PathError::Byte(other)),
        }
        last = byte;
    }
    match path {
        [] => Err(PathError::Empty),
        [b'/'] => Ok(()),
        [.., b'/'] => Err(PathError::TrailingSlash),
        _ => Ok(()),
    }
}

/// Checks what a watch may name: a path, or a special name such as `@releaseDomain`.
pub fn check_watch_path(path: &[u8]) -> Result<(), PathError> {
    match path.strip_prefix(b"@") {
        Some(name) if name.contains(&b'/') => Err(PathError::Special),
        Some(name) => check_path(name),
        None => check_path(path),
    }
}

/// Checks a watch's token: any bytes but NUL, and short enough to leave room for a path.
pub fn check_token(token: &[u8]) -> Result<(), PathError> {
    if token.len() >= XENSTORE_PAYLOAD_MAX - XENSTORE_ABS_PATH_MAX {
        return Err(PathError::TooLong);
    }
    if token.contains(&0) {
        return Err(PathError::Byte(0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for good in ["/", "device/vbd/51712", "/local/domain/0", "a", "A-_9/b"] {
            assert_eq!(check_path(good.as_bytes()), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", PathError::Empty),
            ("/a/", PathError::TrailingSlash),
            ("a//b", PathError::DoubleSlash),
            ("//", PathError::DoubleSlash),
            ("a b", PathError::Byte(b' ')),
            ("a\0", PathError::Byte(0)),
            ("@releaseDomain", PathError::Special),
            ("a/../b", PathError::Byte(b'.')),
        ] {
            assert_eq!(check_path(bad.as_bytes()), Err(why), "{bad}");
        }
    }

    #[test]
    fn lengths() {
        let mut path = [b'a'; XENSTORE_ABS_PATH_MAX + 1];
        assert_eq!(check_path(&path[..XENSTORE_REL_PATH_MAX]), Ok(()));
        assert_eq!(
            check_path(&path[..XENSTORE_REL_PATH_MAX + 1]),
            Err(PathError::TooLong)
        );
        path[0] = b'/';
        assert_eq!(check_path(&path[..XENSTORE_ABS_PATH_MAX]), Ok(()));
        assert_eq!(check_path(&path), Err(PathError::TooLong));
    }

    #[test]
    fn watches_and_tokens() {
        assert_eq!(check_watch_path(b"@releaseDomain"), Ok(()));
        assert_eq!(check_watch_path(b"@"), Err(PathError::Empty));
        assert_eq!(check_watch_path(b"@a/b"), Err(PathError::Special));
        assert_eq!(check_watch_path(b"backend/vbd"), Ok(()));
        assert_eq!(check_token(b""), Ok(()));
        assert_eq!(check_token(b"any thing \xff"), Ok(()));
        assert_eq!(check_token(b"a\0b"), Err(PathError::Byte(0)));
        assert_eq!(check_token(&[b'x'; 1024]), Err(PathError::TooLong));
    }
}
