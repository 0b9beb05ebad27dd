//! Other people's files: JSON and Parquet, of whose rows only some columns are wanted. Every value comes as its text, as it was
//! written, or as JSON. Nothing in such a file is trusted.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use distill_dataset::{Cell, FileFormat, Rows};
//! # let path = std::env::temp_dir().join(format!("distill-rows-{}.jsonl", std::process::id()));
//! std::fs::write(&path, r#"{"question": "How much?", "answer": {"value": 2.50}}"#)?;
//! let mut rows = Rows::open(&path, FileFormat::Jsonl, &["question", "answer.value"])?;
//! let cells = rows.next().ok_or("a row")??.cells.map_err(|unreadable| unreadable.detail)?;
//! assert_eq!(cells, [Some(Cell::Text("How much?".to_owned())), Some(Cell::Text("2.50".to_owned()))]);
//! # Ok(std::fs::remove_file(&path)?)
//! # }
//! ```

use crate::error::DatasetError;
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    errors::ParquetError,
};
use part::Stretch;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

mod cell;
mod copy;
mod delta;
mod guard;
mod json;
mod object;
mod pages;
mod part;
mod path;
mod row_groups;
mod unpack;
mod value;

pub use cell::{Cell, Row, Unreadable};
pub use copy::{Copied, columns, copy_rows, num_rows};
pub use part::{Part, parts};

/// How a file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// One JSON object a line, or one array of objects; plain, or packed by gzip or zstd.
    Jsonl,
    /// Parquet, by any codec.
    Parquet,
}

/// Rows of a file, in order.
pub struct Rows(Kind);

enum Kind {
    Json(Box<json::JsonRows>),
    Parquet(Box<row_groups::ParquetRows>),
}

impl Rows {
    /// Opens a file of which these columns are wanted. A column is a name, or names and places in lists with dots between
    /// them, as `messages.0.content`.
    ///
    /// # Errors
    /// When it cannot be read, is stored otherwise, or is Parquet and lacks a column or has data there that are no text: the
    /// message lists the columns that are there. JSON that lacks a column is found out with its first rows. A row group that is
    /// damaged, or would unpack to a multiple that no data has, is told as one row that cannot be read and the others go on; a
    /// file of which no row can be read is an error.
    pub fn open(path: &Path, format: FileFormat, columns: &[&str]) -> Result<Rows, DatasetError> {
        Ok(Rows(match format {
            FileFormat::Jsonl => Kind::Json(Box::new(json::JsonRows::open(path, columns)?)),
            FileFormat::Parquet => Kind::Parquet(Box::new(row_groups::ParquetRows::open(path, columns)?)),
        }))
    }

    /// Opens a part of a file.
    ///
    /// # Errors
    /// As [`Rows::open`]; that the part has the columns, and rows that can be read, is not asked.
    pub fn open_part(path: &Path, format: FileFormat, columns: &[&str], part: &Part) -> Result<Rows, DatasetError> {
        Ok(Rows(match &part.stretch {
            Stretch::Whole => return Rows::open(path, format, columns),
            Stretch::Lines(bytes) => {
                Kind::Json(Box::new(json::JsonRows::lines(path, columns, bytes.clone(), part.first)?))
            }
            Stretch::Group(group) => Kind::Parquet(Box::new(row_groups::ParquetRows::group(path, columns, *group)?)),
        }))
    }

    /// Passes over the rows before a place: lines of JSON among them are not looked into.
    pub fn seek(&mut self, place: u64) {
        match &mut self.0 {
            Kind::Json(rows) => rows.seek(place),
            Kind::Parquet(rows) => rows.seek(place),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Kind::Json(rows) => rows.next(),
            Kind::Parquet(rows) => rows.next(),
        }
    }
}

/// A panic in the reader, which some numbers that no writer makes lead to, as an error.
fn unharmed<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("the reader stumbled over it".to_owned()))
}

/// What a file says of itself, once its footer was found harmless. What its writer called its types in Arrow is not asked:
/// dictionaries, large types and views are the types that they stand for.
fn metadata(file: &File) -> Result<ArrowReaderMetadata, String> {
    let text = |error: ParquetError| error.to_string();
    guard::footer(file).map_err(text)?;
    ArrowReaderMetadata::load(file, ArrowReaderOptions::new().with_skip_arrow_metadata(true)).map_err(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use arrow_array::{ArrayRef, RecordBatch, StringArray, builder::StringBuilder};
    use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
    use std::{path::PathBuf, sync::Arc};

    /// A file of 300 MiB of zeros, which packs to nearly nothing.
    pub(super) fn bomb(dir: &Path) -> PathBuf {
        let mut zeros = StringBuilder::new();
        (0..300).for_each(|_| zeros.append_value("0".repeat(1 << 20)));
        written(dir, Arc::new(zeros.finish()), false)
    }

    fn written(dir: &Path, column: ArrayRef, dictionary: bool) -> PathBuf {
        let path = dir.join("foreign.parquet");
        let batch = RecordBatch::try_from_iter([("text", column)]).expect("a batch");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(Default::default()))
            .set_dictionary_enabled(dictionary)
            .set_dictionary_page_size_limit(1 << 24)
            .build();
        let file = File::create(&path).expect("a file");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("rows");
        writer.close().expect("a file");
        path
    }

    #[test]
    fn what_unpacks_to_a_multiple_that_no_data_has_is_refused_unread() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = bomb(dir.path());
        assert!(path.metadata().expect("a file").len() < 1 << 20, "expected a bomb");
        let error = Rows::open(&path, FileFormat::Parquet, &["text"]).err().expect("a refusal").to_string();
        assert!(error.contains("column `text`") && error.contains("refused"), "{error}");
    }

    #[test]
    fn what_a_dictionary_repeats_is_in_memory_once() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let long = "long ".repeat(1 << 18);
        let path = written(dir.path(), Arc::new(StringArray::from(vec![long.as_str(); 200])), true);
        let mut rows = Rows::open(&path, FileFormat::Parquet, &["text"]).expect("a file");
        // 200 rows of 1.25 MiB each would be 250 MiB.
        let row = rows.next().expect("a row").expect("text");
        assert_eq!(row.cells.expect("cells"), [Some(Cell::Text(long))]);
        let Kind::Parquet(rows) = &rows.0 else { panic!("Parquet") };
        let held = rows.held();
        assert!(held < 10 << 20, "{held} bytes are held");
    }
}
