// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the net engines ask of an operating system beyond [`Platform`].

use crate::grant::GrantRef;
use crate::host::Platform;

/// A piece of a packet's memory that lies in one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The frame number to grant.
    pub gfn: u64,
    /// Offset in the page, in bytes.
    pub offset: u32,
    /// Length in bytes: not zero, not beyond the page.
    pub len: u32,
}

/// A packet to send. The engine owns it from submission until every slot of it is answered, and its
/// memory neither changes nor moves meanwhile.
pub trait Packet {
    /// Length in bytes: the sum of its fragments.
    fn len(&self) -> u32;
    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Its memory, in order, the same at each call.
    fn fragments(&self) -> impl Iterator<Item = Fragment>;
}

/// A page to receive into. The engine owns it while it is in the ring.
pub trait Buffer {
    /// The frame number to grant.
    fn gfn(&self) -> u64;
}

/// The operating system beneath one queue.
pub trait Host: Platform {
    /// A packet to send.
    type Packet: Packet;
    /// A page to receive into.
    type Buffer: Buffer;

    /// Like [`abandon`](Platform::abandon), for a piece of a packet, which is given up afterwards: the host
    /// keeps its memory as it is until the back end lets go.
    fn abandon_piece(&self, gref: GrantRef, gfn: u64, packet: &Self::Packet);
}
