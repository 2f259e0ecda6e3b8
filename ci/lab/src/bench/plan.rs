// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order of measurements.
//!
//! The two samples of a pair are taken within seconds of each other, so that whatever else the machine
//! does at the moment meets both: a few jobs under one driver, then the same under the other. Which of
//! them goes first alternates, so that neither gains from its place; and rounds go over all jobs, so
//! that a job's pairs are spread over the whole run.

use portico_agent::proto::Driver;

/// One measurement: a job (by its index) under a driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Turn {
    /// Round, from 0.
    pub round: u32,
    /// Index of the job.
    pub job: usize,
    /// Who drives the device.
    pub driver: Driver,
}

/// Jobs that are run before the driver is changed, which takes some seconds.
const GROUP: usize = 4;

/// All measurements of `rounds` rounds over `jobs` jobs, in order.
pub fn turns(jobs: usize, rounds: u32) -> Vec<Turn> {
    let mut turns = Vec::with_capacity(jobs * rounds as usize * 2);
    let all: Vec<usize> = (0..jobs).collect();
    for round in 0..rounds {
        for (at, group) in all.chunks(GROUP).enumerate() {
            let mut pair = [Driver::Stock, Driver::Ours];
            if (round as usize + at) % 2 == 1 {
                pair.reverse();
            }
            for driver in pair {
                turns.extend(group.iter().map(|&job| Turn { round, job, driver }));
            }
        }
    }
    turns
}

/// How often the driver is changed on the way through.
pub fn switches(turns: &[Turn]) -> usize {
    turns
        .windows(2)
        .filter(|pair| pair[0].driver != pair[1].driver)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_close_and_their_order_alternates() {
        for jobs in [1, 4, 6, 9] {
            let turns = turns(jobs, 6);
            assert_eq!(turns.len(), jobs * 12);
            for job in 0..jobs {
                let own: Vec<(usize, &Turn)> = turns
                    .iter()
                    .enumerate()
                    .filter(|t| t.1.job == job)
                    .collect();
                let mut stock_first = 0;
                for pair in own.chunks(2) {
                    assert_eq!(pair[0].1.round, pair[1].1.round);
                    assert_ne!(pair[0].1.driver, pair[1].1.driver);
                    assert!(pair[1].0 - pair[0].0 <= GROUP);
                    stock_first += usize::from(pair[0].1.driver == Driver::Stock);
                }
                assert_eq!(stock_first, 3);
            }
        }
    }

    #[test]
    fn the_driver_changes_about_once_a_group() {
        // Stock, ours; ours, stock; …: within each group, and at most once more a round.
        assert!(switches(&turns(8, 5)) <= 2 * 5 + 5);
    }
}
