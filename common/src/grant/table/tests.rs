// SPDX-License-Identifier: MIT OR Apache-2.0
use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::test_memory::TestMemory;

/// Xen's side of one entry: maps for a domain if the entry allows it.
trait Xen {
    fn header(&self, gref: u32) -> &Word;
    fn frame(&self, gref: u32) -> u64;
    fn marks(&self, gref: u32) -> u16;
    fn set_marks(&self, gref: u32, marks: u16);

    fn map(&self, gref: u32, domid: u16, write: bool) -> Option<u64> {
        let head = self.header(gref).load(Ordering::Acquire);
        let [flags, owner]: [u16; 2] = zerocopy::transmute!(head);
        let readonly = flags & 4 != 0;
        if flags & 3 != 1 || owner != domid || (write && readonly) {
            return None;
        }
        let marks = if write { 0x18 } else { 0x08 };
        self.set_marks(gref, self.marks(gref) | marks);
        Some(self.frame(gref))
    }
}

struct V1(TestMemory);
struct V2(TestMemory, TestMemory);

impl Xen for V1 {
    fn header(&self, gref: u32) -> &Word {
        self.0.word(gref as usize * 8)
    }
    fn frame(&self, gref: u32) -> u64 {
        self.0
            .word(gref as usize * 8 + 4)
            .load(Ordering::Relaxed)
            .into()
    }
    fn marks(&self, gref: u32) -> u16 {
        self.header(gref).load(Ordering::Relaxed) as u16 & 0x18
    }
    fn set_marks(&self, gref: u32, marks: u16) {
        let head = self.header(gref);
        head.store(
            head.load(Ordering::Relaxed) & !0x18 | u32::from(marks),
            Ordering::Relaxed,
        );
    }
}

impl Xen for V2 {
    fn header(&self, gref: u32) -> &Word {
        self.0.word(gref as usize * 16)
    }
    fn frame(&self, gref: u32) -> u64 {
        let at = gref as usize * 16 + 8;
        let low = self.0.word(at).load(Ordering::Relaxed);
        let high = self.0.word(at + 4).load(Ordering::Relaxed);
        u64::from(high) << 32 | u64::from(low)
    }
    fn marks(&self, gref: u32) -> u16 {
        let pair = self.1.word(gref as usize / 2 * 4).load(Ordering::Relaxed);
        (pair >> (gref % 2 * 16)) as u16
    }
    fn set_marks(&self, gref: u32, marks: u16) {
        let word = self.1.word(gref as usize / 2 * 4);
        let shift = gref % 2 * 16;
        let others = word.load(Ordering::Relaxed) & !(0xffff << shift);
        word.store(others | u32::from(marks) << shift, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Grant {
        gref: u32,
        domid: u16,
        gfn: u64,
        write: bool,
    },
    End {
        gref: u32,
    },
    Map {
        gref: u32,
        domid: u16,
        write: bool,
    },
    Unmap {
        gref: u32,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gref = 0_u32..6;
    let domid = 0_u16..2;
    let gfn = prop_oneof![0_u64..1 << 32, any::<u64>()];
    prop::collection::vec(
        prop_oneof![
            (gref.clone(), domid.clone(), gfn, any::<bool>()).prop_map(
                |(gref, domid, gfn, write)| Step::Grant {
                    gref,
                    domid,
                    gfn,
                    write
                }
            ),
            gref.clone().prop_map(|gref| Step::End { gref }),
            (gref.clone(), domid, any::<bool>()).prop_map(|(gref, domid, write)| Step::Map {
                gref,
                domid,
                write
            }),
            gref.prop_map(|gref| Step::Unmap { gref }),
        ],
        0..120,
    )
}

#[derive(Clone, Copy, PartialEq)]
struct Granted {
    domid: u16,
    gfn: u64,
    write: bool,
}

/// Runs the steps on a table and on a map of what it ought to hold. `old_stays`: whether an end that
/// found the page in use leaves the peer able to map it again (version 1).
fn run(table: &impl GrantTable, xen: &impl Xen, steps: Vec<Step>, limit: u64, old_stays: bool) {
    let mut granted = BTreeMap::new();
    let mut mapped = BTreeMap::new();
    for step in steps {
        match step {
            Step::Grant {
                gref,
                domid,
                gfn,
                write,
            } => {
                let access = if write {
                    Access::ReadWrite
                } else {
                    Access::ReadOnly
                };
                let busy = granted.contains_key(&gref) || mapped.contains_key(&gref);
                let expected = match (gfn > limit, busy) {
                    (true, _) => Err(GrantError::Frame(gfn)),
                    (_, true) => Err(GrantError::InUse(gref)),
                    _ => Ok(()),
                };
                assert_eq!(table.grant(gref, domid, gfn, access), expected);
                if expected.is_ok() {
                    granted.insert(gref, Granted { domid, gfn, write });
                }
            }
            Step::End { gref } => {
                let in_use = mapped.contains_key(&gref);
                let expected = if in_use {
                    Err(EndError::InUse(gref))
                } else {
                    Ok(())
                };
                assert_eq!(table.end(gref), expected);
                if !(in_use && old_stays) {
                    granted.remove(&gref);
                }
            }
            Step::Map { gref, domid, write } => {
                let expected = granted
                    .get(&gref)
                    .filter(|g| g.domid == domid && (g.write || !write))
                    .map(|g| g.gfn);
                assert_eq!(xen.map(gref, domid, write), expected);
                if expected.is_some() {
                    mapped.insert(gref, ());
                }
            }
            Step::Unmap { gref } => {
                if mapped.remove(&gref).is_some() {
                    xen.set_marks(gref, 0);
                }
            }
        }
        for gref in 0..6 {
            assert_eq!(
                xen.marks(gref) != 0,
                mapped.contains_key(&gref),
                "marks are Xen's"
            );
        }
    }
}

proptest! {
    #[test]
    fn version_1(steps in steps()) {
        let memory = TestMemory::new(1);
        run(&TableV1::new(memory.clone()), &V1(memory), steps, u32::MAX.into(), true);
    }

    #[test]
    fn version_2(steps in steps()) {
        let (memory, status) = (TestMemory::new(1), TestMemory::new(1));
        let table = TableV2::new(memory.clone(), status.clone());
        run(&table, &V2(memory, status), steps, u64::MAX, false);
    }
}

#[test]
fn entries_are_counted_and_bounded() {
    let v1 = TableV1::new(TestMemory::new(2));
    assert_eq!(v1.entries(), 1024);
    assert_eq!(
        v1.grant(1024, 0, 0, Access::ReadOnly),
        Err(GrantError::NoEntry(1024))
    );
    assert_eq!(v1.end(u32::MAX), Err(EndError::NoEntry(u32::MAX)));
    assert_eq!(v1.grant(1023, 0, 0, Access::ReadOnly), Ok(()));

    let v2 = TableV2::new(TestMemory::new(9), TestMemory::new(1));
    assert_eq!(
        v2.entries(),
        2048,
        "one status frame serves eight frames of entries"
    );
    assert_eq!(
        v2.grant(2048, 0, 0, Access::ReadOnly),
        Err(GrantError::NoEntry(2048))
    );
    assert_eq!(v2.end(u32::MAX), Err(EndError::NoEntry(u32::MAX)));
    assert_eq!(v2.grant(2047, 0, 0, Access::ReadOnly), Ok(()));
    assert_eq!(v2.end(2047), Ok(()));
}

/// The words that Xen reads, bit for bit.
#[test]
fn words_are_as_the_header_says() {
    let memory = TestMemory::new(1);
    let table = TableV1::new(memory.clone());
    table
        .grant(3, 0x1234, 0x89ab_cdef, Access::ReadOnly)
        .unwrap();
    assert_eq!(memory.word(24).load(Ordering::Relaxed), 0x1234_0005);
    assert_eq!(memory.word(28).load(Ordering::Relaxed), 0x89ab_cdef);
    table.end(3).unwrap();
    assert_eq!(memory.word(24).load(Ordering::Relaxed) & 0xffff, 0);
}
