//! The journal: an append-only file of samples, so that what was generated (and paid for) survives `kill -9`.
//!
//! A frame is `length (u32) · CRC-32 (u32) · JSON`, little endian, after an eight-byte magic. A torn last frame is cut off
//! on opening, a damaged one in the middle is skipped; either sample is simply generated again.

use crate::error::DatasetError;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufReader, Read, Seek, SeekFrom, Write},
    marker::PhantomData,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const MAGIC: &[u8; 8] = b"distill1";
/// Longer frames are damage.
const MAX_FRAME: u32 = 1 << 28;
/// Longest time that entries wait to be synced to the disk.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// What a journal holds entries of.
pub trait Entry: Serialize + DeserializeOwned {
    /// What the entry is found by; a later entry with the same key is ignored.
    fn key(&self) -> String;
}

/// An open journal; nobody else may have it open.
pub struct Journal<E> {
    path: PathBuf,
    file: File,
    end: u64,
    places: HashMap<String, (u64, u32)>,
    damaged: u64,
    synced: Instant,
    entries: PhantomData<E>,
}

impl<E: Entry> Journal<E> {
    /// Opens or creates `dir/journal`.
    ///
    /// # Errors
    /// `Busy` when another process has it open; when it is not a journal; when the disk refuses.
    pub fn open(dir: &Path) -> Result<Journal<E>, DatasetError> {
        fs::create_dir_all(dir).map_err(DatasetError::io("create", dir))?;
        let path = dir.join("journal");
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(DatasetError::io("open", &path))?;
        file.try_lock().map_err(|_| DatasetError::Busy { path: path.clone() })?;
        let (places, synced, entries) = (HashMap::new(), Instant::now(), PhantomData);
        let mut journal = Journal { path, file, end: 0, places, damaged: 0, synced, entries };
        journal.scan().map_err(DatasetError::io("read", &journal.path))?;
        if journal.end == 0 {
            return Err(DatasetError::Manifest {
                path: journal.path,
                message: "expected a sample journal, found another kind of file".to_owned(),
            });
        }
        Ok(journal)
    }

    /// Finds every whole frame and cuts off a torn end.
    fn scan(&mut self) -> std::io::Result<()> {
        let size = self.file.metadata()?.len();
        if size < MAGIC.len() as u64 {
            self.file.set_len(0)?;
            self.file.write_all_at(MAGIC, 0)?;
            self.end = MAGIC.len() as u64;
            return Ok(());
        }
        let mut reader = BufReader::new(&self.file);
        reader.seek(SeekFrom::Start(0))?;
        let mut magic = [0; 8];
        reader.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Ok(());
        }
        let mut at = MAGIC.len() as u64;
        while at + 8 <= size {
            let mut header = [0; 8];
            reader.read_exact(&mut header)?;
            let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let crc = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
            if length > MAX_FRAME || at + 8 + u64::from(length) > size {
                break;
            }
            let mut bytes = vec![0; length as usize];
            reader.read_exact(&mut bytes)?;
            let entry = (crc32fast::hash(&bytes) == crc).then(|| serde_json::from_slice::<E>(&bytes).ok()).flatten();
            match entry {
                Some(entry) => {
                    self.places.entry(entry.key()).or_insert((at + 8, length));
                }
                None => self.damaged += 1,
            }
            at += 8 + u64::from(length);
        }
        if at < size {
            self.damaged += 1;
            self.file.set_len(at)?;
        }
        self.end = at;
        Ok(())
    }

    /// Whether an entry of that key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing is held yet.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Torn or damaged frames found on opening.
    pub fn num_damaged(&self) -> u64 {
        self.damaged
    }

    /// The entry of that key.
    ///
    /// # Errors
    /// When the disk refuses or the frame was damaged since.
    pub fn get(&self, key: &str) -> Result<Option<E>, DatasetError> {
        let Some((at, length)) = self.places.get(key).copied() else { return Ok(None) };
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at).map_err(DatasetError::io("read", &self.path))?;
        let damaged = |error: serde_json::Error| DatasetError::Manifest {
            path: self.path.clone(),
            message: format!("the frame at byte {at} is damaged: {error}"),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// Appends an entry. It survives the end of this process at once, and that of the machine after two seconds or
    /// [`Journal::sync`].
    ///
    /// # Errors
    /// When the disk refuses; what was there before stays whole.
    pub fn append(&mut self, entry: &E) -> Result<(), DatasetError> {
        let key = entry.key();
        if self.places.contains_key(&key) {
            return Ok(());
        }
        let json = serde_json::to_vec(entry)
            .map_err(|error| DatasetError::Manifest { path: self.path.clone(), message: error.to_string() })?;
        let length = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_FRAME);
        let Some(length) = length else {
            let message = format!("expected an entry of at most {MAX_FRAME} bytes, found {}", json.len());
            return Err(DatasetError::Manifest { path: self.path.clone(), message });
        };
        let mut frame = Vec::with_capacity(json.len() + 8);
        frame.extend(length.to_le_bytes());
        frame.extend(crc32fast::hash(&json).to_le_bytes());
        frame.extend(json);
        if let Err(error) = self.file.write_all_at(&frame, self.end) {
            // Half a frame must not stay in the way of the next one.
            let _ = self.file.set_len(self.end);
            return Err(DatasetError::io("write", &self.path)(error));
        }
        self.places.insert(key, (self.end + 8, length));
        self.end += frame.len() as u64;
        if self.synced.elapsed() >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    /// Makes everything appended so far survive a power cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<(), DatasetError> {
        self.file.flush().and_then(|()| self.file.sync_data()).map_err(DatasetError::io("sync", &self.path))?;
        self.synced = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize)]
    struct Note(String, String);

    impl Entry for Note {
        fn key(&self) -> String {
            self.0.clone()
        }
    }

    fn filled(dir: &Path) -> PathBuf {
        let mut journal = Journal::open(dir).expect("a journal");
        for index in 0..20 {
            journal.append(&Note(index.to_string(), "text ".repeat(index))).expect("an entry");
        }
        dir.join("journal")
    }

    #[test]
    fn a_file_cut_anywhere_keeps_every_whole_entry() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = filled(dir.path());
        let bytes = fs::read(&path).expect("the journal");
        for cut in (0..bytes.len()).step_by(7) {
            fs::write(&path, &bytes[..cut]).expect("a cut file");
            let mut journal = Journal::<Note>::open(dir.path()).expect("a journal");
            let held = journal.len();
            for index in 0..20 {
                journal.append(&Note(index.to_string(), "text ".repeat(index))).expect("an entry");
            }
            drop(journal);
            assert!(fs::read(&path).expect("the journal") == bytes, "cut at {cut}, {held} entries were left");
        }
    }

    #[test]
    fn a_damaged_entry_is_lost_alone() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = filled(dir.path());
        let mut bytes = fs::read(&path).expect("the journal");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).expect("a damaged file");
        let journal = Journal::<Note>::open(dir.path()).expect("a journal");
        assert_eq!((journal.len(), journal.num_damaged()), (19, 1));
        assert_eq!(journal.get("19").expect("no error").expect("the last").1.len(), 95);
    }

    #[test]
    fn only_one_process_writes_and_other_files_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let held = Journal::<Note>::open(dir.path()).expect("a journal");
        assert!(matches!(Journal::<Note>::open(dir.path()), Err(DatasetError::Busy { .. })));
        drop(held);
        fs::write(dir.path().join("journal"), "a shopping list").expect("a file");
        assert!(Journal::<Note>::open(dir.path()).is_err());
        assert_eq!(fs::read_to_string(dir.path().join("journal")).expect("untouched"), "a shopping list");
    }
}
