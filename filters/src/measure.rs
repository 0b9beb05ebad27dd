//! The side tables: one `Measure` for each trace, in the order of the traces.

use crate::{FilterError, FormatConfig, Measurement};
use distill_dataset::{
    Context, Dataset, Digest, FinishReason, Measure, Problem, Reference, ShardWriter, Tally, Trace, Verdict,
};
use distill_verify::Policy;
use std::{collections::HashMap, path::Path};

/// Traces between two looks at cancellation and progress.
const LOOK_EVERY: u64 = 512;

/// Measures every trace.
///
/// # Errors
/// When a table cannot be read or written, a trace's problem is missing, or a stop was asked for.
pub fn measure(
    measurement: &Measurement,
    problems: &[Dataset],
    traces: &[Dataset],
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let mut judge = Judge::new(measurement, problems)?;
    let mut writer = ShardWriter::new(out)?;
    let total = traces.iter().map(Dataset::num_rows).sum();
    context.progress.begin("measure", total, "traces");
    let mut done = 0;
    for trace in traces.iter().flat_map(Dataset::rows::<Trace>) {
        writer.push(judge.measure(&trace?)?)?;
        done += 1;
        if done % LOOK_EVERY == 0 {
            context.progress.advance(done, "");
            if context.cancel.is_cancelled() {
                return Err(FilterError::Interrupted);
            }
        }
    }
    context.progress.end();
    let rows_out = writer.finish()?;
    Ok(Tally { rows_in: done, rows_out, ..Tally::default() })
}

/// A measurement with what it has to remember.
enum Judge<'m> {
    Format(&'m FormatConfig),
    Length,
    Duplicates { seen: HashMap<[u8; 16], u32> },
    Verify { policy: &'m Policy, references: HashMap<String, (Reference, String)> },
}

impl<'m> Judge<'m> {
    fn new(measurement: &'m Measurement, problems: &[Dataset]) -> Result<Judge<'m>, FilterError> {
        Ok(match measurement {
            Measurement::Format(config) => Judge::Format(config),
            Measurement::Length => Judge::Length,
            Measurement::Duplicates => Judge::Duplicates { seen: HashMap::new() },
            Measurement::Verify(policy) => {
                let mut references = HashMap::new();
                for problem in problems.iter().flat_map(Dataset::rows::<Problem>) {
                    let problem = problem?;
                    references.insert(problem.id, (problem.reference, problem.answer));
                }
                Judge::Verify { policy, references }
            }
        })
    }

    fn measure(&mut self, trace: &Trace) -> Result<Measure, FilterError> {
        let turn = trace.turn();
        let measure = |verdict, value, reason: &str, evidence: String| Measure {
            trace_id: trace.id.clone(),
            verdict,
            value,
            reason: reason.to_owned(),
            evidence,
        };
        Ok(match self {
            Judge::Length => measure(None, Some(f64::from(trace.completion_tokens)), "", String::new()),
            Judge::Duplicates { seen } => {
                let digest = Digest::new("turn").field(&trace.problem_id).field(&turn).finish_bytes();
                let copies = seen.entry(digest).or_insert(0);
                let earlier = *copies;
                *copies += 1;
                measure(None, Some(f64::from(earlier)), "", String::new())
            }
            Judge::Format(config) => match misformed(config, trace, &turn) {
                None => measure(Some(Verdict::Pass), None, "", String::new()),
                Some((reason, evidence)) => measure(Some(Verdict::Fail), None, reason, evidence),
            },
            Judge::Verify { policy, references } => {
                let Some((reference, answer)) = references.get(&trace.problem_id) else {
                    return Err(FilterError::Mismatch {
                        trace_id: trace.id.clone(),
                        expected: format!("problem {}", trace.problem_id),
                        found: "no such problem".to_owned(),
                    });
                };
                let text = Trace::answer_text(&turn);
                let judgement = match reference {
                    Reference::None => return Ok(measure(Some(Verdict::Unknown), None, "no-reference", String::new())),
                    Reference::Math => distill_verify::judge_math(text, answer, policy),
                    Reference::Text => distill_verify::judge_text(text, answer),
                };
                // The funnel counts what is unequal as one; by what that was decided is evidence. Why something could
                // not be decided is what people act on.
                let (verdict, reason) = match judgement.verdict {
                    distill_verify::Verdict::Equal => (Verdict::Pass, ""),
                    distill_verify::Verdict::Unequal => (Verdict::Fail, "unequal"),
                    distill_verify::Verdict::Unknown => (Verdict::Unknown, judgement.reason),
                };
                let (rule, certainty) = (judgement.rule.name(), judgement.certainty.name());
                let evidence = format!(
                    "found {:?} ({rule}), expected {answer:?}: {certainty} by {}",
                    judgement.found, judgement.reason
                );
                measure(Some(verdict), None, reason, evidence)
            }
        })
    }
}

/// What is wrong with a turn's form, if anything.
fn misformed(config: &FormatConfig, trace: &Trace, turn: &str) -> Option<(&'static str, String)> {
    match trace.finish_reason {
        FinishReason::Length => return Some(("truncated", format!("{} tokens", trace.completion_tokens))),
        FinishReason::ContentFilter => return Some(("withheld", String::new())),
        FinishReason::Stop => {}
    }
    let count = |tag: &str| turn.matches(tag).count();
    if config.reasoning {
        let (opened, closed) = (count("<think>"), count("</think>"));
        let tags = format!("<think> {opened} times, </think> {closed} times");
        match (opened, closed) {
            (_, 0) => return Some(("no-closing-tag", tags)),
            (_, 2..) => return Some(("several-closing-tags", tags)),
            (2.., _) => return Some(("several-opening-tags", tags)),
            _ => {}
        }
        if trace.reasoning.is_none_or(|span| span.of(turn).trim().is_empty()) {
            return Some(("empty-reasoning", String::new()));
        }
    }
    let answer = Trace::answer_text(turn);
    if answer.trim().is_empty() {
        return Some(("empty-answer", String::new()));
    }
    if config.boxed {
        let boxed = distill_verify::boxed_answers(answer);
        match boxed.len() {
            0 => return Some(("no-boxed-answer", String::new())),
            1 => {}
            _ => return Some(("several-boxed-answers", boxed.join(" | ").chars().take(200).collect())),
        }
    }
    None
}
