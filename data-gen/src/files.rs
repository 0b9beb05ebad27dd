//! Problems, and traces that are ready, from files: JSON or Parquet with a column map. A row that cannot be read is left out,
//! counted, and written with its place and reason into `rejected.jsonl` beside the rows; the rest goes on.

mod config;
mod conversation;
mod problem;
mod response;
mod rows;
#[cfg(test)]
mod tests;

pub use config::{AnswerFormat, AnswerKind, Columns, FileConfig};
pub(crate) use response::Response;
pub use rows::{ROWS, Texts, place_id, place_of, read_rows};

use crate::ProblemsError;
use distill_dataset::{Cell, DatasetError, FileFormat, Problem, Rows, Unreadable, open_regular, problem_id};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Rejected rows that are also logged.
const LOGGED: usize = 20;
/// What the reader makes of the same file; raised when it reads something else.
pub(crate) const READER: u32 = 3;

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rejected {
    /// The file's name.
    pub(crate) file: String,
    /// Line of a file of JSON, element of an array, or row of a Parquet file, from 1; 0 for all of a file.
    pub(crate) line: u64,
    /// How many rows, where a stretch of them is lost together.
    #[serde(skip_serializing_if = "is_one")]
    pub(crate) rows: u64,
    /// Why, e.g. `malformed-json`.
    pub(crate) reason: String,
    /// What was seen.
    pub(crate) detail: String,
}

fn is_one(rows: &u64) -> bool {
    *rows == 1
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

/// Hands every row of a file to `each`, in order, with its file and its place there. A shard of a folder that lacks a column, or
/// has other data there than others have, is told as one row that says how many it holds.
///
/// # Errors
/// When a file cannot be read, none has the columns, or what `each` says.
pub(crate) fn read_placed(
    config: &FileConfig,
    path: &Path,
    format: FileFormat,
    each: Each<'_>,
) -> Result<(), ProblemsError> {
    let files = problem_files(path, format)?;
    let (mut reading, mut drifted) = (Reading { config, num_problems: 0, num_rejected: 0 }, None);
    let mut num_drifted = 0;
    for file in &files {
        match reading.file(file, format, each) {
            Err(ProblemsError::Dataset(error)) if files.len() > 1 && is_drift(&error) => {
                num_drifted += 1;
                let rows = distill_dataset::num_rows(file, format)?;
                let unreadable = Unreadable::new("schema", &error);
                each(file, 0, Err(reading.rejected(file, (0, rows), unreadable)))?;
                drifted.get_or_insert(error);
            }
            read => read?,
        }
    }
    match drifted {
        Some(error) if num_drifted == files.len() => Err(error.into()),
        _ => Ok(()),
    }
}

fn is_drift(error: &DatasetError) -> bool {
    matches!(error, DatasetError::Column { .. } | DatasetError::Kind { .. })
}

/// A source that is read, and how far it is.
struct Reading<'c> {
    config: &'c FileConfig,
    num_problems: u64,
    num_rejected: usize,
}

impl Reading<'_> {
    fn file(&mut self, file: &Path, format: FileFormat, each: Each<'_>) -> Result<(), ProblemsError> {
        let columns = self.config.columns.named();
        for row in Rows::open(file, format, &columns)? {
            if self.config.limit.is_some_and(|limit| self.num_problems >= u64::from(limit)) {
                return Ok(());
            }
            let row = row?;
            let cells = row.cells.map(|cells| Cells { columns: &columns, cells });
            let read = cells.and_then(|cells| read(self.config, file_name(file), &cells)).map(|mut read| {
                read.problem.id = problem_id(&read.problem.messages);
                read
            });
            let read = read.map_err(|unreadable| self.rejected(file, (row.place, row.rows), unreadable));
            self.num_problems += u64::from(read.is_ok());
            each(file, row.place, read)?;
        }
        Ok(())
    }

    fn rejected(&mut self, file: &Path, (line, rows): (u64, u64), unreadable: Unreadable) -> Rejected {
        let Unreadable { reason, detail } = unreadable;
        if self.num_rejected < LOGGED {
            tracing::warn!(file = %file.display(), line, rows, reason, detail, "rows left out");
        }
        self.num_rejected += 1;
        Rejected { file: file_name(file), line, rows, reason: reason.to_owned(), detail }
    }
}

/// Takes a row with its file and place.
pub(crate) type Each<'e> = &'e mut dyn FnMut(&Path, u64, Row) -> Result<(), ProblemsError>;

/// What a row holds; the problem has no id yet.
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
    columns: &'c [&'c str],
    cells: Vec<Option<Cell>>,
}

impl Cells<'_> {
    /// What is in a column, where one is named and the row has something there.
    fn named(&self, column: &Option<String>) -> Option<&Cell> {
        self.at(column.as_ref()?)
    }

    /// What is in a column.
    fn at(&self, column: &str) -> Option<&Cell> {
        let place = self.columns.iter().position(|known| *known == column)?;
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
