//! A unit of the stages here: one shard of traces, read a few row groups at a time on all cores, with the problems that
//! its traces answer joined by a merge. Or one shard of problems, before there are traces.

use crate::{FilterError, Prepared};
use distill_dataset::{Context, Dataset, DatasetError, Message, Record, Shard, TurnFormat};
use distill_verify::code::Judges;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, ops::Range};

/// Row groups that are held at once, at most: together they bound the memory of a stage.
const MOST_GROUPS: usize = 8;

/// What the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Traces.
    Traces,
    /// Problems.
    Problems,
}

/// What the stages here read: problems and traces of every source, in the order of the sources.
pub struct Inputs<'a> {
    /// Problems, sorted by id. None where they are what is looked at.
    pub problems: &'a [Dataset],
    /// What is looked at: traces, sorted by their problem's id, or problems.
    pub rows: &'a [Dataset],
    /// Which of them.
    pub of: Of,
    /// Who runs code, where it is to be run.
    pub judges: Option<&'a Judges>,
    /// What a filter's first pass over everything found, where it has one.
    pub survey: Option<&'a Dataset>,
    /// The sources that the filter looks at, by their places; all where there is nothing.
    pub only: Option<&'a [usize]>,
    /// What the rules say of each row, where the filter asks about what they leave unknown.
    pub verdicts: Option<&'a Dataset>,
    /// What was answered to the questions of a filter that asks.
    pub answers: Option<&'a Dataset>,
    /// The problems of benchmarks, by name.
    pub benchmarks: &'a [(String, Dataset)],
    /// What the filter made of all this for all units, where it was asked ([`crate::Filter::prepare`]).
    pub prepared: Option<&'a Prepared>,
}

impl<'a> Inputs<'a> {
    /// Traces and their problems.
    pub fn traces(problems: &'a [Dataset], rows: &'a [Dataset]) -> Inputs<'a> {
        Inputs { problems, of: Of::Traces, ..Inputs::problems(rows) }
    }

    /// Problems alone.
    pub fn problems(rows: &'a [Dataset]) -> Inputs<'a> {
        Inputs {
            problems: &[],
            rows,
            of: Of::Problems,
            judges: None,
            survey: None,
            only: None,
            verdicts: None,
            answers: None,
            prepared: None,
            benchmarks: &[],
        }
    }

    /// Whether the filter looks at a source.
    pub(crate) fn looks_at(&self, source: usize) -> bool {
        self.only.is_none_or(|only| only.contains(&source))
    }

    /// One unit of all stages here: the shard of that number among those of all sources.
    ///
    /// # Errors
    /// When there is none.
    pub fn unit(&'a self, index: usize) -> Result<Unit<'a>, FilterError> {
        self.units().into_iter().nth(index).ok_or_else(|| FilterError::NoUnit { index, found: self.units().len() })
    }

    /// The units of all stages here: the shards of every source's traces, in order.
    pub(crate) fn units(&'a self) -> Vec<Unit<'a>> {
        let shards = self.rows.iter().enumerate();
        let shards = shards.flat_map(|(source, dataset)| dataset.shards().map(move |shard| (source, shard)));
        shards.enumerate().map(|(index, (source, rows))| Unit { index, source, rows, inputs: self }).collect()
    }
}

/// One shard of the traces, or of the problems.
pub struct Unit<'a> {
    /// Which it is among the shards of all sources.
    pub index: usize,
    /// Its source.
    pub source: usize,
    /// Its rows.
    pub rows: Shard,
    /// All tables.
    pub inputs: &'a Inputs<'a>,
}

/// A stretch of a unit's traces: their places, and the traces themselves.
pub(crate) struct Window<R> {
    pub(crate) range: Range<u64>,
    pub(crate) rows: Vec<R>,
}

impl Unit<'_> {
    /// Hands the traces to `each`, in order, a stretch of several row groups at a time, which were read on all cores.
    /// `task` names what is done in the progress.
    pub(crate) fn windows<R: Record>(
        &self,
        task: &str,
        context: &Context,
        mut each: impl FnMut(Window<R>) -> Result<(), FilterError>,
    ) -> Result<(), FilterError> {
        let what = if self.inputs.of == Of::Traces { "traces" } else { "problems" };
        context.progress.begin(task, self.rows.num_rows(), what);
        let width = rayon::current_num_threads().clamp(1, MOST_GROUPS);
        for ranges in self.rows.ranges()?.chunks(width) {
            context.cancel.check()?;
            let rows: Vec<Vec<R>> =
                ranges.par_iter().map(|range| self.rows.rows_in(range.clone())).collect::<Result<_, _>>()?;
            let range = ranges[0].start..ranges[ranges.len() - 1].end;
            let end = range.end;
            each(Window { range, rows: rows.into_iter().flatten().collect() })?;
            context.progress.advance(end, "");
        }
        context.progress.end();
        Ok(())
    }

    /// Hands to `each` what the rows say: the turn of a trace, the question of a problem.
    pub(crate) fn said(
        &self,
        task: &str,
        context: &Context,
        mut each: impl FnMut(Window<Said>) -> Result<(), FilterError>,
    ) -> Result<(), FilterError> {
        match self.inputs.of {
            Of::Traces => self.windows(task, context, each),
            Of::Problems => self.windows(task, context, |Window { range, rows }: Window<Asked>| {
                each(Window { range, rows: rows.into_iter().map(Said::from).collect() })
            }),
        }
    }

    /// What `map` makes of the traces that come before this unit's and answer the same problems: those of earlier sources,
    /// and of earlier shards where a problem's traces lie in several.
    pub(crate) fn before<R: OfProblem, T: Send>(
        &self,
        context: &Context,
        map: impl Fn(&R) -> T + Sync,
    ) -> Result<Vec<T>, FilterError> {
        self.others(context, map, |index| index < self.index)
    }

    /// The same of the traces that come after.
    pub(crate) fn after<R: OfProblem, T: Send>(
        &self,
        context: &Context,
        map: impl Fn(&R) -> T + Sync,
    ) -> Result<Vec<T>, FilterError> {
        self.others(context, map, |index| index > self.index)
    }

    fn others<R: OfProblem, T: Send>(
        &self,
        context: &Context,
        map: impl Fn(&R) -> T + Sync,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<T>, FilterError> {
        let mut found = Vec::new();
        let span = self.rows.span();
        for other in self.inputs.units().into_iter().filter(|other| wanted(other.index)) {
            if span.is_some_and(|[first, last]| !other.rows.overlaps(first, last)) {
                continue;
            }
            for range in other.rows.ranges()? {
                context.cancel.check()?;
                let rows: Vec<R> = other.rows.rows_in(range)?;
                let within = |row: &&R| span.is_none_or(|[first, last]| (first..=last).contains(&row.problem_id()));
                found.par_extend(rows.par_iter().filter(within).map(&map));
            }
        }
        Ok(found)
    }

    /// The problems that the traces answer, joined as the traces are read.
    pub(crate) fn problems<P: ProblemRow>(&self) -> Join<P> {
        let [first, last] = self.rows.span().unwrap_or_default();
        let everything = self.rows.span().is_none();
        let shards = self.inputs.problems.get(self.source).into_iter().flat_map(Dataset::shards);
        let shards: Vec<Shard> = shards.filter(|shard| everything || shard.overlaps(first, last)).collect();
        let rows = shards.into_iter().flat_map(|shard| shard.all_rows::<P>());
        Join { rows: Box::new(rows), next: None, held: HashMap::new() }
    }
}

/// A row of a trace, with some of its columns.
pub(crate) trait OfProblem: Record {
    /// The id of the problem that it answers.
    fn problem_id(&self) -> &str;
}

/// The columns of a trace that say what was said.
#[derive(Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) problem_id: String,
    pub(crate) format: TurnFormat,
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) system: Option<String>,
}

impl Said {
    /// The assistant's whole turn.
    pub(crate) fn turn(&self) -> String {
        self.format.turn(&self.text)
    }

    /// Reasoning and answer of the whole turn; empty ones are left out. All of it is reasoning where that is never closed.
    pub(crate) fn parts<'t>(&self, turn: &'t str) -> Vec<Passage<'t>> {
        let split = self.format.split(turn);
        let parts = match (split.reasoning, split.answer) {
            (None, None) => [(true, Some(turn)), (false, None)],
            (reasoning, answer) => [(true, reasoning), (false, answer)],
        };
        let parts = parts.into_iter().filter_map(|(is_reasoning, text)| Some((is_reasoning, text?)));
        let parts = parts.filter(|(_, text)| !text.trim().is_empty());
        parts
            .map(|(is_reasoning, text)| Passage {
                is_reasoning,
                offset: text.as_ptr() as usize - turn.as_ptr() as usize,
                text,
            })
            .collect()
    }
}

#[cfg(test)]
impl Said {
    /// A whole turn, for tests of what a filter measures in it.
    pub(crate) fn whole(turn: &str) -> Said {
        let (id, problem_id) = ("t".to_owned(), "p".to_owned());
        Said { id, problem_id, format: TurnFormat::default(), text: turn.to_owned(), system: None }
    }
}

/// The reasoning of a turn, or its answer.
pub(crate) struct Passage<'t> {
    pub(crate) is_reasoning: bool,
    /// The byte of the turn at which it begins.
    pub(crate) offset: usize,
    pub(crate) text: &'t str,
}

impl OfProblem for Said {
    fn problem_id(&self) -> &str {
        &self.problem_id
    }
}

/// A row of a problem, with some of its columns.
pub(crate) trait ProblemRow: Record {
    /// The problem's id.
    fn id(&self) -> &str;
}

impl ProblemRow for distill_dataset::Problem {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The columns of a problem that say what was asked.
#[derive(Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) domain: String,
}

impl Asked {
    /// What is asked beside a problem: nothing.
    pub(crate) fn nothing(problem: &Said) -> Asked {
        Asked { id: problem.id.clone(), messages: Vec::new(), domain: String::new() }
    }
}

impl Asked {
    /// All its messages, a blank line between them.
    pub(crate) fn text(&self) -> String {
        let texts: Vec<&str> = self.messages.iter().map(|message| message.content.as_str()).collect();
        texts.join("\n\n")
    }
}

impl From<Asked> for Said {
    /// A problem as what it says, as text without reasoning.
    fn from(problem: Asked) -> Said {
        let (text, format) = (problem.text(), TurnFormat::default());
        Said { problem_id: problem.id.clone(), id: problem.id, format, text, system: None }
    }
}

#[cfg(test)]
impl Asked {
    /// The question that [`Said::whole`] answers.
    pub(crate) fn question(text: &str, domain: &str) -> Asked {
        Asked { id: "p".to_owned(), messages: vec![Message::user(text)], domain: domain.to_owned() }
    }
}

impl ProblemRow for Asked {
    fn id(&self) -> &str {
        &self.id
    }
}

type Rows<P> = Box<dyn Iterator<Item = Result<P, DatasetError>>>;

/// Problems beside traces, both sorted by the problem's id: one pass over each, one window's problems in memory.
pub(crate) struct Join<P> {
    rows: Rows<P>,
    next: Option<P>,
    held: HashMap<String, P>,
}

impl<P: ProblemRow> Join<P> {
    /// Reads on so that the problems of a window's traces are there: from `first` through `last`.
    pub(crate) fn advance(&mut self, first: &str, last: &str) -> Result<&HashMap<String, P>, FilterError> {
        self.held.retain(|id, _| id.as_str() >= first);
        loop {
            let row = match self.next.take() {
                Some(row) => row,
                None => match self.rows.next().transpose()? {
                    Some(row) => row,
                    None => break,
                },
            };
            if row.id() > last {
                self.next = Some(row);
                break;
            }
            if row.id() >= first {
                self.held.insert(row.id().to_owned(), row);
            }
        }
        Ok(&self.held)
    }
}

/// The problem of a trace, or that the tables do not belong together.
pub(crate) fn problem_of<'p, P>(
    problems: &'p HashMap<String, P>,
    trace_id: &str,
    problem_id: &str,
) -> Result<&'p P, FilterError> {
    problems.get(problem_id).ok_or_else(|| FilterError::Mismatch {
        trace_id: trace_id.to_owned(),
        expected: format!("problem {problem_id}"),
        found: "no such problem".to_owned(),
    })
}

/// The rows of a side table for a stretch of traces, each of them its trace's.
pub(crate) fn beside<M: Record>(
    table: &Shard,
    range: Range<u64>,
    id_of: fn(&M) -> &str,
    trace_ids: &[&str],
    what: &str,
) -> Result<Vec<M>, FilterError> {
    let rows: Vec<M> = table.rows_in(range)?;
    for (index, trace_id) in trace_ids.iter().enumerate() {
        let found = rows.get(index).map(id_of);
        if found != Some(*trace_id) {
            return Err(mismatch(trace_id, what, found));
        }
    }
    Ok(rows)
}

/// The shard of a side table that lies beside a unit's traces.
pub(crate) fn shard_of(table: &Dataset, unit: &Unit<'_>) -> Result<Shard, FilterError> {
    table.shards().nth(unit.index).ok_or_else(|| FilterError::Mismatch {
        trace_id: unit.rows.span().map_or(String::new(), |[first, _]| format!("of problem {first}")),
        expected: format!("shard {} of {}", unit.index, table.dir.display()),
        found: format!("{} shards", table.shards().count()),
    })
}

pub(crate) fn mismatch(trace_id: &str, what: &str, found: Option<&str>) -> FilterError {
    FilterError::Mismatch {
        trace_id: trace_id.to_owned(),
        expected: what.to_owned(),
        found: found.map_or("the end of the table".to_owned(), |found| format!("trace {found}")),
    }
}
