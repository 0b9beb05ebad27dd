//! Other people's Parquet: named columns read as text, whatever they are stored as. Nothing in it is trusted.

use crate::error::DatasetError;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, RecordBatch, cast::AsArray, types};
use arrow_schema::{DataType, FieldRef, Schema};
use distill_files::open_regular;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
        },
    },
    file::metadata::ColumnChunkMetaData,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 256;
/// A column of a row group that unpacks to more than this, and to more than [`MAX_RATIO`] times what is stored, is no data:
/// text packs to a tenth at best, and what repeats stays packed in a dictionary.
const MAX_UNPACKED: i64 = 256 << 20;
const MAX_RATIO: i64 = 500;

/// The text of a value, which is not null.
type TextAt = fn(&ArrayRef, usize) -> String;

/// Rows of a foreign Parquet file: for each wanted column its text, or nothing where it is null.
pub struct TextRows {
    path: PathBuf,
    columns: Vec<String>,
    reader: ParquetRecordBatchReader,
    /// What is decoded, its columns in the wanted order, and its next row. Texts are made row by row: one that a dictionary
    /// repeats is in memory once.
    batch: Vec<(ArrayRef, TextAt)>,
    next: usize,
}

impl TextRows {
    /// Opens a file; `columns` are top-level columns.
    ///
    /// # Errors
    /// When it is not Parquet, would unpack to a multiple that no data has, or lacks a column: the message lists those
    /// that are there.
    pub fn open(path: &Path, columns: &[&str]) -> Result<TextRows, DatasetError> {
        let file = open_regular(path).map_err(DatasetError::io("open", path))?;
        let wrong = |message: String| DatasetError::Parquet { path: path.to_owned(), message };
        let options = ArrowReaderOptions::new();
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(|error| wrong(error.to_string()))?;
        let known: Vec<String> = metadata.schema().fields().iter().map(|field| field.name().clone()).collect();
        for column in columns {
            if !known.iter().any(|name| name == column) {
                return Err(wrong(format!("expected a column `{column}`, found {}", known.join(", "))));
            }
        }
        for group in metadata.metadata().row_groups() {
            let wanted = |column: &&ColumnChunkMetaData| {
                column.column_path().parts().first().is_some_and(|root| columns.contains(&root.as_str()))
            };
            for column in group.columns().iter().filter(wanted) {
                let (packed, unpacked) = (column.compressed_size().max(1), column.uncompressed_size());
                if unpacked > MAX_UNPACKED && unpacked / packed > MAX_RATIO {
                    let name = column.column_path().string();
                    return Err(wrong(format!(
                        "column `{name}`: {packed} bytes that unpack to {unpacked} are refused, at most {MAX_RATIO} times as many are expected"
                    )));
                }
            }
        }
        let views = metadata.schema().fields().iter().map(|field| match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
            _ => field.clone(),
        });
        let schema = Schema::new(views.collect::<Vec<FieldRef>>());
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        let viewed = ArrowReaderMetadata::try_new(metadata.metadata().clone(), options);
        // Nested columns may not have another type: none of these is read as text.
        let metadata = viewed.unwrap_or(metadata);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Ok(TextRows { path: path.to_owned(), columns, reader, batch: Vec::new(), next: 0 })
    }

    fn columns(&self, batch: &RecordBatch) -> Result<Vec<(ArrayRef, TextAt)>, DatasetError> {
        let wrong = |message: String| DatasetError::Parquet { path: self.path.clone(), message };
        let column = |name: &String| {
            let array = batch.column_by_name(name).ok_or_else(|| wrong(format!("column `{name}` is gone")))?;
            let text_at = reading(array.data_type()).ok_or_else(|| {
                wrong(format!("column `{name}`: expected text or numbers, found {}", array.data_type()))
            })?;
            Ok((array.clone(), text_at))
        };
        self.columns.iter().map(column).collect()
    }
}

impl Iterator for TextRows {
    type Item = Result<Vec<Option<String>>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.batch.first().is_none_or(|(column, _)| self.next == column.len()) {
            let batch = self.reader.next()?.map_err(|error| error.to_string());
            let batch = batch.map_err(|message| DatasetError::Parquet { path: self.path.clone(), message });
            match batch.and_then(|batch| self.columns(&batch)) {
                Ok(columns) => (self.batch, self.next) = (columns, 0),
                Err(error) => return Some(Err(error)),
            }
        }
        let row = self.next;
        self.next += 1;
        let text = |(column, text_at): &(ArrayRef, TextAt)| (!column.is_null(row)).then(|| text_at(column, row));
        Some(Ok(self.batch.iter().map(text).collect()))
    }
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
mod tests {
    use super::*;
    use arrow_array::{StringArray, builder::StringBuilder};
    use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
    use std::fs::File;

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
        let mut zeros = StringBuilder::new();
        (0..300).for_each(|_| zeros.append_value("0".repeat(1 << 20)));
        let path = written(dir.path(), Arc::new(zeros.finish()), false);
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
        let held: usize = rows.batch.iter().map(|(column, _)| column.get_buffer_memory_size()).sum();
        assert!(held < 10 << 20, "{held} bytes are held");
    }
}
