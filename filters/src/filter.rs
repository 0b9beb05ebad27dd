//! What a filter is: what it measures, keyed without its thresholds, and what follows from a measure.

use crate::{
    FilterConfig, FilterError, Unit,
    unit::{Asked, Said, Window, problem_of},
};
use distill_dataset::{Context, Keyed, Outcome, Record, Shard, ShardWriter, Stage, Tally};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    ops::Range,
    path::{Path, PathBuf},
};

/// One filter. Its measures are a table of their own, one row for each trace.
pub trait Filter: Send + Sync {
    /// The stage that measures: its folder in the store, and the version of the measurement's code.
    fn stage(&self) -> Stage;

    /// Whether it is a verifier: what it accepts is called verified.
    fn verifies(&self) -> bool {
        false
    }

    /// It, where it is the verifier of answers.
    fn verifier(&self) -> Option<&crate::VerifyConfig> {
        None
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Which key, expected and found.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The settings that decide a measure. Thresholds are not among them.
    fn keyed(&self) -> Keyed;

    /// All settings, thresholds too: what the selection depends on.
    fn settings(&self) -> Keyed;

    /// Files from outside the store whose content decides a measure, each of them tried.
    ///
    /// # Errors
    /// Which is missing or damaged, expected and found.
    fn files(&self) -> Result<Vec<PathBuf>, FilterError> {
        Ok(Vec::new())
    }

    /// The same filter with its paths laid from `folder`; nothing where it has none.
    ///
    /// # Errors
    /// When a path is no text.
    fn laid_from(&self, _folder: &Path) -> Result<Option<FilterConfig>, serde_json::Error> {
        Ok(None)
    }

    /// Measures the traces of a unit, in order, into one shard.
    ///
    /// # Errors
    /// When a table cannot be read or written, a trace's problem is missing, or a stop was asked for.
    fn measure(&self, unit: &Unit<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError>;

    /// What follows from the measures of a range of rows.
    ///
    /// # Errors
    /// When the table cannot be read.
    fn decide(&self, measures: &Shard, range: Range<u64>) -> Result<Vec<Decided>, FilterError>;
}

/// What follows from one measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The trace.
    pub trace_id: String,
    /// The outcome.
    pub outcome: Outcome,
    /// Whether the trace goes on to the next filter.
    pub goes_on: bool,
    /// Why not, or why nothing could be decided; empty when accepted.
    pub reason: String,
}

impl Decided {
    /// It is kept.
    pub fn accept(trace_id: String) -> Decided {
        Decided { trace_id, outcome: Outcome::Accept, goes_on: true, reason: String::new() }
    }

    /// It is dropped.
    pub fn reject(trace_id: String, reason: impl Into<String>) -> Decided {
        Decided { trace_id, outcome: Outcome::Reject, goes_on: false, reason: reason.into() }
    }

    /// It is dropped where there is a reason, else kept.
    pub fn unless(trace_id: String, reason: Option<&'static str>) -> Decided {
        match reason {
            Some(reason) => Decided::reject(trace_id, reason),
            None => Decided::accept(trace_id),
        }
    }

    /// It cannot be decided; the recipe says what becomes of it.
    pub fn unknown(trace_id: String, on_unknown: OnUnknown, reason: impl Into<String>) -> Decided {
        let goes_on = on_unknown == OnUnknown::Keep;
        Decided { trace_id, outcome: Outcome::Unknown, goes_on, reason: reason.into() }
    }
}

/// What becomes of a trace that a judge cannot decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// It goes on.
    Keep,
    /// It is dropped.
    Reject,
}

/// Measures every trace by itself, on all cores. `R` has the columns that the measure needs.
pub(crate) fn measure_each<R: Record, M: Record>(
    unit: &Unit<'_>,
    context: &Context,
    out: &Path,
    measure: impl Fn(&R) -> M + Sync,
) -> Result<Tally, FilterError> {
    measure_windows(unit, context, out, |window: Window<R>| Ok(window.rows.par_iter().map(&measure).collect()))
}

/// Measures every trace beside the problem that it answers, on all cores.
pub(crate) fn measure_asked<M: Record>(
    unit: &Unit<'_>,
    context: &Context,
    out: &Path,
    measure: impl Fn(&Said, &Asked) -> M + Sync,
) -> Result<Tally, FilterError> {
    let mut problems = unit.problems::<Asked>();
    measure_windows(unit, context, out, |window: Window<Said>| {
        let rows = &window.rows;
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
        let known = problems.advance(&first.problem_id, &last.problem_id)?;
        rows.par_iter().map(|said| Ok(measure(said, problem_of(known, &said.id, &said.problem_id)?))).collect()
    })
}

/// Measures the traces a stretch at a time.
pub(crate) fn measure_windows<R: Record, M: Record>(
    unit: &Unit<'_>,
    context: &Context,
    out: &Path,
    mut measure: impl FnMut(Window<R>) -> Result<Vec<M>, FilterError>,
) -> Result<Tally, FilterError> {
    let mut writer = ShardWriter::beside(out, unit.index)?;
    unit.windows("measure", context, |window| Ok(writer.extend(measure(window)?)?))?;
    let rows_out = writer.finish()?;
    Ok(Tally { rows_in: unit.traces.num_rows(), rows_out, ..Tally::default() })
}

/// Decides on every measure of a range by itself.
pub(crate) fn decide_each<M: Record>(
    measures: &Shard,
    range: Range<u64>,
    decide: impl Fn(M) -> Decided,
) -> Result<Vec<Decided>, FilterError> {
    Ok(measures.rows_in::<M>(range)?.into_iter().map(decide).collect())
}
