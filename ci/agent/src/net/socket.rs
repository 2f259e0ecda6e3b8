// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets of flows.

use super::datagrams;
use super::until::TICK;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

/// A flow's socket.
pub(super) enum Socket {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Socket {
    /// Has the kernel forget what was not sent yet, rather than try on for minutes after the end.
    pub(super) fn forget(&self) {
        let Socket::Tcp(tcp) = self else { return };
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // A connection that is gone has nothing to forget.
        // SAFETY: the option takes a `linger`, which lives over the call.
        let _ = unsafe {
            libc::setsockopt(
                tcp.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                std::ptr::from_ref(&linger).cast(),
                size_of::<libc::linger>() as u32,
            )
        };
    }
}

/// Sockets at any port of an own address.
pub(super) fn bind(own: IpAddr, flows: u32) -> io::Result<Vec<UdpSocket>> {
    (0..flows)
        .map(|_| {
            let socket = UdpSocket::bind((own, 0))?;
            socket.set_read_timeout(Some(TICK))?;
            socket.set_write_timeout(Some(TICK))?;
            datagrams::enlarge(&socket);
            Ok(socket)
        })
        .collect()
}

/// Their ports.
pub(super) fn ports(sockets: &[UdpSocket]) -> io::Result<Vec<u16>> {
    let port = |socket: &UdpSocket| Ok(socket.local_addr()?.port());
    sockets.iter().map(port).collect()
}

/// Connects them to the ports of the peer, one by one.
pub(super) fn connect(
    sockets: Vec<UdpSocket>,
    peer: SocketAddr,
    ports: &[u16],
) -> io::Result<Vec<Socket>> {
    if ports.len() != sockets.len() {
        return Err(io::Error::other("the peer has another number of flows"));
    }
    for (socket, port) in sockets.iter().zip(ports) {
        socket.connect(SocketAddr::new(peer.ip(), *port))?;
    }
    Ok(sockets.into_iter().map(Socket::Udp).collect())
}
