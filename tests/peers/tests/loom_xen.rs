// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domain and hypervisor at once, in every interleaving: an event is not lost, and a grant is not ended
//! while the peer holds the page.
#![cfg(loom)]

use loom::thread;
use portico_core::event::fifo::{EventArray, Queues};
use portico_core::event::two_level::{TwoLevel, Vcpu};
use portico_core::event::upcall::Upcall;
use portico_core::event::Unmasked;
use portico_core::grant::{Access, GrantTable, TableV1, TableV2};
use portico_core::shared::Ordering;
use portico_peers::memory::Memory;
use portico_peers::models::{catches, explore, explore_bounded};
use portico_peers::xen;

/// A domain on bitmaps, port 1 masked and bound.
fn bitmaps() -> (TwoLevel<Memory>, Vcpu<Memory>, xen::TwoLevel) {
    let info = Memory::new(1);
    let domain = TwoLevel::new(info.clone()).unwrap();
    let cpu = Vcpu::new(Upcall::in_shared_info(info.clone(), 0).unwrap());
    cpu.bind(1);
    cpu.bind(40);
    (domain, cpu, xen::TwoLevel { info, vcpu: 0 })
}

/// The domain takes the mask away while an event comes.
fn two_level_unmask() {
    let (domain, cpu, xen) = bitmaps();
    let sender = thread::spawn(move || {
        xen.send(1);
        xen
    });
    let unmasked = domain.unmask(1);
    let xen = sender.join().unwrap();
    if unmasked == Unmasked::Hypercall {
        xen.unmask(1);
    }
    assert!(
        cpu.upcall().pending(),
        "the event is pending without an upcall"
    );
    let mut seen = 0;
    assert!(!domain.scan(&cpu, |_| seen += 1));
    assert_eq!(seen, 1);
}

/// The domain scans while events come; a cause is written before its event is sent.
fn two_level_scan() {
    let (domain, cpu, xen) = bitmaps();
    for port in [1, 40] {
        assert_eq!(domain.unmask(port), Unmasked::Done);
    }
    xen.send(1);
    let cause = Memory::new(1);
    let sender = thread::spawn({
        let cause = cause.clone();
        move || {
            cause.word(0).store(1, Ordering::Relaxed);
            xen.send(1);
            xen.send(40);
        }
    });
    let (mut ports, mut saw_cause) = (Vec::new(), false);
    let mut handle = |port| {
        ports.push(port);
        saw_cause |= port == 1 && cause.word(0).load(Ordering::Relaxed) == 1;
    };
    domain.scan(&cpu, &mut handle);
    sender.join().unwrap();
    while cpu.upcall().pending() {
        domain.scan(&cpu, &mut handle);
    }
    assert!(
        saw_cause,
        "an event merged into one whose cause was looked for already"
    );
    assert!(ports.contains(&40), "the second port was lost");
}

/// A domain on queues; the ports are linked to one.
fn fifos() -> (EventArray<Memory>, Queues<Memory>, xen::Fifo) {
    let (array, control) = (Memory::new(1), Memory::new(1));
    let domain = EventArray::new(array.clone());
    assert_eq!(domain.next_page(), Some(0));
    domain.page_added();
    let upcall = Upcall::new(control.clone(), 0).unwrap();
    let cpu = Queues::new(control.clone(), 64, upcall).unwrap();
    (domain, cpu, xen::Fifo::new(array, control, 64, 0, |_| 7))
}

/// The domain takes words off a queue while Xen links behind them.
fn fifo_scan() {
    let (domain, mut cpu, mut xen) = fifos();
    for port in [1, 2] {
        assert_eq!(domain.unmask(port), Unmasked::Done);
    }
    xen.send(1);
    let sender = thread::spawn(move || {
        xen.send(2);
        xen.send(1);
    });
    let mut seen = [0; 3];
    let mut more = domain
        .scan(&mut cpu, 4, |port| seen[port as usize] += 1)
        .unwrap();
    sender.join().unwrap();
    while more || cpu.upcall().pending() {
        more = domain
            .scan(&mut cpu, 4, |port| seen[port as usize] += 1)
            .unwrap();
    }
    assert_eq!(seen[2], 1, "port 2 was lost");
    assert!((1..=2).contains(&seen[1]), "port 1 came {} times", seen[1]);
    assert!(!domain.is_pending(1), "port 1 was lost");
}

/// The domain takes the mask away while an event comes and while Xen links behind the port.
fn fifo_unmask() {
    let (domain, mut cpu, mut xen) = fifos();
    assert_eq!(domain.unmask(2), Unmasked::Done);
    assert_eq!(domain.unmask(1), Unmasked::Done);
    xen.send(1);
    domain.mask(1);
    domain.clear(1);
    // Port 1 is masked, not pending, and still linked: the tail that Xen links behind.
    let sender = thread::spawn(move || {
        xen.send(2);
        xen.send(1);
        xen
    });
    let unmasked = domain.unmask(1);
    let mut xen = sender.join().unwrap();
    if unmasked == Unmasked::Hypercall {
        xen.unmask(1);
    }
    let (mut seen, mut more) = ([0; 3], false);
    while more || cpu.upcall().pending() {
        more = domain
            .scan(&mut cpu, 4, |port| seen[port as usize] += 1)
            .unwrap();
    }
    assert_eq!(seen, [0, 1, 1], "an event was lost");
}

/// The domain ends access while the peer maps; the peer reads what the page holds.
fn grant_v1() {
    let (table, page) = (Memory::new(1), Memory::new(1));
    let domain = TableV1::new(table.clone());
    page.word(0).store(1, Ordering::Relaxed);
    domain.grant(8, 0, 7, Access::ReadWrite).unwrap();
    let peer = thread::spawn({
        let (table, page) = (table.clone(), page.clone());
        move || {
            let frame = xen::map_v1(&table, 8, 0, true)?;
            assert_eq!(
                page.word(0).load(Ordering::Relaxed),
                1,
                "the page was taken back"
            );
            page.word(4).store(1, Ordering::Relaxed);
            xen::unmap_v1(&table, 8);
            Some(frame)
        }
    });
    let ended = domain.end(8).is_ok();
    let written = ended && page.word(4).load(Ordering::Relaxed) == 1;
    if ended {
        page.word(0).store(0, Ordering::Relaxed);
    }
    let mapped = peer.join().unwrap();
    assert!(mapped.is_none_or(|frame| frame == 7));
    if ended {
        assert_eq!(
            written,
            mapped.is_some(),
            "access ended before the peer's last write was seen"
        );
    }
    assert_eq!(domain.end(8), Ok(()));
}

fn grant_v2() {
    let (table, status, page) = (Memory::new(1), Memory::new(1), Memory::new(1));
    let domain = TableV2::new(table.clone(), status.clone());
    page.word(0).store(1, Ordering::Relaxed);
    domain.grant(9, 0, 7, Access::ReadWrite).unwrap();
    let peer = thread::spawn({
        let (table, status, page) = (table.clone(), status.clone(), page.clone());
        move || {
            let frame = xen::map_v2(&table, &status, 9, 0, true)?;
            assert_eq!(
                page.word(0).load(Ordering::Relaxed),
                1,
                "the page was taken back"
            );
            page.word(4).store(1, Ordering::Relaxed);
            xen::unmap_v2(&status, 9);
            Some(frame)
        }
    });
    let ended = domain.end(9).is_ok();
    let written = ended && page.word(4).load(Ordering::Relaxed) == 1;
    if ended {
        page.word(0).store(0, Ordering::Relaxed);
    }
    let mapped = peer.join().unwrap();
    assert!(mapped.is_none_or(|frame| frame == 7));
    if ended {
        assert_eq!(
            written,
            mapped.is_some(),
            "access ended before the peer's last write was seen"
        );
    }
    assert_eq!(domain.end(9), Ok(()));
}

#[test]
fn two_level_loses_no_event() {
    explore(two_level_unmask);
    explore(two_level_scan);
}

#[test]
fn fifo_loses_no_event_while_it_scans() {
    explore_bounded(fifo_scan);
}

#[test]
fn fifo_loses_no_event_while_it_unmasks() {
    explore_bounded(fifo_unmask);
}

#[test]
fn a_page_is_not_taken_back_while_the_peer_has_it() {
    explore(grant_v1);
    explore(grant_v2);
}

/// The models see what they are for: where a full barrier is needed, they fail without it.
#[test]
fn missing_barriers_are_caught() {
    assert!(catches(two_level_unmask), "two_level_unmask");
    assert!(catches(grant_v2), "grant_v2");
}
