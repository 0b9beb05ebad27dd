//! A text enters, the 64-bit hashes of its shingles leave, a block at a time, with a digest of the whole text. A shingle
//! is a run of `size` tokens. A text of fewer tokens is one shingle, so that short problems are compared too; a text
//! without tokens has none.

use super::hash::{SALT, fold};
use super::tokens::{Grain, tokens};

/// Tokens that are gathered before they are made into shingles: 4 KiB of them, so that they stay in the first cache.
const BLOCK: usize = 512;

/// Tokens of a shingle, at most.
pub(super) const MOST_SIZE: usize = 64;

/// The base of the rolling polynomial, odd.
const BASE: u64 = 0x9fb2_1c65_1e98_df25;

/// Shingles: runs of `size` tokens of a grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shingle {
    /// What a token is.
    pub grain: Grain,
    /// Tokens in a shingle, 1 to 64.
    pub size: usize,
}

/// What is known of a text beside its shingles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Hash of all tokens in order, 128 bits. Texts with equal digests have equal shingles and equal numbers.
    pub(crate) digest: [u64; 2],
    /// Hash of the multiset of numbers.
    pub(crate) numbers: u64,
    /// Shingles, repeated ones counted as often as they occur.
    pub(crate) num_shingles: u64,
}

/// Buffers that are kept from text to text.
pub(crate) struct Shingler {
    shingle: Shingle,
    /// `BASE` to the power of the shingle's size.
    out_factor: u64,
    /// The last `size` tokens of the block before, then those of this block.
    tokens: Box<[u64; MOST_SIZE + BLOCK]>,
    shingles: Vec<u64>,
}

/// What is carried from block to block of one text.
struct Rolling {
    hash: u64,
    num_tokens: u64,
    digest: [u64; 2],
}

impl Shingler {
    pub(crate) fn new(shingle: Shingle) -> Self {
        let out_factor = (0..shingle.size).fold(1u64, |power, _| power.wrapping_mul(BASE));
        let tokens = Box::new([0; MOST_SIZE + BLOCK]);
        Shingler { shingle, out_factor, tokens, shingles: Vec::with_capacity(BLOCK) }
    }

    /// Hands the shingles of the text to `each`, in blocks of at most 512.
    pub(crate) fn shingles(&mut self, text: &str, mut each: impl FnMut(&[u64])) -> Stream {
        let Shingle { grain, size } = self.shingle;
        let mut rolling = Rolling { hash: 0, num_tokens: 0, digest: [SALT[0], SALT[3]] };
        let mut num_shingles = 0;
        let (shingles, out_factor) = (&mut self.shingles, self.out_factor);
        let buffer = &mut self.tokens[..size + BLOCK];
        buffer[..size].fill(0);
        let mut filled = size;
        let numbers = tokens(text, grain, |token| {
            if let Some(slot) = buffer.get_mut(filled) {
                *slot = token;
                filled += 1;
            }
            if filled == size + BLOCK {
                roll(buffer, size, out_factor, &mut rolling, shingles);
                each(shingles);
                num_shingles += shingles.len() as u64;
                buffer.copy_within(BLOCK.., 0);
                filled = size;
            }
        });
        roll(&buffer[..filled], size, out_factor, &mut rolling, shingles);
        if (1..size as u64).contains(&rolling.num_tokens) {
            self.shingles.push(fold(rolling.hash ^ SALT[2], SALT[3] ^ rolling.num_tokens));
        }
        if !self.shingles.is_empty() {
            each(&self.shingles);
            num_shingles += self.shingles.len() as u64;
        }
        let [one, other] = rolling.digest;
        let digest = [fold(one ^ rolling.num_tokens, SALT[0]), fold(other ^ rolling.num_tokens, SALT[1])];
        Stream { digest, numbers, num_shingles }
    }
}

/// Makes shingles of the tokens from `size` on; those before it are the last of the block before, or zero.
#[inline(never)]
fn roll(tokens: &[u64], size: usize, out_factor: u64, rolling: &mut Rolling, shingles: &mut Vec<u64>) {
    shingles.clear();
    let (mut hash, [mut one, mut other]) = (rolling.hash, rolling.digest);
    let entering = &tokens[size..];
    // Three chains of products: in one loop none waits for another.
    let mut next = |enters: u64, leaves: u64| {
        one = fold(one ^ enters, SALT[1]);
        other = fold(other.wrapping_add(enters), SALT[2]);
        hash = hash.wrapping_mul(BASE).wrapping_add(enters).wrapping_sub(leaves.wrapping_mul(out_factor));
        hash
    };
    // While the text is shorter than a shingle, no token leaves and no shingle is whole.
    let missing = (size as u64 - 1).saturating_sub(rolling.num_tokens).min(entering.len() as u64) as usize;
    let (early, rest) = entering.split_at(missing);
    for &enters in early {
        next(enters, 0);
    }
    let whole = SALT[3] ^ size as u64;
    let rest = rest.iter().zip(&tokens[missing..]);
    shingles.extend(rest.map(|(&enters, &leaves)| fold(next(enters, leaves) ^ SALT[2], whole)));
    rolling.hash = hash;
    rolling.digest = [one, other];
    rolling.num_tokens += entering.len() as u64;
}

/// The distinct shingles of a text, sorted, in `set`.
pub(crate) fn distinct_shingles(shingler: &mut Shingler, text: &str, set: &mut Vec<u64>) -> Stream {
    set.clear();
    let mut limit = 1 << 16;
    let stream = shingler.shingles(text, |shingles| {
        set.extend_from_slice(shingles);
        // A long text that repeats itself must not take eight bytes a token.
        if set.len() > limit {
            set.sort_unstable();
            set.dedup();
            limit = (2 * set.len()).max(limit);
        }
    });
    set.sort_unstable();
    set.dedup();
    stream
}
