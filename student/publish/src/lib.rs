//! Publishing: a trained checkpoint and the manifests of everything behind it in; a folder that any tool loads, with a
//! card whose every figure comes from a manifest, out.
//!
//! What a licence restricts is not published by oversight:
//!
//! ```
//! # use distill_publish::{LicenceError, PublishConfig, check_licences};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = PublishConfig {
//!     model_name: "my student".to_owned(),
//!     license: "apache-2.0".to_owned(),
//!     teacher_license: "llama3.3".to_owned(),
//!     base_model: None,
//!     base_license: None,
//!     accepted_restrictions: Vec::new(),
//! };
//! config.check()?;
//! let refused = check_licences(&config, &[], false);
//! assert!(matches!(refused, Err(LicenceError::Restricted { of: "the teacher", .. })));
//!
//! // Somebody read it, and says so.
//! config.accepted_restrictions.push("llama3.3".to_owned());
//! check_licences(&config, &[], false)?;
//!
//! // A student that started from a checkpoint needs the licence of that as well.
//! assert!(matches!(check_licences(&config, &[], true), Err(LicenceError::Base)));
//! # Ok(())
//! # }
//! ```

mod card;
mod licence;
#[cfg(test)]
mod tests;

pub use card::{Lineage, data_card, dropped_card, model_card};
pub use licence::{LicenceError, check_licences};

use distill_dataset::{Context, DatasetError, Stage, Tally, copy_fresh, create_fresh};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    fs,
    io::{Read, Write as _},
    path::Path,
};

/// The stage of [`publish`].
pub const PUBLISHED: Stage = Stage { name: "published", version: 2 };

/// What a recipe says of publishing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PublishConfig {
    /// The model's name on its card.
    pub model_name: String,
    /// SPDX identifier of its licence.
    pub license: String,
    /// Licence under which the teacher's outputs may be used.
    pub teacher_license: String,
    /// The model the student started from, where that is somebody's.
    #[serde(default)]
    pub base_model: Option<String>,
    /// Its licence: needed where the student started from a checkpoint.
    #[serde(default)]
    pub base_license: Option<String>,
    /// Restrictive licences of the inputs that were read and are respected.
    #[serde(default)]
    pub accepted_restrictions: Vec<String>,
}

impl PublishConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Which key, expected and found.
    pub fn check(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        for (key, value) in
            [("model-name", &self.model_name), ("license", &self.license), ("teacher-license", &self.teacher_license)]
        {
            if value.trim().is_empty() || value.contains(['\n', '\r']) {
                wrong.push(format!("`{key}`: expected one line of text, found {value:?}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}

/// Why a checkpoint was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A licence forbids it.
    #[error(transparent)]
    Licence(#[from] LicenceError),
    /// A figure or a file is missing.
    #[error("publishing needs {0}: there is none")]
    Missing(&'static str),
    /// The disk refused.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// Files of a checkpoint folder that are published, as far as they are there, beside its weights.
const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/// What of a checkpoint folder is published: the files above and the weights, whole or in shards, sorted.
fn published_files(checkpoint: &Path) -> Result<Vec<String>, PublishError> {
    let entries = fs::read_dir(checkpoint).map_err(DatasetError::io("list", checkpoint))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(DatasetError::io("list", checkpoint))?.file_name().to_string_lossy().into_owned();
        let weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
        if FILES.contains(&name.as_str()) || (weights && name.starts_with("model")) {
            names.push(name);
        }
    }
    if !names.iter().any(|name| name.ends_with(".safetensors")) {
        return Err(PublishError::Missing("the checkpoint's weights"));
    }
    names.sort();
    Ok(names)
}

/// Writes the folder: the checkpoint's files, the card, their checksums.
///
/// # Errors
/// When a licence forbids it, a figure is missing, or the disk refuses.
pub fn publish(
    config: &PublishConfig,
    checkpoint: &Path,
    lineage: &Lineage,
    context: &Context,
    out: &Path,
) -> Result<Tally, PublishError> {
    check_licences(config, &lineage.problems, lineage.has_base)?;
    let mut names = published_files(checkpoint)?;
    context.progress.begin("publish", names.len() as u64, "files");
    let card = model_card(config, lineage)?;
    for (index, name) in names.iter().enumerate() {
        let from = checkpoint.join(name);
        copy_fresh(&from, &out.join(name)).map_err(DatasetError::io("copy", from))?;
        context.progress.advance(index as u64 + 1, name.as_str());
    }
    write(out, "README.md", &card)?;
    names.push("README.md".to_owned());
    names.sort_unstable();
    let mut sums = String::new();
    for name in &names {
        let hex = sha256(&out.join(name))?;
        // Writing into a string cannot fail.
        let _ = writeln!(sums, "{hex}  {name}");
    }
    write(out, "SHA256SUMS", &sums)?;
    context.progress.end();
    Ok(Tally { rows_out: names.len() as u64, ..Tally::default() })
}

/// The SHA-256 of a file, read in pieces, as `sha256sum` prints it.
fn sha256(path: &Path) -> Result<String, DatasetError> {
    let mut file = fs::File::open(path).map_err(DatasetError::io("open", path))?;
    let (mut hasher, mut piece) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut piece).map_err(DatasetError::io("read", path))? {
            0 => break,
            length => hasher.update(&piece[..length]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write(out: &Path, name: &str, text: &str) -> Result<(), DatasetError> {
    let path = out.join(name);
    create_fresh(&path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(DatasetError::io("write", path))
}
