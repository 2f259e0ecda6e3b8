// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order of measurements.
//!
//! The two samples of a pair are taken right after each other, so that whatever else the machine
//! does at the moment meets both; which of them goes first alternates, so that neither gains from its
//! place; and rounds go over all jobs, so that a job's pairs are spread over the whole run.

use portico_agent::proto::Driver;

/// One measurement: a job (by its index) under a driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Turn {
    /// Round, from 0.
    pub round: u32,
    /// Index of the job.
    pub job: usize,
    /// Who drives the disk.
    pub driver: Driver,
}

/// All measurements of `rounds` rounds over `jobs` jobs, in order.
pub fn turns(jobs: usize, rounds: u32) -> Vec<Turn> {
    let mut turns = Vec::with_capacity(jobs * rounds as usize * 2);
    for round in 0..rounds {
        for job in 0..jobs {
            let mut pair = [Driver::Stock, Driver::Ours];
            if (round as usize + job) % 2 == 1 {
                pair.reverse();
            }
            turns.extend(pair.map(|driver| Turn { round, job, driver }));
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
    fn pairs_are_adjacent_and_their_order_alternates() {
        for jobs in [1, 4, 5] {
            let turns = turns(jobs, 6);
            assert_eq!(turns.len(), jobs * 12);
            let mut first = vec![[0, 0]; jobs];
            for pair in turns.chunks(2) {
                assert_eq!((pair[0].job, pair[0].round), (pair[1].job, pair[1].round));
                assert_ne!(pair[0].driver, pair[1].driver);
                first[pair[0].job][usize::from(pair[0].driver == Driver::Ours)] += 1;
            }
            assert!(first.iter().all(|count| *count == [3, 3]), "{first:?}");
        }
    }

    #[test]
    fn the_driver_changes_once_a_pair() {
        // Stock, ours; ours, stock; … : within each pair, and at most once more a round.
        let turns = turns(4, 5);
        assert!(switches(&turns) <= 4 * 5 + 5);
    }
}
