// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a measurement gives.

use std::collections::BTreeMap;

use portico_agent::proto::Driver;
use serde::{Deserialize, Serialize};

use super::jobs::{Job, Subject};

/// A measured quantity.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Requests or packets a second.
    Iops,
    /// Bytes a second.
    Bandwidth,
    /// Median completion latency in nanoseconds.
    P50,
    /// 99th percentile of the completion latency in nanoseconds.
    P99,
    /// Event channel notifications that dom0 got, per request or packet.
    Notifications,
    /// Event channel interrupts of the device in the guest, per request or packet.
    Interrupts,
    /// CPU time of the guest in nanoseconds per request or packet.
    GuestCpu,
    /// CPU time of dom0 in nanoseconds per request or packet, its part of the load included.
    Dom0Cpu,
    /// Instructions per request or packet that the guest executed, and the hypervisor on its behalf.
    Instructions,
}

impl Metric {
    /// Those of timed runs.
    pub const TIMED: [Metric; 8] = [
        Metric::Iops,
        Metric::Bandwidth,
        Metric::P50,
        Metric::P99,
        Metric::Notifications,
        Metric::Interrupts,
        Metric::GuestCpu,
        Metric::Dom0Cpu,
    ];

    /// Its title in reports.
    pub fn title(self, subject: Subject) -> String {
        let item = subject.item();
        match self {
            Metric::Iops => format!("{item}s per second"),
            Metric::Bandwidth => "throughput (MB/s)".into(),
            Metric::P50 => "latency, median (µs)".into(),
            Metric::P99 => "latency, 99th percentile (µs)".into(),
            Metric::Notifications => format!("notifications to dom0 per {item}"),
            Metric::Interrupts => format!("interrupts in the guest per {item}"),
            Metric::GuestCpu => format!("guest CPU time per {item} (µs)"),
            Metric::Dom0Cpu => format!("dom0 CPU time per {item} (µs)"),
            Metric::Instructions => format!("guest instructions per {item}"),
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        matches!(self, Metric::Iops | Metric::Bandwidth)
    }

    /// A value in the unit of the title, with as many digits as make sense.
    pub fn show(self, value: f64) -> String {
        match self {
            Metric::Iops | Metric::Instructions => format!("{value:.0}"),
            Metric::Bandwidth => format!("{:.1}", value / 1e6),
            Metric::P50 | Metric::P99 => format!("{:.0}", value / 1e3),
            Metric::GuestCpu | Metric::Dom0Cpu => format!("{:.1}", value / 1e3),
            Metric::Notifications | Metric::Interrupts => format!("{value:.3}"),
        }
    }
}

/// The values of one measurement; what could not be had is absent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Sample(pub BTreeMap<Metric, f64>);

impl Sample {
    /// Adds a value, unless there is none or it is not a number.
    pub fn set(&mut self, metric: Metric, value: Option<f64>) {
        if let Some(value) = value.filter(|v| v.is_finite()) {
            self.0.insert(metric, value);
        }
    }

    /// A value.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.0.get(&metric).copied()
    }
}

/// What came of one measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was taken.
    Taken(Sample),
    /// It failed, and why.
    Failed(String),
}

/// One measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Record {
    /// The load.
    pub job: Job,
    /// Who drove the device.
    pub driver: Driver,
    /// Round, from 0.
    pub round: u32,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Record {
    /// A value of a measurement that was taken.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        match &self.outcome {
            Outcome::Taken(sample) => sample.get(metric),
            Outcome::Failed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::jobs::Extent;

    #[test]
    fn records_survive_json() {
        let mut sample = Sample::default();
        sample.set(Metric::Iops, Some(1000.0));
        sample.set(Metric::P99, Some(f64::NAN));
        for outcome in [Outcome::Taken(sample), Outcome::Failed("no disk".into())] {
            let record = Record {
                job: Subject::Disk.jobs(Extent::Quick)[0],
                driver: Driver::Ours,
                round: 3,
                outcome,
            };
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
            assert_eq!(record.value(Metric::P99), None);
        }
    }
}
