//! Does a trace say what most answers to its problem say? For problems whose answer nobody knows. The answers of all
//! sources vote together.
//!
//! | reason | when |
//! |---|---|
//! | `minority` | another answer has the clear majority |
//! | `no-answer`, `not-comparable`, `no-clear-majority`, `small-majority` | undecided: `on-unknown` says what becomes of it |

#[cfg(test)]
mod tests;

use crate::{Decided, Filter, FilterError, Listed, OnUnknown, Unit, filter::decide_each, unit::Said};
use distill_dataset::{Context, Keyed, Shard, ShardWriter, Stage, Tally, Verdict};
use distill_verify::{Policy, Vote, extract, vote};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, ops::Range, path::Path};

/// Agreement with the majority, for problems whose answer nobody knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VoteConfig {
    /// The share of a problem's answers that must say the same, of those that say anything.
    #[serde(default = "half")]
    pub min_share: f64,
    /// What becomes of traces without an answer, of ties, and of what cannot be compared.
    pub on_unknown: OnUnknown,
    /// Where conventions differ: what counts as the same.
    #[serde(default)]
    pub policy: Policy,
}

fn half() -> f64 {
    0.5
}

/// How a trace stands in its problem's vote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Voted {
    /// The trace.
    pub trace_id: String,
    /// Whether it says what the majority says.
    pub verdict: Verdict,
    /// Why not, or why that is unknown.
    pub reason: String,
    /// What it says, where it says anything.
    pub found: Option<String>,
    /// What the majority says: the label.
    pub label: Option<String>,
    /// Votes for the label.
    pub votes: u32,
    /// Answers that say anything.
    pub total: u32,
    /// Votes for the next.
    pub runner_up: u32,
    /// Answers that could not be compared.
    pub undecided: u32,
}

/// What one trace says.
struct Statement {
    trace_id: String,
    problem_id: String,
    answer: Option<String>,
}

/// The answers to one problem, in the order of sources and samples, and how they voted.
#[derive(Default)]
struct Poll {
    answers: Vec<String>,
    vote: Option<Vote>,
    /// The place among them of the next trace that is measured.
    next: usize,
}

impl Listed for VoteConfig {
    fn check(&self) -> Result<(), String> {
        if (0.0..=1.0).contains(&self.min_share) {
            return Ok(());
        }
        Err(format!("`min-share`: expected 0 to 1, found {}", self.min_share))
    }

    fn settings(&self) -> Keyed {
        let keyed = self.keyed().with("on-unknown", self.on_unknown);
        if self.min_share == half() { keyed } else { keyed.with("min-share", self.min_share) }
    }
}

impl Filter for VoteConfig {
    fn stage(&self) -> Stage {
        Stage { name: "vote", version: 1 }
    }

    fn keyed(&self) -> Keyed {
        Keyed::default().nest("policy", Keyed::of(&self.policy, &Policy::default()))
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        let stated = |said: &Said| {
            let turn = said.turn();
            let answer =
                extract::extract(said.format.split(&turn).answered(), self.policy.loose).map(|found| found.text);
            Statement { trace_id: said.id.clone(), problem_id: said.problem_id.clone(), answer }
        };
        let mut polls: HashMap<String, Poll> = HashMap::new();
        for statement in unit.before(context, stated)? {
            let poll = polls.entry(statement.problem_id).or_default();
            poll.answers.extend(statement.answer);
            poll.next = poll.answers.len();
        }
        let mut statements: Vec<Statement> = Vec::new();
        unit.windows("read", context, |window| {
            statements.par_extend(window.rows.par_iter().map(stated));
            Ok(())
        })?;
        for statement in &statements {
            let poll = polls.entry(statement.problem_id.clone()).or_default();
            poll.answers.extend(statement.answer.clone());
        }
        for statement in unit.after(context, stated)? {
            // A problem that no trace of this unit answers is nobody's business here.
            if let Some(poll) = polls.get_mut(&statement.problem_id) {
                poll.answers.extend(statement.answer);
            }
        }
        polls.par_iter_mut().for_each(|(_, poll)| {
            let answers: Vec<&str> = poll.answers.iter().map(String::as_str).collect();
            poll.vote = vote(&answers, &self.policy);
        });
        let mut writer = ShardWriter::beside(out, unit.index)?;
        for Statement { trace_id, problem_id, answer } in statements {
            writer.push(place(trace_id, answer, polls.get_mut(&problem_id)))?;
        }
        Ok(Tally { rows_in: unit.rows.num_rows(), rows_out: writer.finish()?, ..Tally::default() })
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |voted: Voted| self.decided(voted))
    }
}

impl VoteConfig {
    fn decided(&self, voted: Voted) -> Decided {
        let share = f64::from(voted.votes) / f64::from(voted.total.max(1));
        match voted.verdict {
            Verdict::Unknown => Decided::unknown(voted.trace_id, self.on_unknown, voted.reason),
            // A majority that is too small says nothing.
            _ if share < self.min_share => Decided::unknown(voted.trace_id, self.on_unknown, "small-majority"),
            Verdict::Pass => Decided::accept(voted.trace_id),
            Verdict::Fail => Decided::reject(voted.trace_id, voted.reason),
        }
    }
}

fn place(trace_id: String, found: Option<String>, poll: Option<&mut Poll>) -> Voted {
    let nothing = Voted {
        trace_id,
        verdict: Verdict::Unknown,
        reason: "no-answer".to_owned(),
        found,
        label: None,
        votes: 0,
        total: 0,
        runner_up: 0,
        undecided: 0,
    };
    let Some((poll, true)) = poll.map(|poll| (poll, nothing.found.is_some())) else { return nothing };
    let index = poll.next;
    poll.next += 1;
    let Some(vote) = &poll.vote else { return nothing };
    let (verdict, reason) = match vote.classes.get(index).copied().flatten() {
        _ if !vote.is_clear() => (Verdict::Unknown, "no-clear-majority"),
        Some(0) => (Verdict::Pass, ""),
        Some(_) => (Verdict::Fail, "minority"),
        None => (Verdict::Unknown, "not-comparable"),
    };
    Voted {
        verdict,
        reason: reason.to_owned(),
        label: Some(vote.label.clone()),
        votes: vote.votes as u32,
        total: vote.total as u32,
        runner_up: vote.runner_up as u32,
        undecided: vote.undecided as u32,
        ..nothing
    }
}
