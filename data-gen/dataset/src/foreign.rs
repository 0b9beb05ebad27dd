//! Other people's Parquet: named columns read as text, whatever they are stored as. Nothing in it is trusted.

use crate::error::DatasetError;
use arrow_array::{Array, RecordBatch, cast::AsArray, types};
use arrow_schema::DataType;
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// Rows of a foreign Parquet file: for each wanted column its text, or nothing where it is null.
pub struct TextRows {
    path: PathBuf,
    columns: Vec<String>,
    reader: ParquetRecordBatchReader,
    ready: std::vec::IntoIter<Vec<Option<String>>>,
}

impl TextRows {
    /// Opens a file; `columns` are top-level columns.
    ///
    /// # Errors
    /// When it is not Parquet, or lacks a column: the message lists those that are there.
    pub fn open(path: &Path, columns: &[&str]) -> Result<TextRows, DatasetError> {
        let file = File::open(path).map_err(DatasetError::io("open", path))?;
        let wrong = |message: String| DatasetError::Parquet { path: path.to_owned(), message };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| wrong(error.to_string()))?;
        let known: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        for column in columns {
            if !known.iter().any(|name| name == column) {
                return Err(wrong(format!("expected a column `{column}`, found {}", known.join(", "))));
            }
        }
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let reader =
            builder.with_projection(mask).with_batch_size(256).build().map_err(|error| wrong(error.to_string()))?;
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Ok(TextRows { path: path.to_owned(), columns, reader, ready: Vec::new().into_iter() })
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, DatasetError> {
        let wrong = |message: String| DatasetError::Parquet { path: self.path.clone(), message };
        let mut texts = Vec::new();
        for column in &self.columns {
            let array = batch.column_by_name(column).ok_or_else(|| wrong(format!("column `{column}` is gone")))?;
            texts.push(text_of(array).ok_or_else(|| {
                wrong(format!("column `{column}`: expected text or numbers, found {}", array.data_type()))
            })?);
        }
        Ok((0..batch.num_rows()).map(|row| texts.iter().map(|column| column[row].clone()).collect()).collect())
    }
}

impl Iterator for TextRows {
    type Item = Result<Vec<Option<String>>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.ready.next() {
                return Some(Ok(row));
            }
            match self.reader.next()? {
                Err(error) => {
                    let message = error.to_string();
                    return Some(Err(DatasetError::Parquet { path: self.path.clone(), message }));
                }
                Ok(batch) => match self.rows(&batch) {
                    Ok(rows) => self.ready = rows.into_iter(),
                    Err(error) => return Some(Err(error)),
                },
            }
        }
    }
}

fn text_of(array: &dyn Array) -> Option<Vec<Option<String>>> {
    macro_rules! numbers {
        ($kind:ty) => {
            array.as_primitive::<$kind>().iter().map(|value| value.map(|value| value.to_string())).collect()
        };
    }
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().map(|text| text.map(str::to_owned)).collect(),
        DataType::Utf8View => array.as_string_view().iter().map(|text| text.map(str::to_owned)).collect(),
        DataType::Int32 => numbers!(types::Int32Type),
        DataType::Int64 => numbers!(types::Int64Type),
        DataType::UInt32 => numbers!(types::UInt32Type),
        DataType::UInt64 => numbers!(types::UInt64Type),
        DataType::Float32 => numbers!(types::Float32Type),
        DataType::Float64 => numbers!(types::Float64Type),
        _ => return None,
    })
}
