// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests and answers, one after the other.

use super::content::{differences, Content};
use super::datagrams::HEAD;
use super::until::{only_waited, Until};
use super::wire::Half;
use crate::proto::{Amount, Traffic, TrafficKind};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// An answer that has not come after this time is lost.
const LOST: Duration = Duration::from_secs(1);

/// A socket that carries messages of one size.
pub(super) trait Messages {
    /// Sends a message.
    fn put(&mut self, message: &[u8], until: &Until<'_>) -> io::Result<()>;
    /// Receives one. No message: the other side has ended, or for datagrams, `limit` has passed. With
    /// a limit, the other side must not end.
    fn take(
        &mut self,
        message: &mut [u8],
        until: &Until<'_>,
        limit: Option<Duration>,
    ) -> io::Result<bool>;
    /// Sends no more.
    fn close(&mut self) -> io::Result<()>;
}

impl Messages for &TcpStream {
    fn put(&mut self, mut message: &[u8], until: &Until<'_>) -> io::Result<()> {
        while !message.is_empty() {
            match self.write(message) {
                Ok(n) => message = &message[n..],
                Err(e) if only_waited(&e) => until.check()?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        message: &mut [u8],
        until: &Until<'_>,
        limit: Option<Duration>,
    ) -> io::Result<bool> {
        let mut at = 0;
        while at < message.len() {
            match self.read(&mut message[at..]) {
                Ok(0) if at == 0 && limit.is_none() => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => at += n,
                Err(e) if only_waited(&e) => until.check()?,
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn close(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Messages for &UdpSocket {
    fn put(&mut self, message: &[u8], until: &Until<'_>) -> io::Result<()> {
        match self.send(message) {
            // What cannot be sent is lost.
            Err(e) if e.raw_os_error() == Some(libc::ECONNREFUSED) => Ok(()),
            Err(e) if only_waited(&e) => until.check(),
            other => other.map(drop),
        }
    }

    fn take(
        &mut self,
        message: &mut [u8],
        until: &Until<'_>,
        limit: Option<Duration>,
    ) -> io::Result<bool> {
        let begun = Instant::now();
        loop {
            match self.recv(message) {
                Ok(n) => {
                    // A short one is not to look like the one before.
                    message[n..].fill(0);
                    return Ok(true);
                }
                Err(e) if only_waited(&e) || e.raw_os_error() == Some(libc::ECONNREFUSED) => {
                    until.check()?;
                }
                Err(e) => return Err(e),
            }
            if until.is_ending() || limit.is_some_and(|limit| begun.elapsed() > limit) {
                return Ok(false);
            }
        }
    }

    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fills a message: its number and the content of that.
fn fill(message: &mut [u8], number: u64, content: &Content) {
    let (head, body) = message.split_at_mut(HEAD);
    head.copy_from_slice(&number.to_le_bytes());
    body.copy_from_slice(content.datagram(number, body.len()));
}

fn number(message: &[u8]) -> u64 {
    message
        .first_chunk()
        .map_or(0, |head| u64::from_le_bytes(*head))
}

/// Number and content of the answer to a request, and the other way round.
fn answer_to(kind: TrafficKind, number: u64) -> u64 {
    match kind {
        TrafficKind::Echo => number,
        _ => !number,
    }
}

/// Makes requests until there are enough.
pub(super) fn ask(
    mut socket: impl Messages,
    content: &Content,
    traffic: &Traffic,
    until: &Until<'_>,
) -> io::Result<Half> {
    let mut half = Half::default();
    let size = (traffic.size as usize).clamp(HEAD, 65_507);
    let (mut request, mut wanted, mut got) = (vec![0; size], vec![0; size], vec![0; size]);
    let begun = Instant::now();
    let mut n = 0;
    while !until.is_ending() {
        let more = match traffic.amount {
            Amount::Count(count) => n < count,
            Amount::Millis(ms) => begun.elapsed() < Duration::from_millis(ms),
        };
        if !more {
            break;
        }
        fill(&mut request, n, content);
        fill(&mut wanted, answer_to(traffic.kind, n), content);
        let asked = Instant::now();
        socket.put(&request, until)?;
        loop {
            let left = LOST.saturating_sub(asked.elapsed());
            if !socket.take(&mut got, until, Some(left))? {
                half.lost += 1;
                break;
            }
            // The late answer to an earlier request, which has been given up.
            if answer_to(traffic.kind, number(&got)) < n {
                continue;
            }
            half.times.push(asked.elapsed().as_nanos() as u64);
            half.packets += 1;
            half.bytes += size as u64;
            if let Some((count, _)) = differences(&got, &wanted) {
                half.wrong(count, n);
            }
            break;
        }
        n += 1;
    }
    half.seconds = begun.elapsed().as_secs_f64();
    socket.close()?;
    Ok(half)
}

/// Answers requests until there are no more.
pub(super) fn answer(
    mut socket: impl Messages,
    content: &Content,
    traffic: &Traffic,
    until: &Until<'_>,
) -> io::Result<Half> {
    let mut half = Half::default();
    let size = (traffic.size as usize).clamp(HEAD, 65_507);
    let (mut got, mut wanted) = (vec![0; size], vec![0; size]);
    while socket.take(&mut got, until, None)? {
        let n = number(&got);
        fill(&mut wanted, n, content);
        if let Some((count, _)) = differences(&got, &wanted) {
            half.wrong(count, n);
        }
        half.packets += 1;
        half.bytes += size as u64;
        fill(&mut got, answer_to(traffic.kind, n), content);
        socket.put(&got, until)?;
    }
    Ok(half)
}
