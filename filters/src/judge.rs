//! A model's opinion where rules have none. DeepSeek-R1's data were judged by DeepSeek-V3 where rules could not, from the
//! reference and the answer (arXiv 2501.12948, §2.3.3). An opinion is no verification: what it accepts is kept, and not called
//! verified.
//!
//! Questions come first: one for each answer that the rules leave unknown, and for a share of those that they decide
//! (`question.rs`). They are problems, and the judge's answers are traces: bought, budgeted, kept and resumed as any
//! others. Here they are read and counted. A question that several traces share is asked once.
//!
//! | reason | when |
//! |---|---|
//! | `judged-wrong` | most of the judge's samples that say anything say so |
//! | `not-asked` | undecided: there is no reference, no answer, or there are tests, which no opinion replaces |
//! | `judge-unsure`, `judge-silent` | undecided: as many samples say right as wrong, or there is none |

mod question;
#[cfg(test)]
mod tests;

use crate::{Decided, Filter, FilterError, Inputs, Listed, OnUnknown, Survey, Unit, filter::decide_each};
use distill_dataset::{
    Context, Dataset, Detail, FinishReason, Keyed, Problem, Shard, ShardWriter, Sorter, Stage, Tally, TurnFormat,
    Verdict,
};
use question::Rows;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::Path,
};

/// The stage of a judge's answers.
pub const JUDGEMENTS: Stage = Stage { name: "judgements", version: 1 };

/// A model's opinion on answers that rules leave unknown. Who is asked, and how often, is said beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct JudgeConfig {
    /// What becomes of answers on which the judge has no opinion.
    pub on_unknown: OnUnknown,
    /// The share of the answers that rules decide on which it is asked too, drawn by their ids: how far it agrees with them.
    #[serde(default = "agreement_share")]
    pub agreement_share: f64,
    /// Characters of an answer that it is shown, from the end.
    #[serde(default = "max_answer_characters")]
    pub max_answer_characters: u32,
}

/// Ours: two in a hundred tell a judge that agrees by chance from one that does not, and cost little.
fn agreement_share() -> f64 {
    0.02
}

/// Ours: an answer's conclusion is at its end.
fn max_answer_characters() -> u32 {
    8000
}

impl JudgeConfig {
    /// With what holds where a recipe says nothing more.
    pub fn new(on_unknown: OnUnknown) -> JudgeConfig {
        let (agreement_share, max_answer_characters) = (agreement_share(), max_answer_characters());
        JudgeConfig { on_unknown, agreement_share, max_answer_characters }
    }
}

/// An opinion with what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The trace.
    pub trace_id: String,
    /// What the rules say.
    pub rules: Verdict,
    /// What the judge says; nothing where it was not asked.
    pub opinion: Option<Verdict>,
    /// Why it says nothing; empty where it does.
    pub reason: String,
    /// The question: its text is among the questions, the answers are among the judge's traces, by this id.
    pub question_id: Option<String>,
    /// Samples that say right, wrong, and neither.
    pub votes: [u32; 3],
}

impl Listed for JudgeConfig {
    fn needs_verifier(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.agreement_share) {
            return Err(format!("`agreement-share`: expected 0 to 1, found {}", self.agreement_share));
        }
        match self.max_answer_characters {
            0 => Err("`max-answer-characters`: expected at least 1, found 0".to_owned()),
            _ => Ok(()),
        }
    }

    fn settings(&self) -> Keyed {
        Keyed::default().with("on-unknown", self.on_unknown)
    }
}

impl Filter for JudgeConfig {
    fn stage(&self) -> Stage {
        Stage { name: "judge", version: 1 }
    }

    fn survey(&self) -> Option<&dyn Survey> {
        Some(self)
    }

    fn asks(&self) -> bool {
        true
    }

    fn keyed(&self) -> Keyed {
        self.questions()
    }

    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        let rows = Rows::of(self, unit)?;
        let mut judged = Vec::new();
        rows.each("judge", context, |row| {
            let question = row.question().map(|problem| problem.id);
            let reason = if question.is_none() && row.rules() == Verdict::Unknown { "not-asked" } else { "" };
            judged.push(Judged {
                trace_id: row.trace_id().to_owned(),
                rules: row.rules(),
                opinion: None,
                reason: reason.to_owned(),
                question_id: question,
                votes: [0; 3],
            });
            Ok(())
        })?;
        let asked = judged.iter().filter_map(|row| Some((row.question_id.clone()?, Votes::default())));
        let mut votes: HashMap<String, Votes> = asked.collect();
        for answer in unit.inputs.answers.into_iter().flat_map(Dataset::rows::<Answered>) {
            context.cancel.check()?;
            let answer = answer?;
            if let Some(votes) = votes.get_mut(&answer.problem_id) {
                votes.count(&answer);
            }
        }
        let mut agreement = BTreeMap::new();
        let mut asked = 0;
        for row in &mut judged {
            let Some(votes) = row.question_id.as_ref().and_then(|id| votes.get(id)) else { continue };
            asked += 1;
            let (opinion, reason) = votes.opinion();
            (row.opinion, row.reason, row.votes) = (Some(opinion), reason.to_owned(), votes.0);
            if row.rules != Verdict::Unknown {
                *agreement.entry(format!("{}/{}", name(row.rules), name(opinion))).or_default() += 1;
            }
        }
        let mut writer = ShardWriter::beside(out, unit.index)?;
        writer.extend(judged)?;
        let detail = Detail::Judged { asked, agreement };
        Ok(Tally { rows_in: unit.rows.num_rows(), rows_out: writer.finish()?, detail, ..Tally::default() })
    }

    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError> {
        decide_each(measures, range, |row: Judged| match (row.rules, row.opinion) {
            // The rules have the last word where they have one.
            (Verdict::Pass | Verdict::Fail, _) | (Verdict::Unknown, Some(Verdict::Pass)) => {
                Decided::accept(row.trace_id)
            }
            (Verdict::Unknown, Some(Verdict::Fail)) => Decided::reject(row.trace_id, "judged-wrong"),
            (Verdict::Unknown, Some(Verdict::Unknown) | None) => {
                Decided::unknown(row.trace_id, self.on_unknown, row.reason)
            }
        })
    }
}

impl Survey for JudgeConfig {
    fn stage(&self) -> Stage {
        Stage { name: "judge-questions", version: 1 }
    }

    fn keyed(&self) -> Keyed {
        self.questions()
    }

    /// Writes the questions as problems, sorted by id, each once.
    fn look(&self, inputs: &Inputs<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError> {
        let mut sorter = Sorter::new(&context.scratch.join("sort"), |problem: &Problem| &problem.id);
        let (mut tally, mut train) = (Tally::default(), 0);
        for unit in inputs.units().into_iter().filter(|unit| inputs.looks_at(unit.source)) {
            Rows::of(self, &unit)?.each("ask", context, |row| {
                tally.rows_in += 1;
                match row.question() {
                    Some(problem) => {
                        let bytes = problem.messages.iter().map(|message| message.content.len()).sum::<usize>();
                        Ok(sorter.push(problem, bytes + 256)?)
                    }
                    None => {
                        let decided = if row.rules() == Verdict::Unknown { "not-asked" } else { "decided-by-rules" };
                        *tally.rejected.entry(decided.to_owned()).or_default() += 1;
                        Ok(())
                    }
                }
            })?;
        }
        let mut writer = ShardWriter::new(out)?.sorted_by(|problem: &Problem| &problem.id);
        let mut last = String::new();
        sorter.finish::<FilterError>(|problem| {
            if problem.id == last {
                *tally.rejected.entry("asked-already".to_owned()).or_default() += 1;
                return Ok(());
            }
            last.clone_from(&problem.id);
            train += 1;
            Ok(writer.push(problem)?)
        })?;
        let (holdout, unlicensed) = (0, train);
        let detail =
            Detail::Problems { train, holdout, unlicensed, licences: BTreeMap::new(), references: BTreeMap::new() };
        Ok(Tally { rows_out: writer.finish()?, detail, ..tally })
    }
}

impl JudgeConfig {
    /// What decides which questions there are.
    fn questions(&self) -> Keyed {
        Keyed::of(self, &JudgeConfig::new(self.on_unknown))
    }
}

/// The columns of a judge's answer.
#[derive(Serialize, Deserialize)]
struct Answered {
    problem_id: String,
    format: TurnFormat,
    text: String,
    finish_reason: FinishReason,
}

/// Samples that say right, wrong, and neither.
#[derive(Clone, Debug, Default, PartialEq)]
struct Votes([u32; 3]);

impl Votes {
    fn count(&mut self, answer: &Answered) {
        // What was cut has not said its last word.
        let whole = !answer.finish_reason.is_censored();
        let turn = answer.format.turn(&answer.text);
        let said = Some(answer.format.split(&turn).answered()).filter(|_| whole).and_then(question::opinion);
        self.0[match said {
            Some(Verdict::Pass) => 0,
            Some(Verdict::Fail) => 1,
            Some(Verdict::Unknown) | None => 2,
        }] += 1;
    }

    /// What most of them say that say anything, and why they do not.
    fn opinion(&self) -> (Verdict, &'static str) {
        let [right, wrong, neither] = self.0;
        match right.cmp(&wrong) {
            std::cmp::Ordering::Greater => (Verdict::Pass, ""),
            std::cmp::Ordering::Less => (Verdict::Fail, ""),
            std::cmp::Ordering::Equal if right + wrong + neither == 0 => (Verdict::Unknown, "judge-silent"),
            std::cmp::Ordering::Equal => (Verdict::Unknown, "judge-unsure"),
        }
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
    }
}
