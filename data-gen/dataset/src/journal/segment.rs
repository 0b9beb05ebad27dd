//! Segments being written: names, the file that a writer appends to, and whether a segment's writer still lives.

use super::frame::{self, ENTRY, HEADER, Layout, MAX_KEY, MAX_PAYLOAD, OWNER};
use crate::{
    error::DatasetError,
    lock::{Locked, try_lock, try_lock_shared},
    process::Process,
    put::{place, random_id, sync_dir},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// First bytes of a segment.
pub(super) const MAGIC: &[u8; 8] = b"distill2";
/// First bytes of a journal of version 0.1.0.
pub(super) const OLD_MAGIC: &[u8; 8] = b"distill1";
/// Longest line that says who writes a segment.
const MAX_OWNER: usize = 4096;

/// `<name>.frames`: a segment as its writer appends to it.
pub(super) fn frames_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.frames"))
}

/// `<name>.sealed`: a segment, compressed, with an index.
pub(super) fn sealed_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.sealed"))
}

/// Whether a file of eight bytes or more begins so.
pub(super) fn starts_with(file: &File, magic: &[u8; 8]) -> io::Result<bool> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(&bytes == magic)
}

/// Who writes a segment: its first frame.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Line {
    pub process: Process,
    /// Whether the file system had locks when the segment was begun.
    pub locks: bool,
}

/// Whether a segment may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its writer is at work.
    Live,
    /// Its writer is gone for certain.
    Dead,
    /// Its writer was on another machine, or is not known.
    Unknown,
}

/// The line of a segment, if it is readable.
pub(super) fn line_of(file: &File) -> io::Result<Option<Line>> {
    let mut bytes = vec![0; (file.metadata()?.len() as usize).min(MAX_OWNER)];
    file.read_exact_at(&mut bytes, 0)?;
    let frame = bytes.get(MAGIC.len()..).and_then(|bytes| frame::parse(bytes, Layout::Marked));
    let line = frame.filter(|frame| frame.marker == OWNER);
    Ok(line.and_then(|frame| serde_json::from_slice(frame.payload).ok()))
}

/// What `locked`, the answer to a request for the segment's lock, says about its writer.
pub(super) fn fate(line: Option<&Line>, locked: Locked, here: &Process) -> Fate {
    let Some(line) = line else { return if locked == Locked::Others { Fate::Live } else { Fate::Unknown } };
    match locked {
        Locked::Others => Fate::Live,
        // On another machine the lock may be local to it: that nobody here holds it says nothing.
        Locked::Mine if line.locks && line.process.shares_kernel(here) => Fate::Dead,
        Locked::Mine if line.locks => Fate::Unknown,
        _ => match line.process.runs(here) {
            Some(true) => Fate::Live,
            Some(false) => Fate::Dead,
            None => Fate::Unknown,
        },
    }
}

/// Asks for a segment's fate without keeping anybody else from asking.
pub(super) fn look(file: &File, here: &Process) -> io::Result<Fate> {
    let line = line_of(file)?;
    let locked = try_lock_shared(file)?;
    if locked == Locked::Mine {
        file.unlock()?;
    }
    Ok(fate(line.as_ref(), locked, here))
}

/// A segment that this journal appends to.
pub(super) struct Writer {
    pub name: String,
    pub path: PathBuf,
    /// Locked until it is closed.
    file: File,
    pub end: u64,
    dir_synced: bool,
    synced: Instant,
}

impl Writer {
    /// Begins a segment that sorts after `last`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn create(dir: &Path, last: &str) -> Result<Writer, DatasetError> {
        for _ in 0..8 {
            match Writer::try_create(dir, last)? {
                Some(writer) => return Ok(writer),
                // Another process took the unfinished file for one that its maker had left behind.
                None => continue,
            }
        }
        let lost = io::Error::new(ErrorKind::Interrupted, "other processes removed the new segment, eight times");
        Err(DatasetError::io("create a segment in", dir)(lost))
    }

    fn try_create(dir: &Path, last: &str) -> Result<Option<Writer>, DatasetError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
        let last = last.get(..16).and_then(|time| u64::from_str_radix(time, 16).ok()).unwrap_or(0);
        let name = format!("{:016x}-{}", now.max(last.saturating_add(1)), &random_id()?[..16]);
        let (temporary, path) = (dir.join(format!(".{name}.frames.tmp")), frames_path(dir, &name));
        let begin = || -> io::Result<Option<(File, u64)>> {
            let mut file = File::options().read(true).write(true).create_new(true).open(&temporary)?;
            let locked = try_lock(&file)?;
            if locked == Locked::Others {
                return Ok(None);
            }
            let line = Line { process: Process::this(), locks: locked == Locked::Mine };
            let mut bytes = MAGIC.to_vec();
            bytes.extend(frame::encode(OWNER, &[], &serde_json::to_vec(&line)?));
            file.write_all(&bytes)?;
            let placed = place(&temporary, &path)?;
            Ok(placed.then_some((file, bytes.len() as u64)))
        };
        let (file, end) = match begin() {
            Ok(Some(begun)) => begun,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound && dir.is_dir() => return Ok(None),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                return Err(DatasetError::io("write", path)(error));
            }
        };
        Ok(Some(Writer { name, path, file, end, dir_synced: false, synced: Instant::now() }))
    }

    /// Appends one entry; its place.
    ///
    /// # Errors
    /// When it is too long or the disk refuses; what was there before stays whole.
    pub(super) fn append(&mut self, key: &str, json: &[u8]) -> Result<(u64, u32), DatasetError> {
        let mut frame = Vec::new();
        let place = self.encode(key, json, &mut frame)?;
        self.write(&frame).map(|()| place)
    }

    /// Appends entries at once; their places.
    ///
    /// # Errors
    /// As there.
    pub(super) fn append_all(&mut self, entries: &[(&str, Vec<u8>)]) -> Result<Vec<(u64, u32)>, DatasetError> {
        let mut frames = Vec::new();
        let places = entries.iter().map(|(key, json)| self.encode(key, json, &mut frames)).collect::<Result<_, _>>()?;
        self.write(&frames).map(|()| places)
    }

    /// Adds an entry's frame to those that are written next; its place.
    fn encode(&self, key: &str, json: &[u8], frames: &mut Vec<u8>) -> Result<(u64, u32), DatasetError> {
        if key.len() > MAX_KEY || json.len() > MAX_PAYLOAD {
            let (most, found) = ((MAX_KEY, MAX_PAYLOAD), (key.len(), json.len()));
            let message = format!(
                "expected a key of at most {} and an entry of at most {} bytes, found {} and {}",
                most.0, most.1, found.0, found.1
            );
            return Err(DatasetError::Journal { path: self.path.clone(), message });
        }
        let at = self.end + frames.len() as u64;
        frames.extend(frame::encode(ENTRY, key.as_bytes(), json));
        Ok((at, (HEADER + key.len() + json.len()) as u32))
    }

    fn write(&mut self, frames: &[u8]) -> Result<(), DatasetError> {
        if let Err(error) = self.file.write_all_at(frames, self.end) {
            // The next frame is written at the same place, whether or not this half of one goes away.
            let _ = self.file.set_len(self.end);
            return Err(DatasetError::io("write", &self.path)(error));
        }
        self.end += frames.len() as u64;
        Ok(())
    }

    /// Syncs and unlocks it, to be sealed under the name that this returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn finish(mut self) -> Result<String, DatasetError> {
        self.sync()?;
        // Closing alone may not: a child that another thread is just forking has this file open, until it executes.
        let _ = self.file.unlock();
        Ok(self.name)
    }

    /// Since when entries wait for [`Writer::sync`].
    pub(super) fn synced(&self) -> Instant {
        self.synced
    }

    /// Makes its name and all that was appended survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn sync(&mut self) -> Result<(), DatasetError> {
        self.file.sync_data().map_err(DatasetError::io("sync", &self.path))?;
        if !self.dir_synced {
            // The folder may be as new as the segment.
            self.path.ancestors().skip(1).take(2).filter(|dir| dir.is_dir()).try_for_each(sync_dir)?;
            self.dir_synced = true;
        }
        self.synced = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
impl Writer {
    /// The file as a forked child would have it: the same, with its lock.
    pub(super) fn duplicate(&self) -> File {
        self.file.try_clone().expect("a second descriptor")
    }
}
