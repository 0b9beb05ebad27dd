//! What a filter is: what it measures, keyed without its thresholds, and what follows from a measure. What a selector is: it
//! measures nothing, and chooses among the rows that reach it.

use crate::{
    Contest, FilterConfig, FilterError, Inputs, Unit,
    unit::{Asked, Of, Said, Window, problem_of},
};
use distill_dataset::{Context, Keyed, Outcome, Record, Shard, ShardWriter, Stage, Tally};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{
    any::Any,
    ops::Range,
    path::{Path, PathBuf},
};

/// What a recipe may list under its filters: what measures ([`Filter`]), and what chooses without measuring ([`Selector`]).
pub trait Listed: Send + Sync {
    /// Whether it makes sense of problems, before anything is bought, as it does of traces.
    fn on_problems(&self) -> bool {
        false
    }

    /// Whether it draws lots: the recipe's seed then decides too.
    fn draws(&self) -> bool {
        false
    }

    /// Whether its contest needs what a verifier says.
    fn needs_verifier(&self) -> bool {
        false
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Which key, expected and found.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Checks what only matters where it looks at problems.
    ///
    /// # Errors
    /// Which key, expected and found.
    fn check_on_problems(&self) -> Result<(), String> {
        Ok(())
    }

    /// All settings, thresholds too: what the selection depends on.
    fn settings(&self) -> Keyed;
}

/// What a filter makes once for all units, in a form of its own.
pub type Prepared = dyn Any + Send + Sync;

/// One filter. Its measures are a table of their own, one row for each trace, or for each problem where it looks at those.
pub trait Filter: Listed {
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

    /// The first pass over everything that its measure needs, where it needs one.
    fn survey(&self) -> Option<&dyn Survey> {
        None
    }

    /// Whether it asks a model: its first pass writes the questions, as problems.
    fn asks(&self) -> bool {
        false
    }

    /// Whether it reads the recipe's benchmarks.
    fn reads_benchmarks(&self) -> bool {
        false
    }

    /// What it decides over all rows together, beside what follows from each measure.
    fn contest(&self, _seed: u64) -> Option<Box<dyn Contest>> {
        None
    }

    /// The settings that decide a measure. Thresholds are not among them.
    fn keyed(&self) -> Keyed;

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

    /// What its measure makes of the inputs for all units, where it makes anything: once, and handed back in
    /// [`Inputs::prepared`].
    ///
    /// # Errors
    /// When a table cannot be read, or does not belong to the others.
    fn prepare(&self, _inputs: &Inputs<'_>) -> Result<Option<Box<Prepared>>, FilterError> {
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

/// A first pass over all rows, whose result every unit's measure reads ([`Inputs::survey`]).
pub trait Survey: Send + Sync {
    /// Its folder in the store, and the version of its code.
    fn stage(&self) -> Stage;

    /// The settings that decide what it finds.
    fn keyed(&self) -> Keyed;

    /// Looks at everything.
    ///
    /// # Errors
    /// When a table cannot be read or written, or a stop was asked for.
    fn look(&self, inputs: &Inputs<'_>, context: &Context, out: &Path) -> Result<Tally, FilterError>;
}

/// Chooses among the rows that reach it, by what is known of each without measuring anything.
pub trait Selector: Listed {
    /// Its kind, as recipes write it.
    fn kind(&self) -> &'static str;

    /// What it decides over all rows.
    fn contest(&self, seed: u64) -> Box<dyn Contest>;
}

/// What follows from one measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The trace, or the problem.
    pub id: String,
    /// The outcome.
    pub outcome: Outcome,
    /// Whether the trace goes on to the next filter.
    pub goes_on: bool,
    /// Why not, or why nothing could be decided; empty when accepted.
    pub reason: String,
    /// What is to be told of it though it is kept; the funnel counts it.
    pub note: Option<&'static str>,
    /// The rows that it is compared with by the filter's contest.
    pub group: Option<u128>,
    /// What it says, as hashes, for a contest that compares that.
    pub sample: Vec<u32>,
}

impl Decided {
    /// It is kept.
    pub fn accept(id: String) -> Decided {
        Decided::of(id, Outcome::Accept, true, String::new())
    }

    /// It is kept, unless the filter's contest keeps others of its group.
    pub fn among(id: String, group: Option<u128>) -> Decided {
        Decided { group, ..Decided::accept(id) }
    }

    fn of(id: String, outcome: Outcome, goes_on: bool, reason: String) -> Decided {
        Decided { id, outcome, goes_on, reason, note: None, group: None, sample: Vec::new() }
    }

    /// It is dropped.
    pub fn reject(id: String, reason: impl Into<String>) -> Decided {
        Decided::of(id, Outcome::Reject, false, reason.into())
    }

    /// It is dropped where there is a reason, else kept.
    pub fn unless(id: String, reason: Option<&'static str>) -> Decided {
        match reason {
            Some(reason) => Decided::reject(id, reason),
            None => Decided::accept(id),
        }
    }

    /// It cannot be decided; the recipe says what becomes of it.
    pub fn unknown(id: String, on_unknown: OnUnknown, reason: impl Into<String>) -> Decided {
        Decided::of(id, Outcome::Unknown, on_unknown == OnUnknown::Keep, reason.into())
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

/// Measures every row of a unit by what it says, be it a trace or a problem, on all cores.
pub(crate) fn measure_said<M: Record>(
    unit: &Unit<'_>,
    context: &Context,
    out: &Path,
    measure: impl Fn(&Said) -> M + Sync,
) -> Result<Tally, FilterError> {
    let mut writer = ShardWriter::beside(out, unit.index)?;
    unit.said("measure", context, |window| {
        Ok(writer.extend(window.rows.par_iter().map(&measure).collect::<Vec<M>>())?)
    })?;
    let rows_out = writer.finish()?;
    Ok(Tally { rows_in: unit.rows.num_rows(), rows_out, ..Tally::default() })
}

/// Measures every trace beside the problem that it answers, on all cores. A problem has none beside it.
pub(crate) fn measure_asked<M: Record>(
    unit: &Unit<'_>,
    context: &Context,
    out: &Path,
    measure: impl Fn(&Said, &Asked) -> M + Sync,
) -> Result<Tally, FilterError> {
    if unit.inputs.of == Of::Problems {
        return measure_said(unit, context, out, |said| measure(said, &Asked::nothing(said)));
    }
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
    Ok(Tally { rows_in: unit.rows.num_rows(), rows_out, ..Tally::default() })
}

/// Decides on every measure of a range by itself.
pub(crate) fn decide_each<M: Record>(
    measures: &Shard,
    range: Range<u64>,
    decide: impl Fn(M) -> Decided,
) -> Result<Vec<Decided>, FilterError> {
    Ok(measures.rows_in::<M>(range)?.into_iter().map(decide).collect())
}
