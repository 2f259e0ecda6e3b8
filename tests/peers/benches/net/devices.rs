// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two ways of the two devices that the benchmark compares.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use portico_core::grant::{Access, GrantRef};
use portico_core::host::{NoMemory, Platform, SharedPage};
use portico_core::net::{
    self, Checksum, Fragment, Gso, GsoType, Host, Meta, Outcome, RxQueue, RxRing, TxFeatures,
    TxQueue, TxRing,
};
use portico_core::shared::SharedMemory;
use portico_peers::c::net::{CRxBack, CTxBack};
use portico_peers::memory::Memory;

const FRAGMENTS: usize = 18;
const BUFFERS: u64 = 256;

/// `struct peer_packet` of `c/net_driver.c`.
#[repr(C)]
pub(crate) struct Packet {
    len: u32,
    fragments: u32,
    csum_blank: u32,
    gso_size: u32,
    fragment: [Piece; FRAGMENTS],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Piece {
    gfn: u64,
    offset: u32,
    len: u32,
}

impl Packet {
    /// 32 packets.
    fn list(pages: u32) -> &'static [Self] {
        let (each, gso_size) = if pages == 1 { (1514, 0) } else { (4000, 1448) };
        let packets: Vec<_> = (0..32)
            .map(|n| Self {
                len: pages * each,
                fragments: pages,
                csum_blank: n & 1,
                gso_size,
                fragment: std::array::from_fn(|i| Piece {
                    gfn: u64::from(n) << 8 | i as u64,
                    offset: 64,
                    len: each,
                }),
            })
            .collect();
        packets.leak()
    }

    fn meta(&self) -> Meta {
        Meta {
            checksum: match self.csum_blank {
                0 => Checksum::Unknown,
                _ => Checksum::Blank,
            },
            gso: match self.gso_size {
                0 => None,
                size => Some(Gso {
                    kind: GsoType::TcpV4,
                    size: size as u16,
                }),
            },
            hash: None,
        }
    }
}

impl net::Packet for &'static Packet {
    fn len(&self) -> u32 {
        self.len
    }
    fn fragments(&self) -> impl Iterator<Item = Fragment> {
        let pieces = self.fragment.iter().take(self.fragments as usize);
        pieces.map(|&Piece { gfn, offset, len }| Fragment { gfn, offset, len })
    }
}

/// `struct peer_buffer` of `c/net_driver.c`.
#[repr(C)]
pub(crate) struct Buffer {
    gfn: u64,
}

impl net::Buffer for &'static Buffer {
    fn gfn(&self) -> u64 {
        self.gfn
    }
}

/// One way of a net device, up to where its driver meets the operating system and the back end.
pub(crate) trait Device {
    const WAY: &'static str;
    const WHO: &'static str;
    /// Packets of so many pages.
    fn new(pages: u32) -> Self;
    /// Hands out packets or pages, and pushes once. A sum over the packets.
    fn begin(&mut self, batch: u32) -> u64;
    /// The back end's turn.
    fn answer(&mut self, batch: u32);
    /// Takes what came. A sum over the packets.
    fn finish(&mut self, batch: u32) -> u64;
}

#[repr(C)]
struct PeerTx {
    _opaque: [u8; 0],
}
#[repr(C)]
struct PeerRx {
    _opaque: [u8; 0],
}

extern "C" {
    fn peer_grant(table: *mut c_void, gref: u32, gfn: u64, readonly: c_int);
    fn peer_end(table: *mut c_void, gref: u32) -> c_int;
    fn peer_tx_new(memory: *mut c_void, table: *mut c_void) -> *mut PeerTx;
    fn peer_tx_free(driver: *mut PeerTx);
    fn peer_tx_submit(driver: *mut PeerTx, packet: *const Packet) -> c_int;
    fn peer_tx_kick(driver: *mut PeerTx) -> c_int;
    fn peer_tx_reap(driver: *mut PeerTx) -> u64;
    fn peer_rx_new(memory: *mut c_void, table: *mut c_void) -> *mut PeerRx;
    fn peer_rx_free(driver: *mut PeerRx);
    fn peer_rx_refill(driver: *mut PeerRx) -> c_int;
    fn peer_rx_receive(driver: *mut PeerRx, budget: u32) -> u64;
    fn peer_rx_arm(driver: *mut PeerRx) -> c_int;
}

fn start(memory: &Memory) -> *mut c_void {
    memory.as_ptr().as_ptr().cast()
}

/// The operating system under the engines: a grant table.
pub(crate) struct Bare {
    table: Memory,
    next: Cell<GrantRef>,
}

impl Bare {
    fn new() -> Self {
        Self {
            table: Memory::new(1),
            next: Cell::new(8),
        }
    }
}

/// No engine here needs a page of its own.
pub(crate) struct NoPage;

impl SharedPage for NoPage {
    fn gfn(&self) -> u64 {
        0
    }
    fn write(&self, _: usize, _: &[u8]) {}
}

impl Platform for Bare {
    type Page = NoPage;
    type Ring = Memory;
    type Array<T> = Vec<T>;

    fn array<T>(
        &self,
        len: usize,
        make: impl FnMut(usize) -> Result<T, NoMemory>,
    ) -> Result<Vec<T>, NoMemory> {
        (0..len).map(make).collect()
    }
    fn page(&self) -> Result<NoPage, NoMemory> {
        Ok(NoPage)
    }
    fn claim(&self) -> Option<GrantRef> {
        let gref = self.next.get();
        self.next.set(gref + 1);
        (gref < 512).then_some(gref)
    }
    fn release(&self, _: GrantRef) {}
    #[inline]
    fn grant(&self, gref: GrantRef, gfn: u64, access: Access) {
        let readonly = c_int::from(access == Access::ReadOnly);
        // SAFETY: references are claimed, so below 512, and the table has as many entries.
        unsafe { peer_grant(start(&self.table), gref, gfn, readonly) }
    }
    #[inline]
    fn end(&self, gref: GrantRef) -> bool {
        // SAFETY: as in `grant`.
        unsafe { peer_end(start(&self.table), gref) != 0 }
    }
    fn try_release(&self, gref: GrantRef) -> bool {
        self.end(gref)
    }
    fn abandon(&self, gref: GrantRef, _: u64) {
        panic!("the back end maps nothing, but grant {gref} could not be ended");
    }
}

impl Host for Bare {
    type Packet = &'static Packet;
    type Buffer = &'static Buffer;

    fn abandon_piece(&self, gref: GrantRef, gfn: u64, _: &Self::Packet) {
        self.abandon(gref, gfn);
    }
}

/// The engine that sends.
pub(crate) struct RustTx {
    queue: TxQueue<Bare>,
    back: CTxBack<Memory>,
    packets: &'static [Packet],
}

impl Device for RustTx {
    const WAY: &'static str = "tx";
    const WHO: &'static str = "rust";

    fn new(pages: u32) -> Self {
        let memory = Memory::new(1);
        let ring = TxRing::new(memory.clone()).expect("a page holds a ring");
        let features = TxFeatures {
            sg: true,
            gso_tcpv4: true,
            ..TxFeatures::default()
        };
        Self {
            queue: TxQueue::new(Bare::new(), ring, features).expect("vectors grow"),
            back: CTxBack::attach(memory),
            packets: Packet::list(pages),
        }
    }

    fn begin(&mut self, batch: u32) -> u64 {
        for packet in &self.packets[..batch as usize] {
            assert!(self.queue.submit(packet, &packet.meta()).is_ok());
        }
        u64::from(self.queue.push())
    }

    fn answer(&mut self, _: u32) {
        self.back.answer();
    }

    fn finish(&mut self, _: u32) -> u64 {
        let mut sum = 0;
        let reaped = self.queue.reap(false, |packet, outcome| {
            sum += u64::from(packet.len) + u64::from(outcome == Outcome::Sent);
        });
        assert!(reaped.is_ok());
        sum
    }
}

/// The driver in C that sends.
pub(crate) struct CTx {
    driver: *mut PeerTx,
    back: CTxBack<Memory>,
    packets: &'static [Packet],
    _table: Memory,
}

impl Device for CTx {
    const WAY: &'static str = "tx";
    const WHO: &'static str = "c";

    fn new(pages: u32) -> Self {
        let (memory, table) = (Memory::new(1), Memory::new(1));
        // SAFETY: a page for the ring and one for the table, which holds 512 entries; both live as long
        // as the driver.
        let driver = unsafe { peer_tx_new(start(&memory), start(&table)) };
        Self {
            driver,
            back: CTxBack::attach(memory),
            packets: Packet::list(pages),
            _table: table,
        }
    }

    fn begin(&mut self, batch: u32) -> u64 {
        for packet in &self.packets[..batch as usize] {
            // SAFETY: the driver lives, and the packet for ever.
            assert_ne!(unsafe { peer_tx_submit(self.driver, packet) }, 0);
        }
        // SAFETY: the driver lives.
        u64::from(unsafe { peer_tx_kick(self.driver) != 0 })
    }

    fn answer(&mut self, _: u32) {
        self.back.answer();
    }

    fn finish(&mut self, _: u32) -> u64 {
        // SAFETY: the driver lives.
        let sum = unsafe { peer_tx_reap(self.driver) };
        assert_ne!(sum, 0);
        sum
    }
}

impl Drop for CTx {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used again.
        unsafe { peer_tx_free(self.driver) }
    }
}

/// The engine that receives.
pub(crate) struct RustRx {
    queue: RxQueue<Bare>,
    back: CRxBack<Memory>,
    pool: Vec<&'static Buffer>,
    pages: u32,
}

impl Device for RustRx {
    const WAY: &'static str = "rx";
    const WHO: &'static str = "rust";

    fn new(pages: u32) -> Self {
        let memory = Memory::new(1);
        let ring = RxRing::new(memory.clone()).expect("a page holds a ring");
        let buffers: Vec<_> = (0..BUFFERS).map(|n| Buffer { gfn: 1000 + n }).collect();
        Self {
            queue: RxQueue::new(Bare::new(), ring).expect("vectors grow"),
            back: CRxBack::attach(memory),
            pool: buffers.leak().iter().collect(),
            pages,
        }
    }

    fn begin(&mut self, _: u32) -> u64 {
        let pool = &mut self.pool;
        self.queue.refill(|| pool.pop());
        u64::from(self.queue.push())
    }

    fn answer(&mut self, batch: u32) {
        assert!(self.back.give(batch, self.pages).is_some());
    }

    fn finish(&mut self, _: u32) -> u64 {
        let (mut sum, pool) = (0, &mut self.pool);
        let received = self.queue.receive(64, |frame| {
            let meta = frame.meta();
            sum += u64::from(frame.bytes()) + u64::from(meta.gso.map_or(0, |gso| gso.size));
            sum += u64::from(meta.checksum != Checksum::Blank);
            for piece in frame {
                sum += piece.buffer.gfn + u64::from(piece.offset) + u64::from(piece.len);
                pool.push(piece.buffer);
            }
        });
        assert!(received.is_ok());
        assert_eq!(self.queue.arm(), Ok(false));
        sum
    }
}

/// The driver in C that receives.
pub(crate) struct CRx {
    driver: *mut PeerRx,
    back: CRxBack<Memory>,
    pages: u32,
    _table: Memory,
}

impl Device for CRx {
    const WAY: &'static str = "rx";
    const WHO: &'static str = "c";

    fn new(pages: u32) -> Self {
        let (memory, table) = (Memory::new(1), Memory::new(1));
        // SAFETY: a page for the ring and one for the table, which holds 512 entries; both live as long
        // as the driver.
        let driver = unsafe { peer_rx_new(start(&memory), start(&table)) };
        Self {
            driver,
            back: CRxBack::attach(memory),
            pages,
            _table: table,
        }
    }

    fn begin(&mut self, _: u32) -> u64 {
        // SAFETY: the driver lives.
        u64::from(unsafe { peer_rx_refill(self.driver) != 0 })
    }

    fn answer(&mut self, batch: u32) {
        assert!(self.back.give(batch, self.pages).is_some());
    }

    fn finish(&mut self, _: u32) -> u64 {
        // SAFETY: the driver lives.
        let (sum, more) = unsafe { (peer_rx_receive(self.driver, 64), peer_rx_arm(self.driver)) };
        assert!(sum != 0 && more == 0);
        sum
    }
}

impl Drop for CRx {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used again.
        unsafe { peer_rx_free(self.driver) }
    }
}
