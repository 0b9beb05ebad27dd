//! The selection: traces and all side tables in lock step, one decision for each trace. Cheap, and keyed by the
//! thresholds.

use crate::{FilterConfig, FilterError};
use distill_dataset::{
    Context, Dataset, DatasetError, Decision, Detail, Funnel, FunnelStep, Histogram, Measure, Outcome, ShardWriter,
    Tally, Trace,
};
use std::{collections::BTreeMap, path::Path};

/// Decides on every trace. `measures` are the side tables of `filters`, in their order.
///
/// # Errors
/// When a table cannot be read or written, or a side table does not belong to these traces.
pub fn select(
    filters: &[FilterConfig],
    traces: &[Dataset],
    measures: &[Dataset],
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let mut tables: Vec<_> = measures.iter().map(Dataset::rows::<Measure>).collect();
    let mut steps: Vec<FunnelStep> = filters
        .iter()
        .map(|filter| FunnelStep { filter: filter.kind().to_owned(), entered: 0, dropped: BTreeMap::new() })
        .collect();
    let mut writer = ShardWriter::new(out)?;
    let (mut lengths, mut rejected) = (Vec::new(), BTreeMap::new());
    let mut rows_in = 0;
    context.progress.begin("select", traces.iter().map(Dataset::num_rows).sum(), "traces");
    for trace in traces.iter().flat_map(Dataset::rows::<Trace>) {
        let trace = trace?;
        rows_in += 1;
        let mut decision = Decision {
            trace_id: trace.id.clone(),
            problem_id: trace.problem_id.clone(),
            kept: true,
            dropped_by: String::new(),
            reason: String::new(),
            outcomes: Vec::with_capacity(filters.len()),
        };
        for ((filter, table), step) in filters.iter().zip(&mut tables).zip(&mut steps) {
            let measure = matching(table.next(), &trace, filter)?;
            if !decision.kept {
                decision.outcomes.push(Outcome::NotRun);
                continue;
            }
            step.entered += 1;
            let (outcome, goes_on, reason) = filter.decide(&measure);
            decision.outcomes.push(outcome);
            if !goes_on {
                *step.dropped.entry(reason.clone()).or_default() += 1;
                *rejected.entry(format!("{}: {reason}", filter.kind())).or_default() += 1;
                (decision.kept, decision.dropped_by, decision.reason) = (false, filter.kind().to_owned(), reason);
            }
        }
        if decision.kept {
            lengths.push(trace.completion_tokens);
        }
        writer.push(decision)?;
    }
    context.progress.end();
    writer.finish()?;
    let kept = lengths.len() as u64;
    let funnel = Funnel { steps, kept };
    let detail = Detail::Selection { funnel, lengths: Histogram::of(lengths.iter().copied()) };
    Ok(Tally { rows_in, rows_out: kept, rejected, detail, ..Tally::default() })
}

fn matching(
    row: Option<Result<Measure, DatasetError>>,
    trace: &Trace,
    filter: &FilterConfig,
) -> Result<Measure, FilterError> {
    let mismatch = |found: String| FilterError::Mismatch {
        trace_id: trace.id.clone(),
        expected: format!("its measure by `{}`", filter.kind()),
        found,
    };
    match row {
        None => Err(mismatch("the end of the table".to_owned())),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(measure)) if measure.trace_id != trace.id => Err(mismatch(format!("trace {}", measure.trace_id))),
        Some(Ok(measure)) => Ok(measure),
    }
}
