//! The content-addressed store: `<root>/<stage>/<key>/` holds one stage's output, and its `manifest.json` says so.
//!
//! A folder without a manifest is unfinished work: whoever claims it next clears its files, keeps its scratch space and
//! resumes. A claim is an advisory lock that dies with its process.

use crate::{
    digest::{Digest, digest_file},
    error::DatasetError,
    manifest::{Manifest, ShardInfo},
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

const MANIFEST: &str = "manifest.json";
const LOCK: &str = ".lock";
const SCRATCH: &str = "scratch";

/// Where results live.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// A store below `root`; nothing is created yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Store { root: root.into() }
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of one stage's result.
    pub fn stage(&self, stage: &str, key: &str) -> StageDir {
        StageDir { path: self.root.join(stage).join(&key[..key.len().min(16)]), key: key.to_owned() }
    }

    /// The journal of everything ever sampled from a teacher: shared by all runs.
    pub fn samples(&self, teacher: &str) -> PathBuf {
        self.root.join("samples").join(teacher)
    }
}

/// One stage's folder, done or not.
#[derive(Clone, Debug)]
pub struct StageDir {
    path: PathBuf,
    key: String,
}

impl StageDir {
    /// Where its files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole key; the folder is named by its first digits.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its manifest, or nothing when the stage is not done.
    ///
    /// # Errors
    /// When a manifest is there and cannot be understood, or is another key's.
    pub fn manifest(&self) -> Result<Option<Manifest>, DatasetError> {
        let path = self.path.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DatasetError::io("read", path)(error)),
        };
        let manifest: Manifest = serde_json::from_str(&text)
            .map_err(|error| DatasetError::Manifest { path: path.clone(), message: error.to_string() })?;
        if manifest.key != self.key || manifest.format != Manifest::FORMAT {
            let message = format!(
                "expected format {} and key {}, found format {} and key {}",
                Manifest::FORMAT,
                self.key,
                manifest.format,
                manifest.key
            );
            return Err(DatasetError::Manifest { path, message });
        }
        Ok(Some(manifest))
    }

    /// Takes hold of the folder to do the work: clears what an interrupted attempt left, except its scratch space.
    ///
    /// # Errors
    /// `Busy` when another process holds it.
    pub fn claim(&self) -> Result<Claim, DatasetError> {
        let scratch = self.path.join(SCRATCH);
        fs::create_dir_all(&scratch).map_err(DatasetError::io("create", &scratch))?;
        let path = self.path.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(DatasetError::io("create", &path))?;
        lock.try_lock().map_err(|_| DatasetError::Busy { path: self.path.clone() })?;
        let claim = Claim { dir: self.clone(), _lock: lock };
        if self.manifest()?.is_none() {
            for path in outputs(&self.path)? {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(DatasetError::io("remove", &path))?;
            }
        }
        Ok(claim)
    }
}

/// The right to write one stage's folder.
#[derive(Debug)]
pub struct Claim {
    dir: StageDir,
    _lock: File,
}

impl Claim {
    /// Where the stage writes its files.
    pub fn output(&self) -> &Path {
        &self.dir.path
    }

    /// Space that survives a kill and is removed on commit.
    pub fn scratch(&self) -> PathBuf {
        self.dir.path.join(SCRATCH)
    }

    /// Lists, digests and syncs every file the stage wrote, then writes the manifest whole, last. `manifest` comes with
    /// everything but `files` and `digest`.
    ///
    /// # Errors
    /// When the disk refuses; the folder then has no manifest and the stage is not done.
    pub fn commit(self, manifest: Manifest) -> Result<Manifest, DatasetError> {
        let manifest = describe(&self.dir.path, manifest)?;
        let path = self.dir.path.join(MANIFEST);
        let temporary = self.dir.path.join("manifest.json.tmp");
        let json = serde_json::to_string_pretty(&manifest)
            .map_err(|error| DatasetError::Manifest { path: path.clone(), message: error.to_string() })?;
        write_synced(&temporary, json.as_bytes())?;
        fs::rename(&temporary, &path).map_err(DatasetError::io("rename", &temporary))?;
        sync_dir(&self.dir.path)?;
        let scratch = self.scratch();
        fs::remove_dir_all(&scratch).map_err(DatasetError::io("remove", &scratch))?;
        Ok(manifest)
    }
}

/// Lists, digests and syncs every file of a stage's folder and completes the manifest with them.
pub(crate) fn describe(dir: &Path, mut manifest: Manifest) -> Result<Manifest, DatasetError> {
    let mut pending = outputs(dir)?;
    let mut files = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            sync_dir(&path)?;
            pending.extend(list(&path)?);
            continue;
        }
        let file = File::open(&path).map_err(DatasetError::io("open", &path))?;
        file.sync_all().map_err(DatasetError::io("sync", &path))?;
        let bytes = file.metadata().map_err(DatasetError::io("read", &path))?.len();
        let digest = digest_file(&path).map_err(DatasetError::io("read", &path))?;
        let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
        files.push(ShardInfo { rows: num_rows(&path, file)?, file: name, bytes, digest });
    }
    files.sort_by(|a, b| a.file.cmp(&b.file));
    let mut digest = Digest::new("files");
    for file in &files {
        digest.field(&file.file).field(&file.digest);
    }
    manifest.digest = digest.finish();
    manifest.files = files;
    Ok(manifest)
}

/// What a stage wrote: everything but the lock, the scratch space and the manifest.
fn outputs(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut files = list(dir)?;
    files.retain(|path| ![MANIFEST, LOCK, SCRATCH].iter().any(|name| path.ends_with(name)));
    Ok(files)
}

fn num_rows(path: &Path, file: File) -> Result<u64, DatasetError> {
    if path.extension().is_none_or(|extension| extension != "parquet") {
        return Ok(0);
    }
    let reader = SerializedFileReader::new(file)
        .map_err(|error| DatasetError::Parquet { path: path.to_owned(), message: error.to_string() })?;
    Ok(reader.metadata().file_metadata().num_rows().unsigned_abs())
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let entries = fs::read_dir(dir).map_err(DatasetError::io("list", dir))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(DatasetError::io("list", dir))).collect()
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    let mut file = File::create(path).map_err(DatasetError::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(DatasetError::io("write", path))
}

fn sync_dir(path: &Path) -> Result<(), DatasetError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(DatasetError::io("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{StageTime, Tally};

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn draft() -> Manifest {
        Manifest {
            format: Manifest::FORMAT,
            stage: "traces".to_owned(),
            stage_version: 1,
            key: KEY.to_owned(),
            inputs: vec![],
            config: serde_json::Value::Null,
            seed: 17,
            revision: String::new(),
            device: "cpu".to_owned(),
            time: StageTime::default(),
            tally: Tally::default(),
            files: vec![],
            digest: String::new(),
        }
    }

    #[test]
    fn an_interrupted_attempt_leaves_no_files_but_its_scratch_space() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let dir = Store::new(root.path()).stage("traces", KEY);
        let claim = dir.claim().expect("a claim");
        fs::write(claim.output().join("part-00000.parquet.tmp"), "half").expect("a file");
        fs::write(claim.scratch().join("journal"), "kept").expect("a file");
        drop(claim);
        assert_eq!(dir.manifest().expect("no error"), None, "no manifest, so not done");
        let claim = dir.claim().expect("a second claim");
        assert!(!claim.output().join("part-00000.parquet.tmp").exists(), "half-written files must not survive");
        assert_eq!(fs::read_to_string(claim.scratch().join("journal")).expect("the journal"), "kept");
    }

    #[test]
    fn two_processes_cannot_write_one_stage() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let dir = Store::new(root.path()).stage("traces", KEY);
        let _held = dir.claim().expect("a claim");
        assert!(matches!(dir.claim(), Err(DatasetError::Busy { .. })));
    }

    #[test]
    fn a_changed_file_is_noticed() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let dir = Store::new(root.path()).stage("traces", KEY);
        let claim = dir.claim().expect("a claim");
        fs::create_dir(claim.output().join("model")).expect("a folder");
        fs::write(claim.output().join("model/weights"), "1234").expect("a file");
        let manifest = claim.commit(draft()).expect("a commit");
        assert_eq!(dir.manifest().expect("no error").as_ref(), Some(&manifest));
        let dataset = crate::Dataset { dir: dir.path().to_owned(), manifest };
        dataset.verify().expect("unchanged files pass");
        fs::write(dir.path().join("model/weights"), "1235").expect("a changed file");
        assert!(matches!(dataset.verify(), Err(DatasetError::Checksum { .. })));
    }

    #[test]
    fn a_manifest_of_another_key_is_not_taken_for_this_one() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let dir = Store::new(root.path()).stage("traces", KEY);
        dir.claim().expect("a claim").commit(draft()).expect("a commit");
        let other = format!("{}ffff", &KEY[..28]);
        assert!(matches!(
            Store::new(root.path()).stage("traces", &other).manifest(),
            Err(DatasetError::Manifest { .. })
        ));
    }
}
