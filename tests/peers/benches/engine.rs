// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core's block engine beside a driver in C on Xen's macros (`c/driver.c`), at the same work: take
//! requests of the operating system, grant their pages, write the ring, push once per batch, check the
//! answers, end the grants, complete the requests. A back end in C answers.
//!
//! Granting and ending are the same C functions for both. Several devices are served in turn.
//! `cargo bench -p portico-peers --bench engine`; the last lines say nanoseconds per request, the
//! fastest of runs in turns, and ours as a share of C.

#[cfg(not(xen_headers))]
fn main() {
    println!("left out: xen/io/ring.h not found, install libxen-dev or set PORTICO_XEN_INCLUDE");
}

#[cfg(xen_headers)]
#[path = "engine/devices.rs"]
mod devices;

#[cfg(xen_headers)]
mod engine {
    use std::hint::black_box;
    use std::time::Instant;

    use criterion::{BenchmarkId, Criterion, Throughput};

    use super::devices::{CDevice, Device, Io, RustDevice};

    /// Requests in a batch, and segments in a request.
    const SHAPES: [(u32, u32); 5] = [(1, 1), (8, 1), (32, 1), (1, 8), (32, 8)];
    const DEVICES: usize = 8;

    struct Devices<D>(Vec<D>);

    impl<D: Device> Devices<D> {
        fn new() -> Self {
            Self((0..DEVICES).map(|_| D::new()).collect())
        }

        /// Each round: a batch on each device. A sum over what was seen.
        fn run(&mut self, rounds: u64, batch: u32, ios: &'static [Io]) -> u64 {
            let mut sum = 0;
            for _ in 0..rounds {
                for device in &mut self.0 {
                    sum += u64::from(device.submit(&ios[..batch as usize]));
                }
                for device in &mut self.0 {
                    device.answer();
                }
                for device in &mut self.0 {
                    sum += device.reap();
                }
            }
            sum
        }

        fn criterion(c: &mut Criterion, name: &str) {
            for (batch, segments) in SHAPES {
                let mut group = c.benchmark_group(format!("engine, {batch} x {segments} segments"));
                group.throughput(Throughput::Elements(DEVICES as u64 * u64::from(batch)));
                group.bench_function(BenchmarkId::from_parameter(name), |b| {
                    let (mut devices, ios) = (Self::new(), Io::list(segments));
                    b.iter_custom(|rounds| {
                        let start = Instant::now();
                        black_box(devices.run(rounds, batch, ios));
                        start.elapsed()
                    });
                });
            }
        }

        /// Nanoseconds per request.
        fn time(&mut self, batch: u32, ios: &'static [Io]) -> f64 {
            let rounds = 4096 / u64::from(batch);
            let start = Instant::now();
            black_box(self.run(rounds, batch, ios));
            let requests = rounds * DEVICES as u64 * u64::from(batch);
            start.elapsed().as_secs_f64() * 1e9 / requests as f64
        }
    }

    /// Runs both in turns, so that what disturbs one disturbs the other, and prints the fastest: what
    /// other programs on the machine take away comes on top.
    fn in_turns(batch: u32, segments: u32) {
        let (mut rust, mut c) = (Devices::<RustDevice>::new(), Devices::<CDevice>::new());
        let (ios, mut fastest) = (Io::list(segments), [f64::INFINITY; 2]);
        for _ in 0..200 {
            let times = [rust.time(batch, ios), c.time(batch, ios)];
            for (fastest, time) in fastest.iter_mut().zip(times) {
                *fastest = time.min(*fastest);
            }
        }
        let [rust, c] = fastest;
        let ratio = rust / c;
        println!(
            "engine, {batch:2} x {segments} segments: C {c:6.2} ns/request, ours {rust:6.2} (ratio {ratio:.2})"
        );
    }

    pub(super) fn main() {
        // `count rust|c BATCH SEGMENTS ROUNDS` does nothing but the work, for tools that count.
        let args: Vec<_> = std::env::args().collect();
        if let [_, count, name, batch, segments, rounds, ..] = &args[..] {
            if count == "count" {
                let (batch, rounds) = (batch.parse().unwrap(), rounds.parse().unwrap());
                let ios = Io::list(segments.parse().unwrap());
                let sum = match name.as_str() {
                    "c" => Devices::<CDevice>::new().run(rounds, batch, ios),
                    _ => Devices::<RustDevice>::new().run(rounds, batch, ios),
                };
                return println!("{sum}");
            }
        }
        // The work is the same: the sums agree.
        for (batch, segments) in SHAPES {
            let ios = Io::list(segments);
            let sum = Devices::<CDevice>::new().run(1000, batch, ios);
            assert_eq!(Devices::<RustDevice>::new().run(1000, batch, ios), sum);
        }
        let mut c = Criterion::default().configure_from_args();
        Devices::<RustDevice>::criterion(&mut c, "rust");
        Devices::<CDevice>::criterion(&mut c, "c");
        c.final_summary();
        for (batch, segments) in SHAPES {
            in_turns(batch, segments);
        }
    }
}

#[cfg(xen_headers)]
fn main() {
    engine::main();
}
