//! Records → Parquet shards: `part-00000.parquet` …, zstd, cut by bytes; each written whole under a temporary name,
//! synced, then renamed, so that a shard that exists is complete.
//!
//! Beside the shards lies `.rows`, the digest of every row in order: the content digest of a dataset is made of it, and
//! does not depend on where shards begin and end. The store removes it when the manifest is written.

use crate::{error::DatasetError, read::damaged, shard_file::ShardFile};
use arrow_array::RecordBatch;
use arrow_schema::FieldRef;
use distill_files::create_fresh;
use rayon::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_arrow::schema::{SchemaLike, TracingOptions};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file of row digests beside the shards.
pub(crate) const ROWS: &str = ".rows";
/// Bytes of one row's digest.
pub(crate) const ROW_DIGEST: usize = 16;

/// Rows converted to Arrow at once, at most.
const BATCH_ROWS: usize = 1024;
/// Bytes of rows (as JSON) converted to Arrow at once.
const BATCH_BYTES: usize = 4 << 20;

/// Where shards and their row groups are cut, in bytes of rows before compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of a row group.
    pub group_bytes: usize,
    /// Bytes of a shard.
    pub shard_bytes: usize,
    /// Rows of a shard, at most.
    pub shard_rows: usize,
}

impl Default for Cut {
    /// Row groups of 16 MiB, which are what a thread holds at once, and shards of 512 MiB.
    fn default() -> Cut {
        Cut { group_bytes: 16 << 20, shard_bytes: 512 << 20, shard_rows: usize::MAX }
    }
}

impl Cut {
    /// One shard, however large: side tables have the shards of what they measure.
    pub fn never() -> Cut {
        Cut { shard_bytes: usize::MAX, ..Cut::default() }
    }
}

/// A row type with one Arrow schema, derived from its serde form.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
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

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Record for T {}

/// Writes records as Parquet shards into a folder.
pub struct ShardWriter<R> {
    dir: PathBuf,
    stem: String,
    cut: Cut,
    sort_key: Option<fn(&R) -> &str>,
    last_key: Option<String>,
    fields: Vec<FieldRef>,
    digests: BufWriter<File>,
    rows: Vec<R>,
    row_bytes: usize,
    shard: Option<ShardFile>,
    num_shards: usize,
    num_rows: u64,
}

impl<R: Record> ShardWriter<R> {
    /// A writer of `part-00000.parquet` … into `dir`, which exists.
    ///
    /// # Errors
    /// When `R` has no Arrow schema, or the disk refuses.
    pub fn new(dir: &Path) -> Result<Self, DatasetError> {
        ShardWriter::cut(dir, "part", Cut::default())
    }

    /// A writer of the shards of one unit of a stage: `part-UNIT-00000.parquet` ….
    ///
    /// # Errors
    /// As [`ShardWriter::new`].
    pub fn of_unit(dir: &Path, unit: usize) -> Result<Self, DatasetError> {
        ShardWriter::cut(dir, &format!("part-{unit:05}"), Cut::default())
    }

    /// A writer of the one shard of a unit, `part-UNIT-00000.parquet`, which lies beside the unit's input.
    ///
    /// # Errors
    /// As [`ShardWriter::new`].
    pub fn beside(dir: &Path, unit: usize) -> Result<Self, DatasetError> {
        ShardWriter::cut(dir, &format!("part-{unit:05}"), Cut::never())
    }

    /// A writer of `STEM-00000.parquet` … that cuts where `cut` says.
    ///
    /// # Errors
    /// As [`ShardWriter::new`].
    pub fn cut(dir: &Path, stem: &str, cut: Cut) -> Result<Self, DatasetError> {
        let fields = R::fields().map_err(|error| damaged(dir, error))?;
        let path = dir.join(ROWS);
        let digests = create_fresh(&path).map_err(DatasetError::io("create", path))?;
        Ok(ShardWriter {
            dir: dir.to_owned(),
            stem: stem.to_owned(),
            cut,
            sort_key: None,
            last_key: None,
            fields,
            digests: BufWriter::new(digests),
            rows: Vec::new(),
            row_bytes: 0,
            shard: None,
            num_shards: 0,
            num_rows: 0,
        })
    }

    /// The rows come sorted by `key`. Shards are then cut only where the key changes, and say between which keys they
    /// lie; a row out of order is an error.
    pub fn sorted_by(mut self, key: fn(&R) -> &str) -> Self {
        self.sort_key = Some(key);
        self
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When rows are out of order, or the disk refuses.
    pub fn push(&mut self, row: R) -> Result<(), DatasetError> {
        let (digest, bytes) = digest_of(&row, &mut Vec::new());
        self.add(row, digest, bytes)
    }

    /// Adds rows, whose digests are computed on all cores.
    ///
    /// # Errors
    /// As [`ShardWriter::push`].
    pub fn extend(&mut self, rows: Vec<R>) -> Result<(), DatasetError> {
        let digests: Vec<_> = rows.par_iter().map_init(Vec::new, |json, row| digest_of(row, json)).collect();
        rows.into_iter().zip(digests).try_for_each(|(row, (digest, bytes))| self.add(row, digest, bytes))
    }

    fn add(&mut self, row: R, digest: [u8; ROW_DIGEST], bytes: usize) -> Result<(), DatasetError> {
        let full = self.shard.as_ref().is_some_and(|shard| {
            shard.bytes() + self.row_bytes >= self.cut.shard_bytes
                || shard.num_rows() + self.rows.len() >= self.cut.shard_rows
        }) || self.rows.len() >= self.cut.shard_rows
            || self.row_bytes >= self.cut.shard_bytes;
        let key = self.sort_key.map(|sort_key| sort_key(&row).to_owned());
        if let (Some(key), Some(last)) = (&key, &self.last_key)
            && key < last
        {
            let (path, last, found) = (self.dir.clone(), last.clone(), key.clone());
            return Err(DatasetError::Order { path, last, found });
        }
        // A group of equal keys lies in one shard.
        if full && (key.is_none() || key != self.last_key) {
            self.close_shard()?;
        }
        self.last_key = key;
        self.digests.write_all(&digest).map_err(DatasetError::io("write", self.dir.join(ROWS)))?;
        self.rows.push(row);
        self.num_rows += 1;
        self.row_bytes += bytes;
        if self.rows.len() >= BATCH_ROWS || self.row_bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what is left and closes the last shard. An empty dataset is one shard without rows: its schema is known.
    /// Returns the number of rows.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(mut self) -> Result<u64, DatasetError> {
        if self.num_shards == 0 || self.shard.is_some() || !self.rows.is_empty() {
            self.close_shard()?;
        }
        self.digests.flush().map_err(DatasetError::io("write", self.dir.join(ROWS)))?;
        Ok(self.num_rows)
    }

    fn flush(&mut self) -> Result<(), DatasetError> {
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.row_bytes));
        let batch = if rows.is_empty() {
            RecordBatch::new_empty(Arc::new(arrow_schema::Schema::new(self.fields.clone())))
        } else {
            serde_arrow::to_record_batch(&self.fields, &rows).map_err(|error| damaged(&self.dir, error))?
        };
        let shard = match &mut self.shard {
            Some(shard) => shard,
            none => {
                let first_key = self.sort_key.and_then(|key| rows.first().map(key)).map(str::to_owned);
                let path = self.dir.join(format!("{}-{:05}.parquet", self.stem, self.num_shards));
                none.insert(ShardFile::create(path, &batch, self.cut.group_bytes, first_key)?)
            }
        };
        shard.write(&batch, bytes)
    }

    fn close_shard(&mut self) -> Result<(), DatasetError> {
        if !self.rows.is_empty() || self.shard.is_none() {
            self.flush()?;
        }
        if let Some(shard) = self.shard.take() {
            shard.finish(self.last_key.clone())?;
            self.num_shards += 1;
        }
        Ok(())
    }
}

/// The digest of a row and its size in bytes, both of its JSON form, which is the same in every shard and on every
/// machine.
fn digest_of(row: &impl Serialize, json: &mut Vec<u8>) -> ([u8; ROW_DIGEST], usize) {
    json.clear();
    // A record has no map with keys that are no text, so it serialises; a half-written row would still be told apart.
    let _ = serde_json::to_writer(&mut *json, row);
    let mut digest = [0; ROW_DIGEST];
    digest.copy_from_slice(&blake3::hash(json).as_bytes()[..ROW_DIGEST]);
    (digest, json.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dataset, TurnFormat, record::*};
    use std::fs;

    fn trace(index: u32) -> Trace {
        Trace {
            id: format!("{index:032x}"),
            problem_id: "p".to_owned(),
            sample_index: index,
            format: TurnFormat::of_prompt("<think>\n"),
            text: "1+1=2\n</think>\n\n\\boxed{2}".to_owned(),
            finish_reason: FinishReason::Length,
            finish_name: None,
            segments: vec![Segment { num_bytes: 25, num_tokens: 12, finish_reason: FinishReason::Length }],
            teacher: "nano".to_owned(),
            response_model: "m".to_owned(),
            template_hash: String::new(),
            sampling: SamplingParams { temperature: 0.6, top_p: 0.95, max_new_tokens: 160, log_probabilities: None },
            seed: u64::MAX,
            prompt_tokens: 3,
            completion_tokens: 12,
            token_ids: index.is_multiple_of(2).then(|| vec![1, 2, 3]),
            cost_usd: 0.25,
            system: index.is_multiple_of(3).then(|| "Reflect.".to_owned()),
            claims: index
                .is_multiple_of(5)
                .then(|| vec![FileClaim { name: "judge".to_owned(), says: "true".to_owned() }]),
        }
    }

    fn round_trip<R: Record + Clone + PartialEq + std::fmt::Debug>(rows: &[R]) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut writer = ShardWriter::new(dir.path()).expect("a schema");
        for row in rows {
            writer.push(row.clone()).expect("a written row");
        }
        assert_eq!(writer.finish().expect("a finished shard"), rows.len() as u64);
        let dataset = Dataset::of_folder(dir.path()).expect("a dataset");
        let read: Vec<R> = dataset.rows().collect::<Result<_, _>>().expect("rows");
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
            let Err(error) = Dataset::of_folder(dir.path()) else {
                panic!("{length} bytes were taken for a whole shard")
            };
            assert!(error.to_string().contains("part-00000.parquet"), "{error}");
        }
    }
}
