//! Which problems are held out: in a seeded order, all examples of a problem together, until there are enough examples. One
//! pass over the examples' problems decides it, in memory for as many problems as are held out.

use crate::TrainError;
use distill_dataset::seeded_rank;
use std::collections::BTreeMap;

/// A problem's place in the seeded order.
type Rank = [u8; 16];

/// The choice, once all examples were seen.
pub(crate) struct Holdout {
    seed: u64,
    /// The last problem of the order that is held out.
    last: Option<Rank>,
}

impl Holdout {
    /// Whether that problem's examples are held out.
    pub(crate) fn contains(&self, problem_id: &str) -> bool {
        self.last.is_some_and(|last| seeded_rank("holdout", self.seed, problem_id) <= last)
    }
}

/// The choice while examples are seen.
pub(crate) struct Choice {
    seed: u64,
    /// Examples that are wanted.
    count: u64,
    rows: u64,
    /// The first problems of the order with their examples: `count` of them without the last problem's are too few.
    first: BTreeMap<Rank, u64>,
    /// Examples of these.
    held: u64,
}

impl Choice {
    /// Of at least `count` examples.
    pub(crate) fn of(count: u32, seed: u64) -> Choice {
        Choice { seed, count: u64::from(count), rows: 0, first: BTreeMap::new(), held: 0 }
    }

    /// Sees an example of that problem.
    pub(crate) fn see(&mut self, problem_id: &str) {
        self.rows += 1;
        if self.count == 0 {
            return;
        }
        let rank = seeded_rank("holdout", self.seed, problem_id);
        if self.held >= self.count && self.first.last_key_value().is_some_and(|(last, _)| rank > *last) {
            return;
        }
        *self.first.entry(rank).or_default() += 1;
        self.held += 1;
        // A problem goes once those before it are enough: they only become more.
        while let Some(last) = self.first.last_entry()
            && self.held - last.get() >= self.count
        {
            self.held -= last.remove();
        }
    }

    /// What is held out.
    ///
    /// # Errors
    /// When nothing would be left to learn.
    pub(crate) fn finish(self) -> Result<Holdout, TrainError> {
        let Choice { seed, count, rows, first, held } = self;
        if count > 0 && count >= rows {
            return Err(TrainError::Examples(format!(
                "`holdout-examples`: expected fewer than all {rows}, found {count}"
            )));
        }
        if count > 0 && held == rows {
            let problems = first.len();
            return Err(TrainError::Examples(format!(
                "`holdout-examples` = {count}: expected a problem that is left to learn, found that all {problems} are held out with their examples"
            )));
        }
        Ok(Holdout { seed, last: first.last_key_value().map(|(last, _)| *last) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn choose(problems: &[String], count: u32) -> Result<Holdout, TrainError> {
        let mut choice = Choice::of(count, 3);
        problems.iter().for_each(|problem| choice.see(problem));
        choice.finish()
    }

    /// Problem p has 1 + p % 4 examples.
    fn problems() -> Vec<String> {
        (0..40).flat_map(|problem| std::iter::repeat_n(problem.to_string(), 1 + problem % 4)).collect()
    }

    #[test]
    fn problems_are_held_out_whole_and_no_more_than_are_needed() {
        let rows = problems();
        // The definition: by rank, until there are enough.
        let count = |problem: &str| rows.iter().filter(|row| *row == problem).count();
        let mut order: Vec<&str> = rows.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect();
        order.sort_by_key(|problem| seeded_rank("holdout", 3, problem));
        for wanted in [1, 2, 10, 37, 90] {
            let mut held = 0;
            let expected: Vec<&str> = order
                .iter()
                .copied()
                .take_while(|problem| {
                    let more = held < wanted;
                    held += count(problem);
                    more
                })
                .collect();
            for shuffled in [rows.clone(), rows.iter().rev().cloned().collect(), {
                let mut r = rows.clone();
                r.sort();
                r
            }] {
                let holdout = choose(&shuffled, wanted as u32).expect("a choice");
                let found: Vec<&str> = order.iter().copied().filter(|problem| holdout.contains(problem)).collect();
                assert_eq!(found, expected, "{wanted} wanted");
            }
        }
        let none = choose(&rows, 0).expect("none");
        assert!(!rows.iter().any(|row| none.contains(row)));
    }

    #[test]
    fn something_must_be_left_to_learn() {
        let rows = problems();
        assert!(choose(&rows, rows.len() as u32).is_err(), "as many as there are");
        let two: Vec<String> = (0..20).map(|sample| (sample % 2).to_string()).collect();
        assert!(choose(&two, 11).is_err(), "two problems, and both would be held out");
        assert!(choose(&two, 10).is_ok(), "two problems, and one is left");
    }

    #[test]
    fn memory_is_for_the_problems_that_are_held_out() {
        let mut choice = Choice::of(5, 3);
        for problem in 0..10_000 {
            choice.see(&problem.to_string());
            assert!(choice.first.len() <= 5, "{} problems are remembered", choice.first.len());
        }
    }
}
