// SPDX-License-Identifier: MIT OR Apache-2.0
use std::vec::Vec;

use super::super::wire::MESSAGE_MAX;
use super::*;

fn payload(request: Request<'_>, tx: Option<Transaction>) -> Result<Vec<u8>, RequestError> {
    let mut out = [0xaa; MESSAGE_MAX];
    let n = request.encode(7, tx, &mut out)?;
    let tx_id = tx.map_or(0, |t| t.0.get());
    let words = [request.msg_type() as u32, 7, tx_id, (n - HEADER_LEN) as u32];
    assert_eq!(&out[..HEADER_LEN], words.as_bytes());
    Ok(out[HEADER_LEN..n].to_vec())
}

fn plain(request: Request<'_>) -> Vec<u8> {
    payload(request, None).unwrap()
}

#[test]
fn payloads_are_as_the_protocol_says() {
    let tx = Transaction(NonZeroU32::MIN);
    assert_eq!(plain(Request::Read("a/b")), b"a/b\0");
    assert_eq!(plain(Request::Directory("/")), b"/\0");
    assert_eq!(plain(Request::DirectoryPart("a", 0)), b"a\x000\0");
    assert_eq!(
        plain(Request::DirectoryPart("a", u32::MAX)),
        b"a\x004294967295\0"
    );
    assert_eq!(plain(Request::Write("a", b"v\0w")), b"a\0v\0w");
    assert_eq!(plain(Request::Write("a", b"")), b"a\0");
    let perms = [
        Permission {
            domid: 0,
            access: Access::None,
        },
        Permission {
            domid: 120,
            access: Access::Both,
        },
    ];
    assert_eq!(plain(Request::SetPerms("a", &perms)), b"a\0n0\0b120\0");
    assert_eq!(
        plain(Request::Watch {
            path: "@releaseDomain",
            token: "7"
        }),
        b"@releaseDomain\x007\0"
    );
    assert_eq!(plain(Request::TransactionStart), b"\0");
    assert_eq!(
        payload(Request::TransactionEnd { commit: true }, Some(tx)).unwrap(),
        b"T\0"
    );
    assert_eq!(
        payload(Request::TransactionEnd { commit: false }, Some(tx)).unwrap(),
        b"F\0"
    );
    assert_eq!(plain(Request::GetDomainPath(32752)), b"32752\0");
    assert_eq!(plain(Request::ResetWatches), b"\0");
}

#[test]
fn transactions_only_where_they_belong() {
    let tx = Some(Transaction(NonZeroU32::MAX));
    let wrong = Err(RequestError::Transaction);
    assert_eq!(
        payload(Request::TransactionEnd { commit: true }, None),
        wrong
    );
    assert_eq!(payload(Request::TransactionStart, tx), wrong);
    assert_eq!(
        payload(
            Request::Watch {
                path: "a",
                token: ""
            },
            tx
        ),
        wrong
    );
    assert!(payload(Request::Rm("a"), tx).is_ok());
}

#[test]
fn what_does_not_fit_is_refused() {
    let value = [1; XENSTORE_PAYLOAD_MAX];
    assert!(payload(Request::Write("ab", &value[3..]), None).is_ok());
    assert_eq!(
        payload(Request::Write("ab", &value[2..]), None),
        Err(RequestError::TooLong)
    );
    let short = &mut [0; HEADER_LEN + 3];
    assert_eq!(
        Request::Read("ab").encode(0, None, short),
        Ok(HEADER_LEN + 3)
    );
    assert_eq!(
        Request::Read("abc").encode(0, None, short),
        Err(RequestError::Buffer)
    );
    assert_eq!(
        Request::Read("a").encode(0, None, &mut []),
        Err(RequestError::Buffer)
    );
    assert_eq!(
        payload(Request::SetPerms("a", &[]), None),
        Err(RequestError::NoOwner)
    );
    assert_eq!(
        payload(Request::Read("a b"), None),
        Err(PathError::Byte(b' ').into())
    );
}
