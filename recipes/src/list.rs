//! `distill list`: the runs of a folder, and what came of each.

use crate::{record, view::View};
use anyhow::{Context, Result, ensure};
use distill_dataset::entries;
use serde_json::{Value, json};
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// A run, in a line.
struct Line {
    name: String,
    stages: String,
    kept: String,
    scores: String,
    finished: String,
    /// The recipe's file, or what was typed in its place, and what was set.
    recipe: String,
}

/// The runs of a folder, those that cannot be read with the reason.
///
/// # Errors
/// When the folder cannot be read or holds no run.
pub fn render(runs: &Path, as_json: bool) -> Result<String> {
    let folders = folders(runs)?;
    let hint = "`distill run RECIPE` makes one, `--runs DIR` names another folder";
    ensure!(!folders.is_empty(), "{}: expected runs, found none\nhint: {hint}", runs.display());
    let views = folders.into_iter().map(|folder| (View::read(&folder), folder));
    if as_json {
        let values: Vec<Value> = views.map(|(view, folder)| as_value(view, &folder)).collect();
        return Ok(serde_json::to_string_pretty(&values)? + "\n");
    }
    let lines: Vec<Line> = views.map(|(view, folder)| line(view, &folder)).collect();
    let width = |of: fn(&Line) -> &str, title: &str| {
        lines.iter().map(|line| of(line).chars().count()).max().unwrap_or(0).max(title.len())
    };
    let widths = (
        width(|line| &line.name, "run"),
        width(|line| &line.stages, "stages"),
        width(|line| &line.kept, "kept"),
        width(|line| &line.scores, "pass@1"),
        width(|line| &line.finished, "last made"),
    );
    let mut text = String::new();
    let mut row = |[name, stages, kept, scores, finished, recipe]: [&str; 6]| {
        let (a, b, c, d, e) = widths;
        let row = format!("{name:<a$}  {stages:<b$}  {kept:<c$}  {scores:<d$}  {finished:<e$}  {recipe}");
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{}", row.trim_end());
    };
    row(["run", "stages", "kept", "pass@1", "last made", "recipe"]);
    for Line { name, stages, kept, scores, finished, recipe } in &lines {
        row([name, stages, kept, scores, finished, recipe]);
    }
    Ok(text)
}

/// The folders of a folder that hold a run, by name.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn folders(runs: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = entries(runs).with_context(|| format!("cannot read {}", runs.display()))?;
    folders.retain(|folder| folder.join(record::FILE).is_file());
    folders.sort();
    Ok(folders)
}

/// When the last of its stages was made.
fn finished(view: &View) -> Option<&str> {
    view.manifests().map(|(_, manifest)| manifest.time.finished_at.as_str()).max()
}

fn line(view: Result<View>, folder: &Path) -> Line {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let view = match view {
        Ok(view) => view,
        Err(error) => {
            let why = error.to_string().lines().next().unwrap_or_default().to_owned();
            let empty = String::new;
            let stages = "unreadable".to_owned();
            return Line { name, stages, kept: empty(), scores: empty(), finished: empty(), recipe: why };
        }
    };
    let done = view.manifests().count();
    let traces: u64 = view.of("traces").map(|dataset| dataset.manifest.tally.rows_out).sum();
    let scores: Vec<String> =
        view.scores().map(|(subject, score)| format!("{subject} {:.1} %", score.mean * 100.0)).collect();
    Line {
        name,
        stages: format!("{done} of {}", view.stages.len()),
        kept: view.funnel().map_or(String::new(), |funnel| format!("{} of {traces}", funnel.kept)),
        scores: scores.join(", "),
        finished: finished(&view).unwrap_or_default().to_owned(),
        recipe: std::iter::once(&view.record.recipe)
            .chain(&view.record.overrides)
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn as_value(view: Result<View>, folder: &Path) -> Value {
    let view = match view {
        Ok(view) => view,
        Err(error) => return json!({ "folder": folder.display().to_string(), "error": format!("{error:#}") }),
    };
    let scores: serde_json::Map<String, Value> =
        view.scores().map(|(subject, score)| (subject.to_owned(), json!(score))).collect();
    json!({
        "name": view.record.name, "folder": folder.display().to_string(), "recipe": view.record.recipe,
        "overrides": view.record.overrides,
        "stages_done": view.manifests().count(), "stages": view.stages.len(),
        "kept": view.funnel().map(|funnel| funnel.kept), "evaluation": scores, "finished_at": finished(&view),
    })
}
