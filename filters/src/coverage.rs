//! The rows that cover most: of a pool, or of each problem's traces, those stay that together say the most different things.
//! What is said is a sample of each row's shingles of words. Rows are taken greedily, the one that adds most first, which
//! covers at least 63 % of what the best choice of as many would (Nemhauser, Wolsey and Fisher 1978).
//!
//! Each row is judged by its 64 shingles of least hash (fewer where it has fewer): the same shingle is in the samples of the
//! rows that share it, and a long row counts no more than a short one.
//!
//! | reason | when |
//! |---|---|
//! | `covered` | `keep` others cover more of what is said |

use crate::{
    Candidate, Contest, Decided, Dropped, Filter, FilterError, Listed, Unit, Within,
    contest::group_of,
    filter::{decide_each, measure_said},
    near::{Grain, Shingle, Shingler},
};
use distill_dataset::{Context, Keyed, Shard, Stage, Tally};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, BinaryHeap, HashSet},
    ops::Range,
    path::Path,
};

/// Shingles of a row that are looked at.
const SAMPLE: usize = 64;

/// The rows that cover most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CoverageConfig {
    /// How many rows stay: of each problem, or of everything.
    pub keep: u32,
    /// What they are chosen from.
    pub within: Within,
    /// Words, numbers and operators in a shingle.
    pub size: u32,
}

impl Default for CoverageConfig {
    fn default() -> Self {
        CoverageConfig { keep: 4, within: Within::Problem, size: 3 }
    }
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Covers {
    /// The trace, or the problem.
    pub id: String,
    /// Hashes of its sample of shingles.
    pub sample: Vec<u32>,
}

impl Listed for CoverageConfig {
    fn on_problems(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        if self.keep == 0 {
            return Err("`keep`: expected at least 1, found 0".to_owned());
        }
        match self.size {
            1..=64 => Ok(()),
            found => Err(format!("`size`: expected 1 to 64, found {found}")),
        }
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &CoverageConfig::default())
    }
}

impl Filter for CoverageConfig {
    fn stage(&self) -> Stage {
        Stage { name: "coverage", version: 1 }
    }

    fn keyed(&self) -> Keyed {
        let usual = CoverageConfig::default();
        Keyed::of(&CoverageConfig { size: self.size, ..usual.clone() }, &usual)
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        let shingle = Shingle { grain: Grain::Words, size: self.size as usize };
        measure_said(unit, context, out, |said| Covers { id: said.id.clone(), sample: sample(shingle, &said.turn()) })
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |Covers { id, sample }| Decided { sample, ..Decided::accept(id) })
    }

    fn contest(&self, _seed: u64) -> Option<Box<dyn Contest>> {
        let (keep, everything) = (self.keep as usize, self.within == Within::Everything);
        Some(Box::new(Greedy { keep, everything, rows: Vec::new() }))
    }
}

/// The least hashes of a text's shingles.
fn sample(shingle: Shingle, text: &str) -> Vec<u32> {
    let mut least: BTreeSet<u64> = BTreeSet::new();
    Shingler::new(shingle).shingles(text, |shingles| {
        for &hash in shingles {
            if least.len() < SAMPLE || least.last().is_some_and(|most| hash < *most) {
                least.insert(hash);
                if least.len() > SAMPLE {
                    least.pop_last();
                }
            }
        }
    });
    // The high halves of the least hashes are alike; the low halves tell them apart.
    least.into_iter().map(|hash| hash as u32).collect()
}

/// 320 bytes a row at most.
struct Greedy {
    keep: usize,
    everything: bool,
    /// Group, place and sample of each row that is in reach.
    rows: Vec<(u128, u64, Box<[u32]>)>,
}

impl Contest for Greedy {
    fn add(&mut self, row: &Candidate<'_>) {
        if row.reaches {
            // A problem is its own problem: among problems all are one pool.
            let one_pool = self.everything || row.id == row.problem_id;
            let group = if one_pool { 0 } else { group_of(row.problem_id) };
            self.rows.push((group, row.place, row.sample.into()));
        }
    }

    fn close(mut self: Box<Self>) -> Result<Dropped, FilterError> {
        self.rows.sort_unstable_by_key(|row| (row.0, row.1));
        let groups = self.rows.chunk_by(|a, b| a.0 == b.0);
        let dropped = groups.flat_map(|group| covered(group, self.keep));
        Ok(Dropped::new(dropped.map(|place| (place, "covered")).collect()))
    }
}

/// The places of all but the `keep` rows that cover most, taken greedily; of equal ones, the first.
fn covered(rows: &[(u128, u64, Box<[u32]>)], keep: usize) -> Vec<u64> {
    use std::cmp::Reverse;
    if rows.len() <= keep {
        return Vec::new();
    }
    let mut seen: HashSet<u32> = HashSet::new();
    // What a row adds only falls as others are taken: one whose gain is still the greatest when it is counted anew is next.
    let mut order: BinaryHeap<(usize, Reverse<usize>)> =
        rows.iter().enumerate().map(|(index, row)| (row.2.len(), Reverse(index))).collect();
    let mut taken = vec![false; rows.len()];
    let mut left = keep;
    while let Some((_, Reverse(index))) = order.pop().filter(|_| left > 0) {
        let gain = rows[index].2.iter().filter(|hash| !seen.contains(hash)).count();
        if order.peek().is_some_and(|next| *next > (gain, Reverse(index))) {
            order.push((gain, Reverse(index)));
            continue;
        }
        seen.extend(&rows[index].2);
        taken[index] = true;
        left -= 1;
    }
    rows.iter().zip(taken).filter(|(_, taken)| !taken).map(|(row, _)| row.1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::tests::{dropped, row};
    use distill_dataset::Outcome::Accept;

    const WORDS: Shingle = Shingle { grain: Grain::Words, size: 3 };

    #[test]
    fn a_sample_is_of_what_is_said_and_shared_by_those_who_say_it() {
        let long: String = (0..2000).map(|number| format!("step {number} then ")).collect();
        let whole = sample(WORDS, &long);
        assert_eq!(whole.len(), SAMPLE);
        let shared = sample(WORDS, &format!("Something else first. {long}"));
        assert!(whole.iter().filter(|hash| shared.contains(hash)).count() >= SAMPLE - 2);
        // What is said twice is said once, but for the words where it begins again.
        let twice = sample(WORDS, &long.repeat(2));
        assert!(twice.iter().filter(|hash| whole.contains(hash)).count() >= SAMPLE - 2);
        assert!(sample(WORDS, "").is_empty());
    }

    #[test]
    fn those_stay_that_add_most_to_what_the_others_cover() {
        let samples: [&[u32]; 5] = [&[1, 2, 3, 4], &[1, 2, 3, 4], &[1, 2, 3, 4, 5], &[8, 9], &[4, 5, 6, 7]];
        let rows: Vec<Candidate<'_>> = samples
            .into_iter()
            .enumerate()
            .map(|(place, sample)| Candidate { sample, ..row(place as u64, "p", 1, Accept) })
            .collect();
        let places = |keep| {
            let contest = CoverageConfig { keep, ..CoverageConfig::default() }.contest(1).expect("a contest");
            dropped(contest, &rows).into_iter().map(|row| row.0).collect::<Vec<_>>()
        };
        assert_eq!(places(1), [0, 1, 3, 4], "the one that says most");
        // 4 adds 6 and 7, 3 adds 8 and 9: of equal gains the first.
        assert_eq!(places(2), [0, 1, 4]);
        assert_eq!(places(3), [0, 1]);
        assert_eq!(places(9), [] as [u64; 0]);
    }

    #[test]
    fn problems_are_told_apart_unless_everything_is_one_pool() {
        let rows = [
            Candidate { sample: &[1], ..row(0, "p", 1, Accept) },
            Candidate { sample: &[1], ..row(1, "q", 1, Accept) },
            Candidate { sample: &[2], reaches: false, ..row(2, "q", 1, Accept) },
        ];
        let of = |within| {
            let contest = CoverageConfig { keep: 1, within, ..CoverageConfig::default() }.contest(1);
            dropped(contest.expect("a contest"), &rows)
        };
        assert_eq!(of(Within::Problem), []);
        assert_eq!(of(Within::Everything), [(1, "covered")]);
    }
}
