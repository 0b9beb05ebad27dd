//! `rejected.jsonl`: the rows of a file that were left out, each with its place and its reason. There is none where nothing
//! was left out.

use crate::files::Rejected;
use distill_dataset::{DatasetError, create_fresh};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// Rows that are left out, counted and written down.
pub(crate) struct Rejections {
    path: PathBuf,
    writer: Option<BufWriter<File>>,
    counts: BTreeMap<String, u64>,
}

impl Rejections {
    /// None so far, of a stage that writes into `out`.
    pub(crate) fn new(out: &Path) -> Rejections {
        Rejections { path: out.join("rejected.jsonl"), writer: None, counts: BTreeMap::new() }
    }

    /// Counts a row that is no mistake of the file's.
    pub(crate) fn count(&mut self, reason: &str) {
        *self.counts.entry(reason.to_owned()).or_default() += 1;
    }

    /// Counts a row, or the stretch of rows that it stands for, and writes it down.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(&mut self, row: &Rejected) -> Result<(), DatasetError> {
        *self.counts.entry(row.reason.clone()).or_default() += row.rows;
        self.append(row).map_err(DatasetError::io("write", &self.path))
    }

    fn append(&mut self, row: &Rejected) -> io::Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(BufWriter::new(create_fresh(&self.path)?)),
        };
        serde_json::to_writer(&mut *writer, row)?;
        writer.write_all(b"\n")
    }

    /// How many rows were left out, by reason.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn finish(mut self) -> Result<BTreeMap<String, u64>, DatasetError> {
        if let Some(mut writer) = self.writer.take() {
            writer.flush().map_err(DatasetError::io("write", &self.path))?;
        }
        Ok(self.counts)
    }
}
