//! Bytes and words of 64 bits enter, 64-bit hashes leave. Every other file of the engine hashes through this one, and
//! `contamination` too, so the same text has the same hash on every machine.
//!
//! The mix is that of wyhash and rapidhash: the two halves of a 128-bit product, xored. It is fast and spreads well. It
//! resists accidents, not an author who looks for collisions.

/// Odd constants with 32 set bits each, from the generator of wyhash.
pub(crate) const SALT: [u64; 4] =
    [0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db, 0x8ebc_6af0_9c88_c6e3, 0x5899_65cc_7537_4cc3];

/// The two halves of the product of `a` and `b`, xored.
#[inline(always)]
pub(crate) const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// The eight bytes from `at` on, the first lowest. Bytes after the end read as zero.
#[inline(always)]
pub(crate) fn load(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..) {
        Some(rest) => match rest.first_chunk::<8>() {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        },
        None => 0,
    }
}

/// The low `count` bytes of `word`, `count` up to 8.
#[inline(always)]
pub(crate) fn low_bytes(word: u64, count: usize) -> u64 {
    if count >= 8 { word } else { word & ((1 << (8 * count)) - 1) }
}

/// The hash of a run of bytes without NUL, under a seed that tells the kinds of runs apart.
#[inline(always)]
pub(crate) fn hash_bytes(bytes: &[u8], seed: u64) -> u64 {
    let (mut hash, mut at) = (seed, 0);
    while bytes.len() - at >= 8 {
        hash = fold(hash ^ load(bytes, at), SALT[1]);
        at += 8;
    }
    last(hash, load(bytes, at))
}

/// Ends a hash with the last word of its run, of fewer than eight bytes and perhaps of none.
#[inline(always)]
pub(crate) fn last(hash: u64, word: u64) -> u64 {
    fold(hash ^ word, SALT[2])
}

/// A generator of constants: SplitMix64 (Steele, Lea and Flood 2014), the value at `index` of its stream.
pub(crate) const fn constant(index: u64) -> u64 {
    let z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
