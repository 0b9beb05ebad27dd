//! Majority vote: what do most answers to one problem say? For problems whose right answer nobody knows.
//!
//! Answers are put into classes by the maths verifier, each compared with the first of every class. Only proven or probable
//! equality joins a class; what cannot be compared founds its own, and makes the vote uncertain where it could turn it.

use crate::{Policy, Verdict, judge_answer};

/// The outcome of a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The winning answer as the first of its class wrote it.
    pub label: String,
    /// How many say the same.
    pub votes: usize,
    /// How many say what the second most say.
    pub runner_up: usize,
    /// How many answered at all.
    pub total: usize,
    /// How many could not be compared with the winner: they may say the same or another.
    pub undecided: usize,
    /// Which class each answer belongs to, 0 the winner; `None` for those that could not be compared with the winner.
    pub classes: Vec<Option<usize>>,
}

impl Vote {
    /// Whether no other class could have as many votes, however what is undecided came out.
    pub fn is_clear(&self) -> bool {
        self.votes > self.runner_up + self.undecided
    }
}

/// Counts answers. `None` when there are none.
pub fn vote(answers: &[&str], policy: &Policy) -> Option<Vote> {
    let mut classes: Vec<Vec<usize>> = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        let same = |class: &Vec<usize>| {
            let first = answers[class[0]];
            first == *answer || judge_answer(answer, first, policy).verdict == Verdict::Equal
        };
        match classes.iter_mut().find(|class| same(class)) {
            Some(class) => class.push(index),
            None => classes.push(vec![index]),
        }
    }
    // The larger first; of equals, the one that came first.
    classes.sort_by_key(|class| (std::cmp::Reverse(class.len()), class[0]));
    let winner = classes.first()?;
    let label = answers[winner[0]].to_owned();
    let (votes, mut runner_up) = (winner.len(), 0);
    let mut class_of = vec![None; answers.len()];
    let mut undecided = 0;
    for (place, class) in classes.iter().enumerate() {
        let incomparable = place > 0 && judge_answer(answers[class[0]], &label, policy).verdict == Verdict::Unknown;
        if place > 0 {
            runner_up = runner_up.max(class.len());
        }
        if incomparable {
            undecided += class.len();
            continue;
        }
        class.iter().for_each(|index| class_of[*index] = Some(place));
    }
    Some(Vote { label, votes, runner_up, total: answers.len(), undecided, classes: class_of })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_vote_together() {
        let vote = vote(&["0.5", "2", "\\frac12", "1/2", "2"], &Policy::default()).expect("votes");
        assert_eq!((vote.label.as_str(), vote.votes, vote.runner_up, vote.total), ("0.5", 3, 2, 5));
        assert_eq!(vote.classes, [Some(0), Some(1), Some(0), Some(0), Some(1)]);
        assert!(vote.is_clear());
    }

    #[test]
    fn a_tie_is_not_clear_and_no_answers_are_no_vote() {
        let tie = vote(&["1", "2"], &Policy::default()).expect("votes");
        assert!(!tie.is_clear());
        assert_eq!(tie.label, "1");
        assert_eq!(vote(&[], &Policy::default()), None);
    }

    #[test]
    fn what_cannot_be_compared_makes_a_vote_uncertain() {
        let answers = ["7", "7", "7", "f(#?)", "f(#?)", "g(?!"];
        let vote = vote(&answers, &Policy::default()).expect("votes");
        assert_eq!((vote.label.as_str(), vote.votes), ("7", 3));
        let compared = answers
            .iter()
            .skip(3)
            .any(|answer| judge_answer(answer, "7", &Policy::default()).verdict == Verdict::Unknown);
        assert_eq!(vote.undecided > 0, compared);
    }
}
