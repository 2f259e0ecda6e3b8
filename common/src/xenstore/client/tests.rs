// SPDX-License-Identifier: MIT OR Apache-2.0
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::super::wire::MESSAGE_MAX;
use super::*;

type Store = Client<4, Vec<u8>>;

fn client() -> Store {
    Client::new(vec![0; XENSTORE_PAYLOAD_MAX])
}

fn message(msg_type: u32, req_id: u32, payload: &[u8]) -> Vec<u8> {
    let header = XsdSockmsg {
        msg_type,
        req_id,
        tx_id: 0,
        len: payload.len() as u32,
    };
    [header.as_bytes(), payload].concat()
}

/// Hands out `bytes`, at most `step` at a time.
fn feed<'a, 'b>(
    bytes: &'a mut &'b [u8],
    step: usize,
) -> impl FnMut(&mut [u8]) -> usize + use<'a, 'b> {
    move |room: &mut [u8]| {
        let n = room.len().min(bytes.len()).min(step);
        let (now, later) = bytes.split_at(n);
        room[..n].copy_from_slice(now);
        *bytes = later;
        n
    }
}

fn ask(client: &mut Store, request: Request<'_>) -> u32 {
    client
        .request(&request, None, &mut [0; MESSAGE_MAX])
        .unwrap()
        .0
}

#[test]
fn replies_find_their_requests_out_of_order() {
    let mut store = client();
    let read = ask(&mut store, Request::Read("a"));
    let list = ask(&mut store, Request::Directory("b"));
    let wire = [message(1, list, b"x\0"), message(16, read, b"ENOENT\0")].concat();
    let mut bytes = &wire[..];
    let first = store.receive(feed(&mut bytes, 3));
    assert_eq!(
        first,
        Ok(Some(Incoming::Reply {
            id: list,
            result: Ok(b"x\0")
        }))
    );
    let second = store.receive(feed(&mut bytes, 5));
    assert_eq!(
        second,
        Ok(Some(Incoming::Reply {
            id: read,
            result: Err(XsdError::ENOENT)
        }))
    );
    assert_eq!(store.receive(feed(&mut bytes, 9)), Ok(None));
    assert_eq!(store.outstanding(), 0);
}

#[test]
fn events_are_told_from_replies() {
    let mut store = client();
    let wire = message(15, 0, b"device/vbd\0tok\0");
    let event = store.receive(feed(&mut &wire[..], 99));
    assert_eq!(
        event,
        Ok(Some(Incoming::Watch {
            path: "device/vbd",
            token: "tok"
        }))
    );
    let wire = message(15, 77, b"@releaseDomain\0\0");
    let event = store.receive(feed(&mut &wire[..], 99));
    assert_eq!(
        event,
        Ok(Some(Incoming::Watch {
            path: "@releaseDomain",
            token: ""
        }))
    );
}

#[test]
fn violations_are_final_until_reset() {
    let long = XsdSockmsg {
        msg_type: 2,
        req_id: 1,
        tx_id: 0,
        len: 4097,
    };
    let header_only = long.as_bytes().to_vec();
    for (wire, violation) in [
        (header_only, Violation::Length(4097)),
        (message(20, 1, b""), Violation::Type(20)),
        (message(0xffff, 1, b""), Violation::Type(0xffff)),
        (message(2, 2, b""), Violation::UnknownId(2)),
        (message(16, 0, b"EIO\0"), Violation::UnknownId(0)),
        (
            message(11, 1, b""),
            Violation::WrongType {
                req_id: 1,
                got: XsdSockmsgType::Write,
            },
        ),
        (message(15, 0, b""), Violation::WatchEvent),
        (message(15, 0, b"path\0"), Violation::WatchEvent),
        (message(15, 0, b"path\0token"), Violation::WatchEvent),
        (
            message(15, 0, b"path\0token\0more\0"),
            Violation::WatchEvent,
        ),
        (message(15, 0, b"a b\0token\0"), Violation::WatchEvent),
        (message(15, 0, b"path\0\xff\0"), Violation::WatchEvent),
    ] {
        let mut store = client();
        let id = ask(&mut store, Request::Read("a"));
        assert_eq!(id, 1);
        assert_eq!(store.receive(feed(&mut &wire[..], 7)), Err(violation));
        let mut more = &message(2, 1, b"late")[..];
        assert_eq!(store.receive(feed(&mut more, 99)), Err(violation));
        let refused = store.request(&Request::Read("a"), None, &mut [0; MESSAGE_MAX]);
        assert_eq!(refused, Err(RequestError::Broken));
        let mut lost = Vec::new();
        store.reset(|id| lost.push(id));
        let answered = matches!(violation, Violation::WrongType { .. });
        assert_eq!(lost, if answered { vec![] } else { vec![1] });
        assert_eq!(ask(&mut store, Request::Read("a")), 2);
    }
}

#[test]
fn ids_are_unique_through_the_wrap() {
    let mut store = client();
    store.next_id = u32::MAX;
    let ids: Vec<_> = (0..4)
        .map(|_| ask(&mut store, Request::Read("a")))
        .collect();
    assert_eq!(ids, [u32::MAX, 1, 2, 3]);
    let busy = store.request(&Request::Read("a"), None, &mut [0; MESSAGE_MAX]);
    assert_eq!(busy, Err(RequestError::Busy));
    let wire = message(2, 2, b"");
    assert!(store.receive(feed(&mut &wire[..], 99)).is_ok());
    store.next_id = u32::MAX;
    assert_eq!(
        ask(&mut store, Request::Read("a")),
        2,
        "ids that wait are passed over"
    );
}

#[test]
fn a_refused_request_takes_no_place() {
    let mut store = client();
    assert!(store
        .request(&Request::Read("a b"), None, &mut [0; MESSAGE_MAX])
        .is_err());
    assert!(store
        .request(&Request::Read("a"), None, &mut [0; 4])
        .is_err());
    assert_eq!(store.outstanding(), 0);
}

#[test]
fn a_fill_that_lies_stays_in_bounds() {
    let mut store = client();
    // Zeros: an answer to request 0, which nobody made, whatever the count says.
    assert_eq!(store.receive(|_| usize::MAX), Err(Violation::UnknownId(0)));
}

proptest! {
    /// Whatever arrives, however cut: no panic, and after an error only that error.
    #[test]
    fn any_bytes(wire in prop::collection::vec(any::<u8>(), 0..9000), step in 1_usize..5000) {
        let mut store = client();
        ask(&mut store, Request::Read("a"));
        let mut bytes = &wire[..];
        let mut end = None;
        for _ in 0..wire.len() + 2 {
            match store.receive(feed(&mut bytes, step)) {
                Ok(Some(_)) => prop_assert!(end.is_none()),
                Ok(None) => break,
                Err(v) => prop_assert_eq!(*end.get_or_insert(v), v),
            }
        }
    }

    /// The same with headers that almost make sense.
    #[test]
    fn any_messages(
        messages in prop::collection::vec(
            (0_u32..25, 0_u32..4, prop::collection::vec(0_u8..4, 0..40), any::<bool>()),
            0..20,
        ),
        step in 1_usize..50,
    ) {
        let mut store = client();
        let mut wire = Vec::new();
        for (msg_type, req_id, payload, long) in &messages {
            let mut bytes = message(*msg_type, *req_id, payload);
            if *long {
                bytes[12..16].copy_from_slice(&(payload.len() as u32 * 200).to_ne_bytes());
            }
            wire.extend(bytes);
        }
        let (mut bytes, mut end, mut waiting) = (&wire[..], None, 0);
        for _ in 0..wire.len() + 2 {
            if end.is_none() && waiting < 3 {
                ask(&mut store, Request::Read("a"));
                waiting += 1;
            }
            match store.receive(feed(&mut bytes, step)) {
                Ok(Some(Incoming::Reply { id, .. })) => {
                    prop_assert!(id != 0 && end.is_none());
                    waiting -= 1;
                }
                Ok(Some(Incoming::Watch { path, .. })) => {
                    prop_assert_eq!(check_watch_path(path.as_bytes()), Ok(()));
                }
                Ok(None) => break,
                Err(v) => prop_assert_eq!(*end.get_or_insert(v), v),
            }
        }
    }

    /// Well-formed conversations come out as they went in, however the bytes are cut.
    #[test]
    fn well_formed(
        payloads in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..=XENSTORE_PAYLOAD_MAX)),
            1..20,
        ),
        step in 1_usize..5000,
    ) {
        let mut store = client();
        for (event, payload) in &payloads {
            let (wire, id) = if *event {
                (message(15, 0, b"a/b\0t\0"), 0)
            } else {
                let id = ask(&mut store, Request::Read("a"));
                (message(2, id, payload), id)
            };
            let mut bytes = &wire[..];
            let mut got = store.receive(feed(&mut bytes, step)).unwrap();
            // Once `fill` runs dry it says 0, and the call is made again.
            while got.is_none() && !bytes.is_empty() {
                got = store.receive(feed(&mut bytes, step)).unwrap();
            }
            let expected = if *event {
                Incoming::Watch { path: "a/b", token: "t" }
            } else {
                Incoming::Reply { id, result: Ok(payload) }
            };
            prop_assert_eq!(got, Some(expected));
        }
    }
}
