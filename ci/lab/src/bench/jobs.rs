// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured: loads of a disk or of a network, and which of them a run takes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::disk::jobs as disk;
use super::net::jobs as net;

/// The driver that is measured.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// `xen-blkfront`.
    #[default]
    Disk,
    /// `xen-netfront`.
    Net,
}

impl Subject {
    /// Its name in the names of files.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Disk => "disk",
            Subject::Net => "net",
        }
    }

    /// Title of its reports.
    pub fn title(self) -> &'static str {
        match self {
            Subject::Disk => "Disk benchmark: xen-blkfront, stock and ours",
            Subject::Net => "Network benchmark: xen-netfront, stock and ours",
        }
    }

    /// What is counted.
    pub fn item(self) -> &'static str {
        match self {
            Subject::Disk => "request",
            Subject::Net => "packet",
        }
    }

    /// The same in heads of columns.
    pub fn short(self) -> &'static str {
        match self {
            Subject::Disk => "IO",
            Subject::Net => "pkt",
        }
    }

    /// Items a second in heads of columns.
    pub fn rate(self) -> &'static str {
        match self {
            Subject::Disk => "IOPS",
            Subject::Net => "pkt/s",
        }
    }

    /// The timed jobs.
    pub fn jobs(self, extent: Extent) -> Vec<Job> {
        match self {
            Subject::Disk => disk::timed(extent).into_iter().map(Job::Disk).collect(),
            Subject::Net => net::timed(extent).into_iter().map(Job::Net).collect(),
        }
    }

    /// The jobs whose instructions are counted.
    pub fn counted(self, extent: Extent) -> Vec<Job> {
        match self {
            Subject::Disk => disk::counted(extent).into_iter().map(Job::Disk).collect(),
            Subject::Net => net::counted(extent).into_iter().map(Job::Net).collect(),
        }
    }
}

/// One kind of load.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
pub enum Job {
    /// Of the disk.
    Disk(disk::DiskJob),
    /// Of the network.
    Net(net::NetJob),
}

impl Job {
    /// Items of the short and of the long run in which instructions are counted, for each process or
    /// flow.
    pub fn counts(self) -> (u32, u32) {
        match self {
            Job::Disk(job) => job.counts(),
            Job::Net(job) => job.counts(),
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Job::Disk(job) => job.fmt(f),
            Job::Net(job) => job.fmt(f),
        }
    }
}

/// How many jobs a run takes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// A few typical ones, for a look after a change.
    Quick,
    /// Every kind and size at least once.
    Standard,
    /// All combinations.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_job_is_there_twice_and_each_survives_json() {
        for subject in [Subject::Disk, Subject::Net] {
            for extent in [Extent::Quick, Extent::Standard, Extent::Full] {
                let jobs = subject.jobs(extent);
                assert_eq!(jobs.iter().collect::<BTreeSet<_>>().len(), jobs.len());
                for job in jobs.into_iter().chain(subject.counted(extent)) {
                    let text = serde_json::to_string(&job).unwrap();
                    assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job, "{text}");
                }
            }
        }
    }
}
