// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kinds of disk load, and which of them a run takes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::jobs::Extent;

/// Direction and order of requests, by fio's names.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Sequential reads.
    Read,
    /// Sequential writes.
    Write,
    /// Reads at random places.
    RandRead,
    /// Writes at random places.
    RandWrite,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Pattern; 4] = [
        Pattern::Read,
        Pattern::Write,
        Pattern::RandRead,
        Pattern::RandWrite,
    ];

    /// fio's name, for `--rw=`.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Read => "read",
            Pattern::Write => "write",
            Pattern::RandRead => "randread",
            Pattern::RandWrite => "randwrite",
        }
    }

    /// Whether requests write.
    pub fn writes(self) -> bool {
        matches!(self, Pattern::Write | Pattern::RandWrite)
    }
}

/// How fio hands requests to the kernel.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The system calls of old, which most programs use.
    Libaio,
    /// The newer rings, with buffers and files registered beforehand: less work above the driver.
    IoUring,
}

impl Engine {
    /// Its name and what goes with it, for reports.
    pub fn describe(self) -> &'static str {
        match self {
            Engine::Libaio => "libaio",
            Engine::IoUring => "io_uring with registered buffers and files",
        }
    }

    /// Options for fio.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Engine::Libaio => &["--ioengine=libaio"],
            Engine::IoUring => &["--ioengine=io_uring", "--fixedbufs=1", "--registerfiles=1"],
        }
    }
}

/// One kind of load.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct DiskJob {
    /// Direction and order.
    pub pattern: Pattern,
    /// Bytes a request.
    pub block: u32,
    /// Requests in flight per process.
    pub depth: u32,
    /// Processes.
    pub processes: u32,
    /// Requests are submitted one system call each, rather than all that fit at once.
    pub singly: bool,
}

impl DiskJob {
    const fn new(pattern: Pattern, kib: u32, depth: u32, processes: u32) -> Self {
        Self {
            pattern,
            block: kib * 1024,
            depth,
            processes,
            singly: false,
        }
    }

    /// The same with every request submitted by itself.
    const fn singly(self) -> Self {
        Self {
            singly: true,
            ..self
        }
    }

    /// Requests of the short and of the long run of a job, which take longer one by one.
    pub(in super::super) fn counts(self) -> (u32, u32) {
        match self.depth {
            1 => (256, 2304),
            _ => (512, 4608),
        }
    }
}

impl fmt::Display for DiskJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!(
            "{} {} qd{} x{}{}",
            self.pattern.name(),
            size(self.block),
            self.depth,
            self.processes,
            if self.singly { " singly" } else { "" }
        );
        f.pad(&text)
    }
}

fn size(bytes: u32) -> String {
    match bytes >> 10 {
        kib if kib >= 1024 && kib % 1024 == 0 => format!("{}M", kib >> 10),
        kib => format!("{kib}k"),
    }
}

/// The timed jobs.
pub fn timed(extent: Extent) -> Vec<DiskJob> {
    use Pattern::{RandRead, RandWrite, Read, Write};
    match extent {
        Extent::Quick => vec![
            DiskJob::new(RandRead, 4, 1, 1),
            DiskJob::new(RandRead, 4, 32, 1),
            DiskJob::new(RandWrite, 4, 32, 1),
            DiskJob::new(Read, 1024, 8, 1),
        ],
        Extent::Standard => vec![
            DiskJob::new(RandRead, 4, 1, 1),
            DiskJob::new(RandWrite, 4, 1, 1),
            DiskJob::new(RandRead, 4, 8, 1),
            DiskJob::new(RandWrite, 4, 8, 1),
            DiskJob::new(RandRead, 4, 64, 1),
            DiskJob::new(RandWrite, 4, 64, 1),
            DiskJob::new(RandRead, 4, 32, 2),
            DiskJob::new(RandWrite, 4, 32, 2),
            DiskJob::new(RandRead, 4, 32, 1).singly(),
            DiskJob::new(RandWrite, 4, 32, 1).singly(),
            DiskJob::new(Read, 4, 16, 1),
            DiskJob::new(Write, 4, 16, 1),
            DiskJob::new(RandRead, 16, 16, 1),
            DiskJob::new(RandWrite, 16, 16, 2),
            DiskJob::new(Read, 64, 1, 1),
            DiskJob::new(Write, 64, 1, 1),
            DiskJob::new(Read, 64, 32, 2),
            DiskJob::new(Write, 64, 32, 2),
            DiskJob::new(RandRead, 256, 4, 2),
            DiskJob::new(RandWrite, 256, 4, 1),
            DiskJob::new(Read, 1024, 1, 1),
            DiskJob::new(Write, 1024, 1, 1),
            DiskJob::new(Read, 1024, 16, 1),
            DiskJob::new(Write, 1024, 16, 1),
        ],
        Extent::Full => full(),
    }
}

/// The jobs whose instructions are counted.
pub fn counted(extent: Extent) -> Vec<DiskJob> {
    use Pattern::{RandRead, RandWrite};
    match extent {
        Extent::Quick => vec![DiskJob::new(RandRead, 4, 32, 1)],
        _ => vec![
            DiskJob::new(RandRead, 4, 1, 1),
            DiskJob::new(RandWrite, 4, 1, 1),
            DiskJob::new(RandRead, 4, 32, 1),
            DiskJob::new(RandWrite, 4, 32, 1),
        ],
    }
}

fn full() -> Vec<DiskJob> {
    let mut jobs = Vec::new();
    for kib in [4, 16, 64, 256, 1024] {
        for depth in [1, 4, 16, 64] {
            for processes in [1, 2] {
                for pattern in Pattern::ALL {
                    jobs.push(DiskJob::new(pattern, kib, depth, processes));
                }
            }
        }
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn spans(jobs: &[DiskJob]) -> (BTreeSet<Pattern>, BTreeSet<u32>, BTreeSet<u32>) {
        (
            jobs.iter().map(|j| j.pattern).collect(),
            jobs.iter().map(|j| j.depth).collect(),
            jobs.iter().map(|j| j.processes).collect(),
        )
    }

    #[test]
    fn standard_and_full_reach_all_corners_and_repeat_nothing() {
        for extent in [Extent::Standard, Extent::Full] {
            let jobs = timed(extent);
            let (patterns, depths, processes) = spans(&jobs);
            assert_eq!(patterns.len(), 4);
            assert!(depths.contains(&1) && depths.contains(&64));
            assert_eq!(processes.into_iter().collect::<Vec<_>>(), [1, 2]);
            let blocks: BTreeSet<u32> = jobs.iter().map(|j| j.block).collect();
            assert!(blocks.contains(&4096) && blocks.contains(&(1 << 20)));
            assert_eq!(jobs.iter().collect::<BTreeSet<_>>().len(), jobs.len());
        }
        assert_eq!(timed(Extent::Full).len(), 160);
        assert!(counted(Extent::Standard).iter().all(|j| j.block == 4096));
    }

    #[test]
    fn names_are_short_and_exact() {
        assert_eq!(
            DiskJob::new(Pattern::RandRead, 4, 32, 2).to_string(),
            "randread 4k qd32 x2"
        );
        assert_eq!(
            DiskJob::new(Pattern::Write, 1024, 1, 1).to_string(),
            "write 1M qd1 x1"
        );
        assert_eq!(
            DiskJob::new(Pattern::Read, 64, 4, 1).singly().to_string(),
            "read 64k qd4 x1 singly"
        );
    }
}
