// SPDX-License-Identifier: MIT OR Apache-2.0
//! What two agents say to each other about traffic: JSON, one document a line.

use super::until::{only_waited, Until, TICK};
use crate::proto::Traffic;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Longest line.
const LINE_MAX: usize = 64 * 1024;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Say {
    /// First line of a control connection.
    Session {
        /// Chosen by the asking side.
        id: u64,
        /// What to do.
        traffic: Traffic,
        /// Milliseconds that it may take.
        limit_ms: u64,
    },
    /// First line of a flow's TCP connection.
    Flow {
        /// The session it belongs to.
        session: u64,
        /// Its number there, from 0.
        index: u32,
    },
    /// Ports of the sender's UDP sockets; none for TCP.
    Ports(Vec<u16>),
    /// All flows are there.
    Go,
    /// Send no more.
    Stop,
    /// All flows have ended here, and this came of them.
    Half(Half),
    /// It did not work.
    Failed(String),
}

/// What came of flows at one end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Half {
    pub(super) bytes: u64,
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) duplicates: u64,
    pub(super) reordered: u64,
    pub(super) wrong_bytes: u64,
    pub(super) first_wrong: Option<u64>,
    pub(super) refused: u64,
    pub(super) seconds: f64,
    /// Times of requests in nanoseconds; they stay at the side that makes them.
    #[serde(skip)]
    pub(super) times: Vec<u64>,
}

impl Half {
    /// Takes another flow in.
    pub(super) fn add(&mut self, other: Half) {
        self.bytes += other.bytes;
        self.packets += other.packets;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.wrong_bytes += other.wrong_bytes;
        self.first_wrong = self.first_wrong.or(other.first_wrong);
        self.refused += other.refused;
        self.seconds = self.seconds.max(other.seconds);
        self.times.extend(other.times);
    }

    /// Notes bytes that differ from what they should be, at a place.
    pub(super) fn wrong(&mut self, bytes: u64, at: u64) {
        self.wrong_bytes += bytes;
        self.first_wrong.get_or_insert(at);
    }
}

/// A TCP connection that carries lines, and maybe something else after the first.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) stream: TcpStream,
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn new(stream: TcpStream) -> io::Result<Lines> {
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        stream.set_nodelay(true)?;
        Ok(Lines {
            stream,
            line: Vec::new(),
        })
    }

    pub(super) fn say(&mut self, what: &Say, until: &Until<'_>) -> io::Result<()> {
        let mut text = serde_json::to_vec(what)?;
        text.push(b'\n');
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => rest = &rest[n..],
                Err(e) if only_waited(&e) => until.check()?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The next line.
    pub(super) fn hear(&mut self, until: &Until<'_>) -> io::Result<Say> {
        loop {
            match self.try_hear()? {
                Some(Say::Failed(what)) => {
                    return Err(io::Error::other(format!("the peer: {what}")))
                }
                Some(say) => return Ok(say),
                None => until.check()?,
            }
        }
    }

    /// The next line, if it comes within a tick.
    pub(super) fn try_hear(&mut self) -> io::Result<Option<Say>> {
        // Byte by byte: what follows the line is not ours to read.
        let mut byte = [0];
        loop {
            match self.stream.read(&mut byte) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if byte == *b"\n" => break,
                Ok(_) if self.line.len() < LINE_MAX => self.line.extend(byte),
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(e) if only_waited(&e) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        let line = std::mem::take(&mut self.line);
        Ok(Some(serde_json::from_slice(&line)?))
    }
}
