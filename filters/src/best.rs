//! The best traces of each problem, k of them: DeepSeek-V3 keeps one concise correct answer, OpenThoughts3 all sixteen
//! (arXiv 2506.04178).
//!
//! | reason | when |
//! |---|---|
//! | `not-among-the-best` | `keep` others of its problem come before it, as `prefer` says |

use crate::{
    Candidate, Contest, Dropped, FilterError, Listed, Prefer, Selector,
    contest::{BestOf, check_preferences, group_of},
};
use distill_dataset::Keyed;
use serde::{Deserialize, Serialize};

/// The best of each problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BestConfig {
    /// How many traces of a problem stay.
    pub keep: u32,
    /// Which ones: the first word decides, the next where that says nothing.
    pub prefer: Vec<Prefer>,
}

impl Default for BestConfig {
    fn default() -> Self {
        BestConfig { keep: 1, prefer: vec![Prefer::Verified, Prefer::Shortest] }
    }
}

impl Listed for BestConfig {
    fn needs_verifier(&self) -> bool {
        self.prefer.contains(&Prefer::Verified)
    }

    fn check(&self) -> Result<(), String> {
        match self.keep {
            0 => Err("`keep`: expected at least 1, found 0".to_owned()),
            _ => check_preferences(&self.prefer),
        }
    }

    fn draws(&self) -> bool {
        self.prefer.contains(&Prefer::Random)
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &BestConfig::default())
    }
}

impl Selector for BestConfig {
    fn kind(&self) -> &'static str {
        "best"
    }

    fn contest(&self, seed: u64) -> Box<dyn Contest> {
        Box::new(OfProblem(BestOf::new(self.keep, &self.prefer, seed, "not-among-the-best")))
    }
}

struct OfProblem(BestOf);

impl Contest for OfProblem {
    fn add(&mut self, row: &Candidate<'_>) {
        self.0.add(&Candidate { group: Some(group_of(row.problem_id)), ..*row });
    }

    fn close(self: Box<Self>) -> Result<Dropped, FilterError> {
        Box::new(self.0).close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::tests::{dropped, row};
    use distill_dataset::Outcome::{Accept, Reject, Unknown};

    #[test]
    fn the_shortest_correct_answer_of_each_problem_stays() {
        let rows = [row(0, "p", 9, Accept), row(1, "p", 5, Accept), row(2, "p", 1, Reject), row(3, "q", 7, Unknown)];
        let reason = "not-among-the-best";
        assert_eq!(dropped(BestConfig::default().contest(1), &rows), [(0, reason), (2, reason)]);
        let two = BestConfig { keep: 2, prefer: vec![Prefer::Longest] };
        assert_eq!(dropped(two.contest(1), &rows), [(2, reason)]);
    }
}
