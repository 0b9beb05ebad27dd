//! What things from outside the store are: digests of checkpoint folders and of input files, never of their paths.
//!
//! A file that is as it was (path, size, time of change, inode) is not read again: its digest is remembered beside the
//! store. One that was changed within the last seconds is not remembered, since a second change could leave its time as
//! it is.

use crate::student;
use anyhow::{Context, Result};
use distill_chat::Chat;
use distill_dataset::{Dataset, Digest, digest_file, read_regular, write_whole};
use distill_teacher_local::Precision;
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Age of a file from which on its digest is remembered.
const SETTLED: Duration = Duration::from_secs(5);

/// Most bytes of what is remembered.
const MAX_KNOWN: u64 = 1 << 28;

/// Digests of files outside the store.
#[derive(Debug, Default)]
pub struct Outside {
    path: PathBuf,
    known: RefCell<BTreeMap<PathBuf, Known>>,
    learnt: RefCell<bool>,
}

/// A file as it was when it was digested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    size: u64,
    changed_s: i64,
    changed_ns: i64,
    inode: u64,
    digest: String,
}

impl Known {
    fn of(metadata: &Metadata, digest: String) -> Known {
        let (changed_s, changed_ns) = (metadata.mtime(), metadata.mtime_nsec());
        Known { size: metadata.len(), changed_s, changed_ns, inode: metadata.ino(), digest }
    }
}

impl Outside {
    /// What is remembered in a store; nothing where it cannot be read.
    pub fn read(store: &Path) -> Outside {
        let path = store.join("outside.json");
        let known = read_regular(&path, MAX_KNOWN).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Outside { path, known: RefCell::new(known.unwrap_or_default()), learnt: RefCell::default() }
    }

    /// Remembers what was digested; that it cannot be written costs only time.
    pub fn remember(&self) {
        if self.learnt.replace(false) {
            let _ = serde_json::to_vec(&*self.known.borrow()).map(|json| write_whole(&self.path, &json));
        }
    }

    fn file(&self, path: &Path) -> Result<String> {
        let unread = || format!("cannot read {}", path.display());
        let metadata = std::fs::metadata(path).with_context(unread)?;
        let place = std::path::absolute(path).with_context(unread)?;
        if let Some(known) = self.known.borrow().get(&place)
            && *known == Known::of(&metadata, known.digest.clone())
        {
            return Ok(known.digest.clone());
        }
        let digest = digest_file(path).with_context(unread)?;
        let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age > SETTLED) {
            self.known.borrow_mut().insert(place, Known::of(&metadata, digest.clone()));
            self.learnt.replace(true);
        }
        Ok(digest)
    }

    /// Remembers the files of a dataset that was made just now.
    pub fn learn(&self, dataset: &Dataset) {
        for file in &dataset.manifest.files {
            let path = dataset.dir.join(&file.file);
            if let (Ok(place), Ok(metadata)) = (std::path::absolute(&path), std::fs::metadata(&path)) {
                self.known.borrow_mut().insert(place, Known::of(&metadata, file.digest.clone()));
                self.learnt.replace(true);
            }
        }
    }

    /// Whether the files of a dataset are as they were made. Those that nobody touched since are not read.
    ///
    /// # Errors
    /// Which file is another now.
    pub fn unchanged(&self, dataset: &Dataset) -> Result<()> {
        for file in &dataset.manifest.files {
            if self.file(&dataset.dir.join(&file.file))? != file.digest {
                dataset.verify()?;
            }
        }
        Ok(())
    }

    /// The digest of what decides a checkpoint's output: weights, configuration, tokenizer, templates.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn checkpoint(&self, dir: &Path) -> Result<String> {
        student::there(dir)?;
        if dir.extension().is_some_and(|extension| extension == "gguf") {
            return self.files("checkpoint", &[dir.to_owned()]);
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
        self.files("checkpoint", &files)
    }

    /// The identity of a checkpoint as it is decoded: its digest, and the precision that its weights are rounded to, if they
    /// are.
    ///
    /// # Errors
    /// As [`Outside::checkpoint`].
    pub fn decoded(&self, dir: &Path, precision: Precision) -> Result<String> {
        let digest = self.checkpoint(dir)?;
        Ok(if precision.is_reduced() { format!("{digest}+{}", precision.name()) } else { digest })
    }

    /// The digest of input files, in order.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn files(&self, kind: &str, files: &[PathBuf]) -> Result<String> {
        let mut digest = Digest::new(kind);
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            digest.field(&name).field(&self.file(file)?);
        }
        Ok(digest.finish())
    }

    /// The digest of a chat folder: tokenizer and template.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn chat(&self, dir: &Path) -> Result<String> {
        let mut files: Vec<PathBuf> = Chat::FILES.iter().map(|name| dir.join(name)).collect();
        files.retain(|file| file.exists());
        anyhow::ensure!(
            !files.is_empty(),
            "no chat folder at {}: expected tokenizer.json and chat_template.jinja",
            dir.display()
        );
        self.files("chat", &files)
    }
}
