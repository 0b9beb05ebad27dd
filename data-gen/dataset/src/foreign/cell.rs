//! A value of somebody else's row: its text, as it was written, whatever it was stored as.

/// A value that is there. What is null, or a float that is no number, is no cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A text; the digits of a number as they were written; `true` or `false`.
    Text(String),
    /// A list or an object, as JSON without white space between its parts.
    Json(String),
}

impl Cell {
    /// What it says: a list or an object is said as JSON.
    pub fn said(self) -> String {
        match self {
            Cell::Text(text) | Cell::Json(text) => text,
        }
    }

    /// Its text, where it is no list and no object.
    pub fn text(self) -> Option<String> {
        match self {
            Cell::Text(text) => Some(text),
            Cell::Json(_) => None,
        }
    }
}

/// Why a row cannot be read, though the file can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// A word to count it under, e.g. `malformed-json`.
    pub reason: &'static str,
    /// What was seen.
    pub detail: String,
}

impl Unreadable {
    /// With what was seen.
    pub fn new(reason: &'static str, detail: impl ToString) -> Unreadable {
        Unreadable { reason, detail: detail.to_string() }
    }
}

/// A row of a file: its place, and its value in each wanted column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Line of a file of JSON, element of an array, or row of a Parquet file, from 1.
    pub place: u64,
    /// 1; or, where damage costs a stretch of rows from that place on, how many.
    pub rows: u64,
    /// In the order of the wanted columns; nothing where a column is null.
    pub cells: Result<Vec<Option<Cell>>, Unreadable>,
}
