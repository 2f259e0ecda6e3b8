// SPDX-License-Identifier: MIT OR Apache-2.0
//! The conversation about traffic, at both ends, up to the flows themselves.

use super::play::{flow, play, together, Role};
use super::socket::{bind, connect, ports, Socket};
use super::until::{Until, TICK};
use super::wire::{Half, Lines, Say};
use crate::exec::Group;
use crate::proto::{Fault, FaultKind, Traffic, TrafficKind, TrafficResult};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Port of every agent's server.
const PORT: u16 = 4242;

/// Port of hosts that send datagrams back.
const ECHO: u16 = 7;

/// How long the beginning of a conversation may take.
const BEGIN: Duration = Duration::from_secs(20);

/// How much longer than the asking side the other one waits.
const GRACE: Duration = Duration::from_secs(5);

/// Most flows of a session.
const FLOWS_MAX: u32 = 64;

/// Sessions that wait for the TCP connections of their flows.
type Waiting = Arc<Mutex<HashMap<u64, Sender<(u32, TcpStream)>>>>;

/// Starts the server, which runs for ever.
pub fn serve() -> Result<(), Fault> {
    serve_at(PORT).map(drop)
}

fn serve_at(port: u16) -> Result<u16, Fault> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        .map_err(|e| Fault::os(format_args!("TCP port {port}"), &e))?;
    let own = listener.local_addr().map_or(port, |address| address.port());
    std::thread::spawn(move || {
        let waiting = Waiting::default();
        for stream in listener.incoming().flatten() {
            let waiting = Arc::clone(&waiting);
            std::thread::spawn(move || {
                // Whoever asked learns of it by the end of the connection.
                let _ = meet(stream, &waiting);
            });
        }
    });
    Ok(own)
}

fn meet(stream: TcpStream, waiting: &Waiting) -> io::Result<()> {
    let mut lines = Lines::new(stream)?;
    match lines.hear(&Until::new(Instant::now() + BEGIN, None))? {
        Say::Session {
            id,
            traffic,
            limit_ms,
        } => {
            let deadline = Instant::now() + Duration::from_millis(limit_ms) + GRACE;
            let mut until = Until::new(deadline, None);
            let done = other_side(&mut lines, id, &traffic, &mut until, waiting);
            lock(waiting).remove(&id);
            if let Err(e) = &done {
                lines.say(
                    &Say::Failed(e.to_string()),
                    &Until::new(Instant::now() + GRACE, None),
                )?;
            }
            done
        }
        Say::Flow { session, index } => {
            if let Some(send) = lock(waiting).get(&session) {
                // A session that is gone needs no flow.
                let _ = send.send((index, lines.stream));
            }
            Ok(())
        }
        other => Err(io::Error::other(format!("began with {other:?}"))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Whether flows are TCP connections.
fn is_tcp(kind: TrafficKind) -> bool {
    matches!(kind, TrafficKind::Stream | TrafficKind::Requests)
}

/// The side that was asked.
fn other_side(
    lines: &mut Lines,
    id: u64,
    traffic: &Traffic,
    until: &mut Until<'_>,
    waiting: &Waiting,
) -> io::Result<()> {
    if traffic.flows == 0 || traffic.flows > FLOWS_MAX {
        return Err(io::Error::other(format!("{} flows", traffic.flows)));
    }
    let mut sockets = Vec::new();
    if is_tcp(traffic.kind) {
        let (send, come) = mpsc::channel();
        lock(waiting).insert(id, send);
        lines.say(&Say::Ports(Vec::new()), until)?;
        let mut flows = Vec::new();
        for _ in 0..traffic.flows {
            let flow = come.recv_timeout(BEGIN);
            flows.push(flow.map_err(|_| io::Error::other("a flow's connection did not come"))?);
        }
        flows.sort_by_key(|(index, _)| *index);
        sockets.extend(flows.into_iter().map(|(_, stream)| Socket::Tcp(stream)));
    } else {
        let (own, peer) = (lines.stream.local_addr()?, lines.stream.peer_addr()?);
        let bound = bind(own.ip(), traffic.flows)?;
        lines.say(&Say::Ports(ports(&bound)?), until)?;
        let Say::Ports(theirs) = lines.hear(until)? else {
            return Err(io::Error::other("no ports"));
        };
        sockets = connect(bound, peer, &theirs)?;
    }
    lines.say(&Say::Go, until)?;
    play(lines, Role::of(traffic, false), sockets, traffic, until)?;
    Ok(())
}

/// Exchanges traffic with the agent at an address.
pub fn exchange(what: &Traffic, deadline: Instant, group: &Group) -> Result<TrafficResult, Fault> {
    exchange_at(what, PORT, deadline, group)
}

fn exchange_at(
    what: &Traffic,
    port: u16,
    deadline: Instant,
    group: &Group,
) -> Result<TrafficResult, Fault> {
    let peer: IpAddr = what.peer.parse().map_err(|_| {
        let message = format!("{:?} is no address", what.peer);
        Fault::new(FaultKind::BadRequest, message)
    })?;
    let mut until = Until::new(deadline, Some(group));
    let result = match what.kind {
        TrafficKind::Echo => echo(what, SocketAddr::new(peer, ECHO), &until),
        _ => this_side(what, SocketAddr::new(peer, port), deadline, &mut until),
    };
    let (role, own, other) = result.map_err(|e| {
        let fault = Fault::os(format_args!("traffic with {peer}"), &e);
        match e.kind() {
            io::ErrorKind::TimedOut => Fault::new(FaultKind::Timeout, fault.message),
            _ => fault,
        }
    })?;
    Ok(together(role, own, other))
}

/// One flow with a host that knows of no agents.
fn echo(what: &Traffic, host: SocketAddr, until: &Until<'_>) -> io::Result<(Role, Half, Half)> {
    let any: IpAddr = match host {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut sockets = connect(bind(any, 1)?, host, &[host.port()])?;
    let socket = sockets.remove(0);
    let half = flow(Role::Ask, &socket, 0, what, until)?;
    Ok((Role::Ask, half, Half::default()))
}

fn this_side(
    what: &Traffic,
    server: SocketAddr,
    deadline: Instant,
    until: &mut Until<'_>,
) -> io::Result<(Role, Half, Half)> {
    let reach = || -> io::Result<TcpStream> {
        let left = deadline.saturating_duration_since(Instant::now());
        TcpStream::connect_timeout(&server, left.clamp(TICK, BEGIN))
    };
    let id = unique();
    let mut lines = Lines::new(reach()?)?;
    let left = deadline.saturating_duration_since(Instant::now());
    let opening = Say::Session {
        id,
        traffic: what.clone(),
        limit_ms: left.as_millis() as u64,
    };
    lines.say(&opening, until)?;
    let Say::Ports(theirs) = lines.hear(until)? else {
        return Err(io::Error::other("the peer named no ports"));
    };
    let mut sockets = Vec::new();
    if is_tcp(what.kind) {
        for index in 0..what.flows {
            let mut flow = Lines::new(reach()?)?;
            flow.say(&Say::Flow { session: id, index }, until)?;
            sockets.push(Socket::Tcp(flow.stream));
        }
    } else {
        let bound = bind(lines.stream.local_addr()?.ip(), what.flows)?;
        lines.say(&Say::Ports(ports(&bound)?), until)?;
        sockets = connect(bound, server, &theirs)?;
    }
    let Say::Go = lines.hear(until)? else {
        return Err(io::Error::other("the peer did not begin"));
    };
    let role = Role::of(what, true);
    let (own, other) = play(&mut lines, role, sockets, what, until)?;
    Ok((role, own, other))
}

/// A number that no other session has.
fn unique() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos() as u64) ^ u64::from(std::process::id()) << 40
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Amount;

    fn try_it(kind: TrafficKind, change: impl FnOnce(&mut Traffic)) -> TrafficResult {
        let port = serve_at(0).unwrap();
        let mut what = Traffic::new("127.0.0.1", kind, 1000, Amount::Count(500));
        change(&mut what);
        let deadline = Instant::now() + Duration::from_secs(30);
        exchange_at(&what, port, deadline, &Group::default()).unwrap()
    }

    #[test]
    fn streams_arrive_whole_both_ways() {
        for back in [false, true] {
            let result = try_it(TrafficKind::Stream, |what| {
                what.back = back;
                what.flows = 3;
                what.size = 70_000;
                what.amount = Amount::Count(1_000_001);
            });
            assert_eq!((result.sent_bytes, result.bytes), (3_000_003, 3_000_003));
            assert_eq!(result.wrong_bytes, 0);
        }
    }

    #[test]
    fn datagrams_arrive_whole_both_ways() {
        for back in [false, true] {
            let result = try_it(TrafficKind::Datagrams, |what| {
                what.back = back;
                what.flows = 2;
                what.rate = 20_000;
            });
            assert_eq!((result.sent, result.arrived, result.lost), (1000, 1000, 0));
            assert_eq!((result.bytes, result.wrong_bytes), (1_000_000, 0));
        }
    }

    #[test]
    fn requests_are_answered_and_timed() {
        for kind in [TrafficKind::Requests, TrafficKind::DatagramRequests] {
            let result = try_it(kind, |what| what.amount = Amount::Count(100));
            assert_eq!(
                (result.sent, result.arrived, result.wrong_bytes),
                (100, 100, 0)
            );
            assert!(result.p50_ns > 0 && result.p50_ns <= result.p99_ns);
        }
    }

    #[test]
    fn what_is_stopped_ends_well() {
        for back in [false, true] {
            let port = serve_at(0).unwrap();
            let mut what = Traffic::new(
                "127.0.0.1",
                TrafficKind::Stream,
                1000,
                Amount::Millis(60_000),
            );
            what.back = back;
            let group = Arc::new(Group::default());
            let own = Arc::clone(&group);
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                own.stop();
            });
            let begun = Instant::now();
            let deadline = begun + Duration::from_secs(60);
            let result = exchange_at(&what, port, deadline, &group).unwrap();
            assert!(result.bytes > 0 && result.bytes == result.sent_bytes);
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
    }

    #[test]
    fn nobody_there_is_an_error() {
        let what = Traffic::new("127.0.0.1", TrafficKind::Stream, 1, Amount::Count(1));
        let deadline = Instant::now() + Duration::from_secs(5);
        let fault = exchange_at(&what, 1, deadline, &Group::default()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Os(libc::ECONNREFUSED));
    }
}
