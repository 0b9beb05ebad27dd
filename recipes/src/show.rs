//! Traces with their decisions: why a row was kept or dropped.

use crate::{
    attempts,
    cli::ShowArgs,
    explained::Misused,
    rendered::{Marks, rendered},
    run::EVALUATED,
    terminal::{printable, printable_json},
    view::View,
};
use anyhow::{Context, Result, bail, ensure};
use distill_dataset::{Dataset, Decision, Message, Outcome, Problem, Trace, with_system};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{collections::HashMap, fmt::Write, path::Path};

/// What the column of a measure's trace is called: filters that look at problems too say `id`.
const ID: [&str; 2] = ["trace_id", "id"];

fn id_of(measure: &Map<String, Value>) -> &str {
    ID.iter().find_map(|name| measure.get(*name)).and_then(Value::as_str).unwrap_or_default()
}

/// A trace with everything that was decided on it.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The question.
    pub question: String,
    /// The right answer.
    pub answer: String,
    /// The trace.
    pub trace: Trace,
    /// What became of it; absent before the selection is made.
    pub decision: Option<Decision>,
    /// What each filter measured, by the label of its stage.
    pub evidence: Vec<(String, Map<String, Value>)>,
}

impl Row {
    /// What a filter measured in one line: every column that says something.
    pub fn evidence_line(measure: &Map<String, Value>) -> String {
        let said = measure.iter().filter(|(name, value)| {
            let silent = value.is_null() || value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty);
            !ID.contains(&name.as_str()) && !silent
        });
        said.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    }
}

/// Traces of a run that `wanted` picks, at most `limit`, in order.
///
/// # Errors
/// When a dataset cannot be read.
pub fn rows(view: &View, limit: usize, mut wanted: impl FnMut(&Trace, Option<&Decision>) -> bool) -> Result<Vec<Row>> {
    let mut decisions = view.of("selection").next().map(Dataset::rows::<Decision>);
    let mut tables: Vec<_> = view
        .stages
        .iter()
        .filter(|(stage, _)| stage.label.starts_with("measure-"))
        .filter_map(|(stage, dataset)| Some((stage.label.clone(), dataset.as_ref()?.objects())))
        .collect();
    let mut found = Vec::new();
    for trace in view.of("traces").flat_map(Dataset::rows::<Trace>) {
        let trace = trace?;
        let decision = decisions.as_mut().map(|rows| rows.next().transpose()).transpose()?.flatten();
        if let Some(decision) = &decision {
            belongs(&trace, "selection", &decision.trace_id)?;
        }
        let mut evidence = Vec::new();
        for (label, table) in &mut tables {
            if let Some(measure) = table.next().transpose()? {
                belongs(&trace, label, id_of(&measure))?;
                evidence.push((label.clone(), measure));
            }
        }
        if found.len() < limit && wanted(&trace, decision.as_ref()) {
            found.push(Row { question: String::new(), answer: String::new(), trace, decision, evidence });
        }
        if found.len() == limit {
            break;
        }
    }
    let ids = found.iter().map(|row| row.trace.problem_id.clone()).collect::<Vec<_>>();
    asked(view, &ids, |place, problem| {
        let row = &mut found[place];
        row.question = question(&with_system(&problem.messages, row.trace.system.as_deref()));
        row.answer.clone_from(&problem.answer);
    })?;
    Ok(found)
}

/// A conversation as one text.
pub(crate) fn question(messages: &[Message]) -> String {
    messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n")
}

/// Hands each of these problems of a run to `found`, by its place among them.
///
/// # Errors
/// When a dataset cannot be read.
pub(crate) fn asked(view: &View, ids: &[String], mut found: impl FnMut(usize, &Problem)) -> Result<()> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, id) in ids.iter().enumerate() {
        places.entry(id).or_default().push(place);
    }
    let own = view.stages.iter().filter(|(stage, _)| stage.label == EVALUATED);
    let own = own.filter_map(|(_, dataset)| dataset.as_ref());
    for problem in view.of("problems").chain(own).flat_map(Dataset::rows::<Problem>) {
        let problem = problem?;
        for place in places.get(problem.id.as_str()).into_iter().flatten() {
            found(*place, &problem);
        }
    }
    Ok(())
}

/// Tables are read side by side: a row that is another trace's means that they do not belong together.
fn belongs(trace: &Trace, table: &str, trace_id: &str) -> Result<()> {
    ensure!(
        trace.id == trace_id,
        "`{table}`: expected a row of trace {}, found one of {trace_id:?}\nhint: the run's folder points to tables of different runs; run `distill run RECIPE` again",
        trace.id
    );
    Ok(())
}

/// What `distill show` prints.
///
/// # Errors
/// When the run cannot be read or no trace has that id.
pub fn render(folder: &Path, args: &ShowArgs, marks: Marks) -> Result<String> {
    let view = View::read(folder)?;
    if args.rendered {
        return rendered(&view, args, marks);
    }
    let has_traces = view.stages.iter().any(|(stage, _)| stage.stage == "traces");
    if args.evaluation.is_some() || args.wrong || !has_traces {
        return attempts::render(&view, args);
    }
    view.of("traces").next().context("no traces yet\nhint: `distill sample RECIPE` makes them")?;
    let wanted = |trace: &Trace, decision: Option<&Decision>| {
        let dropped = |reason: &String| {
            decision.is_some_and(|decision| &decision.reason == reason || &decision.dropped_by == reason)
        };
        args.id.as_ref().is_none_or(|id| trace.id.starts_with(id.as_str()))
            && args.dropped.as_ref().is_none_or(dropped)
            && (!args.unknown || decision.is_some_and(|decision| decision.outcomes.contains(&Outcome::Unknown)))
    };
    let rows = rows(&view, args.limit, wanted)?;
    if rows.is_empty() {
        let nothing = nothing(&view, args);
        // An id or a reason that is nowhere was typed wrongly; that no filter was undecided was not.
        ensure!(args.id.is_none() && args.dropped.is_none(), Misused(nothing));
        bail!(nothing);
    }
    let mut text = String::new();
    for row in &rows {
        if args.json {
            text.push_str(&printable_json(&serde_json::to_string(row)?));
            text.push('\n');
        } else {
            describe(row, args.id.is_some(), &mut text);
        }
    }
    Ok(text)
}

/// Why no trace is shown, and what there would be to see.
fn nothing(view: &View, args: &ShowArgs) -> String {
    if args.limit == 0 {
        return "`--limit`: expected 1 or more, found 0".to_owned();
    }
    if let Some(id) = &args.id {
        return format!("no trace of this run has an id that begins with `{id}`, and what else was asked for");
    }
    let Some(funnel) = view.funnel().filter(|_| args.dropped.is_some() || args.unknown) else {
        return match args.dropped.is_some() || args.unknown {
            true => "no trace is decided on yet\nhint: `distill filter RECIPE` decides".to_owned(),
            false => "the run's traces have no row".to_owned(),
        };
    };
    let Some(reason) = &args.dropped else { return "no filter was undecided on any trace".to_owned() };
    let reasons: Vec<String> = funnel
        .steps
        .iter()
        .flat_map(|step| step.dropped.iter().map(|(reason, count)| format!("{reason} ({}, {count})", step.filter)))
        .collect();
    let known = if reasons.is_empty() { "nothing was dropped".to_owned() } else { reasons.join(", ") };
    let undecided = if args.unknown { ", with a filter undecided on it" } else { "" };
    format!("no trace was dropped for `{reason}`{undecided}\nhint: traces were dropped for: {known}")
}

/// A measure's place among the filters, from its label: `measure-3-verify` is the third's. Selectors measure nothing.
fn place_of(label: &str) -> Option<usize> {
    label.split('-').nth(1)?.parse::<usize>().ok()?.checked_sub(1)
}

/// One trace as people read it: all that was measured where it is shown `whole`, else of the filters that did not let it pass.
fn describe(row: &Row, whole: bool, text: &mut String) {
    let trace = &row.trace;
    let fate = match &row.decision {
        None => "not decided yet".to_owned(),
        Some(decision) if decision.kept => "kept".to_owned(),
        Some(decision) => printable(&format!("dropped by `{}`: {}", decision.dropped_by, decision.reason)),
    };
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "trace {} (sample {}, {} tokens, {})",
        trace.id,
        trace.sample_index,
        trace.completion_tokens,
        trace.finish_reason.as_str()
    );
    let _ = writeln!(text, "  {fate}");
    for (label, measure) in &row.evidence {
        let outcome = row.decision.as_ref().and_then(|decision| decision.outcomes.get(place_of(label)?));
        let is_silent = matches!(outcome, Some(Outcome::Accept | Outcome::NotRun)) && !whole;
        let measured = if is_silent { String::new() } else { Row::evidence_line(measure) };
        let outcome = outcome.map_or(String::new(), |outcome| format!("{outcome:?} "));
        let _ = writeln!(text, "{}", format!("  {label:<24} {outcome}{}", printable(&measured)).trim_end());
    }
    let _ = writeln!(text, "  question  {}", printable(&row.question));
    let _ = writeln!(text, "  expected  {}", printable(&row.answer));
    for line in trace.turn().lines() {
        let _ = writeln!(text, "  | {}", printable(line));
    }
    text.push('\n');
}
