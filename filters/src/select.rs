//! The selection: rows and all side tables in lock step, one decision for each row. Cheap, and keyed by the thresholds.
//!
//! First every [`Contest`] looks at everything, in the order of the filters, so that it knows what reaches it ([`Contests::of`]).
//! Then units are decided on, each by itself ([`select`]).

use crate::{
    Candidate, Contest, Decided, Dropped, FilterConfig, FilterError, Inputs, Mix, Unit,
    unit::{Of, mismatch, shard_of},
};
use distill_dataset::{
    Context, Dataset, Decision, Detail, Funnel, FunnelStep, Histogram, Keyed, Outcome, ShardWriter, Stage, Tally,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// The stage of [`select`] on traces.
pub const SELECTION: Stage = Stage { name: "selection", version: 3 };
/// The stage of [`select`] on problems.
pub const PROBLEM_SELECTION: Stage = Stage { name: "problem-selection", version: 2 };

/// The filters, and the side table of each that measures something.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    /// In the recipe's order.
    pub filters: &'a [FilterConfig],
    /// One for each filter that measures, in the same order.
    pub measures: &'a [Dataset],
}

/// What decides the selection, beside rows and measures: every filter's settings, in order, and the sources' weights.
pub fn settings(filters: &[FilterConfig], weights: Option<&[f64]>, seed: u64) -> Keyed {
    let keyed = filters.iter().enumerate().fold(Keyed::default(), |keyed, (index, filter)| {
        let name = format!("{index}-{}", filter.kind());
        let keyed = keyed.with(&name, "on").nest(&name, filter.settings());
        match filter.sources() {
            Some(sources) => keyed.with(&format!("{name}-sources"), sources),
            None => keyed,
        }
    });
    let keyed = weights.iter().fold(keyed, |keyed, weights| keyed.with("weights", weights));
    match weights.is_some() || filters.iter().any(FilterConfig::draws) {
        true => keyed.with("seed", seed),
        false => keyed,
    }
}

/// A row of traces or problems, with the columns that are read.
struct Row {
    id: String,
    problem_id: String,
    length: u32,
}

#[derive(Serialize, Deserialize)]
struct TraceRow {
    id: String,
    problem_id: String,
    completion_tokens: u32,
}

/// A row with what every filter says of it.
struct Judged {
    place: u64,
    source: usize,
    row: Row,
    /// In the order of the filters; nothing from one that does not look at the row's source or measures nothing.
    decided: Vec<Option<Decided>>,
}

impl Tables<'_> {
    /// Hands every row of a unit to `each`, with what the filters say of it.
    fn judged(
        self,
        unit: &Unit<'_>,
        context: &Context,
        mut each: impl FnMut(Judged) -> Result<(), FilterError>,
    ) -> Result<(), FilterError> {
        let tables = self.measures.iter().map(|table| shard_of(table, unit)).collect::<Result<Vec<_>, _>>()?;
        let mut window = |range: std::ops::Range<u64>, rows: Vec<Row>| {
            let (mut tables, mut columns) = (tables.iter(), Vec::with_capacity(self.filters.len()));
            for config in self.filters {
                let Some(filter) = config.filter() else {
                    columns.push(None);
                    continue;
                };
                let table = tables.next().filter(|_| config.looks_at(unit.source));
                let decided = table.map(|table| filter.decide(table, range.clone())).transpose()?;
                columns.push(decided.map(Vec::into_iter));
            }
            for (place, row) in range.zip(rows) {
                let mut decided = Vec::with_capacity(columns.len());
                for (config, column) in self.filters.iter().zip(&mut columns) {
                    decided.push(match column {
                        Some(column) => Some(matching(column.next(), &row, config)?),
                        None => None,
                    });
                }
                let place = (unit.index as u64) << 32 | place;
                each(Judged { place, source: unit.source, row, decided })?;
            }
            Ok(())
        };
        match unit.inputs.of {
            Of::Traces => unit.windows("select", context, |traces| {
                let row = |TraceRow { id, problem_id, completion_tokens: length }| Row { id, problem_id, length };
                window(traces.range, traces.rows.into_iter().map(row).collect())
            }),
            Of::Problems => unit.said("select", context, |said| {
                let length = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
                let rows = said.rows.into_iter();
                let rows =
                    rows.map(|said| Row { length: length(&said.text), id: said.id, problem_id: said.problem_id });
                window(said.range, rows.collect())
            }),
        }
    }
}

fn matching(decided: Option<Decided>, row: &Row, filter: &FilterConfig) -> Result<Decided, FilterError> {
    let what = || format!("its measure by `{}`", filter.kind());
    match decided {
        Some(decided) if decided.id == row.id => Ok(decided),
        other => Err(mismatch(&row.id, &what(), other.as_ref().map(|other| other.id.as_str()))),
    }
}

/// What is decided over all rows together: for each filter with a contest, and for the mix behind them all.
#[derive(Default)]
pub struct Contests {
    by_filter: Vec<Option<Dropped>>,
    mix: Option<Dropped>,
}

impl Contests {
    /// Looks at everything once for each contest.
    ///
    /// # Errors
    /// When a table cannot be read, or a source has a weight and nothing that is kept.
    pub fn of(
        tables: Tables<'_>,
        weights: Option<&[f64]>,
        inputs: &Inputs<'_>,
        context: &Context,
    ) -> Result<Contests, FilterError> {
        let mut contests = Contests::default();
        for (index, config) in tables.filters.iter().enumerate() {
            let dropped = match config.contest(context.seed) {
                Some(contest) => Some(contests.close(contest, index, tables, inputs, context)?),
                None => None,
            };
            contests.by_filter.push(dropped);
        }
        if let Some(weights) = weights {
            let mix = Box::new(Mix::new(weights, context.seed));
            contests.mix = Some(contests.close(mix, tables.filters.len(), tables, inputs, context)?);
        }
        Ok(contests)
    }

    /// What the contest of the filter at `index` drops, of what those before it leave.
    fn close(
        &self,
        mut contest: Box<dyn Contest>,
        index: usize,
        tables: Tables<'_>,
        inputs: &Inputs<'_>,
        context: &Context,
    ) -> Result<Dropped, FilterError> {
        let looks_at = |source| tables.filters.get(index).is_none_or(|config| config.looks_at(source));
        let verifiers = |index: &usize| tables.filters[*index].verifies();
        for unit in inputs.units().into_iter().filter(|unit| looks_at(unit.source)) {
            tables.judged(&unit, context, |judged| {
                let of = |index: usize| judged.decided.get(index).and_then(Option::as_ref);
                let own = of(index);
                let passes = |before| self.verdict(before, &judged).is_none_or(|(_, _, goes_on)| goes_on);
                contest.add(&Candidate {
                    place: judged.place,
                    id: &judged.row.id,
                    problem_id: &judged.row.problem_id,
                    source: judged.source,
                    length: judged.row.length,
                    // That of the first verifier that looks at its source.
                    verdict: (0..tables.filters.len())
                        .filter(verifiers)
                        .find_map(of)
                        .map_or(Outcome::NotRun, |decided| decided.outcome),
                    reaches: (0..index).all(passes) && own.is_none_or(|own| own.goes_on),
                    group: own.and_then(|own| own.group),
                    sample: own.map_or(&[], |own| &own.sample),
                });
                Ok(())
            })?;
        }
        contest.close()
    }

    /// What a filter and its contest say of a row: the outcome, why it is dropped or undecided, whether it goes on. Nothing from
    /// one that does not look at it.
    fn verdict<'j>(&self, index: usize, judged: &'j Judged) -> Option<(Outcome, &'j str, bool)> {
        let own = judged.decided.get(index).and_then(Option::as_ref);
        let contest =
            self.by_filter.get(index).and_then(Option::as_ref).and_then(|contest| contest.reason(judged.place));
        match (own, contest) {
            (Some(own), _) if !own.goes_on => Some((own.outcome, &own.reason, false)),
            (_, Some(reason)) => Some((Outcome::Reject, reason, false)),
            (own, None) => own.map(|own| (own.outcome, own.reason.as_str(), true)),
        }
    }
}

/// Decides on every row of a unit.
///
/// # Errors
/// When a table cannot be read or written, or a side table does not belong to these rows.
pub fn select(
    tables: Tables<'_>,
    contests: &Contests,
    unit: &Unit<'_>,
    context: &Context,
    out: &Path,
) -> Result<Tally, FilterError> {
    let mut counts = Counts::new(tables.filters, contests);
    let mut writer = ShardWriter::beside(out, unit.index)?;
    tables.judged(unit, context, |judged| Ok(writer.push(counts.decide(&judged))?))?;
    writer.finish()?;
    Ok(counts.tally())
}

/// What became of the rows so far.
struct Counts<'f> {
    filters: &'f [FilterConfig],
    contests: &'f Contests,
    steps: Vec<FunnelStep>,
    lengths: Histogram,
    rejected: BTreeMap<String, u64>,
    rows_in: u64,
    kept: u64,
    verified: u64,
}

impl<'f> Counts<'f> {
    fn new(filters: &'f [FilterConfig], contests: &'f Contests) -> Counts<'f> {
        let step = |name: &str| FunnelStep { filter: name.to_owned(), ..FunnelStep::default() };
        let names = filters.iter().map(FilterConfig::kind).chain(contests.mix.is_some().then_some(Mix::NAME));
        Counts {
            filters,
            contests,
            steps: names.map(step).collect(),
            lengths: Histogram::default(),
            rejected: BTreeMap::new(),
            rows_in: 0,
            kept: 0,
            verified: 0,
        }
    }

    /// The decision on one row, from what each filter in turn says, and whether it stays in the mix.
    fn decide(&mut self, judged: &Judged) -> Decision {
        self.rows_in += 1;
        let mut decision = Decision {
            trace_id: judged.row.id.clone(),
            problem_id: judged.row.problem_id.clone(),
            kept: true,
            dropped_by: String::new(),
            reason: String::new(),
            outcomes: Vec::with_capacity(self.filters.len()),
        };
        let mut verified = false;
        for (index, config) in self.filters.iter().enumerate() {
            if !decision.kept || !config.looks_at(judged.source) {
                decision.outcomes.push(Outcome::NotRun);
                continue;
            }
            self.steps[index].entered += 1;
            // A selector has nothing against those that it does not drop.
            let (outcome, reason, goes_on) =
                self.contests.verdict(index, judged).unwrap_or((Outcome::Accept, "", true));
            decision.outcomes.push(outcome);
            verified |= config.verifies() && outcome == Outcome::Accept;
            let note = judged.decided.get(index).and_then(Option::as_ref).and_then(|decided| decided.note);
            match note {
                _ if !goes_on => self.drop(index, &mut decision, reason.to_owned()),
                Some(note) => *self.steps[index].noted.entry(note.to_owned()).or_default() += 1,
                None => {}
            }
        }
        if let (Some(mix), true) = (&self.contests.mix, decision.kept) {
            let step = self.filters.len();
            self.steps[step].entered += 1;
            if let Some(reason) = mix.reason(judged.place) {
                self.drop(step, &mut decision, reason.to_owned());
            }
        }
        if decision.kept {
            self.kept += 1;
            self.verified += u64::from(verified);
            self.lengths.add(judged.row.length);
        }
        decision
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
