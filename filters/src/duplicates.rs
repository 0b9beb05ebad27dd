//! Was the same said elsewhere? Copies of a text: turns of one problem across all sources, or questions. Two texts are
//! copies when they differ in white space, the spacing of punctuation and the capital that begins a word at most; digits,
//! operators, LaTeX, names of one letter and what is code count ([`distill_dataset::normal_form`]).
//!
//! | reason | when |
//! |---|---|
//! | `duplicate` | `max-copies` copies stay before it, as `prefer` says |

#[cfg(test)]
mod tests;

use crate::{
    Contest, Decided, Filter, FilterError, Listed, Prefer, Unit,
    contest::{BestOf, check_preferences},
    filter::{decide_each, measure_said},
    unit::Said,
};
use distill_dataset::{Context, Digest, Keyed, Shard, Stage, Tally, normal_form};
use serde::{Deserialize, Serialize};
use std::{ops::Range, path::Path};

/// Copies of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DuplicatesConfig {
    /// How many copies are kept.
    pub max_copies: u32,
    /// Which ones.
    pub prefer: Vec<Prefer>,
    /// Where copies are looked for.
    pub within: Within,
}

impl Default for DuplicatesConfig {
    fn default() -> Self {
        DuplicatesConfig { max_copies: 1, prefer: vec![Prefer::Verified, Prefer::First], within: Within::Problem }
    }
}

/// Which traces are compared. Problems are compared with all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Within {
    /// Those that answer one problem.
    Problem,
    /// All.
    Everything,
}

/// What a row says, as copies of it have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The trace, or the problem.
    pub id: String,
    /// 128 bits of its normal form, as 32 hex digits.
    pub digest: String,
    /// The same with its problem's id.
    pub within_problem: String,
}

impl Listed for DuplicatesConfig {
    fn on_problems(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        match self.max_copies {
            0 => Err("`max-copies`: expected at least 1, found 0".to_owned()),
            _ => check_preferences(&self.prefer),
        }
    }

    fn draws(&self) -> bool {
        self.prefer.contains(&Prefer::Random)
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &DuplicatesConfig::default())
    }
}

impl Filter for DuplicatesConfig {
    fn stage(&self) -> Stage {
        Stage { name: "duplicates", version: 3 }
    }

    fn keyed(&self) -> Keyed {
        Keyed::default()
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        measure_said(unit, context, out, duplicate)
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |Duplicate { id, digest, within_problem }: Duplicate| {
            let key = if self.within == Within::Everything { digest } else { within_problem };
            // It is ours, and hexadecimal.
            Decided::among(id, u128::from_str_radix(&key, 16).ok())
        })
    }

    fn contest(&self, seed: u64) -> Option<Box<dyn Contest>> {
        Some(Box::new(BestOf::new(self.max_copies, &self.prefer, seed, "duplicate")))
    }
}

fn duplicate(said: &Said) -> Duplicate {
    let text = normal_form(&said.turn());
    let digest = Digest::new("turn").field(&text).finish_short();
    // A problem is its own problem: among problems nothing is compared by it.
    let within_problem = Digest::new("turn-of").field(&said.problem_id).field(&digest).finish_short();
    let is_problem = said.id == said.problem_id;
    let within_problem = if is_problem { digest.clone() } else { within_problem };
    Duplicate { id: said.id.clone(), digest, within_problem }
}
