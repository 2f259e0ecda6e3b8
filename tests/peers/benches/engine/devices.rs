// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two devices that the benchmark compares.

use std::cell::Cell;
use std::ffi::{c_int, c_void};

use portico_core::block::{
    self, Access, Features, GrantRef, Host, NoMemory, Op, Outcome, Queue, Segment, Setup,
    SharedPage,
};
use portico_core::host::Platform;
use portico_core::shared::SharedMemory;
use portico_peers::c::CBack;
use portico_peers::memory::Memory;
use portico_peers::sides::{Back, RustFront};

const SEGMENTS: usize = 11;

/// `struct peer_io` of `c/driver.c`.
#[repr(C)]
pub(crate) struct Io {
    sector: u64,
    write: u32,
    segments: u32,
    segment: [Piece; SEGMENTS],
}

#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Piece {
    gfn: u64,
    offset: u32,
    len: u32,
}

impl Io {
    /// 32 requests of whole pages, reads and writes.
    pub(crate) fn list(segments: u32) -> &'static [Self] {
        let ios: Vec<_> = (0..32)
            .map(|n| Self {
                sector: u64::from(n * 8 * segments),
                write: n & 1,
                segments,
                segment: std::array::from_fn(|i| Piece {
                    gfn: u64::from(n) << 8 | i as u64,
                    offset: 0,
                    len: 4096,
                }),
            })
            .collect();
        ios.leak()
    }
}

/// A block device, up to where its driver meets the operating system and the back end.
pub(crate) trait Device {
    fn new() -> Self;
    /// Takes all requests and pushes once. Whether to notify.
    fn submit(&mut self, ios: &'static [Io]) -> bool;
    /// The back end's turn.
    fn answer(&mut self);
    /// Completes what is answered. A sum over the requests.
    fn reap(&mut self) -> u64;
}

#[repr(C)]
struct PeerDriver {
    _opaque: [u8; 0],
}

extern "C" {
    fn peer_grant(table: *mut c_void, gref: u32, gfn: u64, readonly: c_int);
    fn peer_end(table: *mut c_void, gref: u32) -> c_int;
    fn peer_driver_new(memory: *mut c_void, table: *mut c_void) -> *mut PeerDriver;
    fn peer_driver_free(driver: *mut PeerDriver);
    fn peer_driver_submit(driver: *mut PeerDriver, io: *const Io) -> c_int;
    fn peer_driver_push(driver: *mut PeerDriver) -> c_int;
    fn peer_driver_reap(driver: *mut PeerDriver, sum: *mut u64) -> c_int;
}

fn start(memory: &Memory) -> *mut c_void {
    memory.as_ptr().as_ptr().cast()
}

/// The driver in C.
pub(crate) struct CDevice {
    driver: *mut PeerDriver,
    back: CBack,
    /// Ring and grant table.
    _memory: [Memory; 2],
}

impl Device for CDevice {
    fn new() -> Self {
        let memory = [Memory::new(1), Memory::new(1)];
        // SAFETY: a page for the ring and one for the table, which holds 512 entries; both live as long
        // as the driver.
        let driver = unsafe { peer_driver_new(start(&memory[0]), start(&memory[1])) };
        let back = CBack::attach(&memory[0]);
        Self {
            driver,
            back,
            _memory: memory,
        }
    }

    fn submit(&mut self, ios: &'static [Io]) -> bool {
        for io in ios {
            // SAFETY: the driver lives, and `io` for ever.
            assert_ne!(unsafe { peer_driver_submit(self.driver, io) }, 0);
        }
        // SAFETY: the driver lives.
        unsafe { peer_driver_push(self.driver) != 0 }
    }

    fn answer(&mut self) {
        self.back.answer();
    }

    fn reap(&mut self) -> u64 {
        let mut sum = 0;
        // SAFETY: the driver lives, and the sum outlives the call.
        let broken = unsafe { peer_driver_reap(self.driver, &raw mut sum) };
        assert_eq!(broken, 0);
        sum
    }
}

impl Drop for CDevice {
    fn drop(&mut self) {
        // SAFETY: made by `new`, and not used again.
        unsafe { peer_driver_free(self.driver) }
    }
}

/// The operating system under the engine: a grant table, and references that never run out.
pub(crate) struct Bare {
    /// The grant table: where `_memory` is.
    table: *mut c_void,
    _memory: Memory,
    next: Cell<GrantRef>,
}

/// There is no page to copy through: grants are not persistent.
pub(crate) struct NoPage;

impl SharedPage for NoPage {
    fn gfn(&self) -> u64 {
        0
    }
    fn write(&self, _: usize, _: &[u8]) {}
}

impl Segment<NoPage> for Piece {
    fn gfn(&self) -> u64 {
        self.gfn
    }
    fn offset(&self) -> u32 {
        self.offset
    }
    fn len(&self) -> u32 {
        self.len
    }
    fn copy_to(&self, _: &NoPage) {}
    fn copy_from(&self, _: &NoPage) {}
}

impl block::Io<NoPage> for &'static Io {
    type Segment<'a> = Piece;

    fn op(&self) -> Op {
        match self.write {
            0 => Op::Read,
            _ => Op::Write { fua: false },
        }
    }
    fn sector(&self) -> u64 {
        self.sector
    }
    fn sectors(&self) -> u64 {
        u64::from(self.segments) * 8
    }
    fn expected_segments(&self) -> usize {
        self.segments as usize
    }
    fn segments(&self) -> impl Iterator<Item = Piece> {
        let segments = self.segment.get(..self.segments as usize);
        segments.unwrap_or_default().iter().copied()
    }
}

impl Host for Bare {
    type Io = &'static Io;
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
    fn grant(&self, gref: GrantRef, gfn: u64, access: Access) {
        let readonly = c_int::from(access == Access::ReadOnly);
        // SAFETY: references are claimed, so below 512, and the table has as many entries.
        unsafe { peer_grant(self.table, gref, gfn, readonly) }
    }
    fn end(&self, gref: GrantRef) -> bool {
        // SAFETY: as in `grant`.
        unsafe { peer_end(self.table, gref) != 0 }
    }
    fn try_release(&self, gref: GrantRef) -> bool {
        self.end(gref)
    }
    fn abandon(&self, gref: GrantRef, _: u64) {
        panic!("the back end maps nothing, but grant {gref} could not be ended");
    }
}

/// The engine.
pub(crate) struct RustDevice {
    queue: Queue<Bare>,
    back: CBack,
}

impl RustDevice {
    /// A function of its own, as it is for the driver in C: an operating system calls once for each
    /// request.
    #[inline(never)]
    fn submit_one(&mut self, io: &'static Io) -> bool {
        self.queue.submit(io).is_ok()
    }
}

impl Device for RustDevice {
    fn new() -> Self {
        let memory = Memory::new(1);
        let ring = RustFront::new(memory.clone()).expect("a page holds a ring");
        let table = Memory::new(1);
        let host = Bare {
            table: start(&table),
            _memory: table,
            next: Cell::new(8),
        };
        let setup = Setup {
            handle: 51712,
            max_segments: SEGMENTS,
            persistent: false,
            bounce: false,
            pool_pages: 0,
            features: Features::default(),
        };
        let queue = Queue::new(host, ring, setup).expect("vectors grow");
        Self {
            queue,
            back: CBack::attach(&memory),
        }
    }

    fn submit(&mut self, ios: &'static [Io]) -> bool {
        for io in ios {
            assert!(self.submit_one(io));
        }
        self.queue.push()
    }

    fn answer(&mut self) {
        self.back.answer();
    }

    fn reap(&mut self) -> u64 {
        let mut sum = 0;
        let reaped = self.queue.reap(|io, outcome| {
            sum += io.sector + u64::from(outcome == Outcome::Done);
        });
        assert!(reaped.is_ok());
        sum
    }
}
