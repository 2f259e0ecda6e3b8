// SPDX-License-Identifier: MIT OR Apache-2.0
//! The flows of a session at one end, and the result of both.

use super::content::Content;
use super::socket::Socket;
use super::until::{Until, TICK};
use super::wire::{Half, Lines, Say};
use super::{datagrams, requests, stream};
use crate::proto::{Traffic, TrafficKind, TrafficResult};
use std::io;

/// What this side does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Send,
    Receive,
    Ask,
    Answer,
}

impl Role {
    /// The asking side's, or the other's.
    pub(super) fn of(traffic: &Traffic, asking: bool) -> Role {
        match traffic.kind {
            TrafficKind::Stream | TrafficKind::Datagrams if asking != traffic.back => Role::Send,
            TrafficKind::Stream | TrafficKind::Datagrams => Role::Receive,
            _ if asking => Role::Ask,
            _ => Role::Answer,
        }
    }
}

/// Runs the flows, and tells and learns what came of them: own half, the other's half.
pub(super) fn play(
    lines: &mut Lines,
    role: Role,
    sockets: Vec<Socket>,
    traffic: &Traffic,
    until: &mut Until<'_>,
) -> io::Result<(Half, Half)> {
    let played = run(lines, role, &sockets, traffic, until);
    if played.is_err() {
        sockets.iter().for_each(Socket::forget);
    }
    played
}

fn run(
    lines: &mut Lines,
    role: Role,
    sockets: &[Socket],
    traffic: &Traffic,
    until: &mut Until<'_>,
) -> io::Result<(Half, Half)> {
    let mut other = None;
    let mut broken = None;
    let mut told = false;
    let ends = std::thread::scope(|scope| {
        let shared: &Until<'_> = until;
        let flows: Vec<_> = sockets
            .iter()
            .enumerate()
            .map(|(i, socket)| scope.spawn(move || flow(role, socket, i as u32, traffic, shared)))
            .collect();
        while flows.iter().any(|flow| !flow.is_finished()) {
            if shared.is_stopped() && !told {
                told = true;
                shared.end();
                broken = lines.say(&Say::Stop, shared).err();
            }
            match lines.try_hear() {
                Ok(None) => {}
                Ok(Some(Say::Half(half))) => {
                    other = Some(half);
                    shared.end();
                }
                Ok(Some(Say::Stop)) => shared.end(),
                Ok(Some(Say::Failed(what))) => {
                    broken = Some(io::Error::other(format!("the peer: {what}")));
                    shared.abort();
                }
                Ok(Some(_)) => {}
                Err(e) => {
                    broken.get_or_insert(e);
                    shared.abort();
                    // Nothing to listen to any more: the flows look for themselves.
                    std::thread::sleep(TICK);
                }
            }
        }
        let ended = flows.into_iter().map(|flow| match flow.join() {
            Ok(half) => half,
            Err(_) => Err(io::Error::other("a flow panicked")),
        });
        ended.collect::<Vec<io::Result<Half>>>()
    });
    if let Some(e) = broken {
        return Err(e);
    }
    let mut own = Half::default();
    for half in ends {
        own.add(half?);
    }
    until.hurry();
    lines.say(&Say::Half(own.clone()), until)?;
    let other = match other {
        Some(half) => half,
        None => loop {
            match lines.hear(until)? {
                Say::Half(half) => break half,
                Say::Stop => {}
                say => return Err(io::Error::other(format!("the peer said {say:?}"))),
            }
        },
    };
    Ok((own, other))
}

/// Runs one flow.
pub(super) fn flow(
    role: Role,
    socket: &Socket,
    index: u32,
    traffic: &Traffic,
    until: &Until<'_>,
) -> io::Result<Half> {
    let content = Content::new(traffic.seed, index);
    match (role, socket) {
        (Role::Send, Socket::Tcp(tcp)) => stream::send(tcp, &content, traffic, until),
        (Role::Receive, Socket::Tcp(tcp)) => stream::receive(tcp, &content, until),
        (Role::Ask, Socket::Tcp(tcp)) => requests::ask(tcp, &content, traffic, until),
        (Role::Answer, Socket::Tcp(tcp)) => requests::answer(tcp, &content, traffic, until),
        (Role::Send, Socket::Udp(udp)) => datagrams::send(udp, &content, traffic, until),
        (Role::Receive, Socket::Udp(udp)) => datagrams::receive(udp, &content, traffic, until),
        (Role::Ask, Socket::Udp(udp)) => requests::ask(udp, &content, traffic, until),
        (Role::Answer, Socket::Udp(udp)) => requests::answer(udp, &content, traffic, until),
    }
}

/// One result from the two halves.
pub(super) fn together(role: Role, own: Half, other: Half) -> TrafficResult {
    if role == Role::Ask {
        let mut times = own.times;
        times.sort_unstable();
        let at = |percent: usize| {
            let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            times.get(place).copied().unwrap_or(0)
        };
        return TrafficResult {
            sent_bytes: own.bytes,
            bytes: own.bytes,
            sent: own.packets + own.lost,
            arrived: own.packets,
            lost: own.lost,
            wrong_bytes: own.wrong_bytes + other.wrong_bytes,
            first_wrong: own.first_wrong.or(other.first_wrong),
            seconds: own.seconds,
            p50_ns: at(50),
            p99_ns: at(99),
            ..TrafficResult::default()
        };
    }
    let (sender, receiver) = match role {
        Role::Send => (own, other),
        _ => (other, own),
    };
    TrafficResult {
        sent_bytes: sender.bytes,
        bytes: receiver.bytes,
        sent: sender.packets,
        arrived: receiver.packets,
        lost: sender.packets.saturating_sub(receiver.packets),
        duplicates: receiver.duplicates,
        reordered: receiver.reordered,
        wrong_bytes: receiver.wrong_bytes,
        first_wrong: receiver.first_wrong,
        refused: sender.refused,
        seconds: receiver.seconds,
        ..TrafficResult::default()
    }
}
