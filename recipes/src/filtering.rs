//! Filtering: rows of problems or traces → one side table of measures a filter → decisions.

use crate::{
    asking::Asking,
    preflight::Preflight,
    recipe::{AskedConfig, Recipe},
    run::{Begun, num_shards, source},
    session::{Session, Slot, Spec, Work, ready},
    teachers::Teacher,
    verify,
};
use anyhow::{Context, Error, Result};
use distill_data_gen::Copies;
use distill_dataset::Dataset;
use distill_filters::{
    Contests, Filter, FilterConfig, Inputs, JUDGEMENTS, OnUnknown, PROBLEM_SELECTION, SELECTION, Survey, Tables,
    VerifyConfig,
};

/// What is filtered, with its filters.
struct Rows<'a> {
    filters: &'a [FilterConfig],
    /// Of every source; none where problems are what is filtered.
    problems: &'a [Slot],
    rows: &'a [Slot],
    /// By name.
    benchmarks: &'a Benchmarks,
    /// Who is asked where rules have no opinion, with what opens it.
    judge: Option<(&'a AskedConfig, &'a Preflight<'a>)>,
    /// What the labels of its stages begin with.
    prefix: &'static str,
}

impl Rows<'_> {
    fn of_problems(&self) -> bool {
        self.problems.is_empty()
    }

    /// The rows by their name among a stage's inputs.
    fn input(&self, spec: Spec) -> Spec {
        spec.inputs(if self.of_problems() { "problems" } else { "traces" }, self.rows)
    }
}

/// What was decided on problems, and on what grounds.
pub(crate) struct Judged {
    /// Beside the sources.
    pub(crate) decisions: Slot,
    /// One side table for each filter that measures, in their order.
    pub(crate) measures: Vec<Slot>,
}

/// Decides which problems go on, before the held-out split and before anything is bought. Nothing where no filter asks.
pub(crate) fn problems(
    session: &mut Session,
    recipe: &Recipe,
    benchmarks: &Benchmarks,
    sources: &[Slot],
) -> Result<Option<Judged>> {
    if recipe.problem_filters.is_empty() {
        return Ok(None);
    }
    let filters = &recipe.problem_filters;
    let rows = Rows { filters, problems: &[], rows: sources, benchmarks, judge: None, prefix: "problem-" };
    let (measures, _) = measures(session, &rows)?;
    let settings = distill_filters::settings(rows.filters, None, recipe.seed);
    let spec = Spec::new(PROBLEM_SELECTION, &rows.filters, settings)?;
    let decisions = select(session, spec, &rows, &measures, None)?;
    Ok(Some(Judged { decisions, measures }))
}

/// Decides which traces become examples. The table of `verify` comes back too, which the export reads.
pub(crate) fn traces(
    session: &mut Session,
    preflight: &Preflight<'_>,
    traces: &[Slot],
) -> Result<(Option<Slot>, Slot)> {
    let Preflight { recipe, begun: Begun { benchmarks, problems, .. }, .. } = *preflight;
    let filters = &recipe.filters;
    let judge = recipe.judge.as_ref().map(|judge| (judge, preflight));
    let rows = Rows { filters, problems, rows: traces, benchmarks, judge, prefix: "" };
    let (measures, verdicts) = measures(session, &rows)?;
    let weights = recipe.weights();
    let settings = distill_filters::settings(rows.filters, weights.as_deref(), recipe.seed);
    let spec = match &weights {
        Some(weights) => Spec::new(SELECTION, &(rows.filters, weights), settings)?,
        None => Spec::new(SELECTION, &rows.filters, settings)?,
    };
    Ok((verdicts, select(session, spec, &rows, &measures, weights.as_deref())?))
}

/// Whether the rows of a source that are copies stay until a filter of problems chooses among them.
pub(crate) fn copies(recipe: &Recipe, source: usize) -> Copies {
    let chooses =
        |filter: &FilterConfig| ["duplicates", "near-duplicates"].contains(&filter.kind()) && filter.looks_at(source);
    if recipe.problem_filters.iter().any(chooses) { Copies::All } else { Copies::First }
}

/// Benchmarks by name.
pub(crate) type Benchmarks = [(String, Slot)];

/// The benchmarks' problems, read as any file of problems is, where a filter asks for them: before anything is bought.
pub(crate) fn benchmarks(session: &mut Session, recipe: &Recipe) -> Result<Vec<(String, Slot)>> {
    let mut filters = recipe.problem_filters.iter().chain(&recipe.filters);
    if !filters.any(|config| config.filter().is_some_and(|filter| filter.reads_benchmarks())) {
        return Ok(Vec::new());
    }
    let mut slots = Vec::new();
    for benchmark in &recipe.benchmarks {
        let label = format!("benchmark-{}", benchmark.name);
        slots
            .push((benchmark.name.clone(), source(session, recipe.seed, (&benchmark.problems, Copies::First), label)?));
    }
    Ok(slots)
}

/// Tries the files from outside that filters read, before anything is bought.
/// Every filter whose file is missing or damaged is an error.
pub(crate) fn check_files(session: &Session, recipe: &Recipe) -> Vec<Error> {
    let mut faults = Vec::new();
    for (key, filters) in [("filters", &recipe.filters), ("problem-filters", &recipe.problem_filters)] {
        for (index, filter) in filters.iter().enumerate().filter_map(|(index, it)| Some((index, it.filter()?))) {
            faults.extend(files_of(session, filter).with_context(|| format!("`{key}.{index}`")).err());
        }
    }
    faults
}

/// The digest of the files from outside that decide a filter's measures, where there are some.
fn files_of(session: &Session, filter: &dyn Filter) -> Result<Option<String>> {
    let files = filter.files()?;
    if files.is_empty() { Ok(None) } else { session.outside.files("filter-files", &files).map(Some) }
}

/// One side table for each filter that measures, and which of them holds verdicts.
fn measures(session: &mut Session, rows: &Rows<'_>) -> Result<(Vec<Slot>, Option<Slot>)> {
    let (mut measures, mut verdicts) = (Vec::new(), None);
    for (index, config) in rows.filters.iter().enumerate() {
        let Some(filter) = config.filter() else { continue };
        let label = format!("{}measure-{}-{}", rows.prefix, index + 1, config.kind());
        let settings = match filter.reads_benchmarks() {
            // Evidence names them.
            true => filter.keyed().with("benchmarks", rows.benchmarks.iter().map(|(name, _)| name).collect::<Vec<_>>()),
            false => filter.keyed(),
        };
        let spec = Spec::new(filter.stage(), config, settings)?.label(label);
        let mut spec = rows.input(spec.inputs("problems", rows.problems));
        let (judges, tools) = verify::judges_for(filter.verifies(), rows.problems.iter().filter_map(Slot::get));
        if let Some(tools) = tools {
            spec = spec.outside("tools", tools);
        }
        if let Some(files) = files_of(session, filter)? {
            spec = spec.outside("files", files);
        }
        let benchmarks = if filter.reads_benchmarks() { rows.benchmarks } else { &[] };
        spec = spec.inputs("benchmarks", benchmarks.iter().map(|(_, slot)| slot));
        // What the rules say decides what is asked.
        let rules = verdicts.as_ref().filter(|_| filter.asks());
        let survey = match filter.survey() {
            Some(survey) => Some(self::survey(session, survey, (index, config), rows, (benchmarks, rules))?),
            None => None,
        };
        // Nobody is opened where there is nothing to ask.
        let is_question = |slot: &&Slot| slot.get().is_none_or(|questions| questions.manifest.tally.rows_out > 0);
        let answers = match survey.as_ref().filter(|_| filter.asks()).filter(is_question) {
            Some(questions) => Some(judgements(session, rows, questions)?),
            None => None,
        };
        let spec = spec.inputs("survey", &survey).inputs("verdicts", rules).inputs("answers", &answers);
        let table = session.stage(spec, |_| {
            let tables = Ready::of(rows, benchmarks)?;
            let [survey, verdicts, answers] =
                [survey.as_ref(), rules, answers.as_ref()].map(|slot| slot.map(Slot::ready));
            let (survey, verdicts, answers) = (survey.transpose()?, verdicts.transpose()?, answers.transpose()?);
            let mut prepared = None;
            Ok(Work::map(num_shards(&tables.rows), move |unit, context, out| {
                let inputs = Inputs { judges: Some(&judges), survey, verdicts, answers, ..tables.inputs() };
                let inputs = Inputs { only: config.sources(), ..inputs };
                // It is about all units: it is made once, before the first.
                let prepared = match &mut prepared {
                    Some(prepared) => prepared,
                    none => none.insert(filter.prepare(&inputs)?),
                };
                let inputs = Inputs { prepared: prepared.as_deref(), ..inputs };
                Ok(filter.measure(&inputs.unit(unit)?, context, out)?)
            }))
        })?;
        if filter.verifies() {
            verdicts = Some(table.clone());
        }
        measures.push(table);
    }
    Ok((measures, verdicts))
}

/// What a filter's first pass over everything finds.
fn survey(
    session: &mut Session,
    survey: &dyn Survey,
    (index, config): (usize, &FilterConfig),
    rows: &Rows<'_>,
    (benchmarks, rules): (&Benchmarks, Option<&Slot>),
) -> Result<Slot> {
    let label = format!("{}survey-{}-{}", rows.prefix, index + 1, config.kind());
    let keyed = match config.sources() {
        Some(only) => survey.keyed().with("sources", only),
        None => survey.keyed(),
    };
    let spec = Spec::new(survey.stage(), config, keyed)?.label(label);
    let spec = rows.input(spec.inputs("problems", rows.problems)).inputs("verdicts", rules);
    session.stage(spec.inputs("benchmarks", benchmarks.iter().map(|(_, slot)| slot)), |_| {
        let tables = Ready::of(rows, benchmarks)?;
        let verdicts = rules.map(Slot::ready).transpose()?;
        Ok(Work::gather(move |context, out| {
            let inputs = Inputs { verdicts, only: config.sources(), ..tables.inputs() };
            Ok(survey.look(&inputs, context, out)?)
        }))
    })
}

/// What the judge answers to the questions.
fn judgements(session: &mut Session, rows: &Rows<'_>, questions: &Slot) -> Result<Slot> {
    let (config, preflight) = rows.judge.context("the filter `judge` needs a table `[judge]`")?;
    let teacher = Teacher::of(&config.teacher, &session.outside)?.context("`judge.teacher`: expected a teacher")?;
    // No judge is asked until a question is settled.
    let verifier = VerifyConfig { on_unknown: OnUnknown::Reject, policy: Default::default() };
    let (stage, label, sampling) = (JUDGEMENTS, "judgements".to_owned(), &config.sampling);
    Asking { stage, label, teacher, sampling, verifier }
        .traces(session, questions, preflight.secrets, || preflight.once())
}

/// The tables of what is filtered, all of them made.
struct Ready {
    problems: Vec<Dataset>,
    rows: Vec<Dataset>,
    benchmarks: Vec<(String, Dataset)>,
}

impl Ready {
    fn of(rows: &Rows<'_>, benchmarks: &Benchmarks) -> Result<Ready> {
        let benchmarks = benchmarks.iter().map(|(name, slot)| Ok((name.clone(), slot.ready()?.clone())));
        Ok(Ready {
            problems: ready(rows.problems)?,
            rows: ready(rows.rows)?,
            benchmarks: benchmarks.collect::<Result<_>>()?,
        })
    }

    fn inputs(&self) -> Inputs<'_> {
        let inputs = match self.problems.is_empty() {
            true => Inputs::problems(&self.rows),
            false => Inputs::traces(&self.problems, &self.rows),
        };
        Inputs { benchmarks: &self.benchmarks, ..inputs }
    }
}

fn select(
    session: &mut Session,
    spec: Spec,
    rows: &Rows<'_>,
    measures: &[Slot],
    weights: Option<&[f64]>,
) -> Result<Slot> {
    session.stage(rows.input(spec).inputs("measures", measures), |_| {
        let (filters, rows, measures) = (rows.filters, Ready::of(rows, &[])?, ready(measures)?);
        let mut contests = None;
        Ok(Work::map(num_shards(&rows.rows), move |unit, context, out| {
            let inputs = rows.inputs();
            let tables = Tables { filters, measures: &measures };
            // They are about all units: they are held once, before the first.
            let contests = match &mut contests {
                Some(contests) => contests,
                none => none.insert(Contests::of(tables, weights, &inputs, context)?),
            };
            Ok(distill_filters::select(tables, contests, &inputs.unit(unit)?, context, out)?)
        }))
    })
}
