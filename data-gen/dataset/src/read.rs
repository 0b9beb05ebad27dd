//! Parquet shards → records. What is read was checked against its manifest first, once for each shard and process; rows
//! come a batch, a row group or a range at a time, and only the columns that the row type has.

use crate::{
    digest::digest_file,
    error::DatasetError,
    manifest::{Manifest, ShardInfo},
    store::describe,
    write::{Record, ShardWriter},
};
use distill_files::open_regular;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    },
    file::metadata::RowGroupMetaData,
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeSet,
    fs::File,
    marker::PhantomData,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Rows read at once, at most.
const BATCH_ROWS: usize = 1024;
/// Bytes read at once, before conversion to rows.
const BATCH_BYTES: usize = 4 << 20;

/// A finished stage's rows and files: its folder and its manifest.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The folder.
    pub dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    verified: Verified,
}

/// The files that this process has checked against their manifest.
#[derive(Clone, Debug, Default)]
struct Verified(Arc<Mutex<BTreeSet<PathBuf>>>);

impl Verified {
    fn check(&self, path: &Path, info: &ShardInfo) -> Result<(), DatasetError> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(path) {
            return Ok(());
        }
        let found = digest_file(path).map_err(DatasetError::io("read", path))?;
        if found != info.digest {
            let (path, expected) = (path.to_owned(), info.digest.clone());
            return Err(DatasetError::Checksum { path, expected, found });
        }
        known().insert(path.to_owned());
        Ok(())
    }
}

impl Dataset {
    /// The dataset of a folder and its manifest.
    pub fn new(dir: PathBuf, manifest: Manifest) -> Dataset {
        Dataset { dir, manifest, verified: Verified::default() }
    }

    /// Its shards in order.
    pub fn shards(&self) -> impl Iterator<Item = Shard> + '_ {
        self.manifest.files.iter().filter(|file| is_shard(&file.file)).map(|info| Shard {
            path: self.dir.join(&info.file),
            info: info.clone(),
            verified: self.verified.clone(),
        })
    }

    /// Its rows in order.
    pub fn rows<R: Record>(&self) -> impl Iterator<Item = Result<R, DatasetError>> + use<R> {
        let shards: Vec<Shard> = self.shards().collect();
        shards.into_iter().flat_map(|shard| shard.all_rows::<R>())
    }

    /// Its rows in order as JSON objects, whatever their type: for people and programs that look at any table.
    pub fn objects(&self) -> impl Iterator<Item = Result<serde_json::Map<String, serde_json::Value>, DatasetError>> {
        let shards: Vec<Shard> = self.shards().collect();
        shards.into_iter().flat_map(|shard| match shard.batches(0..shard.info.rows, None) {
            Ok(rows) => Box::new(rows.flat()) as Box<dyn Iterator<Item = _>>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        })
    }

    /// Its rows in order, as many at a time as are decoded at once.
    pub fn batches<R: Record>(&self) -> impl Iterator<Item = Result<Vec<R>, DatasetError>> + use<R> {
        let shards: Vec<Shard> = self.shards().collect();
        shards.into_iter().flat_map(|shard| {
            let batches = shard.columns::<R>().and_then(|columns| shard.batches(0..shard.info.rows, Some(columns)));
            match batches {
                Ok(batches) => Box::new(batches) as Box<dyn Iterator<Item = _>>,
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        })
    }

    /// Checks every file against the manifest.
    ///
    /// # Errors
    /// `Checksum` for the first file that differs.
    pub fn verify(&self) -> Result<(), DatasetError> {
        self.verify_those(|_| true)
    }

    /// Checks the files whose names are wanted.
    ///
    /// # Errors
    /// As [`Dataset::verify`].
    pub fn verify_those(&self, wanted: impl Fn(&str) -> bool) -> Result<(), DatasetError> {
        let mut files = self.manifest.files.iter().filter(|info| wanted(&info.file));
        files.try_for_each(|info| self.verified.check(&self.dir.join(&info.file), info))
    }

    /// How many rows it holds.
    pub fn num_rows(&self) -> u64 {
        self.manifest.files.iter().map(|file| file.rows).sum()
    }

    /// Writes rows into `dir` as a dataset of their own, outside any store.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write<R: Record>(dir: &Path, rows: impl IntoIterator<Item = R>) -> Result<Dataset, DatasetError> {
        let mut writer = ShardWriter::new(dir)?;
        rows.into_iter().try_for_each(|row| writer.push(row))?;
        writer.finish()?;
        Dataset::of_folder(dir)
    }

    /// The dataset of what lies in `dir`, outside any store.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn of_folder(dir: &Path) -> Result<Dataset, DatasetError> {
        Ok(Dataset::new(dir.to_owned(), describe(dir, Manifest::default())?))
    }
}

fn is_shard(name: &str) -> bool {
    name.starts_with("part-") && name.ends_with(".parquet")
}

/// One shard: a Parquet file that its manifest describes.
#[derive(Clone, Debug)]
pub struct Shard {
    path: PathBuf,
    info: ShardInfo,
    verified: Verified,
}

impl Shard {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many rows it holds.
    pub fn num_rows(&self) -> u64 {
        self.info.rows
    }

    /// The sort key of its first and of its last row, where its rows are sorted and there are any.
    pub fn span(&self) -> Option<[&str; 2]> {
        self.info.span.as_ref().map(|[first, last]| [first.as_str(), last.as_str()])
    }

    /// Whether it can hold rows with keys from `first` to `last`; true where it does not say.
    pub fn overlaps(&self, first: &str, last: &str) -> bool {
        self.span().is_none_or(|[from, to]| from <= last && first <= to)
    }

    /// The ranges of its rows that its row groups cover: what is read and worked on at once.
    ///
    /// # Errors
    /// When it is not what its manifest says.
    pub fn ranges(&self) -> Result<Vec<Range<u64>>, DatasetError> {
        let metadata = self.open()?.1;
        let mut start = 0;
        let ranges = metadata.metadata().row_groups().iter().map(|group| {
            let range = start..start + group.num_rows().unsigned_abs();
            start = range.end;
            range
        });
        Ok(ranges.collect())
    }

    /// Its rows in order, a batch at a time in memory.
    ///
    /// # Errors
    /// When it is not what its manifest says, or lacks a column.
    pub fn rows<R: Record>(&self) -> Result<impl Iterator<Item = Result<R, DatasetError>> + use<R>, DatasetError> {
        Ok(self.batches(0..self.info.rows, Some(self.columns::<R>()?))?.flat())
    }

    /// Its rows in order; that it cannot be opened is the first of them.
    pub fn all_rows<R: Record>(&self) -> Box<dyn Iterator<Item = Result<R, DatasetError>>> {
        match self.rows::<R>() {
            Ok(rows) => Box::new(rows),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    /// The rows of a range.
    ///
    /// # Errors
    /// As [`Shard::rows`].
    pub fn rows_in<R: Record>(&self, range: Range<u64>) -> Result<Vec<R>, DatasetError> {
        self.batches(range, Some(self.columns::<R>()?))?.flat().collect()
    }

    fn columns<R: Record>(&self) -> Result<Vec<String>, DatasetError> {
        let fields = R::fields().map_err(|error| damaged(&self.path, error))?;
        Ok(fields.iter().map(|field| field.name().clone()).collect())
    }

    fn open(&self) -> Result<(File, ArrowReaderMetadata), DatasetError> {
        self.verified.check(&self.path, &self.info)?;
        let file = open_regular(&self.path).map_err(DatasetError::io("open", &self.path))?;
        let metadata =
            ArrowReaderMetadata::load(&file, Default::default()).map_err(|error| damaged(&self.path, error))?;
        Ok((file, metadata))
    }

    /// The rows of a range, with these columns or with all.
    fn batches<R: DeserializeOwned>(
        &self,
        range: Range<u64>,
        columns: Option<Vec<String>>,
    ) -> Result<Batches<R>, DatasetError> {
        Ok(Batches { path: self.path.clone(), reader: self.reader(range, columns)?, rows: PhantomData })
    }

    /// A reader of them. It knows nothing of the rows' type: a crate that reads its own rows need not compile a reader.
    fn reader(
        &self,
        range: Range<u64>,
        columns: Option<Vec<String>>,
    ) -> Result<ParquetRecordBatchReader, DatasetError> {
        let (file, metadata) = self.open()?;
        let mask = match &columns {
            Some(columns) => ProjectionMask::columns(metadata.parquet_schema(), columns.iter().map(String::as_str)),
            None => ProjectionMask::all(),
        };
        let groups = metadata.metadata().row_groups();
        let (mut start, mut skipped, mut wanted) = (0, None, Vec::new());
        for (index, group) in groups.iter().enumerate() {
            let end = start + group.num_rows().unsigned_abs();
            if start < range.end && range.start < end {
                skipped.get_or_insert(range.start.saturating_sub(start));
                wanted.push(index);
            }
            start = end;
        }
        let batch = batch_rows(wanted.iter().map(|index| &groups[*index]));
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
            .with_projection(mask)
            .with_row_groups(wanted)
            .with_offset(skipped.unwrap_or(0) as usize)
            .with_limit((range.end - range.start) as usize)
            .with_batch_size(batch)
            .build()
            .map_err(|error| damaged(&self.path, error))
    }
}

/// Rows in a batch of about [`BATCH_BYTES`].
fn batch_rows<'g>(groups: impl Iterator<Item = &'g RowGroupMetaData>) -> usize {
    let (rows, bytes) = groups.fold((0, 0), |(rows, bytes), group| {
        (rows + group.num_rows().unsigned_abs() as usize, bytes + group.total_byte_size().unsigned_abs() as usize)
    });
    (BATCH_BYTES / (bytes / rows.max(1)).max(1)).clamp(1, BATCH_ROWS)
}

/// Rows as they are decoded, a batch at a time.
struct Batches<R> {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    rows: PhantomData<R>,
}

impl<R: DeserializeOwned> Batches<R> {
    /// The rows themselves.
    fn flat(self) -> impl Iterator<Item = Result<R, DatasetError>> {
        self.flat_map(|batch| match batch {
            Ok(rows) => Batch::Rows(rows.into_iter()),
            Err(error) => Batch::Error(Some(error)),
        })
    }
}

impl<R: DeserializeOwned> Iterator for Batches<R> {
    type Item = Result<Vec<R>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.reader.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(damaged(&self.path, error))),
        };
        Some(serde_arrow::from_record_batch(&batch).map_err(|error| damaged(&self.path, error)))
    }
}

enum Batch<R> {
    Rows(std::vec::IntoIter<R>),
    Error(Option<DatasetError>),
}

impl<R> Iterator for Batch<R> {
    type Item = Result<R, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Batch::Rows(rows) => rows.next().map(Ok),
            Batch::Error(error) => error.take().map(Err),
        }
    }
}

pub(crate) fn damaged(path: &Path, error: impl std::fmt::Display) -> DatasetError {
    DatasetError::Parquet { path: path.to_owned(), message: error.to_string() }
}
