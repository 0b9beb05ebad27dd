//! Parquet shards: records in, `part-00000.parquet` … out, and back. zstd; written whole under a temporary name, synced,
//! then renamed, so that a shard that exists is complete.

use crate::{
    digest::digest_file,
    error::DatasetError,
    manifest::{Manifest, ShardInfo},
    store::describe,
};
use arrow_array::RecordBatch;
use arrow_schema::FieldRef;
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_arrow::schema::{SchemaLike, TracingOptions};
use std::{
    fs::{self, File},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Rows converted to Arrow at once.
const BATCH_ROWS: usize = 1024;
/// Rows in a row group.
const GROUP_ROWS: usize = 16 * BATCH_ROWS;
/// Rows in a shard.
const SHARD_ROWS: usize = 16 * GROUP_ROWS;

/// A row type with one Arrow schema, derived from its serde form.
pub trait Record: Serialize + DeserializeOwned + 'static {
    /// The Arrow fields, in order.
    ///
    /// # Errors
    /// Never for the record types of this crate; a new type that Parquet cannot hold fails its first test here.
    fn fields() -> Result<Vec<FieldRef>, serde_arrow::Error> {
        let options = TracingOptions::new()
            .enums_without_data_as_strings(true)
            .strings_as_large_utf8(false)
            .sequence_as_large_list(false);
        Vec::<FieldRef>::from_type::<Self>(options)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Record for T {}

/// Writes records as Parquet shards into a folder.
pub struct ShardWriter<R> {
    dir: PathBuf,
    fields: Vec<FieldRef>,
    rows: Vec<R>,
    shard: Option<Shard>,
    num_shards: usize,
    num_rows: u64,
}

struct Shard {
    writer: ArrowWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    num_rows: usize,
}

impl<R: Record> ShardWriter<R> {
    /// A writer of `part-00000.parquet` … into `dir`, which exists.
    ///
    /// # Errors
    /// When `R` has no Arrow schema.
    pub fn new(dir: &Path) -> Result<Self, DatasetError> {
        let fields = R::fields().map_err(|error| damaged(dir, error))?;
        Ok(ShardWriter { dir: dir.to_owned(), fields, rows: Vec::new(), shard: None, num_shards: 0, num_rows: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When a full batch cannot be written.
    pub fn push(&mut self, row: R) -> Result<(), DatasetError> {
        self.rows.push(row);
        self.num_rows += 1;
        if self.rows.len() == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Writes what is left and closes the last shard. An empty dataset is one shard without rows: its schema is known.
    /// Returns the number of rows.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(mut self) -> Result<u64, DatasetError> {
        if !self.rows.is_empty() || self.num_shards == 0 && self.shard.is_none() {
            self.flush()?;
        }
        self.close_shard()?;
        Ok(self.num_rows)
    }

    fn flush(&mut self) -> Result<(), DatasetError> {
        let rows = std::mem::take(&mut self.rows);
        let batch = if rows.is_empty() {
            RecordBatch::new_empty(Arc::new(arrow_schema::Schema::new(self.fields.clone())))
        } else {
            serde_arrow::to_record_batch(&self.fields, &rows).map_err(|error| damaged(&self.dir, error))?
        };
        if self.shard.is_none() {
            self.shard = Some(self.open_shard(&batch)?);
        }
        let Some(shard) = &mut self.shard else { return Ok(()) };
        shard.writer.write(&batch).map_err(|error| unwritten(&shard.temporary, error))?;
        shard.num_rows += rows.len();
        if shard.num_rows >= SHARD_ROWS { self.close_shard() } else { Ok(()) }
    }

    fn open_shard(&self, batch: &RecordBatch) -> Result<Shard, DatasetError> {
        let path = self.dir.join(format!("part-{:05}.parquet", self.num_shards));
        let temporary = path.with_extension("parquet.tmp");
        let file = File::create(&temporary).map_err(DatasetError::io("create", &temporary))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by("distill".to_owned())
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let writer =
            ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(|error| damaged(&temporary, error))?;
        Ok(Shard { writer, temporary, path, num_rows: 0 })
    }

    fn close_shard(&mut self) -> Result<(), DatasetError> {
        let Some(shard) = self.shard.take() else { return Ok(()) };
        let file = shard.writer.into_inner().map_err(|error| unwritten(&shard.temporary, error))?;
        file.sync_all().map_err(DatasetError::io("write", &shard.temporary))?;
        fs::rename(&shard.temporary, &shard.path).map_err(DatasetError::io("rename", &shard.temporary))?;
        self.num_shards += 1;
        Ok(())
    }
}

/// A finished stage's rows: its folder and its manifest.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The folder.
    pub dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
}

impl Dataset {
    /// Its Parquet rows in order, a batch at a time.
    pub fn batches<R: Record>(&self) -> impl Iterator<Item = Result<Vec<R>, DatasetError>> + use<R> {
        let is_shard = |file: &&ShardInfo| file.file.starts_with("part-") && file.file.ends_with(".parquet");
        let shards: Vec<PathBuf> =
            self.manifest.files.iter().filter(is_shard).map(|file| self.dir.join(&file.file)).collect();
        shards.into_iter().flat_map(|path| match open::<R>(&path) {
            Ok(batches) => Box::new(batches) as Box<dyn Iterator<Item = _>>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        })
    }

    /// Its rows in order.
    pub fn rows<R: Record>(&self) -> impl Iterator<Item = Result<R, DatasetError>> + use<R> {
        self.batches().flat_map(|batch: Result<Vec<R>, _>| match batch {
            Ok(rows) => Rows::Some(rows.into_iter()),
            Err(error) => Rows::Error(Some(error)),
        })
    }

    /// Checks every file against the manifest.
    ///
    /// # Errors
    /// `Checksum` for the first file that differs.
    pub fn verify(&self) -> Result<(), DatasetError> {
        for file in &self.manifest.files {
            let path = self.dir.join(&file.file);
            let found = digest_file(&path).map_err(DatasetError::io("read", &path))?;
            if found != file.digest {
                return Err(DatasetError::Checksum { path, expected: file.digest.clone(), found });
            }
        }
        Ok(())
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
        for row in rows {
            writer.push(row)?;
        }
        writer.finish()?;
        Ok(Dataset { dir: dir.to_owned(), manifest: describe(dir, Manifest::default())? })
    }
}

enum Rows<R> {
    Some(std::vec::IntoIter<R>),
    Error(Option<DatasetError>),
}

impl<R> Iterator for Rows<R> {
    type Item = Result<R, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Rows::Some(rows) => rows.next().map(Ok),
            Rows::Error(error) => error.take().map(Err),
        }
    }
}

struct Batches<R> {
    path: PathBuf,
    reader: parquet::arrow::arrow_reader::ParquetRecordBatchReader,
    rows: PhantomData<R>,
}

fn open<R: Record>(path: &Path) -> Result<Batches<R>, DatasetError> {
    let file = File::open(path).map_err(DatasetError::io("open", path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(path, error))?;
    let reader = builder.with_batch_size(BATCH_ROWS).build().map_err(|error| damaged(path, error))?;
    Ok(Batches { path: path.to_owned(), reader, rows: PhantomData })
}

impl<R: Record> Iterator for Batches<R> {
    type Item = Result<Vec<R>, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.reader.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(damaged(&self.path, error))),
        };
        Some(serde_arrow::from_record_batch(&batch).map_err(|error| damaged(&self.path, error)))
    }
}

fn damaged(path: &Path, error: impl std::fmt::Display) -> DatasetError {
    DatasetError::Parquet { path: path.to_owned(), message: error.to_string() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::*;

    fn trace(index: u32) -> Trace {
        Trace {
            id: format!("{index:032x}"),
            problem_id: "p".to_owned(),
            sample_index: index,
            prefill: "<think>\n".to_owned(),
            text: "1+1=2\n</think>\n\n\\boxed{2}".to_owned(),
            reasoning: Some(Span { start: 7, end: 14 }),
            answer: None,
            finish_reason: FinishReason::Length,
            segments: vec![Segment { num_bytes: 25, num_tokens: 12, finish_reason: FinishReason::Length }],
            teacher: "nano".to_owned(),
            response_model: "m".to_owned(),
            template_hash: String::new(),
            sampling: SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 160 },
            seed: u64::MAX,
            prompt_tokens: 3,
            completion_tokens: 12,
            token_ids: index.is_multiple_of(2).then(|| vec![1, 2, 3]),
            cost_usd: 0.25,
            finish_name: None,
        }
    }

    fn round_trip<R: Record + Clone + PartialEq + std::fmt::Debug>(rows: &[R]) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut writer = ShardWriter::new(dir.path()).expect("a schema");
        for row in rows {
            writer.push(row.clone()).expect("a written row");
        }
        assert_eq!(writer.finish().expect("a finished shard"), rows.len() as u64);
        let read: Vec<R> = open::<R>(&dir.path().join("part-00000.parquet"))
            .expect("a shard")
            .flat_map(|batch| batch.expect("a batch"))
            .collect();
        assert_eq!(read, rows, "rows must survive Parquet unchanged");
    }

    #[test]
    fn every_record_survives_parquet() {
        round_trip(&(0..3000).map(trace).collect::<Vec<_>>());
        round_trip::<Trace>(&[]);
        round_trip(&[Problem {
            id: "p".to_owned(),
            messages: vec![Message::system("s"), Message::user("1+1?")],
            domain: "math".to_owned(),
            reference: Reference::Math,
            answer: "2".to_owned(),
            solution: None,
            source: "chain-sum".to_owned(),
            split: Split::Holdout,
            licence: Some("MIT".to_owned()),
        }]);
        round_trip(&[Measure {
            trace_id: "t".to_owned(),
            verdict: Some(Verdict::Unknown),
            value: None,
            reason: "r".to_owned(),
            evidence: String::new(),
        }]);
        round_trip(&[Decision {
            trace_id: "t".to_owned(),
            problem_id: "p".to_owned(),
            kept: false,
            dropped_by: "verify".to_owned(),
            reason: "unequal".to_owned(),
            outcomes: vec![Outcome::Accept, Outcome::NotRun],
        }]);
        round_trip(&[Example {
            trace_id: "t".to_owned(),
            problem_id: "p".to_owned(),
            messages: vec![Message::user("q"), Message::assistant("a")],
            weight: 1.0,
        }]);
    }

    #[test]
    fn a_truncated_shard_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut writer = ShardWriter::new(dir.path()).expect("a schema");
        (0..10).for_each(|index| writer.push(trace(index)).expect("a written row"));
        writer.finish().expect("a finished shard");
        let path = dir.path().join("part-00000.parquet");
        let bytes = fs::read(&path).expect("the shard");
        for length in [0, 3, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).expect("a truncated shard");
            let Err(error) = open::<Trace>(&path).map(|batches| batches.count()) else {
                panic!("{length} bytes were taken for a whole shard")
            };
            assert!(error.to_string().contains("part-00000.parquet"), "{error}");
        }
    }
}
