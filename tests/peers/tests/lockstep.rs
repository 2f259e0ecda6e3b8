// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same steps on four pairs of sides: ours and C's, in all combinations, must show the same.
#![cfg(not(loom))]

#[cfg(not(xen_headers))]
#[test]
#[ignore = "xen/io/ring.h not found: install libxen-dev or set PORTICO_XEN_INCLUDE"]
fn four_pairs_agree() {}

#[cfg(xen_headers)]
mod pairs {
    use portico_core::block::wire::{Request, RequestHead, Response, WireSegment};
    use portico_peers::c::{CBack, CFront};
    use portico_peers::memory::Memory;
    use portico_peers::sides::{Back, Front, Overflow, RustBack, RustFront};
    use proptest::prelude::*;

    /// A step of either side; counts say how many entries.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        FrontPut(u8),
        FrontPush,
        FrontGet(u8),
        FrontCheck,
        BackGet(u8),
        BackPut(u8),
        BackPush,
        BackCheck,
    }

    /// What a step showed.
    #[derive(Debug, PartialEq)]
    enum Shown {
        Put(Vec<bool>),
        Notify(bool),
        Requests(Vec<Result<Option<Request>, Overflow>>),
        Responses(Vec<Result<Option<Response>, Overflow>>),
        Answered(u8),
        Work(Result<bool, Overflow>),
    }

    fn request(id: u64) -> Request {
        let mut seg = [WireSegment::default(); 11];
        for (n, seg) in seg.iter_mut().enumerate() {
            *seg = WireSegment {
                gref: id as u32 ^ n as u32,
                first_sect: 1,
                last_sect: 6,
                pad: 0,
            };
        }
        let head = RequestHead {
            operation: id as u8 & 1,
            nr_segments: 11,
            handle: 51712,
            pad: 0,
            id,
            sector_number: id.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        Request { head, seg }
    }

    fn run<F: Front, B: Back>(steps: &[Step], start: u32, pages: usize) -> Vec<Shown> {
        let memory = Memory::new(pages);
        let mut front = F::create(&memory, start);
        let mut back = B::attach(&memory);
        let (mut id, mut unanswered) = (0, std::collections::VecDeque::new());
        let mut shown = vec![Shown::Answered(front.free() as u8)];
        for &step in steps {
            shown.push(match step {
                Step::FrontPut(n) => Shown::Put(
                    (0..n)
                        .map(|_| {
                            id += 1;
                            front.put(&request(id))
                        })
                        .collect(),
                ),
                Step::FrontPush => Shown::Notify(front.push()),
                Step::FrontGet(n) => Shown::Responses((0..n).map(|_| front.get()).collect()),
                Step::FrontCheck => Shown::Work(front.final_check()),
                Step::BackGet(n) => {
                    let got: Vec<_> = (0..n).map(|_| back.get()).collect();
                    unanswered.extend(got.iter().filter_map(|r| r.ok().flatten()));
                    Shown::Requests(got)
                }
                Step::BackPut(n) => {
                    let answers = unanswered.len().min(n.into());
                    for request in unanswered.drain(..answers) {
                        back.put(&Response {
                            id: request.head.id,
                            operation: request.head.operation,
                            status: -1,
                            ..Response::default()
                        });
                    }
                    Shown::Answered(answers as u8)
                }
                Step::BackPush => Shown::Notify(back.push()),
                Step::BackCheck => Shown::Work(back.final_check()),
            });
            shown.push(Shown::Answered(front.free() as u8));
        }
        shown
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(
            prop_oneof![
                (1_u8..20).prop_map(Step::FrontPut),
                Just(Step::FrontPush),
                (1_u8..20).prop_map(Step::FrontGet),
                Just(Step::FrontCheck),
                (1_u8..20).prop_map(Step::BackGet),
                (1_u8..20).prop_map(Step::BackPut),
                Just(Step::BackPush),
                Just(Step::BackCheck),
            ],
            0..150,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn four_pairs_agree(
            steps in steps(),
            start in prop_oneof![Just(0), u32::MAX - 80..=u32::MAX, any::<u32>()],
            order in 0_u32..3,
        ) {
            let pages = 1 << order;
            let c = run::<CFront, CBack>(&steps, start, pages);
            prop_assert_eq!(&run::<RustFront, CBack>(&steps, start, pages), &c);
            prop_assert_eq!(&run::<CFront, RustBack>(&steps, start, pages), &c);
            prop_assert_eq!(&run::<RustFront, RustBack>(&steps, start, pages), &c);
        }
    }
}
