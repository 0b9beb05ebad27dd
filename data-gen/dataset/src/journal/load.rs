//! What is in the folder: segments are read once when they are sealed, and as far as they go while they grow.

use super::{
    Damage, Entry, Journal, Place, Version,
    frame::{self, ENTRY, Layout, OWNER, Tail},
    sealed::{key_digest, read_index},
    segment::{Fate, MAGIC, OLD_MAGIC, frames_path, look, sealed_path, starts_with},
};
use crate::{
    error::DatasetError,
    lock::{Locked, try_lock},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The journal of version 0.1.0.
pub(super) const OLD: &str = "journal";
/// A segment of an unknown writer that nobody wrote to for so long gets a sealed file beside it. A wrong guess costs the
/// work: the unsealed file stays, and is read from where the sealed one ends.
const IDLE: Duration = Duration::from_secs(3600);

impl<E: Entry> Journal<E> {
    /// Finds what other processes appended since. Files are opened anew, so that a network mount shows what was synced
    /// elsewhere.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn refresh(&mut self) -> Result<(), DatasetError> {
        self.load_old()?;
        for name in segment_names(&self.dir)? {
            let id = self.segment(&name);
            let segment = &self.segments[id as usize];
            if !segment.own && !segment.settled {
                self.load(&name, id)?;
            }
        }
        self.segments.iter().flat_map(|segment| &segment.damage).for_each(|damage| self.tell(damage));
        Ok(())
    }

    fn load(&mut self, name: &str, id: u32) -> Result<(), DatasetError> {
        let (path, target) = (frames_path(&self.dir, name), sealed_path(&self.dir, name));
        let mut frames = open(&path)?;
        // In this order: whoever seals removes the unsealed file last.
        let sealed = open(&target)?;
        if let Some(sealed) = &sealed {
            let index = read_index(sealed).map_err(DatasetError::io("read", &target))?;
            // An index that is lost is not needed where the segment itself is there.
            if index.covers > 0 || frames.is_none() {
                for entry in &index.entries {
                    self.insert(entry.key, Place { segment: id, at: entry.at, len: entry.len });
                }
                let segment = &mut self.segments[id as usize];
                segment.covers = index.covers;
                segment.settled = frames.is_none();
                segment.damage = index.damage.into_iter().map(|bytes| Damage { path: target.clone(), bytes }).collect();
                segment.blocks = Mutex::new(Some(Arc::new(index.blocks)));
                self.forget_file((id, true));
            }
        }
        let Some(file) = frames.take() else { return Ok(()) };
        let is_sealed = self.load_frames(&file, &path, id).map_err(DatasetError::io("read", &path))?;
        let fate = look(&file, &self.here).map_err(DatasetError::io("lock", &path))?;
        let segment = &mut self.segments[id as usize];
        let idle = || file.metadata()?.modified()?.elapsed().map_err(io::Error::other);
        let wanted = match fate {
            Fate::Live => false,
            Fate::Dead => true,
            Fate::Unknown => !is_sealed && idle().is_ok_and(|idle| idle > IDLE),
        };
        if wanted && !segment.handed {
            segment.handed = true;
            self.sealer.seal(name.to_owned(), false);
        }
        Ok(())
    }

    /// Reads what came to an unsealed segment; whether its sealed file has all of it.
    fn load_frames(&mut self, file: &File, path: &Path, id: u32) -> io::Result<bool> {
        let segment = &self.segments[id as usize];
        let (covers, version) = (segment.covers, version(file)?);
        let size = version.0;
        if covers >= size || segment.version == Some(version) {
            return Ok(covers >= size);
        }
        let from = segment.resume.max(covers).max(MAGIC.len() as u64);
        let mut found = Vec::new();
        let scan = frame::scan(file, (from.min(size), size), Layout::Marked, |at, frame| {
            if frame.marker == ENTRY {
                found.push((key_digest(frame.key), Place { segment: id, at, len: frame.len as u32 }));
            }
            frame.marker == ENTRY || frame.marker == OWNER
        })?;
        let mut damage = scan.damage;
        // A torn end may still become whole, while its writer may live.
        let torn = scan.tail == Tail::Torn && look(file, &self.here)? != Fate::Dead;
        if scan.tail != Tail::Whole && !torn {
            damage.push(scan.end..size);
        }
        let resume = damage.first().map_or(scan.end, |first| first.start);
        if size < 8 || !starts_with(file, MAGIC)? {
            damage.insert(0, 0..size.min(8));
        }
        found.into_iter().for_each(|(key, place)| self.insert(key, place));
        let segment = &mut self.segments[id as usize];
        (segment.resume, segment.version) = (resume, Some(version));
        segment.damage.retain(|damage| damage.path != path);
        segment.damage.extend(damage.into_iter().map(|bytes| Damage { path: path.to_owned(), bytes }));
        Ok(false)
    }

    /// Reads what came to the journal of version 0.1.0.
    fn load_old(&mut self) -> Result<(), DatasetError> {
        let path = self.dir.join(OLD);
        let Some(file) = open(&path)? else { return Ok(()) };
        let id = self.segment("");
        let known = self.load_old_frames(&file, &path, id).map_err(DatasetError::io("read", &path))?;
        if known {
            return Ok(());
        }
        let message = "expected a sample journal, found another kind of file".to_owned();
        Err(DatasetError::Journal { path, message })
    }

    fn load_old_frames(&mut self, file: &File, path: &Path, id: u32) -> io::Result<bool> {
        let version = version(file)?;
        let size = version.0;
        let segment = &self.segments[id as usize];
        let from = segment.resume.max(OLD_MAGIC.len() as u64);
        if from >= size || segment.version == Some(version) {
            return Ok(true);
        }
        let mut found = Vec::new();
        let scan = frame::scan(file, (from, size), Layout::Old, |at, frame| {
            let entry = serde_json::from_slice::<E>(frame.payload).ok();
            let key = entry.map(|entry| key_digest(entry.key().as_bytes()));
            found.extend(key.map(|key| (key, Place { segment: id, at, len: frame.len as u32 })));
            key.is_some()
        })?;
        let magic = starts_with(file, OLD_MAGIC)?;
        let mut damage = scan.damage;
        if scan.tail != Tail::Whole {
            damage.push(scan.end..size);
        }
        let resume = damage.first().map_or(scan.end, |first| first.start);
        if !magic {
            damage.insert(0, 0..8);
        }
        let known = magic || !found.is_empty();
        found.into_iter().for_each(|(key, place)| self.insert(key, place));
        let segment = &mut self.segments[id as usize];
        (segment.resume, segment.version) = (resume, Some(version));
        segment.damage = damage.into_iter().map(|bytes| Damage { path: path.to_owned(), bytes }).collect();
        Ok(known)
    }
}

/// Length and time of the last change: equal when there is nothing new to read.
fn version(file: &File) -> io::Result<Version> {
    let data = file.metadata()?;
    Ok((data.len(), data.modified()?))
}

/// Opens a file; nothing when there is none.
pub(super) fn open(path: &Path) -> Result<Option<File>, DatasetError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DatasetError::io("open", path)(error)),
    }
}

fn file_names(dir: &Path) -> Result<Vec<String>, DatasetError> {
    let entries = fs::read_dir(dir).map_err(DatasetError::io("list", dir))?;
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(DatasetError::io("list", dir))
}

/// The segments of a folder, in order.
fn segment_names(dir: &Path) -> Result<BTreeSet<String>, DatasetError> {
    let names = file_names(dir)?;
    let stems = names.iter().filter_map(|name| name.strip_suffix(".frames").or_else(|| name.strip_suffix(".sealed")));
    Ok(stems.filter(|name| is_name(name)).map(str::to_owned).collect())
}

fn is_name(name: &str) -> bool {
    let digits = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.split_once('-').is_some_and(|(time, random)| digits(time) && digits(random))
}

/// Removes files that somebody began, and nobody is at any more.
pub(super) fn remove_unfinished(dir: &Path) -> Result<(), DatasetError> {
    for name in file_names(dir)?.iter().filter(|name| name.starts_with('.') && name.ends_with(".tmp")) {
        let path = dir.join(name);
        let abandoned = File::options().read(true).write(true).open(&path).and_then(|file| try_lock(&file));
        if abandoned.is_ok_and(|locked| locked == Locked::Mine) {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}
