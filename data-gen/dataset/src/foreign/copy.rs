//! Some rows of other people's files, as they are: lines of JSON byte for byte, Parquet with all its columns.

use super::{
    FileFormat, Row, Unreadable, guard, json, metadata,
    row_groups::{as_bytes, bytes_of, damage, damaged_rows, not_parquet, starts},
    unharmed,
    value::{has_text, is_nested},
};
use crate::error::DatasetError;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, make_array};
use arrow_schema::{ArrowError, DataType, Fields, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use distill_files::open_regular;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
        },
    },
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 256;
/// Bytes of rows that are held before a row group is written.
const GROUP_BYTES: usize = 16 << 20;
/// Rows of a damaged row group that are asked for, at most, whatever its footer counts.
const MOST_LOST: usize = 1 << 32;
/// zstd's level of the copy.
const LEVEL: i32 = 3;

/// The names of a file's top-level columns, and whether each can be read as text: for JSON, those of its first object.
///
/// # Errors
/// When it is not stored that way, or is empty.
pub fn columns(path: &Path, format: FileFormat) -> Result<Vec<(String, bool)>, DatasetError> {
    if format == FileFormat::Jsonl {
        return json::columns(path);
    }
    let file = open_regular(path).map_err(DatasetError::io("open", path))?;
    let metadata = unharmed(|| metadata(&file)).map_err(|message| wrong(path)(not_parquet(&message)))?;
    let fields = metadata.schema().fields().iter();
    Ok(fields.map(|it| (it.name().clone(), has_text(it.data_type()) && !is_nested(it.data_type()))).collect())
}

/// How many rows a file has: those of JSON that are no objects count, blank lines do not; those of Parquet its footer counts.
///
/// # Errors
/// When it is not stored that way.
pub fn num_rows(path: &Path, format: FileFormat) -> Result<u64, DatasetError> {
    if format == FileFormat::Jsonl {
        let (mut rows, mut count) = (json::RawRows::open(path)?, 0);
        while rows.next()?.is_some() {
            count += 1;
        }
        return Ok(count);
    }
    let file = open_regular(path).map_err(DatasetError::io("open", path))?;
    let known = unharmed(|| metadata(&file)).map_err(|message| wrong(path)(not_parquet(&message)))?;
    Ok(starts(known.metadata()).last().copied().unwrap_or_default())
}

/// Rows that were copied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copied {
    /// How many.
    pub rows: u64,
    /// Those that were wanted and cannot be: another column of theirs is damaged, or holds no UTF-8.
    pub lost: Vec<Row>,
}

/// Writes into `out`, which must not be there, the rows that `keep` wants, by their places from 1: JSON as lines, Parquet as
/// Parquet. `out` is synced.
///
/// # Errors
/// When the file cannot be read or `out` not be written.
pub fn copy_rows(
    path: &Path,
    format: FileFormat,
    out: &Path,
    keep: impl FnMut(u64) -> bool,
) -> Result<Copied, DatasetError> {
    match format {
        FileFormat::Jsonl => Ok(Copied { rows: copy_json(path, out, keep)?, lost: Vec::new() }),
        FileFormat::Parquet => copy_parquet(path, out, keep),
    }
}

fn copy_json(path: &Path, out: &Path, mut keep: impl FnMut(u64) -> bool) -> Result<u64, DatasetError> {
    let mut rows = json::RawRows::open(path)?;
    let unwritten = || DatasetError::io("write", out);
    let target = File::options().write(true).create_new(true).open(out).map_err(DatasetError::io("create", out))?;
    let (mut writer, mut kept) = (BufWriter::new(target), 0);
    while let Some((place, row)) = rows.next()? {
        let Ok(mut row) = row else { continue };
        if !keep(place) {
            continue;
        }
        kept += 1;
        // An element of an array may have ends of lines between its parts: in its texts they are escaped.
        row.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        row.push(b'\n');
        writer.write_all(&row).map_err(unwritten())?;
    }
    let file = writer.into_inner().map_err(|error| unwritten()(error.into_error()))?;
    file.sync_all().map_err(DatasetError::io("sync", out))?;
    Ok(kept)
}

fn copy_parquet(path: &Path, out: &Path, mut keep: impl FnMut(u64) -> bool) -> Result<Copied, DatasetError> {
    let source = Source::open(path).map_err(wrong(path))?;
    let level = ZstdLevel::try_new(LEVEL).unwrap_or_default();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let target = File::options().write(true).create_new(true).open(out).map_err(DatasetError::io("create", out))?;
    let synced = target.try_clone().map_err(DatasetError::io("create", out))?;
    let refused = |error: parquet::errors::ParquetError| wrong(out)(error.to_string());
    let mut writer = ArrowWriter::try_new(target, source.schema.clone(), Some(properties)).map_err(refused)?;
    let mut copied = Copied::default();
    for (group, range) in source.starts.windows(2).enumerate() {
        let (mut place, end) = (range[0], range[1]);
        let mut opened = unharmed(|| source.group(group));
        loop {
            let batch = opened
                .as_mut()
                .map_err(|message| message.clone())
                .and_then(|reader| unharmed(|| reader.next().transpose().map_err(|error| error.to_string())));
            let batch = match batch {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(message) => {
                    // Those that nobody wanted are lost to nobody.
                    let wanted = (place..end).take(MOST_LOST).filter(|row| keep(row + 1)).count() as u64;
                    let lost = damaged_rows(place..end, damage((group, source.starts.len() - 1), &message));
                    copied.lost.extend((wanted > 0).then_some(Row { rows: wanted, ..lost }));
                    break;
                }
            };
            let rows = place..place + batch.num_rows() as u64;
            place = rows.end;
            let wanted: Vec<u64> = rows.clone().map(|row| row + 1).filter(|row| keep(*row)).collect();
            let mask: BooleanArray = rows.map(|row| Some(wanted.binary_search(&(row + 1)).is_ok())).collect();
            let batch = filter_record_batch(&batch, &mask).map_err(|error| wrong(path)(error.to_string()))?;
            for (batch, row) in source.texts(&batch) {
                match batch {
                    Ok(batch) => {
                        copied.rows += batch.num_rows() as u64;
                        writer.write(&batch).map_err(refused)?;
                    }
                    Err(detail) => copied.lost.push(Row {
                        place: wanted.get(row).copied().unwrap_or_default(),
                        rows: 1,
                        cells: Err(Unreadable::new("not-utf-8", detail)),
                    }),
                }
            }
            if writer.in_progress_size() > GROUP_BYTES {
                writer.flush().map_err(refused)?;
            }
        }
    }
    writer.close().map_err(refused)?;
    synced.sync_all().map_err(DatasetError::io("sync", out))?;
    Ok(copied)
}

/// A file of Parquet that is copied: read with its texts as bytes, written in the types that its writer had.
struct Source {
    file: File,
    metadata: ArrowReaderMetadata,
    schema: SchemaRef,
    /// Rows before each row group, and before the end.
    starts: Vec<u64>,
}

impl Source {
    fn open(path: &Path) -> Result<Source, String> {
        let file = open_regular(path).map_err(|error| error.to_string())?;
        let known = unharmed(|| metadata(&file)).map_err(|message| not_parquet(&message))?;
        unharmed(|| {
            let written = ArrowReaderMetadata::try_new(known.metadata().clone(), ArrowReaderOptions::new());
            let schema = written.map_err(|error| error.to_string())?.schema().clone();
            let fields = schema.fields().iter().map(bytes_of).collect::<Fields>();
            let metadata = as_bytes(&known, Schema::new(fields))?;
            Ok(Source { starts: starts(known.metadata()), file, metadata, schema })
        })
    }

    /// Rows of a row group, once it was looked at.
    fn group(&self, group: usize) -> Result<ParquetRecordBatchReader, String> {
        let text = |error: parquet::errors::ParquetError| error.to_string();
        for column in self.metadata.metadata().row_group(group).columns() {
            guard::column(&self.file, column).map_err(text)?;
        }
        let file = self.file.try_clone().map_err(|error| error.to_string())?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        builder.with_row_groups(vec![group]).with_batch_size(BATCH_ROWS).build().map_err(text)
    }

    /// Rows whose texts are texts again: all together, or each by itself where one of them has a text that is none. Beside each
    /// is its first row.
    fn texts(&self, rows: &RecordBatch) -> Vec<(Result<RecordBatch, String>, usize)> {
        match self.retyped(rows) {
            Ok(rows) => vec![(Ok(rows), 0)],
            Err(_) => (0..rows.num_rows()).map(|row| (self.one(rows, row), row)).collect(),
        }
    }

    fn one(&self, rows: &RecordBatch, row: usize) -> Result<RecordBatch, String> {
        // A slice would have the items of all lists beside it.
        let one: BooleanArray = (0..rows.num_rows()).map(|other| Some(other == row)).collect();
        self.retyped(&filter_record_batch(rows, &one).map_err(|error| error.to_string())?)
    }

    fn retyped(&self, rows: &RecordBatch) -> Result<RecordBatch, String> {
        let fields = self.schema.fields().iter().zip(rows.columns());
        let columns = fields.map(|(field, column)| {
            retyped(column, field.data_type()).map_err(|error| format!("column `{}`: {error}", field.name()))
        });
        RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_, _>>()?).map_err(|error| error.to_string())
    }
}

/// The same data, of a type that differs in what its bytes are said to be. They are looked at.
fn retyped(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == kind {
        return Ok(array.clone());
    }
    let kinds: Vec<&DataType> = match kind {
        DataType::Dictionary(_, value) => vec![value],
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => {
            vec![item.data_type()]
        }
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        _ => Vec::new(),
    };
    let data = array.to_data();
    let children = data.child_data().iter().zip(kinds);
    let children = children.map(|(child, kind)| Ok(retyped(&make_array(child.clone()), kind)?.to_data()));
    let children = children.collect::<Result<_, ArrowError>>()?;
    Ok(make_array(data.into_builder().data_type(kind.clone()).child_data(children).build()?))
}

fn wrong(path: &Path) -> impl FnOnce(String) -> DatasetError + '_ {
    move |message| DatasetError::Foreign { path: path.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, ListArray, StringArray, types::Int64Type};
    use std::sync::Arc;

    #[test]
    fn rows_are_copied_with_all_their_columns() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (folder.path().join("from.parquet"), folder.path().join("to.parquet"));
        let texts: ArrayRef =
            Arc::new(StringArray::from_iter((0..3000).map(|row| (row % 7 != 0).then(|| row.to_string()))));
        let lists = (0..3000).map(|row| Some(vec![Some(row), None]));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3000));
        let batch =
            RecordBatch::try_from_iter_with_nullable([("a", texts, true), ("b.c", lists, true), ("n", numbers, false)]);
        let batch = batch.expect("a batch");
        let mut writer =
            ArrowWriter::try_new(File::create(&from).expect("a file"), batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("rows");
        writer.close().expect("a file");
        let told = columns(&from, FileFormat::Parquet).expect("columns");
        let told: Vec<(&str, bool)> = told.iter().map(|(name, is_text)| (name.as_str(), *is_text)).collect();
        assert_eq!(told, [("a", true), ("b.c", false), ("n", true)]);
        let kept = copy_rows(&from, FileFormat::Parquet, &to, |row| row % 3 == 2).expect("a copy");
        let copy = ParquetRecordBatchReaderBuilder::try_new(File::open(&to).expect("a file")).expect("Parquet");
        let rows: Vec<RecordBatch> = copy.build().expect("rows").collect::<Result<_, _>>().expect("rows");
        let wanted: BooleanArray = (0..3000).map(|row| Some(row % 3 == 1)).collect();
        let expected = filter_record_batch(&batch, &wanted).expect("rows");
        assert_eq!(arrow_select::concat::concat_batches(&batch.schema(), &rows).expect("rows"), expected);
        assert_eq!(kept, Copied { rows: 1000, lost: Vec::new() });
        assert!(copy_rows(&from, FileFormat::Parquet, &to, |_| true).is_err(), "what is there is not written over");
    }
}
