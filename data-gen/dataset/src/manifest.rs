//! The manifest: what a stage did, written last. Its existence means done; cards, funnels and reports are rendered from
//! manifests and from nothing else.

use crate::{digest::Digest, error::DatasetError, stage::Keyed, tally::Tally};
use distill_files::read_regular_text;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Most bytes of a manifest: one of a million shards has fewer.
const MAX_BYTES: u64 = 1 << 28;

/// One input of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// What it is to the stage, e.g. `traces`.
    pub name: String,
    /// Its content digest.
    pub digest: String,
}

/// One file of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardInfo {
    /// Path relative to the stage's folder.
    pub file: String,
    /// Rows in it; 0 for files that hold none (weights, cards).
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub digest: String,
    /// The sort key of its first and of its last row, where its rows are sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<[String; 2]>,
}

/// When a stage ran and for how long. Recorded, not part of the key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// UTC, RFC 3339.
    pub finished_at: String,
    /// Seconds spent, summed over resumed attempts that ended in order.
    pub wall_s: f64,
}

/// What a stage did. Written last and whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// The stage's name.
    pub stage: String,
    /// The stage's version constant.
    pub stage_version: u32,
    /// hash(stage, version, settings, inputs): the folder's name.
    pub key: String,
    /// What it read.
    pub inputs: Vec<Input>,
    /// The resolved configuration.
    pub config: serde_json::Value,
    /// The settings that entered the key: what differs from the defaults.
    pub settings: Keyed,
    /// The run's seed.
    pub seed: u64,
    /// Revision of the program, where known.
    pub revision: String,
    /// The device it ran on.
    pub device: String,
    /// When and how long.
    pub time: StageTime,
    /// What happened.
    pub tally: Tally,
    /// The files, in order.
    pub files: Vec<ShardInfo>,
    /// Digest of the content, which downstream keys depend on: of the rows in order, wherever shards begin and end, and
    /// of the names and bytes of all other files.
    pub digest: String,
    /// Digest of this manifest itself, all of the above: a manifest that was changed is noticed.
    pub seal: String,
}

impl Manifest {
    /// The version that this program writes.
    pub const FORMAT: u32 = 2;

    /// The manifest with its seal.
    pub(crate) fn sealed(mut self) -> Manifest {
        self.seal = self.seal_of();
        self
    }

    fn seal_of(&self) -> String {
        let content = serde_json::to_string(&Manifest { seal: String::new(), ..self.clone() }).unwrap_or_default();
        Digest::new("manifest").field(&content).finish()
    }

    /// Reads a manifest and checks its seal.
    ///
    /// # Errors
    /// When it cannot be read or understood, is of another version, or was changed.
    pub fn read(path: &Path) -> Result<Manifest, DatasetError> {
        let text = read_regular_text(path, MAX_BYTES).map_err(DatasetError::io("read", path))?;
        let wrong = |message: String| DatasetError::Manifest { path: path.to_owned(), message };
        // The version first: another version's manifest may lack fields.
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if format != Some(u64::from(Manifest::FORMAT)) {
            let found = format.map_or("none".to_owned(), |format| format.to_string());
            return Err(wrong(format!("expected format {}, found {found}", Manifest::FORMAT)));
        }
        let manifest: Manifest = serde_json::from_value(value.clone()).map_err(|error| wrong(error.to_string()))?;
        // A name that was changed reads as a field that is not there, whose default may be what it held.
        let kept = serde_json::to_value(&manifest).map_err(|error| wrong(error.to_string()))?;
        if manifest.seal != manifest.seal_of() || !has_names(&kept, &value) {
            return Err(wrong("its seal does not match: it was changed after it was written\nhint: delete its folder to have the stage run again".to_owned()));
        }
        Ok(manifest)
    }
}

/// Whether `kept` has every name that `found` has, wherever in it.
fn has_names(kept: &serde_json::Value, found: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Object};
    match (kept, found) {
        (Object(kept), Object(found)) => {
            found.iter().all(|(name, found)| kept.get(name).is_some_and(|kept| has_names(kept, found)))
        }
        (Array(kept), Array(found)) => kept.iter().zip(found).all(|(kept, found)| has_names(kept, found)),
        _ => true,
    }
}

/// Now, UTC, RFC 3339, to the second.
pub fn timestamp() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_else(|_| jiff::Timestamp::now()).to_string()
}
