// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unasked announcements of addresses, as an interface sees them: what a bridge learns from where a
//! guest is after it was moved.

use crate::exec::Group;
use crate::proto::{Announcement, Fault};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

const ETH_P_ARP: u16 = 0x0806;
const ETH_P_IPV6: u16 = 0x86dd;

/// Bytes of a frame that are looked at.
const SEEN: usize = 128;

/// Watches until then, or until it is stopped.
pub fn announcements(
    link: &str,
    until: Instant,
    group: &Group,
) -> Result<Vec<Announcement>, Fault> {
    let lost = |e: io::Error| Fault::os(format_args!("watching {link}"), &e);
    let sockets = [ETH_P_ARP, ETH_P_IPV6]
        .map(|protocol| open(link, protocol))
        .into_iter()
        .collect::<io::Result<Vec<_>>>()
        .map_err(lost)?;
    let mut found: Vec<Announcement> = Vec::new();
    while Instant::now() < until && !group.is_stopped() {
        let mut polled: Vec<libc::pollfd> = sockets
            .iter()
            .map(|socket| libc::pollfd {
                fd: socket.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        // SAFETY: `polled` holds as many entries as are named, and lives over the call.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 100) };
        for socket in &sockets {
            while let Some(frame) = receive(socket) {
                let Some((mac, address)) = read(&frame) else {
                    continue;
                };
                let known = found
                    .iter_mut()
                    .find(|one| one.mac == mac && one.address == address);
                match known {
                    Some(one) => one.times += 1,
                    None => found.push(Announcement {
                        mac,
                        address,
                        times: 1,
                    }),
                }
            }
        }
    }
    Ok(found)
}

/// A packet socket for one protocol on one interface. Of IPv6, the kernel passes only neighbour
/// advertisements: there may be a great deal of other traffic.
fn open(link: &str, protocol: u16) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes no pointers. Protocol 0: nothing comes before the filter is there.
    let raw = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    if protocol == ETH_P_IPV6 {
        // Classic BPF: the next header (byte 20) is ICMPv6, the type (byte 54) is advertisement.
        let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let mut program = [
            op(0x30, 0, 0, 20),
            op(0x15, 0, 3, 58),
            op(0x30, 0, 0, 54),
            op(0x15, 0, 1, 136),
            op(0x06, 0, 0, SEEN as u32),
            op(0x06, 0, 0, 0),
        ];
        let filter = libc::sock_fprog {
            len: program.len() as libc::c_ushort,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: the option takes a `sock_fprog`, whose program has the length that it says; both
        // live over the call.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                std::ptr::from_ref(&filter).cast(),
                size_of::<libc::sock_fprog>() as u32,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: all zeros are an address of no family.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index(link)?;
    // SAFETY: the address has the size that is said, and lives over the call.
    let done = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as u32,
        )
    };
    match done {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Number of an interface.
pub(crate) fn index(link: &str) -> io::Result<i32> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{link}/ifindex"))?;
    text.trim()
        .parse()
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

fn receive(socket: &OwnedFd) -> Option<Vec<u8>> {
    let mut frame = vec![0; SEEN];
    // SAFETY: `frame` has the length that is said, and lives over the call.
    let got = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            frame.as_mut_ptr().cast(),
            frame.len(),
            0,
        )
    };
    frame.truncate(usize::try_from(got).ok()?);
    Some(frame)
}

/// Ethernet address and announced address, if the frame is an announcement.
fn read(frame: &[u8]) -> Option<(String, String)> {
    let mac: Vec<String> = frame
        .get(6..12)?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let kind = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
    let address = if kind == ETH_P_ARP {
        // The sender's address is also the one that is asked for.
        let sender: [u8; 4] = *frame.get(28..)?.first_chunk()?;
        let target: [u8; 4] = *frame.get(38..)?.first_chunk()?;
        (sender == target).then(|| Ipv4Addr::from(sender).to_string())?
    } else {
        // Not an answer: the flag "solicited" is off.
        let flags = *frame.get(58)?;
        let target: [u8; 16] = *frame.get(62..)?.first_chunk()?;
        (flags & 0x40 == 0).then(|| Ipv6Addr::from(target).to_string())?
    };
    Some((mac.join(":"), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_told_from_questions() {
        let mut arp = vec![0; 42];
        arp[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
        arp[12..14].copy_from_slice(&ETH_P_ARP.to_be_bytes());
        arp[28..32].copy_from_slice(&[10, 0, 0, 2]);
        arp[38..42].copy_from_slice(&[10, 0, 0, 2]);
        let told = Some(("02:00:00:00:00:07".into(), "10.0.0.2".into()));
        assert_eq!(read(&arp), told);
        arp[41] = 3;
        assert_eq!(read(&arp), None);
        assert_eq!(read(&arp[..20]), None);
        let mut na = vec![0; 86];
        na[12..14].copy_from_slice(&ETH_P_IPV6.to_be_bytes());
        na[62] = 0xfd;
        na[77] = 2;
        assert_eq!(read(&na).unwrap().1, "fd00::2");
        na[58] = 0x40;
        assert_eq!(read(&na), None);
    }
}
