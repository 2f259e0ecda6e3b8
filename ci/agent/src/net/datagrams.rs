// SPDX-License-Identifier: MIT OR Apache-2.0
//! Datagrams over UDP, many in a system call: what is measured is to be the way, not this program.

use super::content::{differences, Content};
use super::until::{only_waited, Until};
use super::wire::Half;
use crate::proto::{Amount, Traffic, FRAME};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Bytes of the number at the beginning of each datagram.
pub(super) const HEAD: usize = 8;

/// Datagrams of a system call, and frames of a burst of all flows at a given rate: an interface of the
/// stock back end has a queue of 32.
const BATCH: usize = 32;

/// How long nothing must have come for a flow to be over.
const QUIET: Duration = Duration::from_millis(300);

/// Bytes that a socket may hold for the receiver.
const RECEIVE_BUFFER: libc::c_int = 8 << 20;

/// Most numbers that are kept track of.
const NUMBERS_MAX: u64 = 1 << 28;

/// Has the kernel keep what this program is too slow for.
pub(super) fn enlarge(socket: &UdpSocket) {
    for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
        // SAFETY: the option takes a `c_int`, which lives over the call.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                std::ptr::from_ref(&RECEIVE_BUFFER).cast(),
                size_of::<libc::c_int>() as u32,
            )
        };
        if done == 0 {
            return;
        }
    }
}

fn part(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

fn message(parts: *mut libc::iovec, count: usize) -> libc::mmsghdr {
    // SAFETY: all zeros are a message without name, parts and control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = parts;
    message.msg_hdr.msg_iovlen = count;
    message
}

/// Sends until there is enough.
pub(super) fn send(
    socket: &UdpSocket,
    content: &Content,
    traffic: &Traffic,
    until: &Until<'_>,
) -> io::Result<Half> {
    let mut half = Half::default();
    let begun = Instant::now();
    let size = (traffic.size as usize).clamp(HEAD, 65_507);
    let burst =
        (BATCH / size.div_ceil(FRAME as usize) / traffic.flows.max(1) as usize).max(1) as u64;
    while !until.is_ending() {
        let mut left = match traffic.amount {
            Amount::Count(count) => count - half.packets,
            Amount::Millis(ms) if begun.elapsed() < Duration::from_millis(ms) => u64::MAX,
            Amount::Millis(_) => 0,
        };
        if left == 0 {
            break;
        }
        if traffic.rate > 0 {
            let due = (begun.elapsed().as_secs_f64() * traffic.rate as f64) as u64 + 1;
            // Whole bursts: what is counted is to be the packets, not the sleep between them.
            if due.saturating_sub(half.packets) < left.min(burst) {
                std::thread::sleep(Duration::from_millis(1));
                until.check()?;
                continue;
            }
            left = left.min(burst);
        }
        let count = (BATCH as u64).min(left) as usize;
        let numbers: Vec<[u8; HEAD]> = (half.packets..).take(count).map(u64::to_le_bytes).collect();
        let mut parts: Vec<[libc::iovec; 2]> = numbers
            .iter()
            .zip(half.packets..)
            .map(|(number, n)| [part(number), part(content.datagram(n, size - HEAD))])
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|pair| message(pair.as_mut_ptr(), pair.len()))
            .collect();
        // SAFETY: the messages point to `parts`, which point to `numbers` and `content`; all live over
        // the call, which only reads what they point to.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                count as libc::c_uint,
                0,
            )
        };
        if let Ok(sent) = u64::try_from(sent) {
            half.packets += sent;
            half.bytes += sent * size as u64;
            continue;
        }
        match io::Error::last_os_error() {
            e if only_waited(&e) => {}
            // A full queue below, or a receiver that is not there yet.
            e if matches!(
                e.raw_os_error(),
                Some(libc::ENOBUFS | libc::ECONNREFUSED | libc::EPERM)
            ) =>
            {
                half.refused += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            e => return Err(e),
        }
        until.check()?;
    }
    half.seconds = begun.elapsed().as_secs_f64();
    Ok(half)
}

/// Receives and compares until the sender has ended and nothing more comes.
pub(super) fn receive(
    socket: &UdpSocket,
    content: &Content,
    traffic: &Traffic,
    until: &Until<'_>,
) -> io::Result<Half> {
    let mut receiver = Receiver::new((traffic.size as usize).clamp(HEAD, 65_507));
    let mut buffers = vec![0_u8; BATCH * (receiver.size + 1)];
    let mut last = Instant::now();
    let mut begun = None;
    loop {
        let mut parts: Vec<libc::iovec> = buffers
            .chunks_exact_mut(receiver.size + 1)
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> =
            parts.iter_mut().map(|one| message(one, 1)).collect();
        // SAFETY: the messages point to `parts`, which point to disjoint pieces of `buffers` with
        // their lengths; all live over the call, and nobody else looks at them meanwhile.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        let Ok(got) = usize::try_from(got) else {
            match io::Error::last_os_error() {
                e if only_waited(&e) || e.raw_os_error() == Some(libc::ECONNREFUSED) => {
                    if until.is_ending() && last.elapsed() > QUIET {
                        return Ok(receiver.half);
                    }
                    until.check()?;
                    continue;
                }
                e => return Err(e),
            }
        };
        last = Instant::now();
        let lengths = messages.iter().take(got).map(|m| m.msg_len as usize);
        for (buffer, len) in buffers.chunks_exact(receiver.size + 1).zip(lengths) {
            receiver.take(&buffer[..len.min(buffer.len())], content);
        }
        let since: &Instant = begun.get_or_insert(last);
        receiver.half.seconds = since.elapsed().as_secs_f64();
    }
}

/// What has arrived of a flow.
struct Receiver {
    size: usize,
    half: Half,
    /// One bit for each number that has arrived.
    seen: Vec<u64>,
    next: u64,
}

impl Receiver {
    fn new(size: usize) -> Receiver {
        Receiver {
            size,
            half: Half::default(),
            seen: Vec::new(),
            next: 0,
        }
    }

    fn take(&mut self, got: &[u8], content: &Content) {
        let number = got.first_chunk().map(|head| u64::from_le_bytes(*head));
        let Some(number) = number.filter(|n| *n < NUMBERS_MAX) else {
            self.half.wrong(got.len() as u64, self.next);
            return;
        };
        let wanted = content.datagram(number, self.size - HEAD);
        if let Some((count, _)) = differences(&got[HEAD..], wanted) {
            self.half.wrong(count, number);
        }
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            self.half.duplicates += 1;
            return;
        }
        self.seen[word] |= bit;
        self.half.packets += 1;
        self.half.bytes += got.len() as u64;
        self.half.reordered += u64::from(number < self.next);
        self.next = self.next.max(number + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_wrong_again_or_late_is_counted() {
        let content = Content::new(3, 0);
        let datagram = |n: u64| {
            let mut bytes = n.to_le_bytes().to_vec();
            bytes.extend_from_slice(content.datagram(n, 24));
            bytes
        };
        let mut receiver = Receiver::new(32);
        for n in [0, 1, 3, 2, 3] {
            receiver.take(&datagram(n), &content);
        }
        let half = &receiver.half;
        assert_eq!((half.packets, half.duplicates, half.reordered), (4, 1, 1));
        assert_eq!((half.bytes, half.wrong_bytes), (128, 0));
        let mut bad = datagram(9);
        bad[20] ^= 1;
        receiver.take(&bad, &content);
        assert_eq!(
            (receiver.half.wrong_bytes, receiver.half.first_wrong),
            (1, Some(9))
        );
        receiver.take(&datagram(10)[..31], &content);
        receiver.take(&[0; 3], &content);
        receiver.take(&[0xff; 32], &content);
        assert_eq!(receiver.half.wrong_bytes, 1 + 1 + 3 + 32);
    }
}
