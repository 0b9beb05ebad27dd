//! Sorting more rows than fit in memory: sorted runs on disk, then one merge. Rows with equal keys keep their order.

use crate::{error::DatasetError, write::Record};
use distill_files::create_fresh;
use rayon::prelude::*;
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

/// Bytes of rows, as JSON, that are held at once.
const CEILING: usize = 256 << 20;
/// Runs merged at once: each has its buffer.
const FAN_IN: usize = 64;
/// zstd's fastest level: runs are read once.
const LEVEL: i32 = 1;

/// Sorts rows by a key, in a folder of its own for what does not fit in memory.
pub struct Sorter<R> {
    dir: PathBuf,
    key: fn(&R) -> &str,
    ceiling: usize,
    rows: Vec<R>,
    bytes: usize,
    runs: Vec<PathBuf>,
    num_runs: usize,
}

impl<R: Record> Sorter<R> {
    /// A sorter that spills into `dir`, which it makes and removes.
    pub fn new(dir: &Path, key: fn(&R) -> &str) -> Sorter<R> {
        Sorter { dir: dir.to_owned(), key, ceiling: CEILING, rows: Vec::new(), bytes: 0, runs: Vec::new(), num_runs: 0 }
    }

    /// Another ceiling, in bytes of rows.
    pub fn with_ceiling(mut self, bytes: usize) -> Sorter<R> {
        self.ceiling = bytes;
        self
    }

    /// Adds a row of about `bytes` bytes.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn push(&mut self, row: R, bytes: usize) -> Result<(), DatasetError> {
        self.rows.push(row);
        self.bytes += bytes;
        if self.bytes >= self.ceiling { self.spill() } else { Ok(()) }
    }

    /// Hands every row to `each`, in order.
    ///
    /// # Errors
    /// When the disk refuses, or what `each` says.
    pub fn finish<E: From<DatasetError>>(mut self, mut each: impl FnMut(R) -> Result<(), E>) -> Result<(), E> {
        if self.runs.is_empty() {
            self.sort();
            return std::mem::take(&mut self.rows).into_iter().try_for_each(each);
        }
        if !self.rows.is_empty() {
            self.spill()?;
        }
        while self.runs.len() > FAN_IN {
            let runs: Vec<PathBuf> = self.runs.drain(..FAN_IN).collect();
            let mut run = self.new_run()?;
            self.merge::<DatasetError>(&runs, |row| run.push(&row))?;
            // The merged run holds the oldest rows: it goes first.
            let path = run.finish()?;
            self.runs.insert(0, path);
        }
        let runs = std::mem::take(&mut self.runs);
        self.merge(&runs, &mut each)?;
        fs::remove_dir_all(&self.dir).map_err(DatasetError::io("remove", &self.dir))?;
        Ok(())
    }

    fn sort(&mut self) {
        let key = self.key;
        self.rows.par_sort_by(|a, b| key(a).cmp(key(b)));
    }

    fn new_run(&mut self) -> Result<Run, DatasetError> {
        fs::create_dir_all(&self.dir).map_err(DatasetError::io("create", &self.dir))?;
        let path = self.dir.join(format!("run-{:05}", self.num_runs));
        self.num_runs += 1;
        Run::create(path)
    }

    fn spill(&mut self) -> Result<(), DatasetError> {
        self.sort();
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let mut run = self.new_run()?;
        rows.iter().try_for_each(|row| run.push(row))?;
        let path = run.finish()?;
        self.runs.push(path);
        Ok(())
    }

    fn merge<E: From<DatasetError>>(
        &self,
        runs: &[PathBuf],
        mut each: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut readers = runs.iter().map(|path| RunReader::<R>::open(path)).collect::<Result<Vec<_>, _>>()?;
        let mut heads = Vec::with_capacity(readers.len());
        let mut order = BinaryHeap::new();
        for (index, reader) in readers.iter_mut().enumerate() {
            let row = reader.next()?;
            order.extend(row.as_ref().map(|row| Reverse(((self.key)(row).to_owned(), index))));
            heads.push(row);
        }
        while let Some(Reverse((_, index))) = order.pop() {
            let next = readers[index].next()?;
            order.extend(next.as_ref().map(|row| Reverse(((self.key)(row).to_owned(), index))));
            if let Some(row) = std::mem::replace(&mut heads[index], next) {
                each(row)?;
            }
        }
        drop(readers);
        for path in runs {
            fs::remove_file(path).map_err(DatasetError::io("remove", path))?;
        }
        Ok(())
    }
}

/// A sorted run: length and JSON of each row, compressed.
struct Run {
    path: PathBuf,
    writer: zstd::Encoder<'static, BufWriter<File>>,
    json: Vec<u8>,
}

impl Run {
    fn create(path: PathBuf) -> Result<Run, DatasetError> {
        let file = create_fresh(&path).map_err(DatasetError::io("create", &path))?;
        let writer = zstd::Encoder::new(BufWriter::new(file), LEVEL).map_err(DatasetError::io("create", &path))?;
        Ok(Run { path, writer, json: Vec::new() })
    }

    fn push(&mut self, row: &impl serde::Serialize) -> Result<(), DatasetError> {
        self.json.clear();
        serde_json::to_writer(&mut self.json, row)
            .map_err(|error| DatasetError::Parquet { path: self.path.clone(), message: error.to_string() })?;
        let length = (self.json.len() as u64).to_le_bytes();
        let written = self.writer.write_all(&length).and_then(|()| self.writer.write_all(&self.json));
        written.map_err(DatasetError::io("write", &self.path))
    }

    fn finish(self) -> Result<PathBuf, DatasetError> {
        let finished = self.writer.finish().and_then(|mut file| file.flush());
        finished.map_err(DatasetError::io("write", &self.path))?;
        Ok(self.path)
    }
}

struct RunReader<R> {
    path: PathBuf,
    reader: zstd::Decoder<'static, BufReader<File>>,
    json: Vec<u8>,
    row: std::marker::PhantomData<R>,
}

impl<R: Record> RunReader<R> {
    fn open(path: &Path) -> Result<RunReader<R>, DatasetError> {
        let file = File::open(path).map_err(DatasetError::io("open", path))?;
        let reader = zstd::Decoder::new(file).map_err(DatasetError::io("open", path))?;
        Ok(RunReader { path: path.to_owned(), reader, json: Vec::new(), row: std::marker::PhantomData })
    }

    fn next(&mut self) -> Result<Option<R>, DatasetError> {
        let mut length = [0; 8];
        // The end of a run is between two rows.
        if self.reader.read(&mut length[..1]).map_err(DatasetError::io("read", &self.path))? == 0 {
            return Ok(None);
        }
        self.reader.read_exact(&mut length[1..]).map_err(DatasetError::io("read", &self.path))?;
        self.json.clear();
        let limit = u64::from_le_bytes(length);
        let read = self.reader.by_ref().take(limit).read_to_end(&mut self.json);
        read.map_err(DatasetError::io("read", &self.path))?;
        serde_json::from_slice(&self.json)
            .map(Some)
            .map_err(|error| DatasetError::Parquet { path: self.path.clone(), message: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        key: String,
        place: u32,
    }

    fn sorted(rows: &[Row], ceiling: usize) -> Vec<Row> {
        let root = tempfile::tempdir().expect("a temporary folder");
        let dir = root.path().join("sort");
        let mut sorter = Sorter::new(&dir, |row: &Row| &row.key).with_ceiling(ceiling);
        rows.iter().for_each(|row| sorter.push(row.clone(), 1).expect("a row"));
        let mut out = Vec::new();
        sorter
            .finish::<DatasetError>(|row| {
                out.push(row);
                Ok(())
            })
            .expect("sorted rows");
        assert!(!dir.exists(), "what was spilled is removed");
        out
    }

    #[test]
    fn the_order_does_not_depend_on_what_fits_in_memory() {
        let rows: Vec<Row> = (0..2000_u32)
            .map(|place| Row { key: (place.wrapping_mul(2_654_435_761) % 700).to_string(), place })
            .collect();
        let mut expected = rows.clone();
        expected.sort_by(|a, b| a.key.cmp(&b.key));
        for ceiling in [usize::MAX, 2000, 1999, 300, 7] {
            assert_eq!(sorted(&rows, ceiling), expected, "a ceiling of {ceiling} rows; equal keys keep their order");
        }
        assert!(sorted(&[], 3).is_empty());
    }
}
