//! The journal: every answer that was paid for, kept so that it survives `kill -9`, damage, and many writers at once.
//!
//! A journal is a folder of segments. Each process appends to a segment of its own, so that any number of processes, on
//! one machine or on several that share a disk, may have it open at once, without a lock that all would wait for.
//!
//! | file | what it is |
//! |---|---|
//! | `<time>-<random>.frames` | a segment as it is written: `distill2`, a frame that says who writes it, a frame an entry |
//! | `<time>-<random>.sealed` | a segment that is not written to any more: `distillz`, compressed blocks of frames, an index |
//! | `journal` | what version 0.1.0 wrote: read, never changed |
//! | `.*.tmp` | unfinished; ignored, and removed when nobody has it locked |
//!
//! **Frames** carry a checksum over their lengths, key and payload, and begin with a marker that no text contains
//! (`frame.rs`). The key is beside the payload, so that opening reads no payload. The payload is the entry's JSON: an
//! *optional* field may be added to an entry and leaves every old frame readable; a required one makes them unreadable.
//! Do not add fields to the frame.
//!
//! **Damage** costs the frames that it hits. A reader goes on at the next marker whose frame has its checksum; in a sealed
//! segment a block (some 64 KiB) is lost together; an index that is damaged is made again from the blocks. Nothing is cut
//! off or overwritten, and a segment that is damaged in its middle is left as it is. [`Journal::damage`] says which bytes of
//! which file were lost. A sealed block is checked when it is read: an entry whose every copy is damaged is not
//! *contained* from then on, so that it can be bought again. A writer that is killed leaves at most half a frame at the end
//! of its segment, which goes into the sealed file as it is.
//!
//! **Sealing.** A segment is sealed when it has 64 MiB of frames, when its writer closes the journal, and, when its writer
//! was killed, by the next process on the same machine that opens the journal. Its writer holds a lock on it; the first
//! frame says which process that is, for file systems without locks. The sealed file is written, synced, read back and
//! renamed before the unsealed one is removed; until then there may be both, which count as one.
//!
//! **Order.** Entries of one key are in the order of their segments' names, then of their places. A name begins with the
//! time at which the segment was begun, and a continuation goes into a segment that sorts after everything of its key that
//! its writer knew: what was written knowing another entry comes after it, whatever the clocks say. Which of two entries
//! comes first depends on the files alone, not on who reads them.

mod frame;
mod load;
mod read;
mod sealed;
mod sealer;
mod segment;
mod spool;

pub use spool::{Merge, Spool};

use crate::{context::Context, error::DatasetError, process::Process};
use sealed::{Block, key_digest, seal};
use sealer::Sealer;
use segment::{Writer, frames_path};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::{HashMap, HashSet},
    fmt, fs,
    marker::PhantomData,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// Longest time that entries wait to be synced to the disk.
const SYNC_EVERY: Duration = Duration::from_secs(2);
/// A segment of more bytes is sealed, and another begun.
const SEGMENT_BYTES: u64 = 64 << 20;
/// Entries that are checked before one looks at cancellation again.
const CHECKED_AT_ONCE: usize = 256;
/// Stretches of damage that people are told of one by one.
const MOST_TOLD: usize = 8;

/// What a journal holds entries of.
pub trait Entry: Serialize + DeserializeOwned {
    /// What the entry is found by.
    fn key(&self) -> String;
}

/// Bytes of a file that no whole frame could be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// From its first byte on.
    pub bytes: Range<u64>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: bytes {} to {} are damaged", self.path.display(), self.bytes.start, self.bytes.end)
    }
}

/// An open journal: what was in it when it was opened or last refreshed, and what this process appended since.
pub struct Journal<E> {
    dir: PathBuf,
    segments: Vec<Segment>,
    ids: HashMap<String, u32>,
    /// The first entry of each key.
    places: HashMap<u128, Place>,
    /// The others of keys that have several, in order.
    more: HashMap<u128, Vec<Place>>,
    writer: Option<Writer>,
    sealer: Sealer,
    readers: Mutex<read::Readers>,
    health: Mutex<Health>,
    here: Process,
    segment_bytes: u64,
    entries: PhantomData<fn() -> E>,
}

/// Where an entry's frame is: in the segment as it was written, also when that is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    segment: u32,
    len: u32,
    at: u64,
}

/// What is known about a segment.
#[derive(Default)]
struct Segment {
    /// Empty for the journal of version 0.1.0.
    name: String,
    /// This process writes it.
    own: bool,
    /// Nothing can come any more.
    settled: bool,
    /// Handed to the sealer.
    handed: bool,
    /// Of its sealed file, once that was looked at.
    blocks: Mutex<Option<Arc<Vec<Block>>>>,
    /// Bytes of the unsealed file that the sealed one has.
    covers: u64,
    /// Where reading the unsealed file goes on.
    resume: u64,
    /// Of the unsealed file when it was read.
    version: Option<Version>,
    damage: Vec<Damage>,
}

/// Length and time of the last change.
type Version = (u64, SystemTime);

/// Damage that was found since the journal was opened.
#[derive(Default)]
struct Health {
    damage: Vec<Damage>,
    /// What people were told of.
    told: Vec<Damage>,
    places: HashSet<Place>,
    /// Keys without a readable entry.
    keys: HashSet<u128>,
}

impl<E: Entry> Journal<E> {
    /// Opens or creates the journal in the folder `dir`. Reads indexes and unsealed segments, not the entries.
    ///
    /// # Errors
    /// When the disk refuses, or `dir/journal` is another kind of file.
    pub fn open(dir: &Path) -> Result<Journal<E>, DatasetError> {
        Journal::open_sized(dir, SEGMENT_BYTES)
    }

    fn open_sized(dir: &Path, segment_bytes: u64) -> Result<Journal<E>, DatasetError> {
        fs::create_dir_all(dir).map_err(DatasetError::io("create", dir))?;
        let mut journal = Journal {
            dir: dir.to_owned(),
            segments: Vec::new(),
            ids: HashMap::new(),
            places: HashMap::new(),
            more: HashMap::new(),
            writer: None,
            sealer: Sealer::new(dir),
            readers: Mutex::default(),
            health: Mutex::default(),
            here: Process::this(),
            segment_bytes,
            entries: PhantomData,
        };
        load::remove_unfinished(dir)?;
        journal.refresh()?;
        Ok(journal)
    }

    /// The first entry of that key that is whole.
    ///
    /// # Errors
    /// When the disk refuses, or the entry is of another version of the program.
    pub fn get(&self, key: &str) -> Result<Option<E>, DatasetError> {
        Ok(self.decoded(key, 1)?.pop())
    }

    /// All entries of that key that are whole, in the order in which they were written; equal ones once.
    ///
    /// # Errors
    /// When the disk refuses, or an entry is of another version of the program.
    pub fn entries(&self, key: &str) -> Result<Vec<E>, DatasetError> {
        self.decoded(key, usize::MAX)
    }

    fn decoded(&self, key: &str, most: usize) -> Result<Vec<E>, DatasetError> {
        let payloads = self.payloads(key_digest(key.as_bytes()), most)?;
        let decode = |(place, json): &(Place, Vec<u8>)| {
            serde_json::from_slice(json).map_err(|error| {
                let message = format!("expected an entry at byte {}, found other JSON: {error}", place.at);
                DatasetError::Journal { path: self.path_of(place.segment), message }
            })
        };
        payloads.iter().map(decode).collect()
    }

    /// Appends an entry, unless there is one of its key. It survives the end of this process at once, and that of the
    /// machine after two seconds or [`Journal::sync`].
    ///
    /// # Errors
    /// When the disk refuses; what was there before stays whole.
    pub fn append(&mut self, entry: &E) -> Result<(), DatasetError> {
        let key = entry.key();
        if self.contains(&key) {
            return Ok(());
        }
        let json = self.encode(entry)?;
        self.write(&key, &json)
    }

    /// Appends an entry after those of its key that are there, unless it equals one of them.
    ///
    /// # Errors
    /// When the disk refuses; what was there before stays whole.
    pub fn append_more(&mut self, entry: &E) -> Result<(), DatasetError> {
        let (key, json) = (entry.key(), self.encode(entry)?);
        let digest = key_digest(key.as_bytes());
        if self.payloads(digest, usize::MAX)?.iter().any(|(_, there)| *there == json) {
            return Ok(());
        }
        let last = self.all(digest).map(|place| self.segments[place.segment as usize].name.as_str()).max();
        if self.writer.as_ref().is_some_and(|writer| last.is_some_and(|last| last > writer.name.as_str())) {
            self.rotate()?;
        }
        self.write(&key, &json)
    }

    fn encode(&self, entry: &E) -> Result<Vec<u8>, DatasetError> {
        serde_json::to_vec(entry)
            .map_err(|error| DatasetError::Journal { path: self.dir.clone(), message: error.to_string() })
    }
}

impl<E> Journal<E> {
    /// Whether an entry of that key is there.
    pub fn contains(&self, key: &str) -> bool {
        let digest = key_digest(key.as_bytes());
        self.places.contains_key(&digest) && !self.health().keys.contains(&digest)
    }

    /// Keys held.
    pub fn len(&self) -> usize {
        self.places.len() - self.health().keys.len()
    }

    /// Whether nothing is held yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many stretches of files are damaged, as far as they were read.
    pub fn num_damaged(&self) -> u64 {
        let loaded: usize = self.segments.iter().map(|segment| segment.damage.len()).sum();
        (loaded + self.health().damage.len()) as u64
    }

    /// Which bytes are damaged, as far as they were read.
    pub fn damage(&self) -> Vec<Damage> {
        let loaded = self.segments.iter().flat_map(|segment| &segment.damage).cloned();
        loaded.chain(self.health().damage.iter().cloned()).collect()
    }

    /// Reads the entries of those keys, so that afterwards [`Journal::contains`] is right about each, and
    /// [`Journal::damage`] whole as far as they are concerned.
    ///
    /// # Errors
    /// When the disk refuses. A stop that was asked for ends it early.
    pub fn verify(&self, keys: impl IntoIterator<Item = String>, context: &Context) -> Result<(), DatasetError> {
        let digests = keys.into_iter().map(|key| key_digest(key.as_bytes()));
        let mut all: Vec<(Place, u128)> = digests.flat_map(|key| self.all(key).map(move |at| (at, key))).collect();
        all.sort_by_key(|(place, _)| (place.segment, place.at));
        context.progress.begin("check", all.len() as u64, "answers");
        for (done, (place, key)) in all.into_iter().enumerate() {
            if done % CHECKED_AT_ONCE == 0 {
                if context.cancel.is_cancelled() {
                    break;
                }
                context.progress.advance(done as u64, "");
            }
            self.payload(key, place)?;
        }
        context.progress.end();
        Ok(())
    }

    /// Makes everything appended so far survive a power cut, and shows it to other machines.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<(), DatasetError> {
        self.writer.as_mut().map_or(Ok(()), Writer::sync)
    }

    /// Syncs, seals, and waits until everything that can be sealed is. Dropping does the same for what this process
    /// wrote, without telling errors.
    ///
    /// # Errors
    /// When the disk refuses; what could not be sealed stays as it is, and readable.
    pub fn close(mut self) -> Result<(), DatasetError> {
        self.sealer.finish()?;
        self.finish()
    }

    fn finish(&mut self) -> Result<(), DatasetError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        seal(&self.dir, &writer.finish()?, true).map(drop)
    }

    fn write(&mut self, key: &str, json: &[u8]) -> Result<(), DatasetError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let last = self.segments.iter().map(|segment| segment.name.as_str()).max().unwrap_or_default();
                Writer::create(&self.dir, last)?
            }
        };
        let segment = self.segment(&writer.name);
        self.segments[segment as usize].own = true;
        let written = writer.append(key, json);
        let full = writer.end >= self.segment_bytes;
        let due = writer.synced().elapsed() >= SYNC_EVERY;
        self.writer = Some(writer);
        let (at, len) = written?;
        let digest = key_digest(key.as_bytes());
        self.insert(digest, Place { segment, at, len });
        self.health().keys.remove(&digest);
        match (full, due) {
            (true, _) => self.rotate(),
            (false, true) => self.sync(),
            (false, false) => Ok(()),
        }
    }

    /// Hands the segment in hand to the sealer; the next entry begins another.
    fn rotate(&mut self) -> Result<(), DatasetError> {
        if let Some(writer) = self.writer.take() {
            self.sealer.seal(writer.finish()?, true);
        }
        Ok(())
    }

    /// The number of a segment in this journal.
    fn segment(&mut self, name: &str) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = self.segments.len() as u32;
        self.segments.push(Segment { name: name.to_owned(), ..Segment::default() });
        self.ids.insert(name.to_owned(), id);
        id
    }

    fn insert(&mut self, key: u128, place: Place) {
        let first = *self.places.entry(key).or_insert(place);
        if first == place {
            return;
        }
        let mut all = vec![first];
        all.extend(self.more.remove(&key).unwrap_or_default());
        if !all.contains(&place) {
            all.push(place);
            all.sort_by_key(|place| (self.segments[place.segment as usize].name.as_str(), place.at));
        }
        self.places.insert(key, all.remove(0));
        if !all.is_empty() {
            self.more.insert(key, all);
        }
    }

    /// The places of a key, in order.
    fn all(&self, key: u128) -> impl Iterator<Item = Place> {
        self.places.get(&key).into_iter().chain(self.more.get(&key).into_iter().flatten()).copied()
    }

    /// Tells people of damage, each stretch once, and of the first few only.
    fn tell(&self, damage: &Damage) {
        let told = &mut self.health().told;
        if told.len() > MOST_TOLD || told.contains(damage) {
            return;
        }
        told.push(damage.clone());
        let Damage { path, bytes: Range { start, end } } = damage;
        if told.len() > MOST_TOLD {
            tracing::warn!(journal = %self.dir.display(), "more of the journal is damaged");
        } else {
            tracing::warn!(file = %path.display(), from = start, to = end, "damaged: entries there are lost, all others are used");
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, segment: u32) -> PathBuf {
        match self.segments[segment as usize].name.as_str() {
            "" => self.dir.join(load::OLD),
            name => frames_path(&self.dir, name),
        }
    }
}

impl<E> Drop for Journal<E> {
    fn drop(&mut self) {
        self.sealer.stop();
        let _ = self.finish();
    }
}

#[cfg(test)]
mod tests;
