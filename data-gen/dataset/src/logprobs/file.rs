//! The log-probabilities of a dataset's traces, beside its shards: `logprobs-00003.bin` has those of unit 3, in the order of
//! its traces. A trace without them is not in it; a dataset that was made without them has no such file.
//!
//! # Layout
//! Little endian:
//!
//! ```text
//! magic     "dstlogp1"
//! frames    length u32, of the payload · CRC-32 u32, of the length and the id · id, 16 bytes: the trace's 32 hex digits ·
//!           payload: see `codec.rs`; it has a checksum of its own
//! end       a frame of length 0, whose id is the number of frames before it, as u128
//! ```
//!
//! # Damage
//! The manifest has the file's checksum. A file that is read without one ends in an error where a frame does not check,
//! where it is cut, and where something follows the end.

use super::{LogProbs, codec::MAX_ENCODED};
use crate::{Dataset, DatasetError};
use distill_files::{create_fresh, open_regular};
use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"dstlogp1";
/// Bytes of a frame before its payload.
const HEADER: usize = 24;
const STEM: &str = "logprobs-";

/// Writes one unit's file: under a temporary name, synced, then renamed.
pub struct LogProbsWriter {
    out: BufWriter<File>,
    path: PathBuf,
    frames: u128,
}

impl LogProbsWriter {
    /// A writer of `logprobs-UNIT.bin` into `dir`, which exists.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn of_unit(dir: &Path, unit: usize) -> Result<LogProbsWriter, DatasetError> {
        let path = dir.join(format!("{STEM}{unit:05}.bin"));
        let temporary = temporary(&path);
        let file = create_fresh(&temporary).map_err(DatasetError::io("create", &temporary))?;
        let mut writer = LogProbsWriter { out: BufWriter::new(file), path, frames: 0 };
        writer.put(&[MAGIC])?;
        Ok(writer)
    }

    /// Adds those of a trace, encoded. Traces come in the order of the shards beside the file.
    ///
    /// # Errors
    /// When `trace_id` is no trace's id, or the disk refuses.
    pub fn push(&mut self, trace_id: &str, encoded: &[u8]) -> Result<(), DatasetError> {
        let id = id_bytes(trace_id).ok_or_else(|| {
            let message = format!("expected a trace's id of 32 hex digits, found {trace_id:?}");
            DatasetError::LogProbs { path: self.path.clone(), message }
        })?;
        if encoded.is_empty() || encoded.len() > MAX_ENCODED {
            let message = format!("expected 1 to {MAX_ENCODED} bytes for a trace, found {}", encoded.len());
            return Err(DatasetError::LogProbs { path: self.path.clone(), message });
        }
        self.frames += 1;
        self.put(&[&header(encoded.len() as u32, id), encoded])
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(mut self) -> Result<(), DatasetError> {
        self.put(&[&header(0, self.frames.to_le_bytes())])?;
        let temporary = temporary(&self.path);
        let synced = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        synced.map_err(DatasetError::io("write", &temporary))?;
        fs::rename(&temporary, &self.path).map_err(DatasetError::io("rename", &temporary))
    }

    fn put(&mut self, parts: &[&[u8]]) -> Result<(), DatasetError> {
        let written = parts.iter().try_for_each(|part| self.out.write_all(part));
        written.map_err(DatasetError::io("write", temporary(&self.path)))
    }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("bin.tmp")
}

fn id_bytes(trace_id: &str) -> Option<[u8; 16]> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = trace_id.len() == 32 && trace_id.bytes().all(is_hex);
    u128::from_str_radix(trace_id, 16).ok().filter(|_| fits).map(u128::to_be_bytes)
}

fn header(length: u32, id: [u8; 16]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[8..].copy_from_slice(&id);
    let checksum = checksum(&header);
    header[4..8].copy_from_slice(&checksum.to_le_bytes());
    header
}

fn checksum(header: &[u8; HEADER]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..4]);
    hasher.update(&header[8..]);
    hasher.finalize()
}

/// Reads one file: trace ids and log-probabilities in order, one at a time in memory. Behind an error nothing more comes.
pub struct LogProbsReader {
    input: BufReader<File>,
    path: PathBuf,
    /// Bytes of the file that are not read yet.
    left: u64,
    frames: u128,
    ended: bool,
}

impl LogProbsReader {
    /// Opens a file of a [`LogProbsWriter`].
    ///
    /// # Errors
    /// When it cannot be read, or is another file.
    pub fn open(path: &Path) -> Result<LogProbsReader, DatasetError> {
        let file = open_regular(path).map_err(DatasetError::io("open", path))?;
        let left = file.metadata().map_err(DatasetError::io("read", path))?.len();
        let (input, path) = (BufReader::new(file), path.to_owned());
        let mut reader = LogProbsReader { input, path, left, frames: 0, ended: false };
        if reader.array::<8>()? != *MAGIC {
            return Err(reader.damaged(format!("expected {:?}, found another file", String::from_utf8_lossy(MAGIC))));
        }
        Ok(reader)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], DatasetError> {
        let mut bytes = [0; LENGTH];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), DatasetError> {
        self.has(bytes.len())?;
        self.left -= bytes.len() as u64;
        self.input.read_exact(bytes).map_err(DatasetError::io("read", &self.path))
    }

    fn has(&self, bytes: usize) -> Result<(), DatasetError> {
        match self.left >= bytes as u64 {
            true => Ok(()),
            false => Err(self.damaged(format!("expected {bytes} more bytes, found {}", self.left))),
        }
    }

    fn damaged(&self, message: String) -> DatasetError {
        let message = format!("frame {}: {message}", self.frames);
        DatasetError::LogProbs { path: self.path.clone(), message }
    }

    fn frame(&mut self) -> Result<Option<(String, LogProbs)>, DatasetError> {
        let header: [u8; HEADER] = self.array()?;
        let word = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let (length, expected, found) = (word(0) as usize, word(4), checksum(&header));
        if expected != found {
            return Err(self.damaged(format!("expected checksum {expected:08x}, found {found:08x}")));
        }
        let id: [u8; 16] = header[8..].first_chunk().copied().unwrap_or_default();
        if length == 0 {
            return match (u128::from_le_bytes(id) == self.frames, self.left) {
                (true, 0) => Ok(None),
                (true, left) => Err(self.damaged(format!("expected the end of the file, found {left} more bytes"))),
                (false, _) => Err(self.damaged(format!("expected {} frames", u128::from_le_bytes(id)))),
            };
        }
        // Before memory is taken for it.
        self.has(length)?;
        if length > MAX_ENCODED {
            return Err(self.damaged(format!("expected at most {MAX_ENCODED} bytes, found {length}")));
        }
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        let decoded = LogProbs::decode(&payload).map_err(|error| self.damaged(error.to_string()))?;
        self.frames += 1;
        Ok(Some((format!("{:032x}", u128::from_be_bytes(id)), decoded)))
    }
}

impl Iterator for LogProbsReader {
    type Item = Result<(String, LogProbs), DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let frame = self.frame().transpose();
        self.ended = !matches!(frame, Some(Ok(_)));
        frame
    }
}

impl Dataset {
    /// Whether its traces were asked for with log-probabilities.
    pub fn has_log_probs(&self) -> bool {
        self.manifest.files.iter().any(|file| is_log_probs(&file.file))
    }

    /// The log-probabilities of its traces: ids of traces and what was told of them, in the order of the traces; those
    /// that have none are left out. Every file is checked against the manifest first.
    pub fn log_probs(&self) -> impl Iterator<Item = Result<(String, LogProbs), DatasetError>> + '_ {
        let files = self.manifest.files.iter().map(|file| file.file.as_str()).filter(|name| is_log_probs(name));
        files.flat_map(|name| {
            let path = self.dir.join(name);
            let opened = self.verify_those(|file| file == name).and_then(|()| LogProbsReader::open(&path));
            let (reader, error) = match opened {
                Ok(reader) => (Some(reader), None),
                Err(error) => (None, Some(Err(error))),
            };
            reader.into_iter().flatten().chain(error)
        })
    }
}

fn is_log_probs(name: &str) -> bool {
    name.strip_prefix(STEM).is_some_and(|rest| rest.ends_with(".bin"))
}
