//! How rare an n-gram is in the corpus that is judged.
//!
//! In: the questions of the corpus' distinct problems, in any order. Out: [`Counts`], and from them [`Weights`].
//!
//! What everybody says tells nothing: "what is the sum of the ages of" stands in many questions of which none is a benchmark's.
//! The weight of an n-gram is `ln(1 + (N + 1) / (df + 1))`. `df` is the number of problems that contain it and of other entries of
//! the benchmarks that do, `N` the number of problems and entries: so that phrases weigh little in a corpus of ten problems too. A
//! corpus that holds an item a thousand times lowers all its n-grams alike, and the share found stays.

use super::{
    Rule,
    index::{Grams, Index},
};
use serde::{Deserialize, Serialize};

/// The n-grams of benchmarks, counted over problems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Of which index.
    fingerprint: u64,
    /// Problems that were counted.
    num_problems: u64,
    plain: Vec<u32>,
    masked: Vec<u32>,
}

/// Counts of another index, or cut ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OtherIndex {
    /// Of the index that is counted for.
    pub expected: u64,
    /// Of the counts.
    pub found: u64,
}

impl std::fmt::Display for OtherIndex {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "counts of other benchmarks: expected {:016x}, found {:016x}", self.expected, self.found)
    }
}

impl std::error::Error for OtherIndex {}

impl Counts {
    /// None yet, of the n-grams of `index`.
    pub(super) fn new(index: &Index) -> Counts {
        let masked = index.masked.as_ref().map_or(0, Grams::len);
        let fingerprint =
            index.plain.fingerprint() ^ index.masked.as_ref().map_or(0, Grams::fingerprint).rotate_left(1);
        Counts { fingerprint, num_problems: 0, plain: vec![0; index.plain.len()], masked: vec![0; masked] }
    }

    /// Counts the question of one problem; each n-gram in it once. A problem belongs in once, however many traces answer it.
    /// `index` is that of [`Counts::new`].
    #[cfg(test)]
    pub(super) fn add(&mut self, index: &Index, question: &str) {
        self.count(Counts::hits(index, question));
    }

    /// The n-grams of a question, each once: plain ones and masked ones. The rules that weigh nothing count nothing.
    pub(super) fn hits(index: &Index, question: &str) -> [Vec<u32>; 2] {
        let mut hits = [Vec::new(), Vec::new()];
        if index.rule == Rule::Containment {
            let [plain, masked] = &mut hits;
            index.each_hit(&index.tokens(question), |any, same, _| {
                masked.extend(any);
                plain.extend(same);
            });
        }
        for found in &mut hits {
            found.sort_unstable();
            found.dedup();
        }
        hits
    }

    /// Counts the n-grams of one more question, as [`Counts::hits`] finds them.
    pub(super) fn count(&mut self, [plain, masked]: [Vec<u32>; 2]) {
        self.num_problems += 1;
        for (counts, found) in [(&mut self.plain, plain), (&mut self.masked, masked)] {
            for gram in found {
                if let Some(count) = counts.get_mut(gram as usize) {
                    *count = count.saturating_add(1);
                }
            }
        }
    }

    fn belongs(&self, other: &Counts) -> Result<(), OtherIndex> {
        let lengths = |counts: &Counts| (counts.plain.len(), counts.masked.len());
        if self.fingerprint == other.fingerprint && lengths(self) == lengths(other) {
            return Ok(());
        }
        Err(OtherIndex { expected: self.fingerprint, found: other.fingerprint })
    }
}

/// What each n-gram of an index weighs. Whole numbers, so that sums are the same in every order.
pub(super) struct Weights {
    pub(super) plain: Scale,
    pub(super) masked: Scale,
}

/// Weights of n-grams, and what all of each entry's weigh together.
#[derive(Default)]
pub(super) struct Scale {
    pub(super) weights: Vec<u32>,
    pub(super) totals: Vec<u64>,
}

impl Scale {
    fn new(grams: &Grams, num_entries: usize, weights: Vec<u32>) -> Scale {
        let total = |entry| grams.own(entry as u32).iter().map(|gram| u64::from(weights[*gram as usize])).sum();
        Scale { totals: (0..num_entries).map(total).collect(), weights }
    }
}

impl Weights {
    /// By how rare they are; all alike for the rules of others.
    ///
    /// # Errors
    /// When the counts are of other benchmarks.
    pub(super) fn new(index: &Index, counts: &Counts) -> Result<Weights, OtherIndex> {
        Counts::new(index).belongs(counts)?;
        let num_entries = index.entries.len();
        if index.rule != Rule::Containment {
            let plain = Scale::new(&index.plain, num_entries, vec![1; index.plain.len()]);
            return Ok(Weights { plain, masked: Scale::default() });
        }
        let all = (counts.num_problems + num_entries as u64) as f64;
        let weigh = |grams: &Grams, counts: &[u32]| {
            let others = |gram: usize| grams.entries(gram as u32).len() as f64 - 1.0;
            let weight = |(gram, count): (usize, &u32)| {
                let rarity = (1.0 + (all + 1.0) / (f64::from(*count) + others(gram) + 1.0)).ln();
                // At least ln 2 but for counts that were made up.
                (rarity * 4096.0).round().max(1.0) as u32
            };
            Scale::new(grams, num_entries, counts.iter().enumerate().map(weight).collect())
        };
        Ok(Weights {
            plain: weigh(&index.plain, &counts.plain),
            masked: index.masked.as_ref().map_or_else(Scale::default, |grams| weigh(grams, &counts.masked)),
        })
    }
}
