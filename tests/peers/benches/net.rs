// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's net engines beside a driver in C on Xen's macros (`c/net_driver.c`), at the same work: take
//! packets of the operating system, grant their pages, write the ring, push once per batch, check the
//! answers, end the grants, give the packets back; and post pages, take frames, give their pages back. A
//! back end in C answers.
//!
//! Granting and ending are the same C functions for both. Several devices are served in turn.
//! `cargo bench -p portico-peers --bench net`; the last lines say nanoseconds per packet, the fastest of
//! runs in turns, and ours as a share of C.

#[cfg(not(xen_headers))]
fn main() {
    println!("left out: xen/io/ring.h not found, install libxen-dev or set PORTICO_XEN_INCLUDE");
}

#[cfg(xen_headers)]
#[path = "net/devices.rs"]
mod devices;

#[cfg(xen_headers)]
mod net {
    use std::hint::black_box;
    use std::time::Instant;

    use criterion::{BenchmarkId, Criterion, Throughput};

    use super::devices::{CRx, CTx, Device, RustRx, RustTx};

    /// Packets in a batch, and pages in a packet; with several, it is cut in segments by the other side.
    const SHAPES: [(u32, u32); 5] = [(1, 1), (8, 1), (32, 1), (1, 16), (8, 16)];
    const DEVICES: usize = 8;

    struct Devices<D>(Vec<D>);

    impl<D: Device> Devices<D> {
        fn new(pages: u32) -> Self {
            Self((0..DEVICES).map(|_| D::new(pages)).collect())
        }

        /// Each round: a batch on each device. A sum over what was seen.
        fn run(&mut self, rounds: u64, batch: u32) -> u64 {
            let mut sum = 0_u64;
            for _ in 0..rounds {
                for device in &mut self.0 {
                    sum = sum.wrapping_add(device.begin(batch));
                }
                for device in &mut self.0 {
                    device.answer(batch);
                }
                for device in &mut self.0 {
                    sum = sum.wrapping_add(device.finish(batch));
                }
            }
            sum
        }

        fn criterion(c: &mut Criterion) {
            for (batch, pages) in SHAPES {
                let mut group = c.benchmark_group(format!("{}, {batch} x {pages} pages", D::WAY));
                group.throughput(Throughput::Elements(DEVICES as u64 * u64::from(batch)));
                group.bench_function(BenchmarkId::from_parameter(D::WHO), |b| {
                    let mut devices = Self::new(pages);
                    b.iter_custom(|rounds| {
                        let start = Instant::now();
                        black_box(devices.run(rounds, batch));
                        start.elapsed()
                    });
                });
            }
        }

        /// Nanoseconds per packet.
        fn time(&mut self, batch: u32) -> f64 {
            let rounds = 4096 / u64::from(batch);
            let start = Instant::now();
            black_box(self.run(rounds, batch));
            let packets = rounds * DEVICES as u64 * u64::from(batch);
            start.elapsed().as_secs_f64() * 1e9 / packets as f64
        }
    }

    /// Runs both in turns, so that what disturbs one disturbs the other, and prints the fastest: what
    /// other programs on the machine take away comes on top.
    fn in_turns<R: Device, C: Device>(batch: u32, pages: u32) {
        let (mut rust, mut c) = (Devices::<R>::new(pages), Devices::<C>::new(pages));
        let mut fastest = [f64::INFINITY; 2];
        for _ in 0..200 {
            let times = [rust.time(batch), c.time(batch)];
            for (fastest, time) in fastest.iter_mut().zip(times) {
                *fastest = time.min(*fastest);
            }
        }
        let ([rust, c], way) = (fastest, R::WAY);
        let ratio = rust / c;
        println!(
            "{way}, {batch:2} x {pages:2} pages: C {c:6.2} ns/packet, ours {rust:6.2} (ratio {ratio:.2})"
        );
    }

    fn both<R: Device, C: Device>(criterion: &mut Criterion) {
        // The work is the same: the sums agree.
        for (batch, pages) in SHAPES {
            let sum = Devices::<C>::new(pages).run(1000, batch);
            assert_eq!(Devices::<R>::new(pages).run(1000, batch), sum);
        }
        Devices::<R>::criterion(criterion);
        Devices::<C>::criterion(criterion);
    }

    pub(super) fn main() {
        // `count tx|rx rust|c BATCH PAGES ROUNDS` does nothing but the work, for tools that count.
        let args: Vec<_> = std::env::args().collect();
        if let [_, count, way, who, batch, pages, rounds, ..] = &args[..] {
            if count == "count" {
                let (batch, rounds) = (batch.parse().unwrap(), rounds.parse().unwrap());
                let pages = pages.parse().unwrap();
                let sum = match (way.as_str(), who.as_str()) {
                    ("tx", "c") => Devices::<CTx>::new(pages).run(rounds, batch),
                    ("tx", _) => Devices::<RustTx>::new(pages).run(rounds, batch),
                    (_, "c") => Devices::<CRx>::new(pages).run(rounds, batch),
                    (_, _) => Devices::<RustRx>::new(pages).run(rounds, batch),
                };
                return println!("{sum}");
            }
        }
        // `turns` is for the last lines alone.
        if args.iter().any(|arg| arg == "turns") {
            return turns();
        }
        let mut c = Criterion::default().configure_from_args();
        both::<RustTx, CTx>(&mut c);
        both::<RustRx, CRx>(&mut c);
        c.final_summary();
        turns();
    }

    fn turns() {
        for (batch, pages) in SHAPES {
            in_turns::<RustTx, CTx>(batch, pages);
        }
        for (batch, pages) in SHAPES {
            in_turns::<RustRx, CRx>(batch, pages);
        }
    }
}

#[cfg(xen_headers)]
fn main() {
    net::main();
}
