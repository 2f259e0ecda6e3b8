// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes over TCP.

use super::content::{differences, Content};
use super::until::{only_waited, Until};
use super::wire::Half;
use crate::proto::{Amount, Traffic};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Bytes read at once.
const PIECE: usize = 1 << 17;

/// Sends until there is enough, then ends the stream.
pub(super) fn send(
    mut socket: &TcpStream,
    content: &Content,
    traffic: &Traffic,
    until: &Until<'_>,
) -> io::Result<Half> {
    let mut half = Half::default();
    let begun = Instant::now();
    let size = (traffic.size as usize).max(1);
    while !until.is_ending() {
        let left = match traffic.amount {
            Amount::Count(bytes) => bytes - half.bytes,
            Amount::Millis(ms) if begun.elapsed() < Duration::from_millis(ms) => u64::MAX,
            Amount::Millis(_) => 0,
        };
        if left == 0 {
            break;
        }
        let piece = content.stream(half.bytes);
        let len = piece
            .len()
            .min(size)
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        match socket.write(&piece[..len]) {
            Ok(n) => half.bytes += n as u64,
            Err(e) if only_waited(&e) => until.check()?,
            Err(e) => return Err(e),
        }
    }
    half.seconds = begun.elapsed().as_secs_f64();
    socket.shutdown(Shutdown::Write)?;
    Ok(half)
}

/// Receives and compares until the stream ends.
pub(super) fn receive(
    mut socket: &TcpStream,
    content: &Content,
    until: &Until<'_>,
) -> io::Result<Half> {
    let mut half = Half::default();
    let mut buffer = vec![0; PIECE];
    let mut begun = None;
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Ok(half),
            Ok(n) => {
                let since: &Instant = begun.get_or_insert_with(Instant::now);
                compare(&buffer[..n], content, &mut half);
                half.seconds = since.elapsed().as_secs_f64();
            }
            Err(e) if only_waited(&e) => until.check()?,
            Err(e) => return Err(e),
        }
    }
}

fn compare(mut got: &[u8], content: &Content, half: &mut Half) {
    while !got.is_empty() {
        let wanted = content.stream(half.bytes);
        let len = wanted.len().min(got.len());
        if let Some((count, first)) = differences(&got[..len], &wanted[..len]) {
            half.wrong(count, half.bytes + first as u64);
        }
        half.bytes += len as u64;
        got = &got[len..];
    }
}
