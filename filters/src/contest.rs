//! Contests: what is decided over all rows together, once every row's own outcome is known. A contest sees each row as a
//! [`Candidate`], in order, and says which of those that reach it are dropped.
//!
//! Rows are compared in groups (copies of one text, answers to one problem, a cell of a quota). Of a group some stay: which
//! ones, a list of [`Prefer`] says, and the order of rows where that says nothing.

use crate::FilterError;
use distill_dataset::{Digest, Outcome};
use serde::{Deserialize, Serialize};

/// A row as a contest sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'r> {
    /// Its place among all rows: by source, then by place in the source's table.
    pub place: u64,
    /// Its id.
    pub id: &'r str,
    /// Its problem.
    pub problem_id: &'r str,
    /// Its source.
    pub source: usize,
    /// Completion tokens of a trace, characters of a problem.
    pub length: u32,
    /// What the verifier says of it, whatever dropped it before; `NotRun` where there is none.
    pub verdict: Outcome,
    /// Whether nothing before the contest dropped it.
    pub reaches: bool,
    /// The group that its filter puts it in.
    pub group: Option<u128>,
    /// What its filter says that it says, as hashes.
    pub sample: &'r [u32],
}

/// One decision over all rows.
pub trait Contest {
    /// Looks at a row. They come in order, those too that do not reach the contest.
    fn add(&mut self, row: &Candidate<'_>);

    /// Which rows are dropped. Only those that reach the contest count.
    ///
    /// # Errors
    /// When there is nothing to choose from.
    fn close(self: Box<Self>) -> Result<Dropped, FilterError>;
}

/// The rows that a contest drops: by their places, with the reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dropped(Vec<(u64, &'static str)>);

impl Dropped {
    /// These, in any order.
    pub fn new(mut rows: Vec<(u64, &'static str)>) -> Dropped {
        rows.sort_unstable();
        Dropped(rows)
    }

    /// Why the row at a place is dropped, if it is.
    pub fn reason(&self, place: u64) -> Option<&'static str> {
        self.0.binary_search_by_key(&place, |(place, _)| *place).ok().map(|index| self.0[index].1)
    }
}

/// What makes one row of a group stay rather than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prefer {
    /// One that the verifier accepts, then one that it cannot decide.
    Verified,
    /// The shorter one, in completion tokens; of problems, in characters.
    Shortest,
    /// The longer one.
    Longest,
    /// The one that comes first: by source, problem and sample.
    First,
    /// By lot, from the recipe's seed and the row's id.
    Random,
}

/// The most preferences that a list may have.
const MOST_PREFERENCES: usize = 3;

/// Checks a list of preferences.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_preferences(prefer: &[Prefer]) -> Result<(), String> {
    let twice = prefer.iter().enumerate().find(|(index, one)| prefer[..*index].contains(one));
    match twice {
        Some((_, one)) => Err(format!("`prefer`: expected each once, found {one:?} twice")),
        None if prefer.len() > MOST_PREFERENCES => {
            Err(format!("`prefer`: expected {MOST_PREFERENCES} at most, found {}", prefer.len()))
        }
        None if prefer.contains(&Prefer::Shortest) && prefer.contains(&Prefer::Longest) => {
            Err("`prefer`: expected one of shortest and longest, found both".to_owned())
        }
        None => Ok(()),
    }
}

/// How a row stands among those of its group: the least stays. 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank([u32; MOST_PREFERENCES], u64);

impl Rank {
    /// By the preferences in turn, then by place.
    pub(crate) fn of(row: &Candidate<'_>, prefer: &[Prefer], seed: u64) -> Rank {
        let mut keys = [0; MOST_PREFERENCES];
        for (key, prefer) in keys.iter_mut().zip(prefer) {
            *key = match prefer {
                Prefer::Verified => match row.verdict {
                    Outcome::Accept => 0,
                    Outcome::Unknown | Outcome::NotRun => 1,
                    Outcome::Reject => 2,
                },
                Prefer::Shortest => row.length,
                Prefer::Longest => u32::MAX - row.length,
                // The place decides; what comes behind it in the list never speaks.
                Prefer::First => return Rank(keys, row.place),
                Prefer::Random => (lot(seed, row.id) >> 32) as u32,
            };
        }
        Rank(keys, row.place)
    }

    pub(crate) fn place(&self) -> u64 {
        self.1
    }
}

/// A row's lot: it depends on the seed and its id alone.
pub(crate) fn lot(seed: u64, id: &str) -> u64 {
    Digest::new("lot").field(&seed.to_string()).field(id).finish_u64()
}

/// A name as the key of a group.
pub(crate) fn group_of(name: &str) -> u128 {
    u128::from_be_bytes(Digest::new("group").field(name).finish_bytes())
}

/// Keeps so many rows of each group. 48 bytes a row that is in one.
pub(crate) struct BestOf {
    pub(crate) keep: usize,
    pub(crate) prefer: Vec<Prefer>,
    pub(crate) seed: u64,
    pub(crate) reason: &'static str,
    pub(crate) seats: Vec<(u128, Rank)>,
}

impl BestOf {
    pub(crate) fn new(keep: u32, prefer: &[Prefer], seed: u64, reason: &'static str) -> BestOf {
        BestOf { keep: keep as usize, prefer: prefer.to_vec(), seed, reason, seats: Vec::new() }
    }

    /// Seats a row in a group.
    pub(crate) fn seat(&mut self, row: &Candidate<'_>, group: u128) {
        self.seats.push((group, Rank::of(row, &self.prefer, self.seed)));
    }
}

impl Contest for BestOf {
    fn add(&mut self, row: &Candidate<'_>) {
        if let (Some(group), true) = (row.group, row.reaches) {
            self.seat(row, group);
        }
    }

    fn close(mut self: Box<Self>) -> Result<Dropped, FilterError> {
        self.seats.sort_unstable();
        let groups = self.seats.chunk_by(|a, b| a.0 == b.0);
        let dropped = groups.flat_map(|group| group.iter().skip(self.keep));
        Ok(Dropped::new(dropped.map(|(_, rank)| (rank.place(), self.reason)).collect()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A row that reaches the contest: its place, problem, length and verdict.
    pub(crate) fn row<'r>(place: u64, problem_id: &'r str, length: u32, verdict: Outcome) -> Candidate<'r> {
        let (id, source, group) = ("t", 0, Some(group_of(problem_id)));
        Candidate { place, id, problem_id, source, length, verdict, reaches: true, group, sample: &[] }
    }

    /// The places that a contest drops.
    pub(crate) fn dropped(mut contest: Box<dyn Contest>, rows: &[Candidate<'_>]) -> Vec<(u64, &'static str)> {
        rows.iter().for_each(|row| contest.add(row));
        contest.close().expect("something to choose from").0
    }

    #[test]
    fn the_best_of_a_group_stay_by_the_preferences_in_turn() {
        use Outcome::{Accept, Reject, Unknown};
        let rows = [
            row(0, "p", 5, Reject),
            row(1, "p", 9, Accept),
            row(2, "p", 7, Unknown),
            row(3, "q", 1, Reject),
            row(4, "p", 8, Accept),
            Candidate { reaches: false, ..row(5, "p", 1, Accept) },
            Candidate { group: None, ..row(6, "p", 99, Accept) },
        ];
        let cases: [(&[Prefer], u32, &[u64]); 6] = [
            (&[Prefer::First], 1, &[1, 2, 4]),
            (&[], 1, &[1, 2, 4]),
            (&[Prefer::Verified], 1, &[0, 2, 4]),
            (&[Prefer::Verified, Prefer::Shortest], 1, &[0, 1, 2]),
            (&[Prefer::Shortest], 2, &[1, 4]),
            (&[Prefer::Longest, Prefer::First], 3, &[0]),
        ];
        for (prefer, keep, expected) in cases {
            let found = dropped(Box::new(BestOf::new(keep, prefer, 1, "copy")), &rows);
            assert_eq!(found.iter().map(|row| row.0).collect::<Vec<_>>(), expected, "{keep} by {prefer:?}");
            assert!(found.iter().all(|row| row.1 == "copy"));
        }
    }

    #[test]
    fn a_lot_depends_on_seed_and_id_alone() {
        let of = |seed, id| Rank::of(&Candidate { id, ..row(3, "p", 1, Outcome::Accept) }, &[Prefer::Random], seed);
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
        assert_ne!(of(1, "a"), of(2, "a"));
    }

    #[test]
    fn a_list_of_preferences_that_contradicts_itself_is_refused() {
        use Prefer::{First, Longest, Random, Shortest, Verified};
        assert!(check_preferences(&[Verified, Shortest, First]).is_ok());
        for wrong in [&[First, First][..], &[Shortest, Longest], &[Verified, Shortest, Random, First]] {
            assert!(check_preferences(wrong).is_err(), "{wrong:?}");
        }
    }
}
