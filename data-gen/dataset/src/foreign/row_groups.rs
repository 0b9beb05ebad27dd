//! Rows of Parquet, a row group at a time: each is looked at before it is read, so that what is damaged is named with its
//! row group. Columns of text are read as views: what a dictionary repeats is in memory once.

use super::{
    cell::{Row, Unreadable},
    metadata,
    path::Way,
    unharmed, value,
};
use crate::error::DatasetError;
use arrow_array::ArrayRef;
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema};
use distill_files::open_regular;
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    },
};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 256;
/// Columns that a message lists.
const MOST_NAMES: usize = 50;

/// Rows of a foreign Parquet file with their cells.
pub(super) struct ParquetRows {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    /// Where each wanted column lies: its root is a place in the batch.
    ways: Vec<Way>,
    /// The top-level columns that are read.
    roots: Vec<usize>,
    /// The row group that is read, and how many there are.
    group: usize,
    num_groups: usize,
    reader: Option<ParquetRecordBatchReader>,
    /// What is decoded, and its next row. Texts are made row by row.
    batch: Vec<ArrayRef>,
    next: usize,
    num_rows: usize,
    place: u64,
}

impl ParquetRows {
    /// Opens a file, and looks at its first row group.
    ///
    /// # Errors
    /// When it is not Parquet, lacks a column or has another kind of data there than text, numbers, lists and structs, or
    /// would unpack to a multiple that no data has.
    pub(super) fn open(path: &Path, columns: &[&str]) -> Result<ParquetRows, DatasetError> {
        let file = open_regular(path).map_err(DatasetError::io("open", path))?;
        let wrong = |message| DatasetError::Foreign { path: path.to_owned(), message };
        let known = unharmed(|| metadata(&file)).map_err(|message| wrong(not_parquet(&message)))?;
        let fields = known.schema().fields().clone();
        let way = |column: &&str| {
            let names =
                || fields.iter().map(|field| field.name().as_str()).take(MOST_NAMES).collect::<Vec<_>>().join(", ");
            let way = Way::find(&fields, column).ok_or_else(|| DatasetError::Column {
                path: path.to_owned(),
                column: (*column).to_owned(),
                found: names(),
            })?;
            match value::has_text(&way.kind) {
                true => Ok(way),
                false => Err(wrong(format!(
                    "column `{column}`: expected text, numbers, truths, or lists and structs of them, found {}",
                    way.kind
                ))),
            }
        };
        let mut ways: Vec<Way> = columns.iter().map(way).collect::<Result<_, _>>()?;
        let mut roots: Vec<usize> = ways.iter().map(|way| way.root).collect();
        roots.sort_unstable();
        roots.dedup();
        for way in &mut ways {
            way.root = roots.binary_search(&way.root).unwrap_or_default();
        }
        let metadata = unharmed(|| viewed(&known, &roots)).map_err(wrong)?;
        let num_groups = metadata.metadata().num_row_groups();
        let mut rows = ParquetRows {
            path: path.to_owned(),
            file,
            metadata,
            ways,
            roots,
            group: 0,
            num_groups,
            reader: None,
            batch: Vec::new(),
            next: 0,
            num_rows: 0,
            place: 0,
        };
        if num_groups > 0 {
            rows.open_group()?;
        }
        Ok(rows)
    }

    /// Gets the row group ready to be read, once it was looked at.
    fn open_group(&mut self) -> Result<(), DatasetError> {
        let opened = unharmed(|| {
            let text = |error: parquet::errors::ParquetError| error.to_string();
            let parquet = self.metadata.metadata();
            let group = parquet.row_group(self.group);
            for (index, column) in group.columns().iter().enumerate() {
                if self.roots.contains(&group.schema_descr().get_column_root_idx(index)) {
                    super::guard::column(&self.file, column).map_err(text)?;
                }
            }
            let file = self.file.try_clone().map_err(|error| error.to_string())?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
            let mask = ProjectionMask::roots(builder.parquet_schema(), self.roots.iter().copied());
            let builder = builder.with_projection(mask).with_row_groups(vec![self.group]);
            builder.with_batch_size(BATCH_ROWS).build().map_err(text)
        });
        self.reader = Some(opened.map_err(|message| self.damaged(&message))?);
        Ok(())
    }

    /// Decodes the next rows; whether there are any.
    fn decode(&mut self) -> Result<bool, DatasetError> {
        self.batch.clear();
        while self.group < self.num_groups {
            let Some(mut reader) = self.reader.take() else {
                self.open_group()?;
                continue;
            };
            let batch = unharmed(|| reader.next().transpose().map_err(|error| error.to_string()));
            match batch.map_err(|message| self.damaged(&message))? {
                Some(batch) => {
                    self.reader = Some(reader);
                    (self.batch, self.next, self.num_rows) = (batch.columns().to_vec(), 0, batch.num_rows());
                    return Ok(true);
                }
                None => self.group += 1,
            }
        }
        Ok(false)
    }

    fn damaged(&self, message: &str) -> DatasetError {
        let (group, of) = (self.group + 1, self.num_groups);
        let message = format!(
            "expected rows that can be read, found damage in row group {group} of {of}: {message}\nhint: the file is cut or was changed: copy it again, and compare its size or checksum"
        );
        DatasetError::Foreign { path: self.path.clone(), message }
    }

    fn cells(&self, row: usize) -> Result<Vec<Option<super::Cell>>, Unreadable> {
        let cell = |way: &Way| match self.batch.get(way.root).and_then(|root| way.go(root, row)) {
            Some((array, row)) => value::cell(array, row),
            None => Ok(None),
        };
        self.ways.iter().map(cell).collect()
    }

    /// Bytes that decoded rows take.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.batch.iter().map(arrow_array::Array::get_buffer_memory_size).sum()
    }
}

impl Iterator for ParquetRows {
    type Item = Result<Row, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next == self.num_rows {
            match self.decode() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    // Nothing after an error.
                    (self.group, self.next, self.num_rows) = (self.num_groups, 0, 0);
                    return Some(Err(error));
                }
            }
        }
        let row = self.next;
        self.next += 1;
        self.place += 1;
        match unharmed(|| Ok(self.cells(row))) {
            Ok(cells) => Some(Ok(Row { place: self.place, cells })),
            Err(message) => Some(Err(self.damaged(&message))),
        }
    }
}

/// What is said of a file whose footer cannot be read.
pub(super) fn not_parquet(message: &str) -> String {
    format!(
        "expected a Parquet file, found none that can be read: {message}\nhint: is it whole, and is it Parquet? JSON is named by `jsonl = …`, or ends in .jsonl"
    )
}

/// The same with texts in the wanted columns as views.
fn viewed(metadata: &ArrowReaderMetadata, roots: &[usize]) -> Result<ArrowReaderMetadata, String> {
    let fields = metadata.schema().fields().iter().enumerate();
    let fields = fields.map(|(index, field)| if roots.contains(&index) { view(field) } else { field.clone() });
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields.collect::<Fields>())));
    ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).map_err(|error| error.to_string())
}

fn view(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::List(item) => DataType::List(view(item)),
        DataType::Map(entries, is_sorted) => DataType::Map(view(entries), *is_sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(view).collect()),
        other => other.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(kind))
}

#[cfg(test)]
mod tests;
