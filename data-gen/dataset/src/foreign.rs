//! Other people's Parquet: named columns read as text, whatever they are stored as. Nothing in it is trusted.

use crate::error::DatasetError;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, cast::AsArray, types};
use arrow_schema::{DataType, FieldRef, Schema};
use distill_files::open_regular;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
        },
    },
    errors::ParquetError,
};
use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

mod copy;
mod delta;
mod guard;

pub use copy::{columns, copy_rows};

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 256;

/// The text of a value, which is not null.
type TextAt = fn(&ArrayRef, usize) -> String;

/// Rows of a foreign Parquet file: for each wanted column its text, or nothing where it is null.
pub struct TextRows {
    path: PathBuf,
    columns: Vec<(String, TextAt)>,
    /// Nothing after an error.
    reader: Option<ParquetRecordBatchReader>,
    /// What is decoded, its columns in the wanted order, and its next row. Texts are made row by row: one that a dictionary
    /// repeats is in memory once.
    batch: Vec<ArrayRef>,
    next: usize,
}

impl TextRows {
    /// Opens a file; `columns` are top-level columns.
    ///
    /// # Errors
    /// When it is not Parquet, would unpack to a multiple that no data has, has another kind of data in a column than text
    /// or numbers, or lacks it: the message lists those that are there.
    pub fn open(path: &Path, columns: &[&str]) -> Result<TextRows, DatasetError> {
        let file = open_regular(path).map_err(DatasetError::io("open", path))?;
        let opened = unharmed(|| reader(file, columns));
        let (columns, reader) = opened.map_err(|message| DatasetError::Parquet { path: path.to_owned(), message })?;
        Ok(TextRows { path: path.to_owned(), columns, reader: Some(reader), batch: Vec::new(), next: 0 })
    }

    /// Decodes the next rows; whether there are any.
    fn decode(&mut self) -> Result<bool, String> {
        let Some(mut reader) = self.reader.take() else { return Ok(false) };
        let Some(batch) = unharmed(|| reader.next().transpose().map_err(|error| error.to_string()))? else {
            return Ok(false);
        };
        let column = |(name, _): &(String, TextAt)| {
            batch.column_by_name(name).cloned().ok_or_else(|| format!("column `{name}` is gone"))
        };
        self.batch = self.columns.iter().map(column).collect::<Result<_, _>>()?;
        (self.reader, self.next) = (Some(reader), 0);
        Ok(true)
    }
}

impl Iterator for TextRows {
    type Item = Result<Vec<Option<String>>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.batch.first().is_none_or(|column| self.next == column.len()) {
            match self.decode() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(message) => {
                    self.batch.clear();
                    return Some(Err(DatasetError::Parquet { path: self.path.clone(), message }));
                }
            }
        }
        let row = self.next;
        self.next += 1;
        let text = |(column, (_, text_at)): (&ArrayRef, &(String, TextAt))| {
            (!column.is_null(row)).then(|| text_at(column, row))
        };
        Some(Ok(self.batch.iter().zip(&self.columns).map(text).collect()))
    }
}

/// A panic in the reader, which some numbers that no writer makes lead to, as an error.
fn unharmed<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("the reader stumbled over it".to_owned()))
}

/// What a file says of itself, once its footer and the top-level columns that are wanted were found harmless.
fn metadata(file: &File, is_wanted: impl Fn(&str) -> bool) -> Result<ArrowReaderMetadata, String> {
    let text = |error: ParquetError| error.to_string();
    guard::footer(file).map_err(text)?;
    let metadata = ArrowReaderMetadata::load(file, ArrowReaderOptions::new()).map_err(text)?;
    let columns = metadata.metadata().row_groups().iter().flat_map(|group| group.columns());
    for column in columns {
        if column.column_path().parts().first().is_some_and(|root| is_wanted(root)) {
            guard::column(file, column).map_err(text)?;
        }
    }
    Ok(metadata)
}

/// The reader of those columns, and how the text of each is read.
fn reader(file: File, columns: &[&str]) -> Result<(Vec<(String, TextAt)>, ParquetRecordBatchReader), String> {
    let text = |error: ParquetError| error.to_string();
    let metadata = metadata(&file, |root| columns.contains(&root))?;
    let views = metadata.schema().fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        _ => field.clone(),
    });
    let schema = Schema::new(views.collect::<Vec<FieldRef>>());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    let viewed = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options);
    // Nested columns may not have another type: none of these is read as text.
    let metadata = viewed.unwrap_or(metadata);
    let fields = metadata.schema().fields();
    let wanted = columns.iter().map(|column| {
        let field = fields.iter().find(|field| field.name() == column).ok_or_else(|| {
            let known: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            format!("expected a column `{column}`, found {}", known.join(", "))
        })?;
        let kind = field.data_type();
        let text_at =
            reading(kind).ok_or_else(|| format!("column `{column}`: expected text or numbers, found {kind}"))?;
        Ok(((*column).to_owned(), text_at))
    });
    let wanted = wanted.collect::<Result<_, String>>()?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(text)?;
    Ok((wanted, reader))
}

/// How the text of a column of that type is read, where it has one.
fn reading(kind: &DataType) -> Option<TextAt> {
    fn number<T: ArrowPrimitiveType<Native: ToString>>(array: &ArrayRef, row: usize) -> String {
        array.as_primitive::<T>().value(row).to_string()
    }
    Some(match kind {
        DataType::Utf8 => |array, row| array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => |array, row| array.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => |array, row| array.as_string_view().value(row).to_owned(),
        DataType::Int32 => number::<types::Int32Type>,
        DataType::Int64 => number::<types::Int64Type>,
        DataType::UInt32 => number::<types::UInt32Type>,
        DataType::UInt64 => number::<types::UInt64Type>,
        DataType::Float32 => number::<types::Float32Type>,
        DataType::Float64 => number::<types::Float64Type>,
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use arrow_array::{RecordBatch, StringArray, builder::StringBuilder};
    use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

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
        let error = TextRows::open(&path, &["text"]).err().expect("a refusal").to_string();
        assert!(error.contains("column `text`") && error.contains("refused"), "{error}");
    }

    #[test]
    fn what_a_dictionary_repeats_is_in_memory_once() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let long = "long ".repeat(1 << 18);
        let path = written(dir.path(), Arc::new(StringArray::from(vec![long.as_str(); 200])), true);
        let mut rows = TextRows::open(&path, &["text"]).expect("a file");
        // 200 rows of 1.25 MiB each would be 250 MiB.
        let row = rows.next().expect("a row").expect("text");
        assert_eq!(row, [Some(long)]);
        let held: usize = rows.batch.iter().map(|column| column.get_buffer_memory_size()).sum();
        assert!(held < 10 << 20, "{held} bytes are held");
    }
}
