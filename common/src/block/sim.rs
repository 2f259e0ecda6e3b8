// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests over the simulated machine, for a [`Queue`](super::Queue) under test.

use std::vec::Vec;

use super::host::{Host, Io, Op, Segment, SharedPage};

pub use crate::sim::{Frame, Sim, SimPage, SimRing};

impl Sim {
    /// A request over new frames, one for each `(offset, len)` in bytes.
    pub fn io(&self, tag: u64, op: Op, sector: u64, pieces: &[(u32, u32)]) -> SimIo {
        let pieces = pieces.iter().map(|&(offset, len)| Piece {
            sim: self.clone(),
            gfn: self.frame(),
            offset,
            len,
        });
        let pieces: Vec<_> = pieces.collect();
        let sectors = pieces.iter().map(|piece| u64::from(piece.len) / 512).sum();
        SimIo {
            tag,
            op,
            sector,
            sectors,
            expected: pieces.len(),
            pieces,
        }
    }
}

/// A piece of a request.
#[derive(Clone)]
pub struct Piece {
    sim: Sim,
    /// Its frame.
    pub gfn: u64,
    /// Offset in the frame, in bytes.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Piece {
    fn range(&self) -> core::ops::Range<usize> {
        self.offset as usize..(self.offset + self.len) as usize
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.sim
            .with_frame(self.gfn, |frame| frame[self.range()].to_vec())
    }

    /// Sets its bytes.
    pub fn fill(&self, bytes: &[u8]) {
        self.sim
            .with_frame(self.gfn, |frame| frame[self.range()].copy_from_slice(bytes));
    }

    fn copy(&self, from: u64, to: u64) {
        let bytes = self
            .sim
            .with_frame(from, |frame| frame[self.range()].to_vec());
        self.sim
            .with_frame(to, |frame| frame[self.range()].copy_from_slice(&bytes));
    }
}

impl Segment<SimPage> for Piece {
    fn gfn(&self) -> u64 {
        self.gfn
    }

    fn offset(&self) -> u32 {
        self.offset
    }

    fn len(&self) -> u32 {
        self.len
    }

    fn copy_to(&self, page: &SimPage) {
        self.copy(self.gfn, page.gfn());
    }

    fn copy_from(&self, page: &SimPage) {
        self.copy(page.gfn(), self.gfn);
    }
}

/// A request.
pub struct SimIo {
    /// What the test knows it by.
    pub tag: u64,
    /// What it wants.
    pub op: Op,
    /// Start in sectors of 512 bytes.
    pub sector: u64,
    /// Length in sectors of 512 bytes.
    pub sectors: u64,
    /// Its memory.
    pub pieces: Vec<Piece>,
    /// How many pieces it says it has.
    pub expected: usize,
}

impl Io<SimPage> for SimIo {
    type Segment<'a> = Piece;

    fn op(&self) -> Op {
        self.op
    }

    fn sector(&self) -> u64 {
        self.sector
    }

    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn expected_segments(&self) -> usize {
        self.expected
    }

    fn segments(&self) -> impl Iterator<Item = Piece> {
        self.pieces.iter().cloned()
    }
}

impl Host for Sim {
    type Io = SimIo;
}
