//! The record of a recipe's latest run, `runs/<recipe>/run.json`: which stages, under which keys, with which overrides.

use anyhow::{Context as _, Result, ensure};
use distill_dataset::{Digest, read_regular_text, write_whole};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Its name in a run's folder.
pub const FILE: &str = "run.json";
/// Most bytes that it has.
const MAX_BYTES: u64 = 1 << 26;

/// How a stage stands in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its manifest was there already.
    Found,
    /// This run made it.
    Made,
    /// It is not there yet.
    Pending,
}

/// One stage of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// What it is called in this run.
    pub label: String,
    /// The stage's name.
    pub stage: String,
    /// Its key; empty while its inputs are not known.
    pub key: String,
    /// How it stands.
    pub state: State,
}

/// What a recipe's latest run uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The recipe's name.
    pub name: String,
    /// The recipe's file, for people: what is no UTF-8 is replaced.
    pub recipe: String,
    /// The `--set` overrides.
    pub overrides: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// The store, for people.
    pub store: String,
    /// The stages in order.
    pub stages: Vec<StageRecord>,
}

/// The record as it lies on disk.
#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    record: RunRecord,
    /// Digest of all of the above: a record that was changed is noticed.
    #[serde(default)]
    seal: String,
}

impl RunRecord {
    /// Writes the record, with its seal, into a run's folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let sealed = Sealed { record: self.clone(), seal: self.seal()? };
        Ok(write_whole(&folder.join(FILE), serde_json::to_string_pretty(&sealed)?.as_bytes())?)
    }

    /// Reads the record of a run's folder and checks its seal.
    ///
    /// # Errors
    /// When it cannot be read or understood, or was changed.
    pub fn read(folder: &Path) -> Result<RunRecord> {
        let path = folder.join(FILE);
        let text = read_regular_text(&path, MAX_BYTES).with_context(|| format!("cannot read {}", path.display()))?;
        let Sealed { record, seal } =
            serde_json::from_str(&text).with_context(|| format!("{} is not the record of a run", path.display()))?;
        ensure!(
            seal == record.seal()?,
            "{}: its seal does not match: it was changed after it was written, or written by an earlier version\nhint: \
             `distill run` with the run's recipe writes it again, and runs nothing that is done",
            path.display()
        );
        Ok(record)
    }

    fn seal(&self) -> Result<String> {
        Ok(Digest::new("run-record").field(&serde_json::to_string(self)?).finish())
    }
}
