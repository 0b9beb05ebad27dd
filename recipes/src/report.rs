//! `report.html`: one file without scripts or outside references, rendered from manifests and a few rows.

mod chart;
mod page;

use crate::{
    session::write_whole,
    show::{self, Row},
    view::View,
};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Traces shown of each fate.
const ROWS_PER_FATE: usize = 2;
/// Traces shown at most.
const MAX_ROWS: usize = 12;

/// Writes the report of a run and returns its path.
///
/// # Errors
/// When the run cannot be read or the page cannot be written.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let view = View::read(folder)?;
    let rows = examples(&view)?;
    let path = folder.join("report.html");
    write_whole(&path, &page::render(&view, &rows))?;
    Ok(path)
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
