//! The selection: traces and all side tables in lock step, one decision for each trace. Cheap, and keyed by the
//! thresholds.

use crate::{
    Decided, FilterConfig, FilterError, Mix, Unit,
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
pub(crate) struct Row {
    pub(crate) id: String,
    problem_id: String,
    completion_tokens: u32,
}

/// What decides the selection, beside traces and measures: every filter's settings, in order, and the sources' weights.
pub fn settings(filters: &[FilterConfig], weights: Option<&[f64]>, seed: u64) -> Keyed {
    let keyed = filters.iter().enumerate().fold(Keyed::default(), |keyed, (index, filter)| {
        let name = format!("{index}-{}", filter.kind());
        let keyed = keyed.with(&name, "on").nest(&name, filter.filter().settings());
        match filter.sources() {
            Some(sources) => keyed.with(&format!("{name}-sources"), sources),
            None => keyed,
        }
    });
    match weights {
        Some(weights) => keyed.with("weights", weights).with("seed", seed),
        None => keyed,
    }
}

/// Decides on every trace of a unit. `measures` are the side tables of `filters`, in their order.
///
/// # Errors
/// When a table cannot be read or written, or a side table does not belong to these traces.
pub fn select(
    (filters, measures): (&[FilterConfig], &[Dataset]),
    mix: Option<&Mix>,
    unit: &Unit<'_>,
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let mut counts = Counts::new(filters, mix.is_some());
    let mut writer = ShardWriter::beside(out, unit.index)?;
    decided((filters, measures), unit, context, |trace, outcomes| {
        let stays = || mix.is_none_or(|mix| mix.keeps(unit, &trace.id));
        Ok(writer.push(counts.decide(trace, outcomes, stays)?)?)
    })?;
    writer.finish()?;
    Ok(counts.tally())
}

/// What the filters say of a trace, in their order; nothing from one that does not look at its source.
pub(crate) type Outcomes<'o> = &'o mut dyn Iterator<Item = Result<Option<Decided>, FilterError>>;

/// Hands every trace of a unit to `each`, with what the filters say of it.
pub(crate) fn decided(
    (filters, measures): (&[FilterConfig], &[Dataset]),
    unit: &Unit<'_>,
    context: &Context,
    mut each: impl FnMut(&Row, Outcomes<'_>) -> Result<(), FilterError>,
) -> Result<(), FilterError> {
    let tables = measures.iter().map(|table| shard_of(table, unit)).collect::<Result<Vec<_>, _>>()?;
    unit.windows("select", context, |window| {
        let mut rows = Vec::with_capacity(filters.len());
        for (filter, table) in filters.iter().zip(&tables) {
            let looks = filter.looks_at(unit.source);
            let row = || filter.filter().decide(table, window.range.clone());
            rows.push((filter, looks.then(row).transpose()?.map(Vec::into_iter)));
        }
        for trace in window.rows {
            let trace: Row = trace;
            let mut outcomes = rows.iter_mut().map(|(filter, rows)| match rows {
                Some(rows) => matching(rows.next(), &trace, filter).map(Some),
                None => Ok(None),
            });
            each(&trace, &mut outcomes)?;
        }
        Ok(())
    })
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
    fn new(filters: &'f [FilterConfig], mixes: bool) -> Counts<'f> {
        let step = |name: &str| FunnelStep { filter: name.to_owned(), entered: 0, dropped: BTreeMap::new() };
        let names = filters.iter().map(FilterConfig::kind).chain(mixes.then_some(Mix::NAME));
        Counts {
            filters,
            steps: names.map(step).collect(),
            lengths: Histogram::default(),
            rejected: BTreeMap::new(),
            rows_in: 0,
            kept: 0,
            verified: 0,
        }
    }

    /// The decision on one trace, from what each filter in turn says, and whether it stays in the mix.
    fn decide(
        &mut self,
        trace: &Row,
        outcomes: Outcomes<'_>,
        stays: impl FnOnce() -> bool,
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
        for (index, decided) in outcomes.enumerate() {
            let (Some(Decided { outcome, goes_on, reason, .. }), true) = (decided?, decision.kept) else {
                decision.outcomes.push(Outcome::NotRun);
                continue;
            };
            self.steps[index].entered += 1;
            decision.outcomes.push(outcome);
            verified |= self.filters[index].filter().verifies() && outcome == Outcome::Accept;
            if !goes_on {
                self.drop(index, &mut decision, reason);
            }
        }
        if let (Some(step), true) = (self.steps.get_mut(self.filters.len()), decision.kept) {
            step.entered += 1;
            if !stays() {
                self.drop(self.filters.len(), &mut decision, Mix::REASON.to_owned());
            }
        }
        if decision.kept {
            self.kept += 1;
            self.verified += u64::from(verified);
            self.lengths.add(trace.completion_tokens);
        }
        Ok(decision)
    }

    fn drop(&mut self, step: usize, decision: &mut Decision, reason: String) {
        let step = &mut self.steps[step];
        *step.dropped.entry(reason.clone()).or_default() += 1;
        *self.rejected.entry(format!("{}: {reason}", step.filter)).or_default() += 1;
        (decision.kept, decision.dropped_by, decision.reason) = (false, step.filter.clone(), reason);
    }

    fn tally(self) -> Tally {
        let funnel = Funnel { steps: self.steps, kept: self.kept };
        let detail = Detail::Selection { funnel, lengths: self.lengths, verified: self.verified };
        Tally { rows_in: self.rows_in, rows_out: self.kept, rejected: self.rejected, detail, ..Tally::default() }
    }
}
