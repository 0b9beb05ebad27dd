//! So many traces of each field and difficulty, or so many problems of each field. A cell is a domain of problems, a band of
//! pass rates, or both: `math`, `0.25-0.75`, `math/0.25-0.75`.
//!
//! | reason | when |
//! |---|---|
//! | `over-its-quota` | its cell is full of traces that come before it, as `prefer` says |

use crate::{
    Candidate, Contest, Decided, Dropped, Filter, FilterError, Listed, Prefer, Unit,
    contest::{Rank, check_preferences, group_of},
    filter::{decide_each, measure_asked, measure_windows},
    pass_rate::Rates,
    unit::{Asked, Of, Window},
};
use distill_dataset::{Context, Keyed, Shard, Stage, Tally};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::Path,
};

/// What a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// A domain.
    Domain,
    /// A band of pass rates.
    Difficulty,
    /// A band within a domain.
    DomainAndDifficulty,
}

/// Quotas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct QuotaConfig {
    /// What a cell is.
    pub by: Cell,
    /// The pass rates between which bands lie.
    pub bands: Vec<f64>,
    /// How many traces of a cell stay, by its name; `*` is any other.
    pub most: BTreeMap<String, u32>,
    /// Which ones.
    pub prefer: Vec<Prefer>,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        let prefer = vec![Prefer::Verified, Prefer::Random];
        QuotaConfig { by: Cell::Domain, bands: vec![0.25, 0.75], most: BTreeMap::new(), prefer }
    }
}

/// The name of the cell of whatever has no other.
const OTHER: &str = "*";
/// The band of problems of which nothing is decided.
const UNKNOWN: &str = "unknown";

/// The domain of a problem, or of a trace's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfDomain {
    /// The trace, or the problem.
    pub trace_id: String,
    /// The domain.
    pub domain: String,
}

impl QuotaConfig {
    /// The names of the bands, from hard to easy, and of what has none.
    fn bands(&self) -> Vec<String> {
        let edges: Vec<f64> = [0.0].into_iter().chain(self.bands.iter().copied()).chain([1.0]).collect();
        let bands = edges.windows(2).map(|edge| format!("{}-{}", edge[0], edge[1]));
        bands.chain([UNKNOWN.to_owned()]).collect()
    }
}

impl Listed for QuotaConfig {
    fn on_problems(&self) -> bool {
        true
    }

    fn check_on_problems(&self) -> Result<(), String> {
        match self.by {
            Cell::Domain => Ok(()),
            found => Err(format!("`by`: expected domain on problems, which nobody has tried yet, found {found:?}")),
        }
    }

    fn needs_verifier(&self) -> bool {
        self.by != Cell::Domain
    }

    fn draws(&self) -> bool {
        self.prefer.contains(&Prefer::Random)
    }

    fn check(&self) -> Result<(), String> {
        check_preferences(&self.prefer)?;
        if self.most.is_empty() {
            return Err(
                "`most`: expected a number for a cell, e.g. { math = 1000, \"*\" = 100 }, found none".to_owned()
            );
        }
        let rise = self.bands.iter().zip(self.bands.iter().skip(1)).all(|(a, b)| a < b);
        if !rise || self.bands.iter().any(|edge| !(*edge > 0.0 && *edge < 1.0)) {
            return Err(format!("`bands`: expected rising numbers between 0 and 1, found {:?}", self.bands));
        }
        if self.by == Cell::Domain {
            return Ok(());
        }
        // A name that is no cell's would be a quota that nothing meets.
        let bands = self.bands();
        let known = |name: &&String| {
            let band =
                if self.by == Cell::Difficulty { Some(name.as_str()) } else { name.rsplit_once('/').map(|it| it.1) };
            *name == OTHER || band.is_some_and(|band| bands.iter().any(|known| known == band))
        };
        match self.most.keys().find(|name| !known(name)) {
            None => Ok(()),
            Some(name) => {
                let prefix = if self.by == Cell::Difficulty { "" } else { "DOMAIN/" };
                let names: Vec<String> = bands.iter().map(|band| format!("{prefix}{band}")).collect();
                Err(format!("`most`: expected cells of {} or `*`, found `{name}`", names.join(", ")))
            }
        }
    }

    fn settings(&self) -> Keyed {
        Keyed::of(self, &QuotaConfig::default())
    }
}

impl Filter for QuotaConfig {
    fn stage(&self) -> Stage {
        Stage { name: "quota", version: 1 }
    }

    fn keyed(&self) -> Keyed {
        Keyed::default()
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        if unit.inputs.of == Of::Problems {
            let of = |Asked { id: trace_id, domain, .. }| OfDomain { trace_id, domain };
            let domains = |window: Window<Asked>| Ok(window.rows.into_iter().map(of).collect());
            return measure_windows(unit, context, out, domains);
        }
        measure_asked(unit, context, out, |said, asked| OfDomain {
            trace_id: said.id.clone(),
            domain: asked.domain.clone(),
        })
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |row: OfDomain| Decided::among(row.trace_id, Some(group_of(&row.domain))))
    }

    fn contest(&self, seed: u64) -> Option<Box<dyn Contest>> {
        Some(Box::new(Quotas { config: self.clone(), seed, rates: Rates::default(), rows: Vec::new() }))
    }
}

struct Seat {
    domain: u128,
    problem: u128,
    rank: Rank,
}

/// All that reach it: 64 bytes a trace, and the rates of problems.
struct Quotas {
    config: QuotaConfig,
    seed: u64,
    rates: Rates,
    rows: Vec<Seat>,
}

impl Contest for Quotas {
    fn add(&mut self, row: &Candidate<'_>) {
        self.rates.add(row);
        if let (Some(domain), true) = (row.group, row.reaches) {
            let (problem, rank) = (group_of(row.problem_id), Rank::of(row, &self.config.prefer, self.seed));
            self.rows.push(Seat { domain, problem, rank });
        }
    }

    fn close(mut self: Box<Self>) -> Result<Dropped, FilterError> {
        let bands = self.config.bands();
        // The quotas by what is known of a row: its domain, where that counts, and its band, where that does.
        let mut most: HashMap<(Option<u128>, Option<usize>), u32> = HashMap::new();
        let place = |band: &str| bands.iter().position(|known| known == band);
        for (name, count) in self.config.most.iter().filter(|(name, _)| *name != OTHER) {
            let cell = match (self.config.by, name.rsplit_once('/')) {
                (Cell::Domain, _) => (Some(group_of(name)), None),
                (Cell::DomainAndDifficulty, Some((domain, band))) => (Some(group_of(domain)), place(band)),
                _ => (None, place(name)),
            };
            most.insert(cell, *count);
        }
        self.rows.sort_unstable_by_key(|seat| seat.rank);
        let (mut taken, mut dropped) = (HashMap::new(), Vec::new());
        for seat in &self.rows {
            let band = match self.rates.rate(seat.problem, 1) {
                Some(rate) => self.config.bands.iter().filter(|edge| rate >= **edge).count(),
                None => bands.len() - 1,
            };
            let cell = match self.config.by {
                Cell::Domain => (Some(seat.domain), None),
                Cell::Difficulty => (None, Some(band)),
                Cell::DomainAndDifficulty => (Some(seat.domain), Some(band)),
            };
            let quota = most.get(&cell).or_else(|| self.config.most.get(OTHER));
            let taken: &mut u32 = taken.entry(cell).or_default();
            // A cell of which the recipe does not speak has no quota.
            match quota.is_none_or(|most| *taken < *most) {
                true => *taken += 1,
                false => dropped.push((seat.rank.place(), "over-its-quota")),
            }
        }
        Ok(Dropped::new(dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::tests::{dropped, row};
    use distill_dataset::Outcome::{Accept, Reject};

    fn quota(by: Cell, most: &[(&str, u32)]) -> QuotaConfig {
        let most = most.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        QuotaConfig { by, most, prefer: vec![Prefer::Shortest], ..QuotaConfig::default() }
    }

    #[test]
    fn each_cell_keeps_its_quota() {
        let of = |domain, row| Candidate { group: Some(group_of(domain)), ..row };
        let rows = [
            of("math", row(0, "easy", 9, Accept)),
            of("math", row(1, "easy", 8, Accept)),
            of("math", row(2, "half", 7, Accept)),
            of("math", Candidate { reaches: false, ..row(3, "half", 6, Reject) }),
            of("code", row(4, "c", 5, Accept)),
            of("code", row(5, "c", 4, Accept)),
            of("law", row(6, "l", 3, Accept)),
        ];
        let places = |config: QuotaConfig| {
            config.check().expect("quotas");
            let contest = config.contest(1).expect("a contest");
            dropped(contest, &rows).into_iter().map(|row| row.0).collect::<Vec<_>>()
        };
        assert_eq!(places(quota(Cell::Domain, &[("math", 2), ("*", 1)])), [0, 4]);
        assert_eq!(places(quota(Cell::Domain, &[("code", 0)])), [4, 5], "of other domains nothing is said");
        assert_eq!(places(quota(Cell::Difficulty, &[("0.75-1", 3), ("0.25-0.75", 0)])), [0, 1, 2]);
        assert_eq!(places(quota(Cell::DomainAndDifficulty, &[("math/0.75-1", 1), ("math/0.25-0.75", 0)])), [0, 2]);
    }

    #[test]
    fn a_cell_that_is_none_is_refused() {
        for config in [
            quota(Cell::Domain, &[]),
            quota(Cell::Difficulty, &[("hard", 1)]),
            quota(Cell::DomainAndDifficulty, &[("math", 1)]),
            QuotaConfig { bands: vec![0.5, 0.5], ..quota(Cell::Difficulty, &[("*", 1)]) },
        ] {
            assert!(config.check().is_err(), "{config:?}");
        }
    }
}
