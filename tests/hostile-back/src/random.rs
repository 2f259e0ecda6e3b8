// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers from a seed, and faults of a device: the same seed always gives the same.

use crate::script::DeviceFault;

/// A small generator (splitmix64) whose numbers depend on nothing but its seed.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }

    /// `true` once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

/// Values that no back end should write there.
pub const VALUES: [&str; 20] = [
    "",
    " ",
    "0",
    "1",
    "3",
    "-1",
    "+1",
    "1e3",
    "0x10",
    "511",
    "1000000000",
    "1073741824",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999999999",
    "twelve",
    "7\u{0}7",
];

/// A fault of the device; `keys` are those that a front end reads.
pub fn device(rng: &mut Rng, keys: &[&str]) -> DeviceFault {
    match rng.below(10) {
        0 => DeviceFault::RemoveBackend,
        1 => DeviceFault::RemoveFrontend,
        2 => DeviceFault::Disconnect,
        3 => DeviceFault::Exit,
        4 | 5 => DeviceFault::State(
            rng.pick(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "-1", ""])
                .into(),
        ),
        _ => DeviceFault::Key {
            name: rng.pick(keys).into(),
            value: (!rng.one_in(6)).then(|| rng.pick(&VALUES).into()),
        },
    }
}
