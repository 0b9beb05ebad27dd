//! What things from outside the store are: digests of checkpoint folders and of input files, never of their paths.

use anyhow::{Context, Result, bail};
use distill_chat::Chat;
use distill_dataset::{Digest, digest_file};
use distill_teacher_local::Precision;
use std::path::{Path, PathBuf};

/// The digest of what decides a checkpoint's output: weights, configuration, tokenizer, templates.
///
/// # Errors
/// When it is not there or cannot be read.
pub fn checkpoint(dir: &Path) -> Result<String> {
    if dir.extension().is_some_and(|extension| extension == "gguf") {
        return digest_all("checkpoint", &[dir.to_owned()]);
    }
    if !dir.is_dir() {
        bail!(
            "no checkpoint at {}: expected a folder with config.json, model.safetensors and tokenizer.json, or a .gguf file",
            dir.display()
        );
    }
    let decides = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.ends_with(".safetensors")
            || name.ends_with(".safetensors.index.json")
            || name == "config.json"
            || Chat::FILES.contains(&name.as_str())
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(|| format!("cannot list {}", dir.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(decides);
    files.sort();
    digest_all("checkpoint", &files)
}

/// The identity of a checkpoint as it is decoded: its digest, and the precision that its weights are rounded to, if they
/// are.
///
/// # Errors
/// As [`checkpoint`].
pub fn decoded(dir: &Path, precision: Precision) -> Result<String> {
    let digest = checkpoint(dir)?;
    Ok(if precision.is_reduced() { format!("{digest}+{}", precision.name()) } else { digest })
}

/// The digest of input files, in order.
///
/// # Errors
/// When one cannot be read.
pub fn digest_all(kind: &str, files: &[PathBuf]) -> Result<String> {
    let mut digest = Digest::new(kind);
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        digest.field(&name).field(&digest_file(file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(digest.finish())
}

/// The digest of a chat folder: tokenizer and template.
///
/// # Errors
/// When a file cannot be read.
pub fn chat(dir: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> = Chat::FILES.iter().map(|name| dir.join(name)).collect();
    files.retain(|file| file.exists());
    anyhow::ensure!(
        !files.is_empty(),
        "no chat folder at {}: expected tokenizer.json and chat_template.jinja",
        dir.display()
    );
    digest_all("chat", &files)
}
