//! `report.html`: one file without scripts or outside references, rendered from manifests and a few rows.

mod chart;
mod page;

use crate::{
    attempts,
    show::{self, Row},
    view::View,
};
use anyhow::Result;
use distill_dataset::{Digest, Verdict, read_regular_text, write_whole};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Traces shown of each fate, and wrong attempts of each model.
const ROWS_PER_FATE: usize = 2;
/// Traces shown at most.
const MAX_ROWS: usize = 12;
/// Most bytes of a page.
const MAX_PAGE: u64 = 1 << 26;

/// Writes the report of a run, unless the one that is there is of the same stages, and returns its path.
///
/// # Errors
/// When the run cannot be read or the page cannot be written.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let view = View::read(folder)?;
    let path = folder.join("report.html");
    let mark = mark(&view)?;
    if read_regular_text(&path, MAX_PAGE).is_ok_and(|page| is_as_written(&page, &mark)) {
        return Ok(path);
    }
    let wrong = attempts::of(&view, ROWS_PER_FATE, |_, attempt| attempt.verdict != Verdict::Pass)?;
    let page = page::render(&view, (&examples(&view)?, &wrong), &mark);
    let seal = seal(&page);
    write_whole(&path, (page + &seal).as_bytes())?;
    Ok(path)
}

/// A comment that says of which stages, and by which program, a report is made.
fn mark(view: &View) -> Result<String> {
    let mut digest = Digest::new("report");
    digest.field(env!("DISTILL_REVISION")).field(&serde_json::to_string(&view.record.overrides)?);
    for (stage, dataset) in &view.stages {
        digest.field(&stage.label).field(dataset.as_ref().map_or("", |dataset| dataset.manifest.seal.as_str()));
    }
    Ok(format!("<!-- {} -->", digest.finish_short()))
}

/// A comment at a page's end that says what the page was when it was written.
fn seal(page: &str) -> String {
    format!("<!-- {} -->\n", Digest::new("report-page").field(page).finish_short())
}

fn is_as_written(page: &str, mark: &str) -> bool {
    let (body, end) = page.rsplit_once("<!-- ").unwrap_or_default();
    body.contains(mark) && seal(body).strip_prefix("<!-- ") == Some(end)
}

/// A few traces of every fate: kept, and dropped for each reason.
fn examples(view: &View) -> Result<Vec<Row>> {
    let mut shown: BTreeMap<String, usize> = BTreeMap::new();
    show::rows(view, MAX_ROWS, |_, decision| {
        let fate = decision.map_or(String::new(), |decision| decision.reason.clone());
        let count = shown.entry(fate).or_default();
        *count += 1;
        *count <= ROWS_PER_FATE
    })
}
