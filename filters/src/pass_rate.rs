//! How hard is its problem for who was asked? The share of a problem's traces that the verifier accepts, of those that it
//! can decide, whatever other filters think of them. Problems that are always solved teach little, those never solved have
//! no right trace; what to keep is a band.
//!
//! | reason | when |
//! |---|---|
//! | `too-easy` | a larger share than `max` |
//! | `too-hard` | a smaller share than `min` |
//! | `too-few-attempts` | fewer than `min-attempts` traces are decided, and `on-unknown` says `reject` |

use crate::{Candidate, Contest, Dropped, FilterError, Listed, OnUnknown, Selector, contest::group_of};
use distill_dataset::{Keyed, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A band of pass rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PassRateConfig {
    /// The least share, in 0 to 1.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Decided traces from which there is a rate.
    pub min_attempts: u32,
    /// What becomes of problems with fewer.
    pub on_unknown: OnUnknown,
}

impl Default for PassRateConfig {
    fn default() -> Self {
        PassRateConfig { min: 0.0, max: 1.0, min_attempts: 2, on_unknown: OnUnknown::Keep }
    }
}

impl Listed for PassRateConfig {
    fn needs_verifier(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        let bounds = 0.0..=1.0;
        if !bounds.contains(&self.min) || !bounds.contains(&self.max) || self.min > self.max {
            return Err(format!("`min`, `max`: expected a band within 0 to 1, found {} to {}", self.min, self.max));
        }
        match self.min_attempts {
            0 => Err("`min-attempts`: expected at least 1, found 0".to_owned()),
            _ => Ok(()),
        }
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &PassRateConfig::default())
    }
}

impl Selector for PassRateConfig {
    fn kind(&self) -> &'static str {
        "pass-rate"
    }

    fn contest(&self, _seed: u64) -> Box<dyn Contest> {
        Box::new(Band { config: self.clone(), rates: Rates::default(), rows: Vec::new() })
    }
}

/// Pass rates of problems. 24 bytes a problem, and what a hash map adds.
#[derive(Default)]
pub(crate) struct Rates(HashMap<u128, [u32; 2]>);

impl Rates {
    /// Counts a row: any that the verifier decides, dropped or not.
    pub(crate) fn add(&mut self, row: &Candidate<'_>) {
        let passes = u32::from(row.verdict == Outcome::Accept);
        if passes == 1 || row.verdict == Outcome::Reject {
            let [passed, decided] = self.0.entry(group_of(row.problem_id)).or_default();
            (*passed, *decided) = (*passed + passes, *decided + 1);
        }
    }

    /// The share that passes, where so many are decided.
    pub(crate) fn rate(&self, problem: u128, min_attempts: u32) -> Option<f64> {
        let [passed, decided] = self.0.get(&problem).filter(|[_, decided]| *decided >= min_attempts)?;
        Some(f64::from(*passed) / f64::from(*decided))
    }
}

struct Band {
    config: PassRateConfig,
    rates: Rates,
    rows: Vec<(u128, u64)>,
}

impl Contest for Band {
    fn add(&mut self, row: &Candidate<'_>) {
        self.rates.add(row);
        if row.reaches {
            self.rows.push((group_of(row.problem_id), row.place));
        }
    }

    fn close(self: Box<Self>) -> Result<Dropped, FilterError> {
        let PassRateConfig { min, max, min_attempts, on_unknown } = self.config;
        let reason = |problem| match self.rates.rate(problem, min_attempts) {
            Some(rate) if rate < min => Some("too-hard"),
            Some(rate) if rate > max => Some("too-easy"),
            None if on_unknown == OnUnknown::Reject => Some("too-few-attempts"),
            _ => None,
        };
        let dropped = self.rows.iter().filter_map(|(problem, place)| Some((*place, reason(*problem)?)));
        Ok(Dropped::new(dropped.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::tests::{dropped, row};
    use distill_dataset::Outcome::{Accept, Reject, Unknown};

    #[test]
    fn problems_outside_the_band_go_with_all_their_traces() {
        let wrong = |place, problem| Candidate { reaches: false, ..row(place, problem, 1, Reject) };
        let rows = [
            row(0, "easy", 1, Accept),
            row(1, "easy", 1, Accept),
            row(2, "half", 1, Accept),
            wrong(3, "half"),
            row(4, "hard", 1, Accept),
            wrong(5, "hard"),
            wrong(6, "hard"),
            wrong(7, "hard"),
            row(8, "open", 1, Unknown),
            row(9, "open", 1, Accept),
        ];
        let config = PassRateConfig { min: 0.3, max: 0.9, ..PassRateConfig::default() };
        let easy = [(0, "too-easy"), (1, "too-easy")];
        assert_eq!(dropped(config.contest(1), &rows), [&easy[..], &[(4, "too-hard")]].concat());
        let strict = PassRateConfig { on_unknown: OnUnknown::Reject, ..config };
        let few = [(8, "too-few-attempts"), (9, "too-few-attempts")];
        assert_eq!(dropped(strict.contest(1), &rows), [&easy[..], &[(4, "too-hard")], &few].concat());
        assert_eq!(dropped(PassRateConfig::default().contest(1), &rows), []);
    }

    #[test]
    fn a_band_that_is_none_is_refused() {
        for (min, max) in [(0.5, 0.4), (-0.1, 1.0), (0.0, f64::NAN)] {
            assert!(PassRateConfig { min, max, ..PassRateConfig::default() }.check().is_err(), "{min} to {max}");
        }
    }
}
