//! One shard on the disk: batches of rows in, a Parquet file out, whole under its name or not there.
//!
//! It knows nothing of the rows' type, so that Parquet's writer is compiled once, here, and not for each type of row in
//! each crate that writes some.

use crate::{error::DatasetError, read::damaged};
use arrow_array::RecordBatch;
use distill_files::create_fresh;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::{metadata::KeyValue, properties::WriterProperties},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Keys in a shard's footer: the sort keys of its first and last row.
pub(crate) const FIRST: &str = "distill.first";
pub(crate) const LAST: &str = "distill.last";

/// A shard that is being written.
pub(crate) struct ShardFile {
    writer: ArrowWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    num_rows: usize,
    bytes: usize,
    group_bytes: usize,
    most_group_bytes: usize,
    first_key: Option<String>,
}

impl ShardFile {
    /// A shard with the schema of `batch`, whose row groups are cut after so many bytes of rows.
    pub(crate) fn create(
        path: PathBuf,
        batch: &RecordBatch,
        most_group_bytes: usize,
        first_key: Option<String>,
    ) -> Result<ShardFile, DatasetError> {
        let temporary = path.with_extension("parquet.tmp");
        let file = create_fresh(&temporary).map_err(DatasetError::io("create", &temporary))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by("distill".to_owned())
            .set_max_row_group_row_count(None)
            .build();
        let writer =
            ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(|error| damaged(&temporary, error))?;
        Ok(ShardFile { writer, temporary, path, num_rows: 0, bytes: 0, group_bytes: 0, most_group_bytes, first_key })
    }

    /// Rows so far.
    pub(crate) fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Bytes of rows so far, before compression.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds rows of so many bytes.
    pub(crate) fn write(&mut self, batch: &RecordBatch, bytes: usize) -> Result<(), DatasetError> {
        self.writer.write(batch).map_err(|error| unwritten(&self.temporary, error))?;
        self.num_rows += batch.num_rows();
        self.bytes += bytes;
        self.group_bytes += bytes;
        if self.group_bytes >= self.most_group_bytes {
            self.group_bytes = 0;
            self.writer.flush().map_err(|error| unwritten(&self.temporary, error))?;
        }
        Ok(())
    }

    /// Gives it its name, once all of it is on the disk.
    pub(crate) fn finish(mut self, last_key: Option<String>) -> Result<(), DatasetError> {
        for (key, value) in [(FIRST, self.first_key.take()), (LAST, last_key)] {
            if let Some(value) = value {
                self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
            }
        }
        let file = self.writer.into_inner().map_err(|error| unwritten(&self.temporary, error))?;
        file.sync_all().map_err(DatasetError::io("write", &self.temporary))?;
        fs::rename(&self.temporary, &self.path).map_err(DatasetError::io("rename", &self.temporary))
    }
}

/// A failed write: the system's own error where Parquet wraps one, so that a full disk is called a full disk.
fn unwritten(path: &Path, error: parquet::errors::ParquetError) -> DatasetError {
    match error {
        parquet::errors::ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => DatasetError::Io { action: "write", path: path.to_owned(), source: *source },
            Err(source) => damaged(path, source),
        },
        other => damaged(path, other),
    }
}
