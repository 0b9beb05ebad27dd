//! Some rows of other people's files, as they are: lines of JSON byte for byte, Parquet with all its columns.

use super::{
    FileFormat, guard, json, metadata,
    row_groups::not_parquet,
    unharmed,
    value::{has_text, is_nested},
};
use crate::error::DatasetError;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use distill_files::open_regular;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
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

/// Writes into `out`, which must not be there, the rows that `keep` wants, by their places from 1: JSON as lines, Parquet as
/// Parquet. How many they are comes back; `out` is synced.
///
/// # Errors
/// When the file cannot be read or `out` not be written.
pub fn copy_rows(
    path: &Path,
    format: FileFormat,
    out: &Path,
    keep: impl FnMut(u64) -> bool,
) -> Result<u64, DatasetError> {
    match format {
        FileFormat::Jsonl => copy_json(path, out, keep),
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

fn copy_parquet(path: &Path, out: &Path, mut keep: impl FnMut(u64) -> bool) -> Result<u64, DatasetError> {
    let file = open_regular(path).map_err(DatasetError::io("open", path))?;
    let opened = unharmed(|| {
        let text = |error: parquet::errors::ParquetError| error.to_string();
        let known = metadata(&file)?;
        for column in known.metadata().row_groups().iter().flat_map(|group| group.columns()) {
            guard::column(&file, column).map_err(text)?;
        }
        // The copy has the types that the writer had.
        let metadata = ArrowReaderMetadata::try_new(known.metadata().clone(), ArrowReaderOptions::new());
        let metadata = metadata.map_err(text)?;
        let schema = metadata.schema().clone();
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(text)?;
        Ok((schema, reader))
    });
    let (schema, mut reader) = opened.map_err(wrong(path))?;
    let level = ZstdLevel::try_new(LEVEL).unwrap_or_default();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let target = File::options().write(true).create_new(true).open(out).map_err(DatasetError::io("create", out))?;
    let synced = target.try_clone().map_err(DatasetError::io("create", out))?;
    let refused = |error: parquet::errors::ParquetError| wrong(out)(error.to_string());
    let mut writer = ArrowWriter::try_new(target, schema, Some(properties)).map_err(refused)?;
    let (mut row, mut kept) = (0, 0);
    let mut next = || unharmed(|| reader.next().transpose().map_err(|error| error.to_string())).map_err(wrong(path));
    while let Some(batch) = next()? {
        let batch: RecordBatch = batch;
        let wanted: BooleanArray = (row..row + batch.num_rows() as u64).map(|row| Some(keep(row + 1))).collect();
        row += batch.num_rows() as u64;
        kept += wanted.true_count() as u64;
        let batch = filter_record_batch(&batch, &wanted).map_err(|error| wrong(path)(error.to_string()))?;
        writer.write(&batch).map_err(refused)?;
        if writer.in_progress_size() > GROUP_BYTES {
            writer.flush().map_err(refused)?;
        }
    }
    writer.close().map_err(refused)?;
    synced.sync_all().map_err(DatasetError::io("sync", out))?;
    Ok(kept)
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
        assert_eq!(kept, 1000);
        assert!(copy_rows(&from, FileFormat::Parquet, &to, |_| true).is_err(), "what is there is not written over");
    }
}
