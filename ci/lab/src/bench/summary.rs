// SPDX-License-Identifier: MIT OR Apache-2.0
//! From records to what they say: per job both drivers side by side, and the verdicts.

use portico_agent::proto::Driver;
use serde::{Deserialize, Serialize};

use super::jobs::{Job, Subject};
use super::plan::Turn;
use super::sample::{Metric, Outcome, Record, Sample};
use super::stats::{geometric_mean, ratio, Spread};

/// One part of a benchmark: its jobs, and every measurement, good or failed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Part {
    /// The jobs, in order.
    pub jobs: Vec<Job>,
    /// Rounds that were wanted.
    pub rounds: u32,
    /// Measurements in the order in which they were taken.
    pub records: Vec<Record>,
}

/// Both drivers on one job by one metric.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Comparison {
    /// What is compared.
    pub metric: Metric,
    /// The stock driver's values.
    pub stock: Option<Spread>,
    /// Ours.
    pub ours: Option<Spread>,
    /// Ours divided by stock's, pair by pair.
    pub ratio: Option<Spread>,
}

/// A measurement that failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Failure {
    /// Under which driver.
    pub driver: Driver,
    /// In which round, from 0.
    pub round: u32,
    /// Why.
    pub message: String,
}

/// What came out for one job.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct JobResult {
    /// The job.
    pub job: Job,
    /// One for each metric that has a value.
    pub comparisons: Vec<Comparison>,
    /// Measurements that failed.
    pub failures: Vec<Failure>,
    /// Measurements that were planned but never taken.
    pub missing: u32,
}

impl JobResult {
    /// The comparison by a metric.
    pub fn by(&self, metric: Metric) -> Option<&Comparison> {
        self.comparisons.iter().find(|c| c.metric == metric)
    }

    /// Ratios by a metric.
    pub fn ratio(&self, metric: Metric) -> Option<Spread> {
        self.by(metric)?.ratio
    }

    /// Whether every planned measurement was taken.
    pub fn complete(&self) -> bool {
        self.failures.is_empty() && self.missing == 0
    }
}

impl Part {
    /// A part without measurements yet.
    pub fn new(jobs: Vec<Job>, rounds: u32) -> Self {
        Self {
            jobs,
            rounds,
            records: Vec::new(),
        }
    }

    /// Puts what came of a turn down. Returns whether it is good.
    pub fn put(&mut self, turn: &Turn, taken: anyhow::Result<Sample>) -> bool {
        let good = taken.is_ok();
        self.records.push(Record {
            job: self.jobs[turn.job],
            driver: turn.driver,
            round: turn.round,
            outcome: match taken {
                Ok(sample) => Outcome::Taken(sample),
                Err(error) => Outcome::Failed(format!("{error:#}")),
            },
        });
        good
    }

    /// What the records say about each job.
    pub fn results(&self) -> Vec<JobResult> {
        self.jobs.iter().map(|job| self.result(*job)).collect()
    }

    fn result(&self, job: Job) -> JobResult {
        let own: Vec<&Record> = self.records.iter().filter(|r| r.job == job).collect();
        let value = |driver: Driver, round: u32, metric: Metric| {
            own.iter()
                .filter(|r| r.driver == driver && r.round == round)
                .find_map(|r| r.value(metric))
        };
        let compare = |metric: Metric| {
            let all = |driver| {
                Spread::of((0..self.rounds).filter_map(|round| value(driver, round, metric)))
            };
            let pairs = (0..self.rounds).filter_map(|round| {
                ratio(
                    value(Driver::Ours, round, metric),
                    value(Driver::Stock, round, metric),
                )
            });
            Comparison {
                metric,
                stock: all(Driver::Stock),
                ours: all(Driver::Ours),
                ratio: Spread::of(pairs),
            }
        };
        let failures = own.iter().filter_map(|record| match &record.outcome {
            Outcome::Taken(_) => None,
            Outcome::Failed(message) => Some(Failure {
                driver: record.driver,
                round: record.round,
                message: message.clone(),
            }),
        });
        JobResult {
            job,
            comparisons: Metric::TIMED
                .into_iter()
                .chain([Metric::Instructions])
                .map(compare)
                .filter(|c| c.stock.is_some() || c.ours.is_some())
                .collect(),
            failures: failures.collect(),
            missing: (self.rounds * 2).saturating_sub(own.len() as u32),
        }
    }

    /// Geometric mean of all jobs' ratios in each round that has them all, as spread over rounds.
    fn mean_by_round(&self, metric: Metric) -> Option<Spread> {
        let of = |round: u32, job: &Job, driver: Driver| {
            self.records
                .iter()
                .filter(|r| r.job == *job && r.round == round && r.driver == driver)
                .find_map(|r| r.value(metric))
        };
        Spread::of((0..self.rounds).filter_map(|round| {
            let ratios: Option<Vec<f64>> = self
                .jobs
                .iter()
                .map(|job| ratio(of(round, job, Driver::Ours), of(round, job, Driver::Stock)))
                .collect();
            geometric_mean(ratios?)
        }))
    }
}

/// An aim and what was reached.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Verdict {
    /// What it is about.
    pub what: String,
    /// The aim, as a ratio of ours to stock.
    pub aim: f64,
    /// Whether the aim is an upper bound.
    pub at_most: bool,
    /// What was reached; none if it could not be measured.
    pub value: Option<f64>,
    /// Whether the aim is met. What was not measured completely is not met.
    pub met: bool,
    /// Where the value comes from, or what is missing.
    pub note: String,
}

/// The verdicts of a benchmark.
pub fn verdicts(subject: Subject, timed: &Part, counted: &Part) -> Vec<Verdict> {
    let item = subject.item();
    let mut verdicts = Vec::new();
    if !timed.jobs.is_empty() {
        let what = format!("worst job, {item}s per second");
        verdicts.push(worst(timed, Metric::Iops, 1.00, &what));
        verdicts.push(mean(timed, Metric::Iops, 1.15, item));
    }
    if !counted.jobs.is_empty() {
        let item = match subject {
            Subject::Disk => "4 KiB request",
            Subject::Net => item,
        };
        let what = format!("worst job, guest instructions per {item}");
        verdicts.push(worst(counted, Metric::Instructions, 0.80, &what));
    }
    verdicts
}

/// How many jobs are not complete, in words; empty if all are.
fn incomplete(results: &[JobResult]) -> String {
    let count = results.iter().filter(|r| !r.complete()).count();
    match count {
        0 => String::new(),
        1 => "; 1 job is incomplete".into(),
        n => format!("; {n} jobs are incomplete"),
    }
}

fn worst(part: &Part, metric: Metric, aim: f64, what: &str) -> Verdict {
    let at_most = !metric.more_is_better();
    let results = part.results();
    let missing = incomplete(&results);
    let ratios = results
        .iter()
        .filter_map(|r| r.ratio(metric).map(|spread| (r.job, spread)));
    let badness = |spread: &Spread| {
        if at_most {
            spread.median
        } else {
            -spread.median
        }
    };
    let worst = ratios.max_by(|a, b| badness(&a.1).total_cmp(&badness(&b.1)));
    let value = worst.map(|(_, spread)| spread.median);
    Verdict {
        what: what.into(),
        aim,
        at_most,
        value,
        met: missing.is_empty() && value.is_some_and(|v| reached(v, aim, at_most)),
        note: match worst {
            Some((job, s)) => format!(
                "{job}: {:.2} to {:.2}{}{missing}",
                s.min,
                s.max,
                doubt(s, aim)
            ),
            None => format!("no job has a pair of samples{missing}"),
        },
    }
}

fn mean(part: &Part, metric: Metric, aim: f64, item: &str) -> Verdict {
    let results = part.results();
    let missing = incomplete(&results);
    let medians = results
        .iter()
        .filter_map(|r| r.ratio(metric).map(|spread| spread.median));
    let value = geometric_mean(medians);
    let rounds = match part.mean_by_round(metric) {
        Some(s) => format!(
            "single rounds: {:.2} to {:.2}{}",
            s.min,
            s.max,
            doubt(s, aim)
        ),
        None => "no round is complete".into(),
    };
    Verdict {
        what: format!(
            "geometric mean of {} jobs, {item}s per second",
            results.len()
        ),
        aim,
        at_most: false,
        value,
        met: missing.is_empty() && value.is_some_and(|v| reached(v, aim, false)),
        note: format!("{rounds}{missing}"),
    }
}

/// Says so when values lie on both sides of the aim.
fn doubt(spread: Spread, aim: f64) -> &'static str {
    if spread.min < aim && spread.max > aim {
        ", on both sides of the aim"
    } else {
        ""
    }
}

fn reached(value: f64, aim: f64, at_most: bool) -> bool {
    if at_most {
        value <= aim
    } else {
        value >= aim
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::jobs::Extent;

    /// Records of `rounds` rounds with constant values; ours is `factor` times stock.
    pub(crate) fn part(jobs: &[Job], metric: Metric, factor: f64, rounds: u32) -> Part {
        let mut records = Vec::new();
        for round in 0..rounds {
            for (at, job) in jobs.iter().enumerate() {
                for driver in [Driver::Stock, Driver::Ours] {
                    let base = 1000.0 * (at + 1) as f64 + f64::from(round);
                    let ours = if driver == Driver::Ours { factor } else { 1.0 };
                    let mut sample = Sample::default();
                    sample.set(metric, Some(base * ours));
                    records.push(Record {
                        job: *job,
                        driver,
                        round,
                        outcome: Outcome::Taken(sample),
                    });
                }
            }
        }
        Part {
            jobs: jobs.to_vec(),
            rounds,
            records,
        }
    }

    #[test]
    fn ratios_are_taken_within_pairs() {
        let jobs = Subject::Disk.jobs(Extent::Quick);
        let mut part = part(&jobs, Metric::Iops, 1.2, 5);
        // The whole machine is slow in one round: both samples of the pair drop, the ratio stays.
        for record in part.records.iter_mut().filter(|r| r.round == 2) {
            let Outcome::Taken(sample) = &mut record.outcome else {
                continue;
            };
            sample.set(Metric::Iops, sample.get(Metric::Iops).map(|v| v / 10.0));
        }
        let result = &part.results()[0];
        let by = result.by(Metric::Iops).unwrap();
        assert!(by.stock.unwrap().min < 150.0);
        let ratio = by.ratio.unwrap();
        assert!((ratio.min - 1.2).abs() < 1e-9 && (ratio.max - 1.2).abs() < 1e-9);
        assert!(result.complete() && result.by(Metric::P50).is_none());
    }

    #[test]
    fn aims_are_judged() {
        let jobs = Subject::Disk.jobs(Extent::Quick);
        let timed = part(&jobs, Metric::Iops, 1.2, 5);
        let counted = part(
            &Subject::Disk.counted(Extent::Quick),
            Metric::Instructions,
            0.9,
            2,
        );
        let verdicts = verdicts(Subject::Disk, &timed, &counted);
        assert_eq!(
            verdicts.iter().map(|v| v.met).collect::<Vec<_>>(),
            [true, true, false]
        );
        assert!((verdicts[2].value.unwrap() - 0.9).abs() < 1e-9);
        assert!(!verdicts[0].note.contains("both sides"));
        let wide = Spread::of([0.5, 1.1, 1.4]).unwrap();
        assert_eq!(doubt(wide, 1.0), ", on both sides of the aim");
    }

    #[test]
    fn a_failed_or_missing_measurement_is_shown_and_never_a_success() {
        let jobs = Subject::Disk.jobs(Extent::Quick);
        let mut part = part(&jobs, Metric::Iops, 1.5, 5);
        part.records[3].outcome = Outcome::Failed("the disk did not come back".into());
        part.records.pop();
        let results = part.results();
        let failed = results.iter().find(|r| !r.failures.is_empty()).unwrap();
        assert_eq!(failed.job, jobs[1]);
        assert!(failed.failures[0].message.contains("come back"));
        // The other four pairs of the job still count.
        assert_eq!(failed.ratio(Metric::Iops).unwrap().count, 4);
        assert_eq!(results[3].missing, 1);
        for verdict in verdicts(Subject::Disk, &part, &Part::default()) {
            assert!(!verdict.met && verdict.note.contains("2 jobs are incomplete"));
        }
    }

    #[test]
    fn nothing_measured_is_not_met() {
        let empty = Part {
            jobs: Subject::Disk.jobs(Extent::Quick),
            rounds: 5,
            records: Vec::new(),
        };
        for verdict in verdicts(Subject::Disk, &empty, &empty) {
            assert!(!verdict.met && verdict.value.is_none());
        }
        assert!(verdicts(Subject::Disk, &Part::default(), &Part::default()).is_empty());
    }
}
