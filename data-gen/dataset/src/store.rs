//! The content-addressed store: `<root>/<stage>/<key>/` holds one stage's output, and its `manifest.json` says so.
//!
//! ```text
//! <root>/<stage>/<key>/
//!   manifest.json            written last: its existence means done
//!   part-00000.parquet …     the output, once the manifest is there
//!   units/00003/             a unit that is done: its output, `unit.json`, the digests of its rows
//!   work/00003-<owner>/      what an owner of a unit is writing
//!   scratch/00003/           what a unit keeps across kills
//!   leases/00003             who works on a unit
//! ```
//!
//! A unit is committed by renaming its `work` folder, which happens once: whoever comes second, with an expired lease or
//! none, finds the name taken and throws its own copy away. Leases therefore only save work.

use crate::{
    digest::{Digest, digest_file},
    error::DatasetError,
    manifest::{Manifest, ShardInfo},
    owner::{Liveness, Owner},
    put::{put_if_absent, random_id, sync_dir},
    reserve::{Reservations, Reserve},
    shard_file::{FIRST, LAST},
    tally::Tally,
    write::{ROW_DIGEST, ROWS},
};
use distill_files::{create_fresh, open_regular, read_regular_text};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

const MANIFEST: &str = "manifest.json";
const UNITS: &str = "units";
const WORK: &str = "work";
const SCRATCH: &str = "scratch";
const LEASES: &str = "leases";
const MARKER: &str = "unit.json";
/// Most bytes of a marker.
const MAX_MARKER: u64 = 1 << 28;

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

    /// Everything ever sampled from a teacher: shared by all runs.
    pub fn samples(&self, teacher: &str) -> PathBuf {
        self.root.join("samples").join(teacher)
    }

    /// Where the processes that work on this store are known.
    pub fn owners(&self) -> PathBuf {
        self.root.join("owners")
    }
}

/// What a unit did: its marker, written with its output and not changed after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitReport {
    /// Rows written.
    pub rows: u64,
    /// Digest of the rows in order and of all other files.
    pub digest: String,
    /// What happened.
    pub tally: Tally,
    /// Seconds spent, summed over resumed attempts that ended in order.
    pub wall_s: f64,
    /// Its files.
    pub files: Vec<ShardInfo>,
}

/// One stage's folder, done or not.
#[derive(Clone, Debug)]
pub struct StageDir {
    path: PathBuf,
    key: String,
}

/// What came of asking for a unit.
pub enum Claimed {
    /// It is this process's to do.
    Mine(Claim),
    /// It is done.
    Done,
    /// Another process works on it.
    Held {
        /// Which, for people.
        by: String,
    },
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
    /// When a manifest is there and cannot be understood, was changed, or is another key's.
    pub fn manifest(&self) -> Result<Option<Manifest>, DatasetError> {
        let path = self.path.join(MANIFEST);
        if !path.try_exists().map_err(DatasetError::io("read", &path))? {
            return Ok(None);
        }
        let manifest = Manifest::read(&path)?;
        if manifest.key != self.key {
            let message = format!("expected key {}, found key {}", self.key, manifest.key);
            return Err(DatasetError::Manifest { path, message });
        }
        Ok(Some(manifest))
    }

    /// How many units are done, while the manifest is not there.
    pub fn num_done(&self) -> usize {
        let entries = fs::read_dir(self.path.join(UNITS)).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().join(MARKER).is_file()).count()
    }

    /// Whether a unit is done.
    pub fn is_done(&self, unit: usize) -> bool {
        self.unit(unit).join(MARKER).is_file() || self.path.join(MANIFEST).is_file()
    }

    fn unit(&self, unit: usize) -> PathBuf {
        self.path.join(UNITS).join(format!("{unit:05}"))
    }

    /// Asks for a unit: takes its lease, and clears what dead owners left half written.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn claim(&self, unit: usize, owner: &Arc<Owner>) -> Result<Claimed, DatasetError> {
        if self.is_done(unit) {
            return Ok(Claimed::Done);
        }
        let leases = Reservations::open(&self.path.join(LEASES), owner.clone())?;
        if let Reserve::HeldBy { holder, .. } = leases.try_reserve(&format!("{unit:05}"))? {
            return Ok(Claimed::Held { by: holder });
        }
        let claim = Claim { dir: self.clone(), unit, owner: owner.id().to_owned(), leases };
        if self.is_done(unit) {
            claim.release();
            return Ok(Claimed::Done);
        }
        let stem = format!("{unit:05}-");
        for left in list_if_there(&self.path.join(WORK))? {
            let name = left.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(id) = name.strip_prefix(&stem) else { continue };
            if id == owner.id() || owner.liveness(id)? == Liveness::Dead {
                remove_tree(&left)?;
            }
        }
        for folder in [claim.output(), claim.scratch()] {
            fs::create_dir_all(&folder).map_err(DatasetError::io("create", &folder))?;
        }
        Ok(Claimed::Mine(claim))
    }

    /// Makes one dataset of all units: moves their files up, and writes the manifest whole, last. `draft` comes with
    /// everything but what the units know.
    ///
    /// Several processes may do this at once, and a killed one is finished by the next.
    ///
    /// # Errors
    /// When a unit is missing or the disk refuses; the stage is then not done.
    pub fn finish(&self, num_units: usize, draft: Manifest) -> Result<Manifest, DatasetError> {
        match self.gather(num_units, draft) {
            Err(DatasetError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                // Another process may have been faster, and have put everything away.
                let path = self.path.join(MANIFEST);
                self.manifest()?.ok_or_else(|| DatasetError::io("read", path)(source))
            }
            outcome => outcome,
        }
    }

    fn gather(&self, num_units: usize, mut manifest: Manifest) -> Result<Manifest, DatasetError> {
        let mut content = Content::default();
        let mut tally: Option<Tally> = None;
        for unit in 0..num_units {
            let folder = self.unit(unit);
            let report = read_marker(&folder.join(MARKER))?;
            content.rows(&folder, &report.files)?;
            match &mut tally {
                None => tally = Some(report.tally),
                Some(sum) => sum.merge(report.tally),
            }
            manifest.time.wall_s += report.wall_s;
            manifest.files.extend(report.files);
        }
        manifest.tally = tally.unwrap_or_default();
        manifest.files.sort_by(|a, b| a.file.cmp(&b.file));
        manifest.digest = content.finish(&manifest.files);
        for unit in 0..num_units {
            self.move_up(&self.unit(unit))?;
        }
        sync_dir(&self.path)?;
        let manifest = manifest.sealed();
        let path = self.path.join(MANIFEST);
        let json = serde_json::to_string_pretty(&manifest)
            .map_err(|error| DatasetError::Manifest { path: path.clone(), message: error.to_string() })?;
        // The first stays: its time and program are those that people see.
        let manifest = match put_if_absent(&path, json.as_bytes())? {
            true => manifest,
            false => self.manifest()?.unwrap_or(manifest),
        };
        [LEASES, WORK, SCRATCH, UNITS].iter().try_for_each(|folder| remove_tree(&self.path.join(folder)))?;
        Ok(manifest)
    }

    /// Moves a unit's files to where the stage's output lies. One that is not there was moved before.
    fn move_up(&self, folder: &Path) -> Result<(), DatasetError> {
        for info in read_marker(&folder.join(MARKER))?.files {
            let (from, to) = (folder.join(&info.file), self.path.join(&info.file));
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(DatasetError::io("create", parent))?;
            }
            match fs::rename(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => {}
                outcome => outcome.map_err(DatasetError::io("rename", &from))?,
            }
        }
        Ok(())
    }
}

/// The right to do one unit of a stage.
pub struct Claim {
    dir: StageDir,
    unit: usize,
    owner: String,
    leases: Reservations,
}

impl Claim {
    /// Where the unit writes its files.
    pub fn output(&self) -> PathBuf {
        self.dir.path.join(WORK).join(format!("{:05}-{}", self.unit, self.owner))
    }

    /// Space that survives a kill and is removed on commit.
    pub fn scratch(&self) -> PathBuf {
        self.dir.path.join(SCRATCH).join(format!("{:05}", self.unit))
    }

    /// Whether the lease is still this process's. A process that was stopped for long may have lost it.
    pub fn is_mine(&self) -> bool {
        self.leases.still_mine(&format!("{:05}", self.unit)).unwrap_or(true)
    }

    /// Digests and syncs every file that the unit wrote, and commits them with the marker, all at once. Where another
    /// owner was faster, its output stays and this one is thrown away.
    ///
    /// # Errors
    /// When the disk refuses; the unit is then not done.
    pub fn commit(self, tally: Tally, wall_s: f64) -> Result<UnitReport, DatasetError> {
        let output = self.output();
        let files = files_of(&output)?;
        let mut content = Content::default();
        content.rows(&output, &files)?;
        let rows = files.iter().map(|file| file.rows).sum();
        let report = UnitReport { rows, digest: content.finish(&files), tally, wall_s, files };
        let marker = output.join(MARKER);
        let json = serde_json::to_vec_pretty(&report)
            .map_err(|error| DatasetError::Manifest { path: marker.clone(), message: error.to_string() })?;
        write_synced(&marker, &json)?;
        sync_dir(&output)?;
        let (units, unit) = (self.dir.path.join(UNITS), self.dir.unit(self.unit));
        fs::create_dir_all(&units).map_err(DatasetError::io("create", &units))?;
        let report = match fs::rename(&output, &unit) {
            Ok(()) => report,
            Err(_) if self.dir.is_done(self.unit) => {
                remove_tree(&output)?;
                report
            }
            Err(error) => return Err(DatasetError::io("rename", output)(error)),
        };
        sync_dir(&units)?;
        sync_dir(&self.dir.path)?;
        remove_tree(&self.scratch())?;
        self.release();
        Ok(report)
    }

    /// Gives the unit up; its scratch space stays for the next owner.
    pub fn release(&self) {
        // A lease that stays only costs the next owner a look at who holds it.
        let _ = self.leases.release(&format!("{:05}", self.unit));
    }
}

fn read_marker(path: &Path) -> Result<UnitReport, DatasetError> {
    let text = read_regular_text(path, MAX_MARKER).map_err(DatasetError::io("read", path))?;
    serde_json::from_str(&text)
        .map_err(|error| DatasetError::Manifest { path: path.to_owned(), message: error.to_string() })
}

/// The digest of a content in the making: rows in order, wherever they are cut, then all other files.
#[derive(Default)]
struct Content {
    rows: Option<(blake3::Hasher, u64)>,
}

impl Content {
    /// Adds the rows of a folder with these files, if any of them is a shard.
    fn rows(&mut self, folder: &Path, files: &[ShardInfo]) -> Result<(), DatasetError> {
        if !files.iter().any(|file| file.file.ends_with(".parquet")) {
            return Ok(());
        }
        // Where it is missing, another process has put the unit away in the meantime: that is no unit without rows.
        let path = folder.join(ROWS);
        let mut file = open_regular(&path).map_err(DatasetError::io("open", &path))?;
        let (hasher, count) = self.rows.get_or_insert_with(Default::default);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = file.read(&mut buffer).map_err(DatasetError::io("read", &path))?;
            if length == 0 {
                return Ok(());
            }
            hasher.update(&buffer[..length]);
            *count += length as u64;
        }
    }

    fn finish(self, files: &[ShardInfo]) -> String {
        let mut digest = Digest::new("content");
        if let Some((hasher, bytes)) = self.rows {
            digest.field(&(bytes / ROW_DIGEST as u64).to_string()).bytes(hasher.finalize().as_bytes());
        }
        for file in files.iter().filter(|file| !file.file.ends_with(".parquet")) {
            digest.field(&file.file).field(&file.digest);
        }
        digest.finish()
    }
}

/// Describes what lies in a folder outside any store.
pub(crate) fn describe(dir: &Path, mut manifest: Manifest) -> Result<Manifest, DatasetError> {
    manifest.files = files_of(dir)?;
    let mut content = Content::default();
    content.rows(dir, &manifest.files)?;
    manifest.digest = content.finish(&manifest.files);
    Ok(manifest.sealed())
}

/// Lists, digests and syncs every file of a folder.
fn files_of(dir: &Path) -> Result<Vec<ShardInfo>, DatasetError> {
    let mut pending = vec![dir.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = pending.pop() {
        for path in list(&folder)? {
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let file = open_regular(&path).map_err(DatasetError::io("open", &path))?;
            file.sync_all().map_err(DatasetError::io("sync", &path))?;
            let name = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
            if [ROWS, MARKER, MANIFEST].contains(&name.as_str()) {
                continue;
            }
            let bytes = file.metadata().map_err(DatasetError::io("read", &path))?.len();
            let digest = digest_file(&path).map_err(DatasetError::io("read", &path))?;
            let (rows, span) = footer(&path, file)?;
            files.push(ShardInfo { file: name, rows, bytes, digest, span });
        }
        sync_dir(&folder)?;
    }
    files.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(files)
}

/// The number of rows of a shard, and between which sort keys they lie.
fn footer(path: &Path, file: File) -> Result<(u64, Option<[String; 2]>), DatasetError> {
    if path.extension().is_none_or(|extension| extension != "parquet") {
        return Ok((0, None));
    }
    let reader = SerializedFileReader::new(file)
        .map_err(|error| DatasetError::Parquet { path: path.to_owned(), message: error.to_string() })?;
    let metadata = reader.metadata().file_metadata();
    let value = |key: &str| {
        let pairs = metadata.key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.clone()
    };
    let span = value(FIRST).zip(value(LAST)).map(|(first, last)| [first, last]);
    Ok((metadata.num_rows().unsigned_abs(), span))
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let entries = fs::read_dir(dir).map_err(DatasetError::io("list", dir))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(DatasetError::io("list", dir))).collect()
}

fn list_if_there(dir: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    if dir.is_dir() { list(dir) } else { Ok(Vec::new()) }
}

/// Removes a folder that another process may be removing too.
fn remove_tree(folder: &Path) -> Result<(), DatasetError> {
    match fs::remove_dir_all(folder) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(DatasetError::io("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Writes a small file whole: under a temporary name of its own, synced, renamed, its folder synced. A reader sees the
/// old bytes or the new, never half, whoever else writes it.
///
/// # Errors
/// When the disk refuses; the old file is then still there.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", random_id()?));
    let written = write_synced(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path).map_err(DatasetError::io("rename", &temporary)));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), DatasetError> {
    let mut file = create_fresh(path).map_err(DatasetError::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(DatasetError::io("write", path))
}

#[cfg(test)]
mod tests;
