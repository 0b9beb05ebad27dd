//! The side tables: one `Measure` for each trace, in the order of the traces.

mod verify;
mod vote;

use crate::{FilterError, FormatConfig, Measurement};
use distill_dataset::{Context, Dataset, Digest, FinishReason, Measure, ShardWriter, Tally, Trace, Verdict};
use distill_verify::code::Judges;
use std::{collections::HashMap, path::Path};

/// Traces between two looks at cancellation and progress.
const LOOK_EVERY: u64 = 512;

/// Measures every trace. `judges` run code, where problems have tests.
///
/// # Errors
/// When a table cannot be read or written, a trace's problem is missing, or a stop was asked for.
pub fn measure(
    measurement: &Measurement,
    problems: &[Dataset],
    traces: &[Dataset],
    judges: &Judges,
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    match measurement {
        Measurement::Verify(policy) => return verify::measure(policy, problems, traces, judges, context, out),
        Measurement::Vote(policy) => return vote::measure(policy, traces, context, out),
        Measurement::Format(_) | Measurement::Length | Measurement::Duplicates => {}
    }
    let mut judge = Judge::new(measurement);
    let mut writer = ShardWriter::new(out)?;
    let total = traces.iter().map(Dataset::num_rows).sum();
    context.progress.begin("measure", total, "traces");
    let mut done = 0;
    for trace in traces.iter().flat_map(Dataset::rows::<Trace>) {
        writer.push(judge.measure(&trace?))?;
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

/// A measurement of one trace after another, with what it has to remember.
enum Judge<'m> {
    Format(&'m FormatConfig),
    Length,
    Duplicates { seen: HashMap<[u8; 16], u32> },
}

impl<'m> Judge<'m> {
    fn new(measurement: &'m Measurement) -> Judge<'m> {
        match measurement {
            Measurement::Format(config) => Judge::Format(config),
            Measurement::Duplicates => Judge::Duplicates { seen: HashMap::new() },
            Measurement::Length | Measurement::Verify(_) | Measurement::Vote(_) => Judge::Length,
        }
    }

    fn measure(&mut self, trace: &Trace) -> Measure {
        match self {
            Judge::Length => {
                Measure { value: Some(f64::from(trace.completion_tokens)), ..of(trace, None, "", String::new()) }
            }
            Judge::Duplicates { seen } => {
                let digest = Digest::new("turn").field(&trace.problem_id).field(&trace.turn()).finish_bytes();
                let copies = seen.entry(digest).or_insert(0);
                let earlier = *copies;
                *copies += 1;
                Measure { value: Some(f64::from(earlier)), ..of(trace, None, "", String::new()) }
            }
            Judge::Format(config) => match misformed(config, trace, &trace.turn()) {
                None => of(trace, Some(Verdict::Pass), "", String::new()),
                Some((reason, evidence)) => of(trace, Some(Verdict::Fail), reason, evidence),
            },
        }
    }
}

/// A measure of a trace.
fn of(trace: &Trace, verdict: Option<Verdict>, reason: &str, evidence: String) -> Measure {
    Measure { trace_id: trace.id.clone(), verdict, value: None, reason: reason.to_owned(), evidence }
}

/// What is wrong with a turn's form, if anything.
fn misformed(config: &FormatConfig, trace: &Trace, turn: &str) -> Option<(&'static str, String)> {
    match trace.finish_reason {
        FinishReason::Length => return Some(("truncated", format!("{} tokens", trace.completion_tokens))),
        FinishReason::Context => {
            return Some(("truncated", format!("{} tokens, the model's context", trace.completion_tokens)));
        }
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
