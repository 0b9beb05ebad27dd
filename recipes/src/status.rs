//! Where a run stands, for people and for programs, and the few lines that end a run.

use crate::{buying::Buying, record::State, session::Session, view::View};
use anyhow::Result;
use distill_dataset::{Funnel, Score};
use serde_json::{Value, json};
use std::{fmt::Write, path::Path};

/// The status of a run.
///
/// # Errors
/// When the run cannot be read.
pub fn render(folder: &Path, as_json: bool) -> Result<String> {
    let view = View::read(folder)?;
    if as_json {
        return Ok(serde_json::to_string_pretty(&as_value(&view))? + "\n");
    }
    let mut text = format!("{} (seed {})\n\n", view.record.name, view.record.seed);
    let width = view.stages.iter().map(|(stage, _)| stage.label.len()).max().unwrap_or(0).max(22);
    for (stage, dataset) in &view.stages {
        // Writing into a string cannot fail.
        let _ = match dataset {
            Some(dataset) => writeln!(
                text,
                "  done     {:<width$} {:>9} rows {:>9.1} s{}",
                stage.label,
                dataset.manifest.tally.rows_out,
                dataset.manifest.time.wall_s,
                match dataset.manifest.tally.wasted_tokens {
                    0 => String::new(),
                    tokens => format!("  {tokens} tokens of attempts that broke"),
                }
            ),
            None => writeln!(text, "  pending  {}", stage.label),
        };
        if dataset.is_none() {
            text.push_str(&view.unfinished(stage).map_or(String::new(), |unfinished| unfinished.told()));
            text.push_str(&Buying::of(&view, &stage.label)?.told());
        }
    }
    for (what, funnel) in [("problems", view.problem_funnel()), ("traces", view.funnel())] {
        text.push_str(&funnel.map_or(String::new(), |funnel| told(what, funnel)));
    }
    text.push_str(&scores(&view));
    Ok(text)
}

/// A funnel, a line each step and reason.
fn told(what: &str, funnel: &Funnel) -> String {
    let mut text = format!("\n{what} that were looked at, and dropped\n");
    for step in &funnel.steps {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "  {:<22} {:>9}", step.filter, step.entered);
        for (reason, count) in &step.dropped {
            let _ = writeln!(text, "    {reason:<29} {count:>9} dropped");
        }
        for (note, count) in &step.noted {
            let _ = writeln!(text, "    {note:<29} {count:>9} let by, to be told");
        }
    }
    let _ = writeln!(text, "  {:<22} {:>9}", "kept", funnel.kept);
    text
}

fn as_value(view: &View) -> Value {
    let stages: Vec<Value> = view
        .stages
        .iter()
        .map(|(stage, dataset)| {
            let mut value =
                json!({ "label": stage.label, "stage": stage.stage, "key": stage.key, "done": dataset.is_some() });
            if dataset.is_none()
                && let Ok(buying) = Buying::of(view, &stage.label)
                && !buying.is_empty()
            {
                value["buying"] = buying.as_value();
            }
            if let Some(unfinished) = view.unfinished(stage).filter(|_| dataset.is_none()) {
                value["unfinished"] = json!(unfinished);
            }
            if let Some(dataset) = dataset {
                value["digest"] = json!(dataset.manifest.digest);
                value["time"] = json!(dataset.manifest.time);
                value["device"] = json!(dataset.manifest.device);
                value["tally"] = json!(dataset.manifest.tally);
            }
            value
        })
        .collect();
    let evaluation: serde_json::Map<String, Value> =
        view.scores().map(|(subject, score)| (subject.to_owned(), json!(score))).collect();
    json!({
        "name": view.record.name, "seed": view.record.seed, "recipe": view.record.recipe,
        "overrides": view.record.overrides, "stages": stages, "problem_funnel": view.problem_funnel(), "funnel": view.funnel(), "evaluation": evaluation,
    })
}

/// What a run ends with: scores and where to look.
///
/// # Errors
/// When the run cannot be read.
pub fn summary(session: &Session, report: &Path, as_json: bool) -> Result<String> {
    let view = View::read(&session.folder)?;
    if as_json {
        return Ok(serde_json::to_string_pretty(&as_value(&view))? + "\n");
    }
    let mut text = String::new();
    if session.num_made() == 0 {
        text.push_str("nothing to do: every stage is already done\n");
    }
    text.push_str(&scores(&view));
    let made = |name: &str| {
        let mut stages = view.stages.iter().map(|(stage, _)| stage);
        stages.find(|stage| stage.stage == name && stage.state != State::Pending)
    };
    let published = made("published");
    // What is published is the checkpoint that was trained, with its card.
    let trained = made("training").filter(|_| published.is_none());
    for (what, found) in [("dataset", made("export")), ("checkpoint", trained), ("published", published)] {
        if let Some(stage) = found {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{what:<10} {}", session.folder.join(&stage.label).display());
        }
    }
    let folder = session.folder.display();
    if view.scores().any(|(_, score)| score.mean < 1.0) {
        let _ = writeln!(text, "answers    `distill show {folder} --wrong` shows those that are wrong or undecided");
    }
    let _ = writeln!(text, "report     {}", report.display());
    Ok(text)
}

/// What of a score was no wrong answer, though it counts as one.
fn lost(score: &Score) -> String {
    let cut = if score.censored > 0.0 {
        format!("; {:.1} % cut by the limit", score.censored * 100.0)
    } else {
        String::new()
    };
    let count = |count: u64, what: &str| if count > 0 { format!("; {count} {what}") } else { String::new() };
    cut + &count(score.num_unknown, "undecided") + &count(score.num_unanswered, "of these unanswered")
}

fn scores(view: &View) -> String {
    let mut text = String::new();
    for (subject, score) in view.scores() {
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "{subject:<10} {:>5.1} % {}  (95 %: {:.1} to {:.1}; {} problems, {} each{})",
            score.mean * 100.0,
            score.metric,
            score.low * 100.0,
            score.high * 100.0,
            score.num_problems,
            if score.samples_per_problem == 1 {
                "1 sample".to_owned()
            } else {
                format!("{} samples", score.samples_per_problem)
            },
            lost(score)
        );
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}
