// SPDX-License-Identifier: MIT OR Apache-2.0
//! Both event ABIs against a model of the hypervisor: whatever the domain masks, unmasks and scans, no
//! event is lost, none is invented, and none comes through a mask.
#![cfg(not(loom))]

use std::collections::BTreeSet;

use portico_core::event::fifo::{EventArray, Queues};
use portico_core::event::two_level::{TwoLevel, Vcpu};
use portico_core::event::upcall::Upcall;
use portico_core::event::Unmasked;
use portico_peers::memory::Memory;
use portico_peers::xen;
use proptest::prelude::*;

/// What domain and hypervisor can do, whatever the ABI.
trait Abi {
    fn send(&mut self, port: u32);
    fn mask(&mut self, port: u32);
    fn unmask(&mut self, port: u32);
    fn clear(&mut self, port: u32) -> bool;
    fn upcall(&self) -> bool;
    /// One scan, whose handler masks the ports in `hold`. The ports that it was called for, in order.
    fn scan(&mut self, hold: &BTreeSet<u32>) -> (Vec<u32>, bool);
}

struct Bitmaps {
    domain: TwoLevel<Memory>,
    cpu: Vcpu<Memory>,
    xen: xen::TwoLevel,
}

impl Bitmaps {
    fn new(vcpu: usize) -> Self {
        let info = Memory::new(1);
        let upcall = Upcall::in_shared_info(info.clone(), vcpu).unwrap();
        let this = Self {
            domain: TwoLevel::new(info.clone()).unwrap(),
            cpu: Vcpu::new(upcall),
            xen: xen::TwoLevel {
                info,
                vcpu: vcpu * 64,
            },
        };
        (0..4096).for_each(|port| this.cpu.bind(port));
        this
    }
}

impl Abi for Bitmaps {
    fn send(&mut self, port: u32) {
        self.xen.send(port);
    }
    fn mask(&mut self, port: u32) {
        self.domain.mask(port);
        assert!(self.domain.is_masked(port));
    }
    fn unmask(&mut self, port: u32) {
        if self.domain.unmask(port) == Unmasked::Hypercall {
            self.xen.unmask(port);
        }
        assert!(!self.domain.is_masked(port));
    }
    fn clear(&mut self, port: u32) -> bool {
        self.domain.clear(port)
    }
    fn upcall(&self) -> bool {
        self.cpu.upcall().pending()
    }
    fn scan(&mut self, hold: &BTreeSet<u32>) -> (Vec<u32>, bool) {
        let mut seen = Vec::new();
        let more = self.domain.scan(&self.cpu, |port| {
            seen.push(port);
            if hold.contains(&port) {
                self.domain.mask(port);
            }
        });
        (seen, more)
    }
}

struct Fifos {
    domain: EventArray<Memory>,
    cpu: Queues<Memory>,
    xen: xen::Fifo,
    budget: u32,
}

fn priority(port: u32) -> u32 {
    port * 7 % 16
}

impl Fifos {
    fn new(pages: usize, budget: u32) -> Self {
        let (array, control) = (Memory::new(pages), Memory::new(1));
        let domain = EventArray::new(array.clone());
        for page in 0..pages {
            assert_eq!(domain.next_page(), Some(page * 4096));
            domain.page_added();
        }
        assert_eq!(domain.next_page(), None);
        let upcall = Upcall::new(control.clone(), 64).unwrap();
        Self {
            domain,
            cpu: Queues::new(control.clone(), 256, upcall).unwrap(),
            xen: xen::Fifo::new(array, control, 256, 64, priority),
            budget,
        }
    }
}

impl Abi for Fifos {
    fn send(&mut self, port: u32) {
        self.xen.send(port);
    }
    fn mask(&mut self, port: u32) {
        self.domain.mask(port);
        assert!(self.domain.is_masked(port));
    }
    fn unmask(&mut self, port: u32) {
        if self.domain.unmask(port) == Unmasked::Hypercall {
            self.xen.unmask(port);
        }
        assert!(!self.domain.is_masked(port));
    }
    fn clear(&mut self, port: u32) -> bool {
        self.domain.clear(port)
    }
    fn upcall(&self) -> bool {
        self.cpu.upcall().pending()
    }
    fn scan(&mut self, hold: &BTreeSet<u32>) -> (Vec<u32>, bool) {
        let mut seen = Vec::new();
        let domain = &self.domain;
        let more = domain.scan(&mut self.cpu, self.budget, |port| {
            seen.push(port);
            if hold.contains(&port) {
                domain.mask(port);
            }
        });
        (seen, more.unwrap())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(u32),
    Mask(u32),
    Unmask(u32),
    Clear(u32),
    /// Scan if there is an upcall, with a handler that masks the listed ports.
    Scan(BTreeSet<u32>),
}

/// `ports`: a few, so that they meet.
fn steps(ports: &'static [u32]) -> impl Strategy<Value = Vec<Step>> {
    let port = prop::sample::select(ports);
    prop::collection::vec(
        prop_oneof![
            4 => port.clone().prop_map(Step::Send),
            1 => port.clone().prop_map(Step::Mask),
            2 => port.clone().prop_map(Step::Unmask),
            1 => port.clone().prop_map(Step::Clear),
            2 => prop::collection::btree_set(port, 0..3).prop_map(Step::Scan),
        ],
        0..200,
    )
}

/// What the domain knows: events that nobody has handled yet, and masks.
struct Ledger {
    owed: BTreeSet<u32>,
    masked: BTreeSet<u32>,
    /// The last scan asked for another one.
    more: bool,
}

impl Ledger {
    fn scan(&mut self, abi: &mut impl Abi, hold: &BTreeSet<u32>) {
        let (seen, more) = abi.scan(hold);
        for port in seen {
            assert!(
                self.owed.remove(&port),
                "port {port} was handled without an event"
            );
            assert!(
                !self.masked.contains(&port),
                "port {port} was handled through its mask"
            );
            if hold.contains(&port) {
                self.masked.insert(port);
            }
        }
        self.more = more;
    }
}

fn run(abi: &mut impl Abi, ports: &[u32], steps: Vec<Step>) {
    let masked = ports.iter().copied().collect();
    let mut ledger = Ledger {
        owed: BTreeSet::new(),
        masked,
        more: false,
    };
    for step in steps {
        match step {
            Step::Send(port) => {
                abi.send(port);
                ledger.owed.insert(port);
            }
            Step::Mask(port) => {
                abi.mask(port);
                ledger.masked.insert(port);
            }
            Step::Unmask(port) => {
                abi.unmask(port);
                ledger.masked.remove(&port);
            }
            Step::Clear(port) => assert_eq!(abi.clear(port), ledger.owed.remove(&port)),
            Step::Scan(hold) => {
                if ledger.more || abi.upcall() {
                    ledger.scan(abi, &hold);
                }
            }
        }
    }
    for &port in ports {
        abi.unmask(port);
        ledger.masked.remove(&port);
    }
    for _ in 0..1000 {
        if !(ledger.more || abi.upcall()) {
            break;
        }
        ledger.scan(abi, &BTreeSet::new());
    }
    assert!(!ledger.more && !abi.upcall(), "scans do not end");
    assert_eq!(ledger.owed, BTreeSet::new(), "events were lost");
}

const FEW: &[u32] = &[1, 2, 31, 32, 63, 64, 65, 127, 2047, 4095];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn two_level(steps in steps(FEW), vcpu in 0_usize..32) {
        run(&mut Bitmaps::new(vcpu), FEW, steps);
    }

    #[test]
    fn fifo(steps in steps(FEW), budget in 1_u32..20) {
        run(&mut Fifos::new(4, budget), FEW, steps);
    }
}

/// Higher priorities first, and in the order of sending within one.
#[test]
fn fifo_serves_by_priority() {
    let mut fifo = Fifos::new(1, 100);
    let ports = [16, 7, 32, 1, 48, 17];
    for port in ports {
        fifo.unmask(port);
        fifo.send(port);
    }
    let mut expected = ports.to_vec();
    expected.sort_by_key(|&port| priority(port));
    assert_eq!(fifo.scan(&BTreeSet::new()), (expected, false));
}

/// A port that is bound to another CPU is left for that one.
#[test]
fn two_level_leaves_ports_of_others() {
    let mut events = Bitmaps::new(0);
    for port in [5, 6] {
        events.unmask(port);
        events.send(port);
    }
    events.cpu.unbind(5);
    assert_eq!(events.scan(&BTreeSet::new()).0, [6]);
    assert!(events.domain.is_pending(5));
}

/// What Xen never does, but memory could hold.
#[test]
fn fifo_reports_links_beyond_the_array() {
    for bad in [0, 1024, 131_071, u32::MAX] {
        let mut fifo = Fifos::new(1, 100);
        let word = |at: usize| fifo.xen.control.word(256 + at);
        word(8).store(bad, std::sync::atomic::Ordering::Relaxed);
        word(0).store(1, std::sync::atomic::Ordering::Relaxed);
        let outcome = fifo
            .domain
            .scan(&mut fifo.cpu, 100, |_| panic!("nothing was sent"));
        assert_eq!(outcome.map_err(|bad| bad.0), Err(bad));
        assert_eq!(
            fifo.domain
                .scan(&mut fifo.cpu, 100, |_| panic!("nothing was sent")),
            Ok(false)
        );
    }
}

/// Ports beyond what there is change nothing and are never masked or pending.
#[test]
fn ports_beyond_are_ignored() {
    let mut fifo = Fifos::new(1, 10);
    let mut bitmaps = Bitmaps::new(0);
    for port in [1024, 4096, 1 << 17, u32::MAX] {
        assert_eq!(fifo.domain.unmask(port), Unmasked::Done);
        fifo.domain.mask(port);
        assert!(!fifo.clear(port) && !fifo.domain.is_masked(port) && !fifo.domain.is_pending(port));
        if port >= 4096 {
            assert_eq!(bitmaps.domain.unmask(port), Unmasked::Done);
            bitmaps.domain.mask(port);
            assert!(!bitmaps.clear(port) && !bitmaps.domain.is_masked(port));
            bitmaps.cpu.bind(port);
            bitmaps.cpu.unbind(port);
        }
    }
    assert!(Upcall::in_shared_info(Memory::new(1), 32).is_none());
    assert!(Upcall::new(Memory::new(1), 4040).is_none());
    let upcall = || Upcall::new(Memory::new(1), 0).unwrap();
    assert!(
        Queues::new(Memory::new(2), 4096 - 64, upcall()).is_none(),
        "crosses a page"
    );
    assert!(
        Queues::new(Memory::new(1), 4, upcall()).is_none(),
        "not aligned"
    );
}
