// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Toeplitz hash, as `netif.h` describes it.
//!
//! For each bit of the input that is set, from the left, the 32 leftmost bits of the key, shifted left
//! by the bit's place, are added modulo 2.

/// Bytes in a key that is long enough for the addresses and ports of IPv6. Linux' back end takes no
/// longer one.
pub const KEY_LEN: usize = 40;

/// The hash of `data` under `key`. Where the key ends, it goes on in zeros.
pub fn toeplitz(key: &[u8], data: &[u8]) -> u32 {
    let mut key = key.iter().copied().chain(core::iter::repeat(0));
    let mut window = 0u64;
    for byte in key.by_ref().take(8) {
        window = window << 8 | u64::from(byte);
    }
    let mut hash = 0;
    for (&byte, fresh) in data.iter().zip(key) {
        for bit in 0..8 {
            // All ones where the bit is set, so that the time does not depend on the data.
            let mask = u32::from(byte >> (7 - bit) & 1).wrapping_neg();
            hash ^= (window >> (32 - bit)) as u32 & mask;
        }
        window = window << 8 | u64::from(fresh);
    }
    hash
}
