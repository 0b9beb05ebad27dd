//! Rows of Parquet, a row group at a time: each is looked at before it is read, so that what is damaged is named with its
//! row group, and costs no other. Columns of text are read as views: what a dictionary repeats is in memory once.

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
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
        },
    },
    basic::{ConvertedType as Converted, Type as Physical},
    file::metadata::{FileMetaData, ParquetMetaData},
    schema::types::{SchemaDescriptor, Type, TypePtr},
};
use std::{
    fs::File,
    ops::Range,
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
    /// The row group that is read, and the one behind the last.
    groups: Range<usize>,
    /// Rows before each row group, and before the end.
    starts: Vec<u64>,
    reader: Option<ParquetRecordBatchReader>,
    /// What is decoded, and its next row. Texts are made row by row.
    batch: Vec<ArrayRef>,
    next: usize,
    num_rows: usize,
    /// Of the row that was handed on last.
    place: u64,
    /// Rows before that place are passed over.
    until: u64,
    /// Whether there was a row that could be read.
    has_rows: bool,
    /// The first damage: the error of a file of which nothing can be read.
    damage: Option<String>,
}

impl ParquetRows {
    /// Opens a file, and looks at its row groups up to the first that is sound.
    ///
    /// # Errors
    /// When it is not Parquet, lacks a column or has another kind of data there than text, numbers, lists and structs, or
    /// has row groups of which none can be read.
    pub(super) fn open(path: &Path, columns: &[&str]) -> Result<ParquetRows, DatasetError> {
        let mut rows = ParquetRows::closed(path, columns)?;
        let last = rows.groups.end;
        while rows.groups.start < last {
            match rows.open_group() {
                Ok(()) => break,
                Err(message) => drop(rows.damage.get_or_insert(rows.damaged(&message))),
            }
            rows.groups.start += 1;
        }
        match rows.damage.take() {
            Some(message) if rows.groups.start == last => Err(DatasetError::Foreign { path: rows.path, message }),
            _ => {
                // Those that are not sound are told as rows.
                rows.reader = rows.reader.filter(|_| rows.groups.start == 0);
                rows.groups.start = 0;
                Ok(rows)
            }
        }
    }

    /// Opens one row group of a file.
    ///
    /// # Errors
    /// As [`ParquetRows::open`]; damage of the row group is told as rows.
    pub(super) fn group(path: &Path, columns: &[&str], group: usize) -> Result<ParquetRows, DatasetError> {
        let mut rows = ParquetRows::closed(path, columns)?;
        let start = group.min(rows.groups.end);
        rows.groups = start..(group + 1).min(rows.groups.end);
        (rows.place, rows.has_rows) = (rows.starts[start], true);
        Ok(rows)
    }

    fn closed(path: &Path, columns: &[&str]) -> Result<ParquetRows, DatasetError> {
        let file = open_regular(path).map_err(DatasetError::io("open", path))?;
        let wrong = |message| DatasetError::Foreign { path: path.to_owned(), message };
        let known = unharmed(|| metadata(&file)).map_err(|message| wrong(not_parquet(&message)))?;
        let fields = known.schema().fields().clone();
        let way = |column: &&str| {
            let names =
                || fields.iter().map(|field| field.name().as_str()).take(MOST_NAMES).collect::<Vec<_>>().join(", ");
            let missing = |found| DatasetError::Column { path: path.to_owned(), column: (*column).to_owned(), found };
            let way = Way::find(&fields, column).ok_or_else(|| missing(names()))?;
            match value::has_text(&way.kind) {
                true => Ok(way),
                false => Err(DatasetError::Kind {
                    path: path.to_owned(),
                    column: (*column).to_owned(),
                    found: way.kind.to_string(),
                }),
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
        let starts = starts(metadata.metadata());
        Ok(ParquetRows {
            path: path.to_owned(),
            file,
            groups: 0..metadata.metadata().num_row_groups(),
            metadata,
            ways,
            roots,
            starts,
            reader: None,
            batch: Vec::new(),
            next: 0,
            num_rows: 0,
            place: 0,
            until: 0,
            has_rows: false,
            damage: None,
        })
    }

    /// Gets the row group ready to be read, once it was looked at.
    fn open_group(&mut self) -> Result<(), String> {
        let group = self.groups.start;
        self.reader = Some(unharmed(|| {
            let text = |error: parquet::errors::ParquetError| error.to_string();
            let columns = self.metadata.metadata().row_group(group);
            for (index, column) in columns.columns().iter().enumerate() {
                if self.roots.contains(&columns.schema_descr().get_column_root_idx(index)) {
                    super::guard::column(&self.file, column).map_err(text)?;
                }
            }
            let file = self.file.try_clone().map_err(|error| error.to_string())?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
            let mask = ProjectionMask::roots(builder.parquet_schema(), self.roots.iter().copied());
            let builder = builder.with_projection(mask).with_row_groups(vec![group]);
            builder.with_batch_size(BATCH_ROWS).build().map_err(text)
        })?);
        Ok(())
    }

    /// Decodes the next rows; whether there are any, or those that damage costs.
    fn decode(&mut self) -> Result<bool, Row> {
        self.batch.clear();
        while self.groups.start < self.groups.end {
            let decoded = match self.reader.take() {
                None => self.open_group().map(|()| None),
                Some(mut reader) => unharmed(|| reader.next().transpose().map_err(|error| error.to_string()))
                    .map(|batch| Some((batch, reader))),
            };
            match decoded {
                Ok(None) => {}
                Ok(Some((Some(batch), reader))) => {
                    self.reader = Some(reader);
                    (self.batch, self.next, self.num_rows) = (batch.columns().to_vec(), 0, batch.num_rows());
                    return Ok(true);
                }
                Ok(Some((None, _))) => drop(self.leave()),
                Err(message) => {
                    let detail = self.damaged(&message);
                    self.damage.get_or_insert_with(|| detail.clone());
                    let lost = self.leave();
                    if !lost.is_empty() {
                        return Err(damaged_rows(lost, detail));
                    }
                }
            }
        }
        Ok(false)
    }

    /// Leaves the row group; rows of it that were not read.
    fn leave(&mut self) -> Range<u64> {
        let from = self.place;
        self.groups.start += 1;
        self.place = self.starts[self.groups.start].max(from);
        from..self.place
    }

    fn damaged(&self, message: &str) -> String {
        damage((self.groups.start, self.starts.len() - 1), message)
    }

    fn cells(&self, row: usize) -> Result<Vec<Option<super::Cell>>, Unreadable> {
        let cell = |way: &Way| match self.batch.get(way.root).and_then(|root| way.go(root, row)) {
            Some((array, row)) => value::cell(array, row),
            None => Ok(None),
        };
        self.ways.iter().map(cell).collect()
    }

    /// Passes over what comes before a place.
    pub(super) fn seek(&mut self, place: u64) {
        self.until = place;
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
        loop {
            let skipped = self.until.saturating_sub(self.place + 1).min((self.num_rows - self.next) as u64);
            (self.next, self.place) = (self.next + skipped as usize, self.place + skipped);
            if self.next < self.num_rows {
                break;
            }
            (self.next, self.num_rows) = (0, 0);
            match self.decode() {
                Ok(true) => {}
                Ok(false) if self.has_rows => return None,
                Ok(false) => {
                    let message = self.damage.take()?;
                    return Some(Err(DatasetError::Foreign { path: self.path.clone(), message }));
                }
                Err(lost) => return Some(Ok(lost)),
            }
        }
        let row = self.next;
        (self.next, self.place, self.has_rows) = (row + 1, self.place + 1, true);
        let cells = unharmed(|| Ok(self.cells(row)));
        let cells = cells.unwrap_or_else(|message| Err(Unreadable::new(DAMAGED, self.damaged(&message))));
        Some(Ok(Row { place: self.place, rows: 1, cells }))
    }
}

/// Why rows of a row group cannot be read that is damaged.
const DAMAGED: &str = "damaged-row-group";

/// Rows that damage costs, as one.
pub(super) fn damaged_rows(lost: Range<u64>, detail: String) -> Row {
    Row { place: lost.start + 1, rows: lost.end - lost.start, cells: Err(Unreadable::new(DAMAGED, detail)) }
}

/// What is said of damage in a row group, by its index, of so many.
pub(super) fn damage((group, of): (usize, usize), message: &str) -> String {
    format!(
        "expected rows that can be read, found damage in row group {} of {of}: {message}\nhint: the file is cut or was changed: copy it again, and compare its size or checksum",
        group + 1
    )
}

/// Rows before each row group, and before the end, as the footer counts them.
pub(super) fn starts(metadata: &ParquetMetaData) -> Vec<u64> {
    let counts = metadata.row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or_default());
    let mut starts = vec![0_u64];
    starts.extend(counts.scan(0_u64, |before, count| {
        *before = before.saturating_add(count);
        Some(*before)
    }));
    starts
}

/// What is said of a file whose footer cannot be read.
pub(super) fn not_parquet(message: &str) -> String {
    format!(
        "expected a Parquet file, found none that can be read: {message}\nhint: is it whole, and is it Parquet? JSON is named by `jsonl = …`, or ends in .jsonl"
    )
}

/// The same with texts in the wanted columns as views of their bytes: one that is not UTF-8 is a matter of its row.
fn viewed(metadata: &ArrowReaderMetadata, roots: &[usize]) -> Result<ArrowReaderMetadata, String> {
    let fields = metadata.schema().fields().iter().enumerate();
    let fields = fields.map(|(index, field)| if roots.contains(&index) { view(field) } else { bytes_of(field) });
    as_bytes(metadata, Schema::new(fields.collect::<Fields>()))
}

fn view(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::Utf8 | DataType::Binary => DataType::BinaryView,
        DataType::List(item) => DataType::List(view(item)),
        DataType::Map(entries, is_sorted) => DataType::Map(view(entries), *is_sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(view).collect()),
        other => other.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(kind))
}

/// What a file says of itself, its texts read as bytes, in these types.
pub(super) fn as_bytes(metadata: &ArrowReaderMetadata, schema: Schema) -> Result<ArrowReaderMetadata, String> {
    let text = |error: parquet::errors::ParquetError| error.to_string();
    let known = metadata.metadata();
    let file = known.file_metadata();
    let bare = Arc::new(SchemaDescriptor::new(bare(file.schema_descr().root_schema()).map_err(text)?));
    let file = FileMetaData::new(file.version(), file.num_rows(), None, None, bare, None);
    let known = Arc::new(ParquetMetaData::new(file, known.row_groups().to_vec()));
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(known, options).map_err(text)
}

/// The type without the word that its bytes are text. It is no deeper than the guard allows.
fn bare(kind: &Type) -> parquet::errors::Result<TypePtr> {
    let info = kind.get_basic_info();
    let id = info.has_id().then(|| info.id());
    let bare = match kind {
        Type::PrimitiveType { physical_type: Physical::BYTE_ARRAY, .. }
            if matches!(info.converted_type(), Converted::UTF8 | Converted::JSON) =>
        {
            let bytes = Type::primitive_type_builder(info.name(), Physical::BYTE_ARRAY);
            bytes.with_repetition(info.repetition()).with_id(id).build()?
        }
        Type::PrimitiveType { .. } => kind.clone(),
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| bare(field)).collect::<parquet::errors::Result<_>>()?;
            let group = Type::group_type_builder(info.name()).with_fields(fields).with_id(id);
            let group =
                group.with_converted_type(info.converted_type()).with_logical_type(info.logical_type_ref().cloned());
            match info.has_repetition() {
                true => group.with_repetition(info.repetition()).build()?,
                false => group.build()?,
            }
        }
    };
    Ok(Arc::new(bare))
}

/// A field whose texts are bytes.
pub(super) fn bytes_of(field: &FieldRef) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(bytes(field.data_type())))
}

fn bytes(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8 => DataType::Binary,
        DataType::LargeUtf8 => DataType::LargeBinary,
        DataType::Utf8View => DataType::BinaryView,
        DataType::Dictionary(key, value) => DataType::Dictionary(key.clone(), Box::new(bytes(value))),
        DataType::List(item) => DataType::List(bytes_of(item)),
        DataType::LargeList(item) => DataType::LargeList(bytes_of(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(bytes_of(item), *size),
        DataType::Map(entries, is_sorted) => DataType::Map(bytes_of(entries), *is_sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(bytes_of).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
