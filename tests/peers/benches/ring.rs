// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's ring beside Xen's macros in C, at the same work: a driver fills a batch of requests, a
//! back end in the same thread answers them, the driver takes the answers.
//!
//! | name | front end | back end |
//! |---|---|---|
//! | `rust front` | the core | C |
//! | `rust both` | the core | the core |
//! | `c` | C | C |
//!
//! The core's back end, which is for tests and tools, copies each request whole before it looks at it.
//! `RING_COPY_REQUEST` means to do so, but its `volatile` stands at the pointer, not at what it points
//! to, so a compiler copies what is used and `rust both` is the slower one.
//!
//! Several rings are served in turn, a step on each, so that no side reads what the other has not yet
//! written out to its cache. `cargo bench -p portico-peers --bench ring`; the last lines say nanoseconds
//! per request, the fastest of runs in turns, and ours as a share of C.

#[cfg(not(xen_headers))]
fn main() {
    println!("left out: xen/io/ring.h not found, install libxen-dev or set PORTICO_XEN_INCLUDE");
}

#[cfg(xen_headers)]
mod ring {
    use std::hint::black_box;
    use std::time::Instant;

    use criterion::{BenchmarkId, Criterion, Throughput};
    use portico_core::block::wire::{RequestHead, Response, WireSegment, OP_WRITE, RSP_OKAY};
    use portico_peers::c::{CBack, CFront};
    use portico_peers::memory::Memory;
    use portico_peers::sides::{Back, Front, RustBack, RustFront};

    const BATCHES: [u32; 3] = [1, 8, 32];
    const RINGS: u64 = 8;

    /// A driver, with the work of `peer_front_submit` and `peer_front_reap`.
    trait Driver: Front {
        fn submit(&mut self, id: u64, batch: u32) -> bool;
        fn reap(&mut self) -> u64;
    }

    impl Driver for CFront {
        fn submit(&mut self, id: u64, batch: u32) -> bool {
            self.submit(id, batch)
        }
        fn reap(&mut self) -> u64 {
            self.reap()
        }
    }

    impl Driver for RustFront {
        #[inline(never)]
        fn submit(&mut self, mut id: u64, batch: u32) -> bool {
            for _ in 0..batch {
                let Some(mut entry) = self.next_entry() else {
                    break;
                };
                let head = RequestHead {
                    operation: OP_WRITE,
                    nr_segments: 1,
                    handle: 51712,
                    pad: 0,
                    id,
                    sector_number: id << 3,
                };
                entry.set(0, &head);
                entry.set(
                    24,
                    &WireSegment {
                        gref: id as u32,
                        first_sect: 0,
                        last_sect: 7,
                        pad: 0,
                    },
                );
                id += 1;
            }
            self.push()
        }

        #[inline(never)]
        fn reap(&mut self) -> u64 {
            let mut sum = 0;
            loop {
                while let Ok(Some(response)) = self.next_response() {
                    sum += response.id + u64::from(response.status == RSP_OKAY);
                }
                if self.final_check() != Ok(true) {
                    return sum;
                }
            }
        }
    }

    /// A back end, with the work of `peer_back_answer`.
    trait Answer: Back {
        fn answer(&mut self) -> bool;
    }

    impl Answer for CBack {
        fn answer(&mut self) -> bool {
            self.answer()
        }
    }

    impl Answer for RustBack {
        #[inline(never)]
        fn answer(&mut self) -> bool {
            loop {
                while let Ok(Some(request)) = self.next_request() {
                    self.put_response(&Response {
                        id: request.head.id,
                        operation: request.head.operation,
                        status: RSP_OKAY,
                        ..Response::default()
                    });
                }
                if self.final_check() != Ok(true) {
                    return self.push();
                }
            }
        }
    }

    /// Rings with both their ends.
    struct Rings<F, B>(Vec<(F, B)>);

    impl<F: Driver, B: Answer> Rings<F, B> {
        fn new() -> Self {
            let ring = || {
                let memory = Memory::new(1);
                let front = F::create(&memory, 0);
                (front, B::attach(&memory))
            };
            Self((0..RINGS).map(|_| ring()).collect())
        }

        /// Each round: a batch over each ring and back. A sum over ids, answers and notifications.
        fn run(&mut self, rounds: u64, batch: u32) -> u64 {
            let mut sum = 0;
            for round in 0..rounds {
                for (front, _) in &mut self.0 {
                    sum += u64::from(front.submit(round * u64::from(batch), batch));
                }
                for (_, back) in &mut self.0 {
                    sum += u64::from(back.answer());
                }
                for (front, _) in &mut self.0 {
                    sum += front.reap();
                }
            }
            sum
        }

        fn criterion(c: &mut Criterion, name: &str) {
            for batch in BATCHES {
                let mut group = c.benchmark_group(format!("ring, batches of {batch}"));
                group.throughput(Throughput::Elements(RINGS * u64::from(batch)));
                group.bench_function(BenchmarkId::from_parameter(name), |b| {
                    let mut rings = Self::new();
                    b.iter_custom(|rounds| {
                        let start = Instant::now();
                        black_box(rings.run(rounds, batch));
                        start.elapsed()
                    });
                });
            }
        }

        /// Nanoseconds per request.
        fn time(&mut self, batch: u32) -> f64 {
            let rounds = 10_000 / u64::from(batch);
            let start = Instant::now();
            black_box(self.run(rounds, batch));
            start.elapsed().as_secs_f64() * 1e9 / (rounds * RINGS * u64::from(batch)) as f64
        }
    }

    type RustRings = Rings<RustFront, RustBack>;
    type MixedRings = Rings<RustFront, CBack>;
    type CRings = Rings<CFront, CBack>;

    /// Runs all three in turns, so that what disturbs one disturbs the others, and prints the fastest:
    /// what other programs on the machine take away comes on top.
    fn in_turns(batch: u32) {
        let (mut front, mut both, mut c) = (MixedRings::new(), RustRings::new(), CRings::new());
        let mut fastest = [f64::INFINITY; 3];
        for _ in 0..200 {
            let times = [front.time(batch), both.time(batch), c.time(batch)];
            for (fastest, time) in fastest.iter_mut().zip(times) {
                *fastest = time.min(*fastest);
            }
        }
        let [front, both, c] = fastest;
        println!(
            "ring, batches of {batch:2}: C {c:5.2} ns/request, our front {front:5.2} (ratio {:.2}), \
             our front and back {both:5.2} (ratio {:.2})",
            front / c,
            both / c
        );
    }

    pub(super) fn main() {
        // `count NAME BATCH ROUNDS` does nothing but the work, for tools that count instructions.
        let args: Vec<_> = std::env::args().collect();
        if let [_, count, name, batch, rounds, ..] = &args[..] {
            if count == "count" {
                let (batch, rounds) = (batch.parse().unwrap(), rounds.parse().unwrap());
                let sum = match name.as_str() {
                    "c" => CRings::new().run(rounds, batch),
                    "front" => MixedRings::new().run(rounds, batch),
                    _ => RustRings::new().run(rounds, batch),
                };
                return println!("{sum}");
            }
        }
        // The work is the same: the sums agree.
        for batch in BATCHES {
            let sum = CRings::new().run(1000, batch);
            assert_eq!(MixedRings::new().run(1000, batch), sum);
            assert_eq!(RustRings::new().run(1000, batch), sum);
        }
        let mut c = Criterion::default().configure_from_args();
        MixedRings::criterion(&mut c, "rust front");
        RustRings::criterion(&mut c, "rust both");
        CRings::criterion(&mut c, "c");
        c.final_summary();
        for batch in BATCHES {
            in_turns(batch);
        }
    }
}

#[cfg(xen_headers)]
fn main() {
    ring::main();
}
