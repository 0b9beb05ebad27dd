//! Kept traces → examples: the problem's messages and the whole turn, tags included.

use crate::FilterError;
use distill_dataset::{Context, Dataset, Decision, Example, Message, Problem, ShardWriter, Tally, Trace};
use std::{collections::HashMap, path::Path};

/// Writes one example for each kept trace, in the order of the traces.
///
/// # Errors
/// When a table cannot be read or written, or the tables do not belong together.
pub fn examples(
    problems: &[Dataset],
    traces: &[Dataset],
    decisions: &Dataset,
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let problems = index(problems)?;
    let mut writer = ShardWriter::new(out)?;
    let mut rows_in = 0;
    context.progress.begin("examples", decisions.num_rows(), "traces");
    for pair in kept(traces, decisions) {
        let (trace, decision) = pair?;
        rows_in += 1;
        if !decision.kept {
            continue;
        }
        let mut messages = problem_of(&problems, &trace)?.messages.clone();
        messages.push(Message::assistant(trace.turn()));
        writer.push(Example { trace_id: trace.id, problem_id: trace.problem_id, messages, weight: 1.0 })?;
    }
    context.progress.end();
    let rows_out = writer.finish()?;
    Ok(Tally { rows_in, rows_out, ..Tally::default() })
}

/// Traces with their decisions.
pub(crate) fn kept<'d>(
    traces: &'d [Dataset],
    decisions: &'d Dataset,
) -> impl Iterator<Item = Result<(Trace, Decision), FilterError>> + 'd {
    let mut decisions = decisions.rows::<Decision>();
    traces.iter().flat_map(Dataset::rows::<Trace>).map(move |trace| {
        let trace = trace?;
        match decisions.next().transpose()? {
            Some(decision) if decision.trace_id == trace.id => Ok((trace, decision)),
            other => Err(FilterError::Mismatch {
                trace_id: trace.id,
                expected: "its decision".to_owned(),
                found: other.map_or("the end of the table".to_owned(), |other| format!("trace {}", other.trace_id)),
            }),
        }
    })
}

/// Problems by their id.
pub(crate) fn index(problems: &[Dataset]) -> Result<HashMap<String, Problem>, FilterError> {
    problems
        .iter()
        .flat_map(Dataset::rows::<Problem>)
        .map(|problem| problem.map(|problem| (problem.id.clone(), problem)).map_err(FilterError::from))
        .collect()
}

/// The problem that a trace answers.
pub(crate) fn problem_of<'p>(
    problems: &'p HashMap<String, Problem>,
    trace: &Trace,
) -> Result<&'p Problem, FilterError> {
    problems.get(&trace.problem_id).ok_or_else(|| FilterError::Mismatch {
        trace_id: trace.id.clone(),
        expected: format!("problem {}", trace.problem_id),
        found: "no such problem".to_owned(),
    })
}
