//! The shareable dataset: one Parquet row for each kept trace, with the columns of OpenR1-Math-220k where they apply and
//! the trace's provenance beside them. Where a recipe asks, what some filters dropped is a dataset of its own, with their
//! reasons: wrong answers as labelled data.

use crate::{
    FilterError, Unit, Verified,
    unit::{beside, problem_of, shard_of},
};
use distill_dataset::{
    Context, Dataset, Decision, FileClaim, FinishReason, Message, Problem, ShardWriter, Stage, Tally, Trace, Verdict,
    with_system,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The stage of [`export`] of what is kept.
pub const EXPORT: Stage = Stage { name: "export", version: 4 };
/// The stage of [`export`] of what is dropped.
pub const EXPORT_DROPPED: Stage = Stage { name: "export-dropped", version: 2 };

/// Which traces are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exported<'a> {
    /// Those that became examples.
    Kept,
    /// Those that one of these filters dropped.
    DroppedBy(&'a [String]),
}

impl Exported<'_> {
    fn takes(self, decision: &Decision) -> bool {
        match self {
            Exported::Kept => decision.kept,
            Exported::DroppedBy(filters) => !decision.kept && filters.contains(&decision.dropped_by),
        }
    }
}

/// One row. Lists hold one entry, the trace: OpenR1-Math-220k puts a problem's generations side by side, here every kept
/// one is a row of its own, so that `messages` loses none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportedRow {
    /// The question.
    pub problem: String,
    /// The source's own worked solution.
    pub solution: Option<String>,
    /// The right answer.
    pub answer: String,
    /// The field, e.g. `math`.
    pub problem_type: String,
    /// Where the problem comes from.
    pub source: String,
    /// The trace's id.
    pub uuid: String,
    /// Whether the reasoning was closed.
    pub is_reasoning_complete: Vec<bool>,
    /// The whole turn.
    pub generations: Vec<String>,
    /// The verifier's verdict; null when it could not decide or did not look.
    pub correctness_math_verify: Vec<Option<bool>>,
    /// How many generations are right.
    pub correctness_count: i64,
    /// Why each generation ended.
    pub finish_reasons: Vec<String>,
    /// The conversation to train on.
    pub messages: Vec<Message>,
    /// The problem's id.
    pub problem_id: String,
    /// Which of the problem's samples it is.
    pub sample_index: u32,
    /// Who answered.
    pub teacher: String,
    /// The model that the response named.
    pub response_model: String,
    /// Softmax temperature.
    pub temperature: f32,
    /// Nucleus mass.
    pub top_p: f32,
    /// Limit on generated tokens.
    pub max_new_tokens: u32,
    /// The sampler's seed; the digits of a u64.
    pub seed: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// The source's licence, where it states one.
    pub licence: Option<String>,
    /// What the file that the trace was read from claims of it, in its own words; null where it claims nothing, or the trace
    /// was bought.
    pub claims: Option<Vec<FileClaim>>,
    /// The filter that dropped it; null where it is kept.
    pub dropped_by: Option<String>,
    /// Why.
    pub dropped_for: Option<String>,
}

/// Writes those traces of a unit. `verdicts` is the side table of `verify`, if that filter is used.
///
/// # Errors
/// When a table cannot be read or written, or the tables do not belong together.
pub fn export(
    which: Exported<'_>,
    (decisions, verdicts): (&Dataset, Option<&Dataset>),
    unit: &Unit<'_>,
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let decisions = shard_of(decisions, unit)?;
    let verdicts = verdicts.map(|table| shard_of(table, unit)).transpose()?;
    let mut problems = unit.problems::<Problem>();
    let mut writer = ShardWriter::beside(out, unit.index)?;
    unit.windows("export", context, |window| {
        let rows: Vec<Trace> = window.rows;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(()) };
        let problems = problems.advance(&first.problem_id, &last.problem_id)?;
        let ids: Vec<&str> = rows.iter().map(|trace| trace.id.as_str()).collect();
        let decided = beside(&decisions, window.range.clone(), |row: &Decision| &row.trace_id, &ids, "its decision")?;
        let verdicts: Vec<Verified> = match &verdicts {
            Some(table) => beside(table, window.range, |row: &Verified| &row.trace_id, &ids, "its verdict")?,
            None => Vec::new(),
        };
        let mut exported = Vec::new();
        for ((index, trace), decision) in rows.into_iter().enumerate().zip(decided) {
            if which.takes(&decision) {
                let problem = problem_of(problems, &trace.id, &trace.problem_id)?;
                let row = row(problem, trace, verdicts.get(index).map(|verified| verified.verdict));
                let dropped = (!decision.kept).then_some((decision.dropped_by, decision.reason));
                let (dropped_by, dropped_for) = dropped.unzip();
                exported.push(ExportedRow { dropped_by, dropped_for, ..row });
            }
        }
        Ok(writer.extend(exported)?)
    })?;
    Ok(Tally { rows_in: unit.rows.num_rows(), rows_out: writer.finish()?, ..Tally::default() })
}

fn row(problem: &Problem, trace: Trace, verdict: Option<Verdict>) -> ExportedRow {
    let correct = match verdict {
        Some(Verdict::Pass) => Some(true),
        Some(Verdict::Fail) => Some(false),
        Some(Verdict::Unknown) | None => None,
    };
    let turn = trace.turn();
    let is_closed = trace.format.split(&turn).reasoning.is_some();
    let mut messages = with_system(&problem.messages, trace.system.as_deref());
    messages.push(Message::assistant(turn.clone()));
    let question: Vec<&str> = problem.messages.iter().map(|message| message.content.as_str()).collect();
    ExportedRow {
        problem: question.join("\n\n"),
        solution: problem.solution.clone(),
        answer: problem.answer.clone(),
        problem_type: problem.domain.clone(),
        source: problem.source.clone(),
        is_reasoning_complete: vec![is_closed && trace.finish_reason == FinishReason::Stop],
        generations: vec![turn],
        correctness_math_verify: vec![correct],
        correctness_count: i64::from(correct == Some(true)),
        finish_reasons: vec![trace.finish_reason.as_str().to_owned()],
        messages,
        problem_id: trace.problem_id,
        sample_index: trace.sample_index,
        uuid: trace.id,
        teacher: trace.teacher,
        response_model: trace.response_model,
        temperature: trace.sampling.temperature,
        top_p: trace.sampling.top_p,
        max_new_tokens: trace.sampling.max_new_tokens,
        seed: trace.seed.to_string(),
        prompt_tokens: trace.prompt_tokens,
        completion_tokens: trace.completion_tokens,
        licence: problem.licence.clone(),
        claims: trace.claims,
        dropped_by: None,
        dropped_for: None,
    }
}
