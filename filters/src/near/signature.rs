//! Shingles enter, MinHash signatures leave, and from them the keys of their bands.
//!
//! A signature is as many extrema as there are permutations (Broder 1997), each over an independent hash of every
//! shingle, so two texts agree in a band of `rows` of them with probability J^rows, for J their Jaccard similarity. One
//! hash for every pair of shingle and permutation is the cost of MinHash. Here a shingle gives a start and a step, and
//! the hashes go up by the step (double hashing; Kirsch and Mitzenmacher 2006).
//!
//! A run is short, 8 hashes, and every run has a start of its own. Rows of one band come from different runs where there
//! are enough runs. So what is known of J^rows for independent hashes holds here, which `tests.rs` measures.
//!
//! SSE2, which every x86-64 has, knows a maximum for `f32` and none for `u32`. So hashes become `f32`, and the signature
//! keeps the greatest. The rounding to 24 bits is the same everywhere. It makes unequal hashes equal too often only in
//! texts of millions of shingles. Wider registers are used where the processor has them; no maximum depends on that.

use super::hash::{SALT, constant, fold};
use pulp::{Arch, Simd, WithSimd};

/// Shingles that are hashed at a time, at most: what the widest vector register holds.
const MOST_LANES: usize = 16;
/// Hashes of a run, which are held in eight registers.
const STEPS: usize = 8;
/// Most permutations of a signature.
pub(crate) const MOST_PERMUTATIONS: usize = 256;

/// The signature of one text.
pub(crate) struct Signature {
    arch: Arch,
    maxima: Vec<[f32; STEPS]>,
    /// The low and the high words of the shingles at hand.
    words: [Vec<u32>; 2],
}

impl Signature {
    /// Room for at least that many permutations, at most 256: they come in runs of 8.
    pub(crate) fn new(permutations: usize) -> Self {
        let num_runs = permutations.clamp(1, MOST_PERMUTATIONS).div_ceil(STEPS);
        let maxima = vec![[f32::NEG_INFINITY; STEPS]; num_runs];
        Signature { arch: Arch::new(), maxima, words: Default::default() }
    }

    /// Begins the next text.
    pub(crate) fn clear(&mut self) {
        self.maxima.fill([f32::NEG_INFINITY; STEPS]);
    }

    /// Takes more shingles of the text.
    pub(crate) fn add(&mut self, shingles: &[u64]) {
        let Some(first) = shingles.first() else { return };
        // The last group may be short: a shingle that comes twice changes no maximum.
        let more = shingles.len().next_multiple_of(MOST_LANES) - shingles.len();
        let all = shingles.iter().chain(std::iter::repeat_n(first, more));
        self.words.iter_mut().for_each(Vec::clear);
        let [low, high] = &mut self.words;
        low.extend(all.clone().map(|shingle| *shingle as u32));
        high.extend(all.map(|shingle| (*shingle >> 32) as u32));
        self.arch.dispatch(Raise { maxima: &mut self.maxima, low, high });
    }

    /// The keys of the bands: hashes of the `rows` maxima of each, of the band's number and of `salt`.
    ///
    /// The maxima are dealt to the bands by step, and within a step by run, so neighbours are of different runs.
    pub(crate) fn bands(&self, rows: usize, salt: u64) -> impl Iterator<Item = u64> {
        let by_step =
            (0..STEPS).flat_map(|step| self.maxima.iter().map(move |maxima| u64::from(maxima[step].to_bits())));
        let (mut maxima, mut band) = (by_step, 0);
        std::iter::from_fn(move || {
            let first = fold(SALT[0] ^ band, SALT[3] ^ salt);
            band += 1;
            (0..rows).try_fold(first, |key, _| maxima.next().map(|maximum| fold(key ^ maximum, SALT[1])))
        })
    }
}

/// Raises the maxima of a signature to the hashes of shingles.
struct Raise<'a> {
    maxima: &'a mut [[f32; STEPS]],
    low: &'a [u32],
    high: &'a [u32],
}

impl WithSimd for Raise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match S::U32_LANES {
            16.. => self.raise::<16>(),
            8.. => self.raise::<8>(),
            _ => self.raise::<4>(),
        }
    }
}

impl Raise<'_> {
    #[inline(always)]
    fn raise<const LANES: usize>(self) {
        let (low, high) = (self.low.as_chunks::<LANES>().0, self.high.as_chunks::<LANES>().0);
        for (run, maxima) in self.maxima.iter_mut().enumerate() {
            let factor = constant(run as u64) as u32 | 1;
            let (words, others) = if run % 2 == 0 { (low, high) } else { (high, low) };
            for (maximum, lanes) in maxima.iter_mut().zip(raise_run(words, others, factor)) {
                *maximum = lanes.into_iter().fold(*maximum, f32::max);
            }
        }
    }
}

/// The maxima of a run over the shingles: of `word * factor + step * other`, for each of the eight steps, lane by lane.
#[inline(always)]
fn raise_run<const LANES: usize>(
    words: &[[u32; LANES]],
    others: &[[u32; LANES]],
    factor: u32,
) -> [[f32; LANES]; STEPS] {
    // Eight variables, not an array: so the compiler keeps them in registers.
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = [[f32::NEG_INFINITY; LANES]; STEPS];
    for (word, other) in words.iter().zip(others) {
        let mut hashes = word.map(|word| word.wrapping_mul(factor));
        hashes = raise_one(&mut a, hashes, other);
        hashes = raise_one(&mut b, hashes, other);
        hashes = raise_one(&mut c, hashes, other);
        hashes = raise_one(&mut d, hashes, other);
        hashes = raise_one(&mut e, hashes, other);
        hashes = raise_one(&mut f, hashes, other);
        hashes = raise_one(&mut g, hashes, other);
        raise_one(&mut h, hashes, other);
    }
    [a, b, c, d, e, f, g, h]
}

/// Raises maxima to hashes, lane by lane. Returns the next hashes.
#[inline(always)]
fn raise_one<const LANES: usize>(
    maxima: &mut [f32; LANES],
    hashes: [u32; LANES],
    steps: &[u32; LANES],
) -> [u32; LANES] {
    let mut next = hashes;
    for lane in 0..LANES {
        let hash = hashes[lane] as i32 as f32;
        maxima[lane] = if hash > maxima[lane] { hash } else { maxima[lane] };
        next[lane] = hashes[lane].wrapping_add(steps[lane]);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_maximum_depends_on_the_width_of_registers() {
        let shingles: Vec<u64> = (0..1000).map(constant).collect();
        for count in [1, 3, 4, 15, 16, 17, 1000] {
            let raised = |run: fn(Raise<'_>)| {
                let mut signature = Signature::new(128);
                signature.add(&shingles[..count]);
                let [low, high] = &signature.words;
                let mut maxima = vec![[f32::NEG_INFINITY; STEPS]; signature.maxima.len()];
                run(Raise { maxima: &mut maxima, low, high });
                (maxima, signature.maxima)
            };
            let (four, dispatched) = raised(|raise| raise.raise::<4>());
            assert_eq!(four, dispatched, "{count} shingles: the registers that this processor has");
            assert_eq!(four, raised(|raise| raise.raise::<8>()).0, "{count} shingles, eight at a time");
            assert_eq!(four, raised(|raise| raise.raise::<16>()).0, "{count} shingles, sixteen at a time");
        }
    }
}
