// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which faults are due now.

use crate::script::{Event, Rule};

/// A script that is being run.
#[derive(Debug)]
pub struct Injector<P, F> {
    rules: Vec<Rule<P, F>>,
    /// For each rule whether it is used up.
    spent: Vec<bool>,
    requests: u64,
    /// How many there were of each operation.
    ops: Vec<(P, u64)>,
    fired: u64,
}

impl<P: Copy + PartialEq, F: Clone> Injector<P, F> {
    /// Begins to run rules.
    pub fn new(rules: Vec<Rule<P, F>>) -> Self {
        Injector {
            spent: vec![false; rules.len()],
            rules,
            requests: 0,
            ops: Vec::new(),
            fired: 0,
        }
    }

    /// How many faults have happened.
    pub fn fired(&self) -> u64 {
        self.fired
    }

    /// The faults at a moment of the device's life, which happen each time that it is reached.
    pub fn moment(&mut self, moment: Event<P>) -> Vec<F> {
        self.due(|_, event| event == moment)
    }

    /// The faults that are due `ms` milliseconds after connecting; each is given once.
    pub fn elapsed(&mut self, ms: u64) -> Vec<F> {
        let mut spent = std::mem::take(&mut self.spent);
        let due = self.due(|i, event| {
            let now = matches!(event, Event::AfterMs(at) if at <= ms) && !spent[i];
            spent[i] |= now;
            now
        });
        self.spent = spent;
        due
    }

    /// The milliseconds after connecting at which the next fault is due.
    pub fn next_elapsed(&self) -> Option<u64> {
        let open = self
            .rules
            .iter()
            .zip(&self.spent)
            .filter(|(_, spent)| !**spent);
        open.filter_map(|(rule, _)| match rule.at {
            Event::AfterMs(at) => Some(at),
            _ => None,
        })
        .min()
    }

    /// The faults for the next request, which asks for `op`.
    pub fn request(&mut self, op: P) -> Vec<F> {
        let n = self.requests;
        self.requests += 1;
        let known = self.ops.iter().position(|(which, _)| *which == op);
        let at = known.unwrap_or_else(|| {
            self.ops.push((op, 0));
            self.ops.len() - 1
        });
        let of_op = self.ops[at].1;
        self.ops[at].1 += 1;
        self.due(|_, event| match event {
            Event::Request(at) => at == n,
            Event::Every(every) => every != 0 && (n + 1) % every == 0,
            Event::Op(which, at) => which == op && at == of_op,
            _ => false,
        })
    }

    fn due(&mut self, mut now: impl FnMut(usize, Event<P>) -> bool) -> Vec<F> {
        let rules = self.rules.iter().enumerate();
        let due: Vec<F> = rules
            .filter(|(i, rule)| now(*i, rule.at))
            .map(|(_, rule)| rule.fault.clone())
            .collect();
        self.fired += due.len() as u64;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, PartialEq)]
    enum Op {
        Read,
        Write,
    }

    fn rule(at: Event<Op>, fault: u64) -> Rule<Op, u64> {
        Rule { at, fault }
    }

    #[test]
    fn requests_are_counted_over_all_and_by_operation() {
        let mut injector = Injector::new(vec![
            rule(Event::Request(1), 1),
            rule(Event::Every(2), 2),
            rule(Event::Op(Op::Write, 0), 3),
        ]);
        assert!(injector.request(Op::Read).is_empty());
        assert_eq!(injector.request(Op::Read), [1, 2]);
        assert_eq!(injector.request(Op::Write), [3]);
        assert_eq!(injector.request(Op::Write), [2]);
        assert_eq!(injector.fired(), 4);
    }

    #[test]
    fn timed_faults_happen_once() {
        let mut injector =
            Injector::new(vec![rule(Event::AfterMs(9), 1), rule(Event::AfterMs(5), 2)]);
        assert_eq!(injector.next_elapsed(), Some(5));
        assert!(injector.elapsed(4).is_empty());
        assert_eq!(injector.elapsed(6), [2]);
        assert_eq!(injector.next_elapsed(), Some(9));
        assert_eq!(injector.elapsed(20), [1]);
        assert!(injector.elapsed(21).is_empty());
        assert_eq!(injector.next_elapsed(), None);
    }

    #[test]
    fn moments_are_told_apart() {
        let mut injector = Injector::new(vec![rule(Event::Created, 1), rule(Event::Closing, 2)]);
        assert_eq!(injector.moment(Event::Created), [1]);
        assert!(injector.moment(Event::Connected).is_empty());
        assert_eq!(injector.moment(Event::Closing), [2]);
    }
}
