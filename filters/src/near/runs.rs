//! Records of `N` words of 64 bits enter in any order, files of sorted runs leave.
//!
//! A file is laid out so, every word little-endian:
//!
//! | words | meaning |
//! |---|---|
//! | N × records | the records, run after run, each run sorted |
//! | runs | where each run ends, in records |
//! | 1 | how many runs |
//! | 1 | a mark that names the layout and N |
//!
//! A file has its final name only when it is whole and on the disk: it is written beside, synced and renamed. Damage to
//! its length or its end is an error. Do not add fields: readers find everything from the end.

use super::error::NearFault;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

const MARK: u64 = 0x6e65_6172_7275_6e00;

/// Bytes of a writer's buffer toward the file.
const WRITE_BYTES: usize = 1 << 16;

/// Turns an error of the system into the engine's.
pub(crate) fn io<'a>(task: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> NearFault + 'a {
    move |source| NearFault::Io { task, path: path.to_owned(), source }
}

/// Writes one file of runs.
pub(crate) struct RunsWriter<const N: usize> {
    path: PathBuf,
    part: PathBuf,
    file: BufWriter<File>,
    ends: Vec<u64>,
    num_records: u64,
    /// Records that wait to be sorted.
    waiting: Vec<[u64; N]>,
    most_waiting: usize,
}

impl<const N: usize> RunsWriter<N> {
    /// Begins the file. At most `memory` bytes of records wait to be sorted.
    pub(crate) fn new(path: PathBuf, memory: u64) -> Result<Self, NearFault> {
        // Another owner of the same unit may still write: each has a file of its own, and the last rename wins.
        let part = path.with_extension(format!("part-{}", std::process::id()));
        let file = File::create(&part).map_err(io("create", &part))?;
        let most_waiting = (memory / (8 * N as u64)).clamp(64, u64::from(u32::MAX)) as usize;
        let file = BufWriter::with_capacity(WRITE_BYTES, file);
        Ok(RunsWriter { path, part, file, ends: Vec::new(), num_records: 0, waiting: Vec::new(), most_waiting })
    }

    /// Takes a record. Equal records of a run are kept once.
    pub(crate) fn push(&mut self, record: [u64; N]) -> Result<(), NearFault> {
        if self.waiting.len() == self.most_waiting {
            self.end_run()?;
        }
        if self.waiting.len() == self.waiting.capacity() {
            // Doubling must not pass the bound.
            let more = self.waiting.len().max(64).min(self.most_waiting - self.waiting.len());
            self.waiting.reserve_exact(more);
        }
        self.waiting.push(record);
        Ok(())
    }

    /// Takes a record that belongs after all before it in the run.
    pub(crate) fn append(&mut self, record: [u64; N]) -> Result<(), NearFault> {
        for word in record {
            self.file.write_all(&word.to_le_bytes()).map_err(io("write", &self.part))?;
        }
        self.num_records += 1;
        Ok(())
    }

    fn end_run(&mut self) -> Result<(), NearFault> {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_unstable();
        waiting.dedup();
        for &record in &waiting {
            self.append(record)?;
        }
        waiting.clear();
        self.waiting = waiting;
        self.ends.push(self.num_records);
        Ok(())
    }

    /// Ends the file, gives it its name, and returns how many records it has.
    pub(crate) fn finish(mut self) -> Result<u64, NearFault> {
        if !self.waiting.is_empty() {
            self.end_run()?;
        } else if self.ends.last().copied().unwrap_or(0) < self.num_records {
            self.ends.push(self.num_records);
        }
        let footer = self.ends.iter().copied().chain([self.ends.len() as u64, MARK | N as u64]);
        for word in footer {
            self.file.write_all(&word.to_le_bytes()).map_err(io("write", &self.part))?;
        }
        self.file.flush().map_err(io("write", &self.part))?;
        self.file.get_ref().sync_all().map_err(io("sync", &self.part))?;
        fs::rename(&self.part, &self.path).map_err(io("rename", &self.part))?;
        Ok(self.num_records)
    }
}

/// A whole file of runs.
pub(crate) struct Runs<const N: usize> {
    path: Arc<Path>,
    file: Arc<File>,
    ends: Vec<u64>,
}

/// A stretch of sorted records in a file.
#[derive(Clone)]
pub(crate) struct Segment<const N: usize> {
    pub(crate) path: Arc<Path>,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl<const N: usize> Runs<N> {
    /// Opens the file and checks its end.
    pub(crate) fn open(path: &Path) -> Result<Self, NearFault> {
        let file = File::open(path).map_err(io("open", path))?;
        let num_words = file.metadata().map_err(io("measure", path))?.len() / 8;
        let damaged = |expected: &str, found: String| NearFault::Damaged {
            path: path.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        if num_words < 2 {
            return Err(damaged("at least 2 words", num_words.to_string()));
        }
        let [num_runs, mark] = words_at::<2>(&file, path, num_words - 2)?;
        if mark != MARK | N as u64 {
            return Err(damaged(&format!("mark {:x}", MARK | N as u64), format!("{mark:x}")));
        }
        if num_runs > num_words - 2 {
            return Err(damaged("a footer within the file", format!("{num_runs} runs")));
        }
        let first = num_words - 2 - num_runs;
        let ends = (0..num_runs).map(|run| words_at::<1>(&file, path, first + run).map(|[end]| end));
        let ends = ends.collect::<Result<Vec<u64>, _>>()?;
        if ends.last().copied().unwrap_or(0).checked_mul(N as u64) != Some(first) || !ends.is_sorted() {
            return Err(damaged(&format!("runs that end at word {first}"), format!("ends {ends:?}")));
        }
        Ok(Runs { path: path.into(), file: Arc::new(file), ends })
    }

    pub(crate) fn num_records(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The runs of the file.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment<N>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| Segment { path: self.path.clone(), start, end })
    }

    /// Reads the records of a range, `memory` bytes at a time.
    pub(crate) fn read(&self, start: u64, end: u64, memory: u64) -> RunReader<N> {
        RunReader::new(self.path.clone(), self.file.clone(), start, end, memory)
    }
}

/// Reads a stretch of records in order.
pub(crate) struct RunReader<const N: usize> {
    path: Arc<Path>,
    file: Arc<File>,
    start: u64,
    end: u64,
    most: u64,
    bytes: Vec<u8>,
    at: usize,
}

impl<const N: usize> RunReader<N> {
    pub(crate) fn new(path: Arc<Path>, file: Arc<File>, start: u64, end: u64, memory: u64) -> Self {
        RunReader { path, file, start, end, most: (memory / (8 * N as u64)).max(16), bytes: Vec::new(), at: 0 }
    }

    pub(crate) fn next(&mut self) -> Result<Option<[u64; N]>, NearFault> {
        if self.at == self.bytes.len() {
            if self.start == self.end {
                return Ok(None);
            }
            let num_records = self.most.min(self.end - self.start);
            self.bytes.resize((num_records * 8 * N as u64) as usize, 0);
            let place = self.start * 8 * N as u64;
            self.file.read_exact_at(&mut self.bytes, place).map_err(io("read", &self.path))?;
            self.start += num_records;
            self.at = 0;
        }
        let record = std::array::from_fn(|word| super::hash::load(&self.bytes, self.at + 8 * word));
        self.at += 8 * N;
        Ok(Some(record))
    }
}

/// The words of a file from the given word on.
pub(crate) fn words_at<const N: usize>(file: &File, path: &Path, word: u64) -> Result<[u64; N], NearFault> {
    let mut words = [0; N];
    for (number, value) in words.iter_mut().enumerate() {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, (word + number as u64) * 8).map_err(io("read", path))?;
        *value = u64::from_le_bytes(bytes);
    }
    Ok(words)
}
