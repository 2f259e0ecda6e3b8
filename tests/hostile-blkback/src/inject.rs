// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which faults are due now.

use crate::script::{Event, Fault, Op, Rule};

/// A script that is being run.
#[derive(Debug)]
pub struct Injector {
    rules: Vec<Rule>,
    /// For each rule whether it is used up.
    spent: Vec<bool>,
    requests: u64,
    ops: [u64; Op::Unknown as usize + 1],
    fired: u64,
}

impl Injector {
    /// Begins to run rules.
    pub fn new(rules: Vec<Rule>) -> Self {
        Injector {
            spent: vec![false; rules.len()],
            rules,
            requests: 0,
            ops: [0; Op::Unknown as usize + 1],
            fired: 0,
        }
    }

    /// How many faults have happened.
    pub fn fired(&self) -> u64 {
        self.fired
    }

    /// The faults at a moment of the device's life, which happen each time that it is reached.
    pub fn moment(&mut self, moment: Event) -> Vec<Fault> {
        self.due(|_, event| event == moment)
    }

    /// The faults that are due `ms` milliseconds after connecting; each is given once.
    pub fn elapsed(&mut self, ms: u64) -> Vec<Fault> {
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
    pub fn request(&mut self, op: Op) -> Vec<Fault> {
        let n = self.requests;
        let of_op = self.ops[op as usize];
        self.requests += 1;
        self.ops[op as usize] += 1;
        self.due(|_, event| match event {
            Event::Request(at) => at == n,
            Event::Every(every) => every != 0 && (n + 1) % every == 0,
            Event::Op(which, at) => which == op && at == of_op,
            _ => false,
        })
    }

    fn due(&mut self, mut now: impl FnMut(usize, Event) -> bool) -> Vec<Fault> {
        let rules = self.rules.iter().enumerate();
        let due: Vec<Fault> = rules
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

    fn rule(at: Event, id: u64) -> Rule {
        Rule {
            at,
            fault: Fault::WrongId(id),
        }
    }

    #[test]
    fn requests_are_counted_over_all_and_by_operation() {
        let mut injector = Injector::new(vec![
            rule(Event::Request(1), 1),
            rule(Event::Every(2), 2),
            rule(Event::Op(Op::Write, 0), 3),
        ]);
        assert_eq!(injector.request(Op::Read), []);
        assert_eq!(
            injector.request(Op::Read),
            [Fault::WrongId(1), Fault::WrongId(2)]
        );
        assert_eq!(injector.request(Op::Write), [Fault::WrongId(3)]);
        assert_eq!(injector.request(Op::Write), [Fault::WrongId(2)]);
        assert_eq!(injector.fired(), 4);
    }

    #[test]
    fn timed_faults_happen_once() {
        let mut injector =
            Injector::new(vec![rule(Event::AfterMs(9), 1), rule(Event::AfterMs(5), 2)]);
        assert_eq!(injector.next_elapsed(), Some(5));
        assert_eq!(injector.elapsed(4), []);
        assert_eq!(injector.elapsed(6), [Fault::WrongId(2)]);
        assert_eq!(injector.next_elapsed(), Some(9));
        assert_eq!(injector.elapsed(20), [Fault::WrongId(1)]);
        assert_eq!(injector.elapsed(21), []);
        assert_eq!(injector.next_elapsed(), None);
    }

    #[test]
    fn moments_are_told_apart() {
        let mut injector = Injector::new(vec![rule(Event::Created, 1), rule(Event::Closing, 2)]);
        assert_eq!(injector.moment(Event::Created), [Fault::WrongId(1)]);
        assert_eq!(injector.moment(Event::Connected), []);
        assert_eq!(injector.moment(Event::Closing), [Fault::WrongId(2)]);
    }
}
