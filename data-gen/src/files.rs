//! Problems, and traces that are ready, from files: JSON or Parquet with a column map. A row that cannot be read is left out,
//! counted, and written with its place and reason into `rejected.jsonl` beside the rows; the rest goes on.

mod config;
mod conversation;
mod problem;
mod response;
#[cfg(test)]
mod tests;

pub use config::{AnswerFormat, AnswerKind, Columns, FileConfig};
pub(crate) use response::Response;

use crate::ProblemsError;
use distill_dataset::{Cell, FileFormat, Problem, Rows, Unreadable, open_regular};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Rejected rows that are also logged.
const LOGGED: usize = 20;
/// What the reader makes of the same file; raised when it reads something else.
pub(crate) const READER: u32 = 2;

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rejected {
    /// The file's name.
    pub(crate) file: String,
    /// Line of a file of JSON, element of an array, or row of a Parquet file, from 1.
    pub(crate) line: u64,
    /// Why, e.g. `malformed-json`.
    pub(crate) reason: String,
    /// What was seen.
    pub(crate) detail: String,
}

/// The files behind a path: itself, or those of a folder in the order of their names, by the ending of their format.
///
/// # Errors
/// When nothing is there.
pub fn problem_files(path: &Path, format: FileFormat) -> Result<Vec<PathBuf>, ProblemsError> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(ProblemsError::io(path))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| format_of(file) == Some(format));
        files.sort();
        if files.is_empty() {
            let (path, format) = (path.to_owned(), endings(format));
            return Err(ProblemsError::EmptyFolder { path, format });
        }
        return Ok(files);
    }
    open_regular(path).map_err(ProblemsError::io(path))?;
    Ok(vec![path.to_owned()])
}

/// How a file is stored, as the ending of its name says.
pub fn format_of(path: &Path) -> Option<FileFormat> {
    let name = path.file_name()?.to_str()?;
    let packed = [".gz", ".zst"].into_iter().find_map(|ending| name.strip_suffix(ending));
    let ending = |name: &str| name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending(packed.unwrap_or(name))?.as_str() {
        "jsonl" | "ndjson" | "json" => Some(FileFormat::Jsonl),
        "parquet" if packed.is_none() => Some(FileFormat::Parquet),
        _ => None,
    }
}

fn endings(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Jsonl => ".jsonl, .ndjson or .json, or of these with .gz or .zst behind it",
        FileFormat::Parquet => ".parquet",
    }
}

/// A row of a file: a problem with its ready traces, or why there is none.
pub(crate) type Row = Result<Read, Rejected>;

/// What a row holds.
pub(crate) struct Read {
    /// What is asked.
    pub(crate) problem: Problem,
    /// What was answered, as far as the columns say where it is.
    pub(crate) responses: Vec<Result<Response, Unreadable>>,
}

/// A row of a file of problems, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedRow {
    /// The file.
    pub file: PathBuf,
    /// Line of a file of JSON, element of an array, or row of a Parquet file, from 1.
    pub line: u64,
    /// The problem's id, or why there is no problem.
    pub row: Result<String, String>,
}

/// Hands the place of every row of a file to `each`, in order: what a source reads of it.
///
/// # Errors
/// When the file cannot be read, lacks a column, or what `each` says.
pub fn placed_rows(
    config: &FileConfig,
    path: &Path,
    format: FileFormat,
    each: &mut dyn FnMut(PlacedRow) -> Result<(), ProblemsError>,
) -> Result<(), ProblemsError> {
    read_placed(config, path, format, &mut |file, line, row| {
        let row = row.map(|read| read.problem.id).map_err(|it| it.reason);
        each(PlacedRow { file: file.to_owned(), line, row })
    })
}

/// Hands every row of a file to `each`, in order, with its file and its place there.
pub(crate) fn read_placed(
    config: &FileConfig,
    path: &Path,
    format: FileFormat,
    each: Each<'_>,
) -> Result<(), ProblemsError> {
    let columns: Vec<String> = config.columns.named().into_iter().map(str::to_owned).collect();
    let (mut num_problems, mut num_rejected) = (0_u64, 0);
    for file in problem_files(path, format)? {
        let names: Vec<&str> = columns.iter().map(String::as_str).collect();
        for row in Rows::open(&file, format, &names)? {
            if config.limit.is_some_and(|limit| num_problems >= u64::from(limit)) {
                return Ok(());
            }
            let row = row?;
            let cells = row.cells.map(|cells| Cells { columns: &columns, cells });
            let read = cells.and_then(|cells| read(config, file_name(&file), &cells));
            let read = read.map_err(|Unreadable { reason, detail }| {
                if num_rejected < LOGGED {
                    tracing::warn!(file = %file.display(), line = row.place, reason, detail, "row left out");
                }
                num_rejected += 1;
                Rejected { file: file_name(&file), line: row.place, reason: reason.to_owned(), detail }
            });
            num_problems += u64::from(read.is_ok());
            each(&file, row.place, read)?;
        }
    }
    Ok(())
}

/// Takes a row with its file and place.
pub(crate) type Each<'e> = &'e mut dyn FnMut(&Path, u64, Row) -> Result<(), ProblemsError>;

fn read(config: &FileConfig, file: String, cells: &Cells<'_>) -> Result<Read, Unreadable> {
    let conversation = match cells.named(&config.columns.conversation) {
        Some(cell) => Some(conversation::read(cell)?),
        None => None,
    };
    let (before, last) = conversation.map(|read| (read.before, read.response)).unzip();
    let problem = problem::read(config, file, before, cells)?;
    Ok(Read { problem, responses: response::read(&config.columns, last.flatten(), cells) })
}

/// What a row holds in each column that is named.
struct Cells<'c> {
    columns: &'c [String],
    cells: Vec<Option<Cell>>,
}

impl Cells<'_> {
    /// What is in a column, where one is named and the row has something there.
    fn named(&self, column: &Option<String>) -> Option<&Cell> {
        self.at(column.as_ref()?)
    }

    /// What is in a column.
    fn at(&self, column: &str) -> Option<&Cell> {
        let place = self.columns.iter().position(|known| known == column)?;
        self.cells.get(place)?.as_ref()
    }

    /// The same as text, lists and objects as JSON.
    fn said(&self, column: &Option<String>) -> Option<String> {
        self.named(column).map(|cell| cell.clone().said())
    }
}

/// What a file is called.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
