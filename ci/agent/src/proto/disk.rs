// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks: their content, and fio.

use serde::{Deserialize, Serialize};

/// A reproducible content: each 8-byte word is a function of the seed and of its own position.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pattern {
    /// File or block device.
    pub path: String,
    /// Which content.
    pub seed: u64,
    /// First byte; a multiple of 4096.
    pub offset: u64,
    /// Bytes; a multiple of 4096.
    pub len: u64,
}

/// A run of fio with direct I/O.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fio {
    /// Block device or file.
    pub path: String,
    /// `read`, `write`, `randread`, `randwrite`, `randrw` …
    pub rw: String,
    /// Block size in bytes.
    pub bs: u64,
    /// Requests in flight per job.
    pub depth: u32,
    /// Jobs; each gets its own part of `size`.
    pub jobs: u32,
    /// Bytes that the jobs cover together; 0 for the whole device.
    pub size: u64,
    /// Seconds to run; 0: once over `size`.
    pub seconds: u32,
    /// Write checksums and read them back.
    pub verify: bool,
    /// More fio options, with their dashes.
    #[serde(default)]
    pub extra: Vec<String>,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Bytes compared.
    pub bytes: u64,
    /// Words of 8 bytes that differ.
    pub wrong_words: u64,
    /// Position of the first difference, in bytes.
    pub first_wrong: Option<u64>,
    /// Hash of what was read, as [`Op::Digest`] gives it.
    pub digest: String,
}

/// Result of a fio run: sums over its jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FioResult {
    /// Reads.
    pub read: FioSide,
    /// Writes.
    pub write: FioSide,
    /// Discards.
    pub trim: FioSide,
    /// Errors that fio counted.
    pub errors: u64,
    /// What fio printed about errors, shortened.
    pub message: String,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Share of one CPU in user mode, per cent.
    pub usr_cpu: f64,
    /// Share of one CPU in the kernel, per cent.
    pub sys_cpu: f64,
}

/// One direction of a fio run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FioSide {
    /// Requests completed.
    pub ios: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Requests per second.
    pub iops: f64,
    /// Bytes per second.
    pub bandwidth: f64,
    /// Median completion latency in nanoseconds.
    pub p50_ns: u64,
    /// 99th percentile of the completion latency in nanoseconds.
    pub p99_ns: u64,
}
