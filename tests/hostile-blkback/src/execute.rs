// SPDX-License-Identifier: MIT OR Apache-2.0
//! One request, done as `blkif.h` says.

use crate::disk::Disk;
use crate::options::Options;
use crate::script::Op;
use crate::stats::Stats;
use hostile_back::memory::{Guest, Pages, PAGE};
use portico_core::block::wire::*;
use std::collections::HashMap;
use zerocopy::{FromBytes, IntoBytes};

/// The most pages that a queue keeps mapped as persistent grants, as in Linux's back end.
const PERSISTENT_MAX: usize = 1056;

/// Pages that stay mapped from request to request, by grant reference.
#[derive(Debug)]
pub struct Persistent<P> {
    /// A page and when it was last used.
    pages: HashMap<u32, (P, u64)>,
    clock: u64,
}

impl<P> Default for Persistent<P> {
    fn default() -> Self {
        Persistent {
            pages: HashMap::new(),
            clock: 0,
        }
    }
}

impl<P> Persistent<P> {
    fn page<G: Guest<Pages = P>>(&mut self, guest: &G, gref: u32, stats: &mut Stats) -> Option<&P> {
        self.clock += 1;
        if self.pages.contains_key(&gref) {
            stats.persistent_hits += 1;
        } else {
            if self.pages.len() >= PERSISTENT_MAX {
                let oldest = self.pages.iter().min_by_key(|(_, (_, used))| *used);
                if let Some(oldest) = oldest.map(|(gref, _)| *gref) {
                    self.pages.remove(&oldest);
                }
            }
            let page = guest.map(&[gref], true)?;
            stats.mapped += 1;
            self.pages.insert(gref, (page, 0));
            stats.persistent = self.pages.len() as u64;
        }
        let (page, used) = self.pages.get_mut(&gref)?;
        *used = self.clock;
        Some(page)
    }
}

/// What a request is done with.
pub struct Context<'a, G: Guest> {
    /// Who asks.
    pub guest: &'a G,
    /// The data.
    pub disk: &'a mut Disk,
    /// What was offered.
    pub options: &'a Options,
    /// The pages that stay mapped, if that was agreed on.
    pub persistent: Option<&'a mut Persistent<G::Pages>>,
    /// Counts.
    pub stats: &'a mut Stats,
}

/// The status to answer with, and the pages that were mapped for the request.
pub struct Done<P> {
    /// `BLKIF_RSP_*`.
    pub status: i16,
    /// Dropped, that is unmapped, before the answer is given, unless a fault keeps them.
    pub pages: Vec<P>,
}

/// The operation that a request asks for and that its answer carries: of an indirect request, the one
/// that it does indirectly.
pub fn operation(request: &Request) -> u8 {
    match request.head.operation {
        // `indirect_op` stands where `nr_segments` does.
        OP_INDIRECT => request.head.nr_segments,
        direct => direct,
    }
}

/// The operation of a request by name. Only reads and writes can be indirect.
pub fn op(request: &Request) -> Op {
    match operation(request) {
        OP_READ => Op::Read,
        OP_WRITE => Op::Write,
        _ if request.head.operation == OP_INDIRECT => Op::Unknown,
        OP_WRITE_BARRIER => Op::Barrier,
        OP_FLUSH_DISKCACHE => Op::Flush,
        OP_DISCARD => Op::Discard,
        _ => Op::Unknown,
    }
}

/// Why a request is answered with something other than `BLKIF_RSP_OKAY`.
struct Refused(i16);

const ERROR: Refused = Refused(RSP_ERROR);
const NOT_SUPPORTED: Refused = Refused(RSP_EOPNOTSUPP);

impl From<std::io::Error> for Refused {
    fn from(_: std::io::Error) -> Self {
        ERROR
    }
}

/// Does what a request asks for.
pub fn execute<G: Guest>(request: &Request, cx: &mut Context<'_, G>) -> Done<G::Pages> {
    let mut pages = Vec::new();
    cx.stats.requests += 1;
    let status = match dispatch(request, cx, &mut pages) {
        Ok(()) => RSP_OKAY,
        Err(Refused(status)) => {
            cx.stats.errors += 1;
            status
        }
    };
    Done { status, pages }
}

fn dispatch<G: Guest>(
    request: &Request,
    cx: &mut Context<'_, G>,
    pages: &mut Vec<G::Pages>,
) -> Result<(), Refused> {
    let op = op(request);
    match op {
        Op::Read => cx.stats.reads += 1,
        Op::Write => cx.stats.writes += 1,
        Op::Barrier => cx.stats.barriers += 1,
        Op::Flush => cx.stats.flushes += 1,
        Op::Discard => cx.stats.discards += 1,
        Op::Unknown => cx.stats.unknown += 1,
    }
    match op {
        Op::Discard => return discard(request, cx),
        Op::Unknown => return Err(NOT_SUPPORTED),
        Op::Barrier if cx.options.barrier != Some(true) => return Err(NOT_SUPPORTED),
        Op::Flush if cx.options.flush_cache != Some(true) => return Err(NOT_SUPPORTED),
        _ => {}
    }
    let (sector, segments) = if request.head.operation == OP_INDIRECT {
        indirect(request, cx, pages)?
    } else {
        let count = usize::from(request.head.nr_segments);
        let segments = request.seg.get(..count).ok_or(ERROR)?;
        (request.head.sector_number, segments.to_vec())
    };
    cx.stats.max_segments = cx.stats.max_segments.max(segments.len() as u64);
    if segments.is_empty() && op != Op::Flush {
        return Err(ERROR);
    }
    if !segments.is_empty() {
        transfer(op != Op::Read, sector, &segments, cx, pages)?;
    }
    if matches!(op, Op::Barrier | Op::Flush) {
        cx.disk.flush()?;
    }
    Ok(())
}

/// Reads the segments of an indirect request from their pages.
fn indirect<G: Guest>(
    request: &Request,
    cx: &mut Context<'_, G>,
    pages: &mut Vec<G::Pages>,
) -> Result<(u64, Vec<WireSegment>), Refused> {
    let (request, _) = RequestIndirect::read_from_prefix(request.as_bytes()).map_err(|_| ERROR)?;
    cx.stats.indirect += 1;
    let count = usize::from(request.nr_segments);
    if count > usize::from(cx.options.max_indirect_segments) {
        return Err(ERROR);
    }
    let refs = request
        .indirect_grefs
        .get(..count.div_ceil(SEGMENTS_PER_PAGE))
        .ok_or(ERROR)?;
    let mut bytes = vec![0; count * size_of::<WireSegment>()];
    if let Some(persistent) = cx.persistent.as_deref_mut() {
        for (part, gref) in bytes.chunks_mut(PAGE).zip(refs) {
            let page = persistent.page(cx.guest, *gref, cx.stats).ok_or(ERROR)?;
            page.read(0, part);
        }
    } else {
        let mapped = cx.guest.map(refs, false).ok_or(ERROR)?;
        cx.stats.mapped += refs.len() as u64;
        mapped.read(0, &mut bytes);
        pages.push(mapped);
    }
    let segments = bytes
        .chunks_exact(size_of::<WireSegment>())
        .map(|segment| WireSegment::read_from_bytes(segment).map_err(|_| ERROR))
        .collect::<Result<_, _>>()?;
    Ok((request.sector_number, segments))
}

/// Moves data between the disk and the guest's pages.
fn transfer<G: Guest>(
    write: bool,
    sector: u64,
    segments: &[WireSegment],
    cx: &mut Context<'_, G>,
    pages: &mut Vec<G::Pages>,
) -> Result<(), Refused> {
    let mut sectors = 0;
    for segment in segments {
        if segment.last_sect < segment.first_sect || segment.last_sect > 7 {
            return Err(ERROR);
        }
        sectors += u64::from(segment.last_sect - segment.first_sect) + 1;
    }
    range(cx.options, sector, sectors)?;
    if write && cx.options.read_only {
        return Err(ERROR);
    }
    let together = if cx.persistent.is_none() {
        let refs: Vec<u32> = segments.iter().map(|segment| segment.gref).collect();
        cx.stats.mapped += refs.len() as u64;
        pages.push(cx.guest.map(&refs, !write).ok_or(ERROR)?);
        pages.last()
    } else {
        None
    };
    let mut buffer = [0; PAGE];
    let mut at = sector * u64::from(SECTOR_SIZE);
    for (i, segment) in segments.iter().enumerate() {
        let offset = usize::from(segment.first_sect) * SECTOR_SIZE as usize;
        let end = (usize::from(segment.last_sect) + 1) * SECTOR_SIZE as usize;
        let part = &mut buffer[..end - offset];
        let (page, base) = match (together, cx.persistent.as_deref_mut()) {
            (Some(page), _) => (page, i * PAGE),
            (None, Some(persistent)) => (
                persistent
                    .page(cx.guest, segment.gref, cx.stats)
                    .ok_or(ERROR)?,
                0,
            ),
            (None, None) => return Err(ERROR),
        };
        if write {
            page.read(base + offset, part);
            cx.disk.write(at, part)?;
        } else {
            cx.disk.read(at, part)?;
            page.write(base + offset, part);
        }
        at += part.len() as u64;
    }
    if write {
        cx.stats.sectors_written += sectors;
    } else {
        cx.stats.sectors_read += sectors;
    }
    Ok(())
}

fn discard<G: Guest>(request: &Request, cx: &mut Context<'_, G>) -> Result<(), Refused> {
    let (request, _) = RequestDiscard::read_from_prefix(request.as_bytes()).map_err(|_| ERROR)?;
    cx.stats.secure_discards += u64::from(request.flag & DISCARD_SECURE != 0);
    if !cx.options.discard {
        return Err(NOT_SUPPORTED);
    }
    range(cx.options, request.sector_number, request.nr_sectors)?;
    if cx.options.read_only {
        return Err(ERROR);
    }
    let bytes = u64::from(SECTOR_SIZE);
    cx.disk
        .discard(request.sector_number * bytes, request.nr_sectors * bytes)?;
    cx.stats.sectors_discarded += request.nr_sectors;
    Ok(())
}

/// Checks that a range is whole sectors of the disk's own size, and lies on the disk.
fn range(options: &Options, sector: u64, sectors: u64) -> Result<(), Refused> {
    let unit = u64::from((options.sector_size / SECTOR_SIZE).max(1));
    let end = sector.checked_add(sectors).ok_or(ERROR)?;
    if sectors == 0 || end > options.sectors || sector % unit != 0 || sectors % unit != 0 {
        return Err(ERROR);
    }
    Ok(())
}
