//! Hashes of tokens, and runs of ASCII eight bytes at a time.
//!
//! In: bytes. Out: a 64-bit hash that is the same on every machine, however the bytes were handed in; how many of the next eight bytes
//! are letters, digits or visible signs. Most of a text is short words, so this decides how fast it is read.

use crate::near::hash::{fold, low_bytes};

/// What a hash begins with.
const SEED: u64 = 0x243f_6a88_85a3_08d3;

/// A hash of bytes: the same on every machine.
pub(super) struct Hash {
    state: u64,
    eight: u64,
    /// Bytes so far.
    pub(super) len: u64,
}

impl Hash {
    pub(super) fn new() -> Hash {
        Hash { state: SEED, eight: 0, len: 0 }
    }

    pub(super) fn push(&mut self, byte: u8) {
        self.push_some(u64::from(byte), 1);
    }

    /// The lowest bytes of `eight`, so many of them: up to eight.
    pub(super) fn push_some(&mut self, eight: u64, count: usize) {
        let kept = low_bytes(eight, count);
        let held = self.len as usize & 7;
        self.eight |= kept << (8 * held);
        self.len += count as u64;
        if held + count >= 8 {
            self.state = mixed(self.state, self.eight);
            self.eight = if held == 0 { 0 } else { kept >> (8 * (8 - held)) };
        }
    }

    pub(super) fn push_char(&mut self, char: char) {
        char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| self.push(byte));
    }

    /// The lowest two bits are 0, for the caller's use.
    pub(super) fn finish(&self) -> u64 {
        // Seven bytes at most stand in `eight`, the length above them.
        mixed(self.state, self.eight | self.len << 56) & !3
    }
}

/// The hash of one byte.
pub(super) const fn of_byte(byte: u8) -> u64 {
    mixed(SEED, byte as u64 | 1 << 56) & !3
}

/// A hash with one more value, by a multiplication whose halves are folded together.
const fn mixed(hash: u64, value: u64) -> u64 {
    fold(hash ^ value, 0x9e37_79b9_7f4a_7c15)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;

/// Of eight bytes, the high bit of each that is at least `least`, which is 1 to 127. Only for those below 128.
fn at_least(eight: u64, least: u8) -> u64 {
    (eight & !HIGH).wrapping_add(u64::from(0x80 - least) * ONES) & HIGH
}

/// How many of eight bytes are letters of ASCII before the first that is none.
pub(super) fn letters(eight: u64) -> usize {
    let folded = eight | (0x20 * ONES);
    let letters = at_least(folded, b'a') & !at_least(folded, b'z' + 1) & !eight;
    ((!letters & HIGH).trailing_zeros() / 8) as usize
}

/// How many are digits of ASCII before the first that is none.
pub(super) fn digits(eight: u64) -> usize {
    let digits = at_least(eight, b'0') & !at_least(eight, b'9' + 1) & !eight;
    ((!digits & HIGH).trailing_zeros() / 8) as usize
}

/// How many are visible signs of ASCII before the first that is none.
pub(super) fn visible(eight: u64) -> usize {
    let visible = at_least(eight, b' ' + 1) & !eight;
    ((!visible & HIGH).trailing_zeros() / 8) as usize
}

/// Eight bytes of ASCII in lower case; others as they are.
pub(super) fn lower(eight: u64) -> u64 {
    let upper = at_least(eight, b'A') & !at_least(eight, b'Z' + 1) & !eight;
    eight | upper >> 2
}
