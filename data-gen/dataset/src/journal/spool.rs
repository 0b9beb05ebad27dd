//! A spool: pieces of what is still on its way, kept so that they survive `kill -9`, and thrown away once the whole has
//! arrived. Its files are segments as a journal's are while they are written (`segment.rs`), never sealed; each process
//! appends to one of its own. A file that holds mostly what has arrived is written anew without it, so that a spool stays
//! about as large as what is on its way.

use super::{
    frame::{self, ENTRY, Layout},
    sealed::key_digest,
    segment::{Fate, Writer, frames_path, look},
};
use crate::{error::DatasetError, process::Process};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// A file is written anew when it has so many bytes more than twice what it had when it was written anew last.
const MIN_FILE: u64 = 64 << 20;

/// Makes few pieces of all those of one key, in their order. After a kill, some may be there twice.
pub type Merge = fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>;

/// Where a piece's frame is: in which file.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: usize,
    at: u64,
    len: usize,
}

/// A file, and where reading it goes on.
struct Part {
    name: String,
    resume: u64,
}

/// An open spool.
pub struct Spool {
    dir: PathBuf,
    files: Vec<Part>,
    pieces: HashMap<u128, Vec<Place>>,
    writer: Option<(Writer, usize)>,
    merge: Merge,
    /// Bytes of this process's file when it was written anew last.
    merged: u64,
    min_file: u64,
}

impl Spool {
    /// Opens the spool in the folder `dir`, which is made when the first piece comes.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn open(dir: &Path, merge: Merge) -> Result<Spool, DatasetError> {
        let mut spool = Spool {
            dir: dir.to_owned(),
            files: Vec::new(),
            pieces: HashMap::new(),
            writer: None,
            merge,
            merged: 0,
            min_file: MIN_FILE,
        };
        spool.refresh()?;
        Ok(spool)
    }

    /// Sees what other processes spooled since.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn refresh(&mut self) -> Result<(), DatasetError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(DatasetError::io("list", &self.dir)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(DatasetError::io("list", &self.dir))?.file_name();
            names.extend(name.to_str().and_then(|name| name.strip_suffix(".frames")).map(str::to_owned));
        }
        names.retain(|name| !name.starts_with('.'));
        // They begin with the time: what continues a piece comes after it.
        names.sort();
        for name in names {
            if self.writer.as_ref().is_none_or(|(writer, _)| writer.name != name) {
                self.read(&name)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, name: &str) -> Result<(), DatasetError> {
        let path = frames_path(&self.dir, name);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Its owner has just written it anew.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(DatasetError::io("open", &path)(error)),
        };
        let index = self.files.iter().position(|part| part.name == name).unwrap_or_else(|| {
            self.files.push(Part { name: name.to_owned(), resume: 0 });
            self.files.len() - 1
        });
        let size = file.metadata().map_err(DatasetError::io("look at", &path))?.len();
        let (from, pieces) = (self.files[index].resume, &mut self.pieces);
        let scan = frame::scan(&file, (from, size), Layout::Marked, |at, frame| {
            if frame.marker == ENTRY {
                pieces.entry(key_digest(frame.key)).or_default().push(Place { file: index, at, len: frame.len });
            }
            true
        });
        self.files[index].resume = scan.map_err(DatasetError::io("read", &path))?.end;
        Ok(())
    }

    /// Whether there are pieces of that key.
    pub fn contains(&self, key: &str) -> bool {
        self.pieces.contains_key(&key_digest(key.as_bytes()))
    }

    /// The pieces of a key, in the order in which they were written. After a kill, one may be there twice.
    ///
    /// # Errors
    /// When the disk refuses. A piece that is damaged is left out.
    pub fn get(&self, key: &str) -> Result<Vec<Vec<u8>>, DatasetError> {
        let mut payloads = Vec::new();
        for place in self.pieces.get(&key_digest(key.as_bytes())).into_iter().flatten() {
            let frame = self.frame(*place)?;
            payloads.extend(frame::parse(&frame, Layout::Marked).map(|frame| frame.payload.to_vec()));
        }
        Ok(payloads)
    }

    /// The bytes at a place; none where the file is gone.
    fn frame(&self, place: Place) -> Result<Vec<u8>, DatasetError> {
        let path = frames_path(&self.dir, &self.files[place.file].name);
        let mut bytes = vec![0; place.len];
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, place.at));
        match read {
            Ok(()) => Ok(bytes),
            Err(error) if [ErrorKind::NotFound, ErrorKind::UnexpectedEof].contains(&error.kind()) => Ok(Vec::new()),
            Err(error) => Err(DatasetError::io("read", &path)(error)),
        }
    }

    /// Appends pieces, each with its key. They survive the end of this process at once.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn append(&mut self, pieces: &[(&str, Vec<u8>)]) -> Result<(), DatasetError> {
        if self.writer.as_ref().is_some_and(|(writer, _)| writer.end > self.min_file + 2 * self.merged) {
            self.write_anew()?;
        }
        let (mut writer, file) = match self.writer.take() {
            Some(writer) => writer,
            None => self.begin()?,
        };
        let appended = writer.append_all(pieces);
        self.writer = Some((writer, file));
        for ((at, len), (key, _)) in appended?.into_iter().zip(pieces) {
            let place = Place { file, at, len: len as usize };
            self.pieces.entry(key_digest(key.as_bytes())).or_default().push(place);
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(Writer, usize), DatasetError> {
        fs::create_dir_all(&self.dir).map_err(DatasetError::io("create", &self.dir))?;
        let last = self.files.iter().map(|part| part.name.as_str()).max().unwrap_or_default();
        let writer = Writer::create(&self.dir, last)?;
        self.files.push(Part { name: writer.name.clone(), resume: 0 });
        Ok((writer, self.files.len() - 1))
    }

    /// Writes this process's file anew: without what has arrived, and few pieces of each key. Killed in between, there are
    /// both.
    fn write_anew(&mut self) -> Result<(), DatasetError> {
        let Some((old, old_file)) = self.writer.take() else { return Ok(()) };
        let file = File::open(&old.path).map_err(DatasetError::io("open", &old.path))?;
        let mut payloads: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let pieces = &self.pieces;
        let scan = frame::scan(&file, (0, old.end), Layout::Marked, |_, frame| {
            if frame.marker == ENTRY && pieces.contains_key(&key_digest(frame.key)) {
                let key = String::from_utf8_lossy(frame.key).into_owned();
                payloads.entry(key).or_default().push(frame.payload.to_vec());
            }
            true
        });
        scan.map_err(DatasetError::io("read", &old.path))?;
        let (mut writer, file) = self.begin()?;
        for (key, payloads) in payloads {
            let merged: Vec<_> = (self.merge)(payloads).into_iter().map(|payload| (key.as_str(), payload)).collect();
            let places = self.pieces.entry(key_digest(key.as_bytes())).or_default();
            places.retain(|place| place.file != old_file);
            for (at, len) in writer.append_all(&merged)? {
                places.push(Place { file, at, len: len as usize });
            }
        }
        self.merged = writer.end;
        let path = old.path.clone();
        drop(old);
        fs::remove_file(&path).map_err(DatasetError::io("remove", &path))?;
        self.writer = Some((writer, file));
        Ok(())
    }

    /// Forgets the pieces of a key: the whole has arrived.
    pub fn forget(&mut self, key: &str) {
        self.pieces.remove(&key_digest(key.as_bytes()));
    }

    /// Removes the files of processes that are gone, where they hold nothing of a key that `is_wanted` any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sweep(&mut self, is_wanted: impl Fn(&str) -> bool) -> Result<(), DatasetError> {
        let here = Process::this();
        let own = self.writer.as_ref().map(|(_, file)| *file);
        for index in (0..self.files.len()).filter(|index| Some(*index) != own) {
            let path = frames_path(&self.dir, &self.files[index].name);
            let Ok(file) = File::open(&path) else { continue };
            if look(&file, &here).map_err(DatasetError::io("look at", &path))? != Fate::Dead {
                continue;
            }
            let size = file.metadata().map_err(DatasetError::io("look at", &path))?.len();
            let mut wanted = false;
            let scan = frame::scan(&file, (0, size), Layout::Marked, |_, frame| {
                let key = std::str::from_utf8(frame.key).unwrap_or_default();
                wanted |= frame.marker == ENTRY && is_wanted(key);
                true
            });
            scan.map_err(DatasetError::io("read", &path))?;
            if !wanted {
                fs::remove_file(&path).map_err(DatasetError::io("remove", &path))?;
                self.pieces.values_mut().for_each(|places| places.retain(|place| place.file != index));
                self.pieces.retain(|_, places| !places.is_empty());
            }
        }
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some((writer, file)) = self.writer.take() {
            // Everything has arrived.
            if !self.pieces.values().flatten().any(|place| place.file == file) {
                let _ = fs::remove_file(&writer.path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces are lists of numbers; of those that are there twice, one stays.
    fn merge(pieces: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut all: Vec<u8> = Vec::new();
        for number in pieces.concat().split_inclusive(|byte| *byte == b' ') {
            if !all.windows(number.len()).any(|window| window == number) {
                all.extend_from_slice(number);
            }
        }
        vec![all]
    }

    fn open(dir: &Path) -> Spool {
        Spool::open(dir, merge).expect("a spool")
    }

    fn texts(spool: &Spool, key: &str) -> Vec<String> {
        let payloads = spool.get(key).expect("pieces");
        payloads.into_iter().map(|payload| String::from_utf8(payload).expect("text")).collect()
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
    }

    #[test]
    fn pieces_are_there_for_the_next_process_and_go_when_the_whole_has_arrived() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("spool");
        let mut spool = open(&path);
        assert!(!path.exists(), "nothing came yet");
        for (key, piece) in [("a", "1"), ("b", "x"), ("a", "2"), ("c", "y")] {
            spool.append(&[(key, piece.as_bytes().to_vec())]).expect("a piece");
        }
        spool.forget("c");
        assert_eq!(texts(&spool, "a"), ["1", "2"]);
        drop(spool);
        let mut next = open(&path);
        assert_eq!(
            (texts(&next, "a"), texts(&next, "b")),
            (vec!["1".to_owned(), "2".to_owned()], vec!["x".to_owned()])
        );
        next.append(&[("a", b"3".to_vec())]).expect("a piece");
        assert_eq!(texts(&next, "a"), ["1", "2", "3"]);
        next.sweep(|key| key == "b").expect("a sweep");
        assert_eq!(files(&path).len(), 2, "the first file holds what is wanted");
        next.forget("a");
        next.forget("b");
        next.sweep(|_| false).expect("a sweep");
        drop(next);
        assert!(files(&path).is_empty(), "all has arrived");
    }

    #[test]
    fn a_file_is_written_anew_without_what_has_arrived() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut spool = open(dir.path());
        spool.min_file = 10_000;
        let mut expected = String::new();
        for round in 0..1000 {
            let (key, number) = (round.to_string(), format!("<{round}> "));
            expected += &number;
            spool.append(&[("long", number.into_bytes()), (&key, vec![b'p'; 100])]).expect("pieces");
            spool.forget(&key);
            let size: u64 = files(dir.path()).iter().map(|path| path.metadata().expect("a file").len()).sum();
            assert!(size < 40_000, "{size} bytes after {round} rounds");
        }
        assert_eq!(texts(&spool, "long").concat(), expected, "in order, each once");
        drop(spool);
        assert_eq!(texts(&open(dir.path()), "long").concat(), expected);
    }

    #[test]
    fn what_another_process_spools_is_seen_and_half_a_piece_is_none() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut one = open(dir.path());
        one.append(&[("a", b"1".to_vec())]).expect("a piece");
        let mut other = open(dir.path());
        one.append(&[("a", b"2".to_vec())]).expect("a piece");
        other.refresh().expect("what came since");
        assert_eq!(texts(&other, "a"), ["1", "2"]);
        other.sweep(|_| false).expect("a sweep");
        assert_eq!(files(dir.path()).len(), 1, "its writer lives");
        let file = files(dir.path()).remove(0);
        let bytes = fs::read(&file).expect("the file");
        drop(one);
        fs::write(&file, &bytes[..bytes.len() - 1]).expect("a torn file");
        assert_eq!(texts(&open(dir.path()), "a"), ["1"]);
    }
}
