// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's ring beside Xen's macros in C, at the same work: a driver fills a batch of requests, a
//! back end in the same thread answers them, the driver takes the answers (`peer_bench` in `c/ring.c`).
//!
//! | name | front end | back end |
//! |---|---|---|
//! | `rust front` | the core | C |
//! | `rust both` | the core | the core |
//! | `c` | C | C |
//!
//! `cargo bench -p portico-peers --bench ring`; the last lines say nanoseconds per request, measured in
//! turns, and ours as a share of C.

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
    use portico_peers::c::{self, CBack, CFront};
    use portico_peers::memory::Memory;
    use portico_peers::sides::{Back, Front, RustBack, RustFront};

    const BATCHES: [u32; 3] = [1, 8, 32];

    /// Both sides of a ring, with the work that `peer_bench` does.
    trait Pair {
        const NAME: &'static str;
        fn new() -> Self;
        fn run(&mut self, rounds: u64, batch: u32) -> u64;
    }

    struct Rust<B>(RustFront, B);
    struct C(CFront, CBack);

    /// A back end that answers all that is there, as `peer_back_answer` does.
    trait Answer: Back {
        const NAME: &'static str;
        fn answer(&mut self) -> bool;
    }

    impl Answer for CBack {
        const NAME: &'static str = "rust front";
        fn answer(&mut self) -> bool {
            self.answer()
        }
    }

    impl Answer for RustBack {
        const NAME: &'static str = "rust both";
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

    impl Pair for C {
        const NAME: &'static str = "c";

        fn new() -> Self {
            let memory = Memory::new(1);
            let front = CFront::create(&memory, 0);
            Self(front, CBack::attach(&memory))
        }

        fn run(&mut self, rounds: u64, batch: u32) -> u64 {
            c::bench(&mut self.0, &mut self.1, rounds, batch)
        }
    }

    impl<B: Answer> Pair for Rust<B> {
        const NAME: &'static str = B::NAME;

        fn new() -> Self {
            let memory = Memory::new(1);
            let front = <RustFront as Front>::create(&memory, 0);
            Self(front, B::attach(&memory))
        }

        #[inline(never)]
        fn run(&mut self, rounds: u64, batch: u32) -> u64 {
            let Self(front, back) = self;
            let (mut sum, mut id) = (0_u64, 0_u64);
            for _ in 0..rounds {
                for _ in 0..batch {
                    let Some(mut entry) = front.next_entry() else {
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
                sum += u64::from(front.push());
                sum += u64::from(back.answer());
                loop {
                    while let Ok(Some(response)) = front.next_response() {
                        sum += response.id + u64::from(response.status == RSP_OKAY);
                    }
                    if front.final_check() != Ok(true) {
                        break;
                    }
                }
            }
            sum
        }
    }

    fn criterion<P: Pair>(c: &mut Criterion) {
        for batch in BATCHES {
            let mut group = c.benchmark_group(format!("ring, batches of {batch}"));
            group.throughput(Throughput::Elements(batch.into()));
            group.bench_function(BenchmarkId::from_parameter(P::NAME), |b| {
                let mut pair = P::new();
                b.iter_custom(|rounds| {
                    let start = Instant::now();
                    black_box(pair.run(rounds, batch));
                    start.elapsed()
                });
            });
        }
    }

    /// Nanoseconds per request.
    fn time(pair: &mut impl Pair, batch: u32) -> f64 {
        let rounds = 400_000 / u64::from(batch);
        let start = Instant::now();
        black_box(pair.run(rounds, batch));
        start.elapsed().as_secs_f64() * 1e9 / (rounds * u64::from(batch)) as f64
    }

    /// Runs all three in turns, so that what disturbs one disturbs the others, and prints medians.
    fn in_turns(batch: u32) {
        let (mut front, mut both, mut c) =
            (Rust::<CBack>::new(), Rust::<RustBack>::new(), C::new());
        let mut times: [Vec<f64>; 3] = Default::default();
        for _ in 0..41 {
            times[0].push(time(&mut front, batch));
            times[1].push(time(&mut both, batch));
            times[2].push(time(&mut c, batch));
        }
        let [front, both, c] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        let (front_ratio, both_ratio) = (front / c, both / c);
        println!(
            "ring, batches of {batch:2}: C {c:5.2} ns/request, our front {front:5.2} (ratio \
             {front_ratio:.2}), our front and back {both:5.2} (ratio {both_ratio:.2})"
        );
    }

    pub(super) fn main() {
        // The work is the same: the sums over ids, answers and notifications agree.
        for batch in BATCHES {
            let sum = C::new().run(1000, batch);
            assert_eq!(Rust::<CBack>::new().run(1000, batch), sum);
            assert_eq!(Rust::<RustBack>::new().run(1000, batch), sum);
        }
        // `count NAME BATCH ROUNDS` does nothing but the work, for tools that count instructions.
        let args: Vec<_> = std::env::args().collect();
        if let [_, count, name, batch, rounds, ..] = &args[..] {
            if count == "count" {
                let (batch, rounds) = (batch.parse().unwrap(), rounds.parse().unwrap());
                let sum = match name.as_str() {
                    "c" => C::new().run(rounds, batch),
                    "front" => Rust::<CBack>::new().run(rounds, batch),
                    _ => Rust::<RustBack>::new().run(rounds, batch),
                };
                return println!("{sum}");
            }
        }
        let mut c = Criterion::default().configure_from_args();
        criterion::<Rust<CBack>>(&mut c);
        criterion::<Rust<RustBack>>(&mut c);
        criterion::<C>(&mut c);
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
