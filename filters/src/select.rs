//! The selection: traces and all side tables in lock step, one decision for each trace. Cheap, and keyed by the
//! thresholds.

use crate::{
    Decided, FilterConfig, FilterError, Unit,
    unit::{mismatch, shard_of},
};
use distill_dataset::{
    Context, Dataset, Decision, Detail, Funnel, FunnelStep, Histogram, Keyed, Outcome, ShardWriter, Stage, Tally,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// The stage of [`select`].
pub const SELECTION: Stage = Stage { name: "selection", version: 2 };

/// The columns of a trace that are read.
#[derive(Serialize, Deserialize)]
struct Row {
    id: String,
    problem_id: String,
    completion_tokens: u32,
}

/// What decides the selection, beside traces and measures: every filter's settings, in order.
pub fn settings(filters: &[FilterConfig]) -> Keyed {
    filters.iter().enumerate().fold(Keyed::default(), |keyed, (index, filter)| {
        let name = format!("{index}-{}", filter.kind());
        keyed.with(&name, "on").nest(&name, filter.filter().settings())
    })
}

/// Decides on every trace of a unit. `measures` are the side tables of `filters`, in their order.
///
/// # Errors
/// When a table cannot be read or written, or a side table does not belong to these traces.
pub fn select(
    filters: &[FilterConfig],
    measures: &[Dataset],
    unit: &Unit<'_>,
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let tables = measures.iter().map(|table| shard_of(table, unit)).collect::<Result<Vec<_>, _>>()?;
    let mut counts = Counts::new(filters);
    let mut writer = ShardWriter::beside(out, unit.index)?;
    unit.windows("select", context, |window| {
        let mut decided = Vec::with_capacity(filters.len());
        for (filter, table) in filters.iter().zip(&tables) {
            decided.push(filter.filter().decide(table, window.range.clone())?.into_iter());
        }
        for trace in window.rows {
            let row = filters.iter().zip(&mut decided).map(|(filter, table)| matching(table.next(), &trace, filter));
            writer.push(counts.decide(&trace, row)?)?;
        }
        Ok(())
    })?;
    writer.finish()?;
    Ok(counts.tally())
}

fn matching(decided: Option<Decided>, trace: &Row, filter: &FilterConfig) -> Result<Decided, FilterError> {
    let what = || format!("its measure by `{}`", filter.kind());
    match decided {
        Some(decided) if decided.trace_id == trace.id => Ok(decided),
        other => Err(mismatch(&trace.id, &what(), other.as_ref().map(|other| other.trace_id.as_str()))),
    }
}

/// What became of the traces so far.
struct Counts<'f> {
    filters: &'f [FilterConfig],
    steps: Vec<FunnelStep>,
    lengths: Histogram,
    rejected: BTreeMap<String, u64>,
    rows_in: u64,
    kept: u64,
    verified: u64,
}

impl<'f> Counts<'f> {
    fn new(filters: &'f [FilterConfig]) -> Counts<'f> {
        let step = |filter: &FilterConfig| FunnelStep {
            filter: filter.kind().to_owned(),
            entered: 0,
            dropped: BTreeMap::new(),
        };
        Counts {
            filters,
            steps: filters.iter().map(step).collect(),
            lengths: Histogram::default(),
            rejected: BTreeMap::new(),
            rows_in: 0,
            kept: 0,
            verified: 0,
        }
    }

    /// The decision on one trace, from what each filter in turn says.
    fn decide(
        &mut self,
        trace: &Row,
        decided: impl Iterator<Item = Result<Decided, FilterError>>,
    ) -> Result<Decision, FilterError> {
        self.rows_in += 1;
        let mut decision = Decision {
            trace_id: trace.id.clone(),
            problem_id: trace.problem_id.clone(),
            kept: true,
            dropped_by: String::new(),
            reason: String::new(),
            outcomes: Vec::with_capacity(self.filters.len()),
        };
        let mut verified = false;
        for ((filter, step), decided) in self.filters.iter().zip(&mut self.steps).zip(decided) {
            let Decided { outcome, goes_on, reason, .. } = decided?;
            if !decision.kept {
                decision.outcomes.push(Outcome::NotRun);
                continue;
            }
            step.entered += 1;
            decision.outcomes.push(outcome);
            verified |= filter.filter().verifies() && outcome == Outcome::Accept;
            if !goes_on {
                *step.dropped.entry(reason.clone()).or_default() += 1;
                *self.rejected.entry(format!("{}: {reason}", filter.kind())).or_default() += 1;
                (decision.kept, decision.dropped_by, decision.reason) = (false, filter.kind().to_owned(), reason);
            }
        }
        if decision.kept {
            self.kept += 1;
            self.verified += u64::from(verified);
            self.lengths.add(trace.completion_tokens);
        }
        Ok(decision)
    }

    fn tally(self) -> Tally {
        let funnel = Funnel { steps: self.steps, kept: self.kept };
        let detail = Detail::Selection { funnel, lengths: self.lengths, verified: self.verified };
        Tally { rows_in: self.rows_in, rows_out: self.kept, rejected: self.rejected, detail, ..Tally::default() }
    }
}
