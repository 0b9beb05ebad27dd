//! So many rows, by lot: what other selections are compared with.
//!
//! | reason | when |
//! |---|---|
//! | `not-drawn` | `count` others were drawn |

use crate::{Candidate, Contest, Dropped, FilterError, Listed, Prefer, Selector, contest::BestOf};
use distill_dataset::Keyed;
use serde::{Deserialize, Serialize};

/// Rows by lot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RandomConfig {
    /// How many stay; of a file that is filtered alone, how many texts: rows of one text have one fate.
    pub count: Option<u32>,
    /// Which share stays, in 0 to 1.
    pub share: Option<f64>,
}

impl Listed for RandomConfig {
    fn on_problems(&self) -> bool {
        true
    }

    fn draws(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        match (self.count, self.share) {
            (Some(_), None) => Ok(()),
            (None, Some(share)) if (0.0..=1.0).contains(&share) => Ok(()),
            (None, Some(share)) => Err(format!("`share`: expected 0 to 1, found {share}")),
            (None, None) => Err("expected `count` or `share`, found neither".to_owned()),
            (Some(_), Some(_)) => Err("expected `count` or `share`, found both".to_owned()),
        }
    }

    fn settings(&self) -> Keyed {
        Keyed::all(self)
    }
}

impl Selector for RandomConfig {
    fn kind(&self) -> &'static str {
        "random"
    }

    fn contest(&self, seed: u64) -> Box<dyn Contest> {
        let lots = BestOf::new(0, &[Prefer::Random], seed, "not-drawn");
        Box::new(Lots { count: self.count, share: self.share, lots })
    }
}

struct Lots {
    count: Option<u32>,
    share: Option<f64>,
    lots: BestOf,
}

impl Contest for Lots {
    fn add(&mut self, row: &Candidate<'_>) {
        self.lots.add(&Candidate { group: Some(0), ..*row });
    }

    fn close(mut self: Box<Self>) -> Result<Dropped, FilterError> {
        let reach = self.lots.seats.len();
        let share = self.share.map_or(usize::MAX, |share| (share * reach as f64).round() as usize);
        self.lots.keep = self.count.map_or(share, |count| count as usize);
        Box::new(self.lots).close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::tests::{dropped, row};
    use distill_dataset::Outcome::NotRun;

    #[test]
    fn a_count_or_a_share_is_drawn_and_another_seed_draws_others() {
        let ids: Vec<String> = (0..100).map(|index| index.to_string()).collect();
        let rows: Vec<_> = (0..).zip(&ids).map(|(place, id)| Candidate { id, ..row(place, "p", 1, NotRun) }).collect();
        let drawn = |config: RandomConfig, seed| dropped(config.contest(seed), &rows);
        let count = |count| RandomConfig { count: Some(count), share: None };
        assert_eq!(drawn(count(30), 1).len(), 70);
        assert_eq!(drawn(count(300), 1), []);
        assert_eq!(drawn(RandomConfig { count: None, share: Some(0.255) }, 1).len(), 74);
        assert_eq!(drawn(count(30), 1), drawn(count(30), 1));
        assert_ne!(drawn(count(30), 1), drawn(count(30), 2));
        let (ten, thirty) = (drawn(count(10), 1), drawn(count(30), 1));
        assert!(thirty.iter().all(|row| ten.contains(row)), "more of the same lots are more rows");
        assert!(RandomConfig::default().check().is_err());
    }
}
