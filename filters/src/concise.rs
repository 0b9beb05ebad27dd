//! Concise among correct: of a problem's answers that the verifier accepts, those that are much longer than the shortest go.
//! DeepSeek-V3 controls the style and length of R1's answers that it learns from (arXiv 2412.19437, §5.1).
//!
//! | reason | when |
//! |---|---|
//! | `longer-than-needed` | more than `max-ratio` times the tokens of the shortest accepted trace of its problem |

use crate::{Candidate, Contest, Dropped, FilterError, Listed, Selector, contest::group_of};
use distill_dataset::{Keyed, Outcome};
use serde::{Deserialize, Serialize};

/// Length beside the shortest correct answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ConciseConfig {
    /// So many times the shortest is still concise. 1.5: ours.
    pub max_ratio: f64,
}

impl Default for ConciseConfig {
    fn default() -> Self {
        ConciseConfig { max_ratio: 1.5 }
    }
}

impl Listed for ConciseConfig {
    fn needs_verifier(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        match self.max_ratio >= 1.0 && self.max_ratio.is_finite() {
            true => Ok(()),
            false => Err(format!("`max-ratio`: expected 1 or more, found {}", self.max_ratio)),
        }
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &ConciseConfig::default())
    }
}

impl Selector for ConciseConfig {
    fn kind(&self) -> &'static str {
        "concise"
    }

    fn contest(&self, _seed: u64) -> Box<dyn Contest> {
        Box::new(Lengths { max_ratio: self.max_ratio, rows: Vec::new() })
    }
}

/// Problem, tokens and place of each accepted trace: 48 bytes a trace.
struct Lengths {
    max_ratio: f64,
    rows: Vec<(u128, u32, u64)>,
}

impl Contest for Lengths {
    fn add(&mut self, row: &Candidate<'_>) {
        if row.reaches && row.verdict == Outcome::Accept {
            self.rows.push((group_of(row.problem_id), row.length, row.place));
        }
    }

    fn close(mut self: Box<Self>) -> Result<Dropped, FilterError> {
        self.rows.sort_unstable();
        let problems = self.rows.chunk_by(|a, b| a.0 == b.0);
        let dropped = problems.flat_map(|rows| {
            let most = f64::from(rows[0].1) * self.max_ratio;
            rows.iter().filter(move |row| f64::from(row.1) > most)
        });
        Ok(Dropped::new(dropped.map(|row| (row.2, "longer-than-needed")).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::tests::{dropped, row};
    use distill_dataset::Outcome::{Accept, Reject, Unknown};

    #[test]
    fn what_is_much_longer_than_the_shortest_correct_answer_goes() {
        let rows = [
            row(0, "p", 100, Accept),
            row(1, "p", 150, Accept),
            row(2, "p", 151, Accept),
            row(3, "p", 10, Reject),
            row(4, "p", 900, Unknown),
            row(5, "q", 900, Accept),
            Candidate { reaches: false, ..row(6, "q", 9, Accept) },
        ];
        assert_eq!(dropped(ConciseConfig::default().contest(1), &rows), [(2, "longer-than-needed")]);
    }
}
