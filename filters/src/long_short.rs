//! Long and short traces in a given proportion. Students of up to 3 billion parameters learn worse from long reasoning
//! alone than from short or from a mix (arXiv 2502.12143: one long trace to four short ones).
//!
//! | reason | when |
//! |---|---|
//! | `over-the-long-share`, `over-the-short-share` | with it, long or short traces would be more than their share |

use crate::{
    Candidate, Contest, Dropped, FilterError, Listed, Prefer, Selector,
    contest::{Rank, check_preferences},
};
use distill_dataset::Keyed;
use serde::{Deserialize, Serialize};

/// A mix of long and short traces: as many of both as there can be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LongShortConfig {
    /// Completion tokens above which a trace is long.
    pub boundary: u32,
    /// The share of what stays that is long: 0 keeps short ones alone, 1 long ones.
    #[serde(default = "long_share")]
    pub long_share: f64,
    /// Which ones stay.
    #[serde(default = "prefer")]
    pub prefer: Vec<Prefer>,
}

fn long_share() -> f64 {
    0.2
}

fn prefer() -> Vec<Prefer> {
    vec![Prefer::Verified, Prefer::Random]
}

impl Listed for LongShortConfig {
    fn draws(&self) -> bool {
        self.prefer.contains(&Prefer::Random)
    }

    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.long_share) {
            return Err(format!("`long-share`: expected 0 to 1, found {}", self.long_share));
        }
        check_preferences(&self.prefer)
    }

    fn settings(&self) -> Keyed {
        Keyed::all(self)
    }
}

impl Selector for LongShortConfig {
    fn kind(&self) -> &'static str {
        "long-short"
    }

    fn contest(&self, seed: u64) -> Box<dyn Contest> {
        Box::new(Lengths { config: self.clone(), seed, long: Vec::new(), short: Vec::new() })
    }
}

/// 24 bytes a row.
struct Lengths {
    config: LongShortConfig,
    seed: u64,
    long: Vec<Rank>,
    short: Vec<Rank>,
}

impl Contest for Lengths {
    fn add(&mut self, row: &Candidate<'_>) {
        if row.reaches {
            let side = if row.length > self.config.boundary { &mut self.long } else { &mut self.short };
            side.push(Rank::of(row, &self.config.prefer, self.seed));
        }
    }

    fn close(mut self: Box<Self>) -> Result<Dropped, FilterError> {
        let [long, short] = keep(self.config.long_share, [self.long.len(), self.short.len()]);
        let mut dropped = Vec::new();
        for (rows, keep, reason) in
            [(&mut self.long, long, "over-the-long-share"), (&mut self.short, short, "over-the-short-share")]
        {
            rows.sort_unstable();
            dropped.extend(rows[keep..].iter().map(|rank| (rank.place(), reason)));
        }
        Ok(Dropped::new(dropped))
    }
}

/// How many long and short rows stay, of so many: the most that are in that proportion.
fn keep(long_share: f64, [long, short]: [usize; 2]) -> [usize; 2] {
    let of = |share: f64, count: usize| if share > 0.0 { count as f64 / share } else { f64::INFINITY };
    let total = of(long_share, long).min(of(1.0 - long_share, short));
    // A product that should be whole may be a little less.
    let part = |share: f64, count: usize| ((total * share + 1e-6).floor() as usize).min(count);
    [part(long_share, long), part(1.0 - long_share, short)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::tests::{dropped, row};
    use distill_dataset::Outcome::Accept;

    #[test]
    fn as_many_stay_as_the_proportion_allows() {
        assert_eq!(keep(0.2, [100, 100]), [25, 100]);
        assert_eq!(keep(0.5, [10, 3]), [3, 3]);
        assert_eq!((keep(0.0, [10, 3]), keep(1.0, [10, 3])), ([0, 3], [10, 0]));
        assert_eq!((keep(0.0, [10, 0]), keep(0.3, [0, 5])), ([0, 0], [0, 0]));
    }

    #[test]
    fn what_is_over_its_share_goes_by_preference() {
        let rows: Vec<Candidate<'_>> = (0..8).map(|place| row(place, "p", 100 * place as u32, Accept)).collect();
        let of = |long_share, prefer| {
            let config = LongShortConfig { boundary: 300, long_share, prefer: vec![prefer] };
            dropped(config.contest(1), &rows)
        };
        assert_eq!(of(0.5, Prefer::First), []);
        let [long, short] = ["over-the-long-share", "over-the-short-share"];
        assert_eq!(of(0.0, Prefer::First), [(4, long), (5, long), (6, long), (7, long)]);
        assert_eq!(of(0.8, Prefer::Longest), [(0, short), (1, short), (2, short)]);
        assert_eq!(of(0.2, Prefer::Shortest), [(5, long), (6, long), (7, long)]);
    }
}
