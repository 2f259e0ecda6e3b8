// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of a flow. They are cut out of one random block, at a place that depends on the number of
//! the record or datagram, so that making and comparing them costs no more than reading memory, and
//! what was lost, moved or repeated differs.

/// Bytes of the block.
const BLOCK: usize = 1 << 17;

/// Bytes of a stream that are cut out in one piece.
const RECORD: u64 = 1 << 16;

/// The finaliser of splitmix64: every bit of the input reaches every bit of the result.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The content of a flow.
#[derive(Debug)]
pub(super) struct Content {
    seed: u64,
    /// The block twice, one behind the other: a cut may begin anywhere.
    bytes: Vec<u8>,
}

impl Content {
    /// The content of a seed and of a flow's number.
    pub(super) fn new(seed: u64, flow: u32) -> Content {
        let seed = mix(seed ^ u64::from(flow) << 48);
        let mut bytes: Vec<u8> = (0..BLOCK as u64 / 8)
            .flat_map(|i| {
                mix(seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes()
            })
            .collect();
        bytes.extend_from_within(..);
        Content { seed, bytes }
    }

    fn cut(&self, number: u64, from: usize, len: usize) -> &[u8] {
        let start = mix(self.seed ^ number) as usize % BLOCK + from;
        &self.bytes[start..start + len]
    }

    /// The stream's bytes from a position on: as many as lie in one piece.
    pub(super) fn stream(&self, at: u64) -> &[u8] {
        let from = at % RECORD;
        self.cut(at / RECORD, from as usize, (RECORD - from) as usize)
    }

    /// The first `len` bytes of the content of a datagram, which has at most 65535.
    pub(super) fn datagram(&self, number: u64, len: usize) -> &[u8] {
        self.cut(number, 0, len)
    }
}

/// How many bytes differ, and where the first one is.
pub(super) fn differences(got: &[u8], wanted: &[u8]) -> Option<(u64, usize)> {
    if got == wanted {
        return None;
    }
    let differ = |i: &usize| got.get(*i) != wanted.get(*i);
    let all = 0..got.len().max(wanted.len());
    let first = all.clone().find(differ)?;
    Some((all.filter(differ).count() as u64, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        let content = Content::new(7, 0);
        let mut whole = Vec::new();
        while whole.len() < 300_000 {
            whole.extend_from_slice(content.stream(whole.len() as u64));
        }
        for at in [0, 1, 65_535, 65_536, 100_001, 200_000] {
            let piece = content.stream(at as u64);
            assert_eq!(piece, &whole[at..at + piece.len()], "at {at}");
        }
        // Records differ, and so do flows and seeds.
        assert_ne!(whole[..64], whole[65_536..65_600]);
        assert_ne!(Content::new(7, 1).stream(0), content.stream(0));
        assert_ne!(Content::new(8, 0).stream(0), content.stream(0));
    }

    #[test]
    fn differences_are_counted_and_placed() {
        assert_eq!(differences(b"abc", b"abc"), None);
        assert_eq!(differences(b"abc", b"axx"), Some((2, 1)));
        assert_eq!(differences(b"ab", b"abcd"), Some((2, 2)));
    }
}
