//! The token cache: sequences on disk, written as they are tokenised, read one by one as steps ask for them.
//!
//! A folder of the scratch space, `tokens/`, holds:
//!
//! | file | layout |
//! |---|---|
//! | `data` | one sequence after the other; a token is a little-endian u32, whose highest bit says whether it is learnt |
//! | `index` | 24 bytes a sequence: offset in `data` (u64), tokens (u32), CRC-32C of its bytes (u32), weight (f32), 1 where it is held out (u32) |
//! | `rejected.jsonl` | a line for each example that was left out: trace, reason, detail |
//! | `state.json` | how much of the three is whole, what it was made of, and its own checksum; replaced by a rename |
//!
//! **Memory**: the index is held, 24 bytes a sequence; tokens are not. **Kill**: everything up to the last `state.json` is
//! kept, what was written after it is cut off and made again. **Damage**: every sequence is checked whenever it is read. A
//! damaged one is an error that names the file and has the tokens made anew by the next run; a damaged index or state has
//! them made anew at once.
//!
//! Tokens are read by `pread`, not mapped into memory. A mapped file that is cut or fails is a signal that ends the process;
//! here it is an error with a name. Mapped pages count as resident, so that memory would grow with the corpus. Mapping is
//! unsafe code, and NFS and Lustre serve reads better than page faults. A step reads each of its sequences once, from the
//! page cache where it is warm: there is nothing that mapping would save.

use crate::TrainError;
use distill_chat::TokenisedExample;
use distill_dataset::{copy_fresh, create_fresh};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const FOLDER: &str = "tokens";
const DATA: &str = "data";
const INDEX: &str = "index";
const REJECTED: &str = "rejected.jsonl";
const STATE: &str = "state.json";
/// Bytes of an entry of the index.
const ENTRY: usize = 24;
/// The bit of a token that is learnt.
const LEARNT: u32 = 1 << 31;
/// Bytes of tokens after which what was written is synced and counts as made.
const COMMIT_BYTES: u64 = 64 << 20;
const BUFFER: usize = 1 << 20;

/// A sequence to be learnt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sequence {
    /// Tokens with their mask.
    pub(crate) tokens: TokenisedExample,
    /// Weight of each of its tokens in the loss.
    pub(crate) weight: f32,
}

/// A sequence as it lies on the disk.
pub(crate) struct Words {
    bytes: Vec<u8>,
    crc32c: u32,
}

impl Words {
    /// Nothing where a token's number takes more than 31 bits.
    pub(crate) fn of(tokens: &TokenisedExample) -> Option<Words> {
        let mut bytes = Vec::with_capacity(4 * tokens.ids.len());
        for (id, learnt) in tokens.ids.iter().zip(&tokens.loss) {
            if id & LEARNT != 0 {
                return None;
            }
            bytes.extend((id | if *learnt { LEARNT } else { 0 }).to_le_bytes());
        }
        let crc32c = crc32c::crc32c(&bytes);
        Some(Words { bytes, crc32c })
    }

    fn tokens(bytes: &[u8]) -> TokenisedExample {
        let words = || bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word));
        TokenisedExample {
            ids: words().map(|word| word & !LEARNT).collect(),
            loss: words().map(|word| word & LEARNT != 0).collect(),
        }
    }
}

/// How much is there, and what became of the examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Extent {
    /// Digest of what the tokens were made of: other tokens are never taken for these.
    identity: String,
    /// Whether all examples were read.
    complete: bool,
    /// Examples read.
    pub(crate) rows_in: u64,
    /// Examples that are learnt.
    pub(crate) rows_out: u64,
    /// Examples that were left out, by reason, and those that were cut.
    pub(crate) rejected: BTreeMap<String, u64>,
    /// Examples that tokenizer or template refused, and the first of them with what was said.
    pub(crate) unencodable: u64,
    pub(crate) first_unencodable: Option<String>,
    /// Sequences of the index, and those of them that are held out.
    sequences: u64,
    pub(crate) held_out: u64,
    data_bytes: u64,
    rejected_bytes: u64,
    /// The checksum of the index.
    index_crc32c: u32,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    extent: Extent,
    crc32c: u32,
}

impl Extent {
    fn checksum(&self) -> u32 {
        crc32c::crc32c(serde_json::to_string(self).unwrap_or_default().as_bytes())
    }

    /// What `state.json` says, where it is whole and the files are at least as long.
    fn read(folder: &Path) -> Option<Extent> {
        let sealed: Sealed = serde_json::from_slice(&fs::read(folder.join(STATE)).ok()?).ok()?;
        let extent = sealed.extent;
        let files = [
            (DATA, extent.data_bytes),
            (INDEX, extent.sequences.checked_mul(ENTRY as u64)?),
            (REJECTED, extent.rejected_bytes),
        ];
        let covered = files.iter().all(|(name, bytes)| {
            fs::metadata(folder.join(name)).is_ok_and(|metadata| metadata.is_file() && metadata.len() >= *bytes)
        });
        (extent.checksum() == sealed.crc32c && covered).then_some(extent)
    }

    fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let sealed = Sealed { crc32c: self.checksum(), extent: self.clone() };
        let text = serde_json::to_string(&sealed).unwrap_or_default();
        let (path, temporary) = (folder.join(STATE), folder.join("state.tmp"));
        let write = || -> io::Result<()> {
            let mut file = create_fresh(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(TrainError::io("write", &path))
    }
}

/// What was found in the scratch space.
pub(crate) enum Found {
    /// All of it.
    Whole(Box<Cache>),
    /// A part, or nothing: what follows is to be written.
    Part(Box<Writer>),
}

/// The cache of those tokens: all of it, or what an interrupted run had made. Anything else that is there gives way.
pub(crate) fn open(scratch: &Path, identity: &str) -> Result<Found, TrainError> {
    let folder = scratch.join(FOLDER);
    fs::create_dir_all(&folder).map_err(TrainError::io("create", &folder))?;
    let extent = Extent::read(&folder).filter(|extent| extent.identity == identity);
    if let Some(extent) = extent {
        if !extent.complete {
            return Ok(Found::Part(Box::new(Writer::open(folder, extent)?)));
        }
        if let Some(cache) = Cache::open(&folder, extent) {
            return Ok(Found::Whole(Box::new(cache)));
        }
    }
    forget(&folder)?;
    let extent = Extent { identity: identity.to_owned(), ..Extent::default() };
    Ok(Found::Part(Box::new(Writer::open(folder, extent)?)))
}

/// Has the next run make the tokens anew.
fn forget(folder: &Path) -> Result<(), TrainError> {
    match fs::remove_file(folder.join(STATE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(TrainError::io("remove", folder.join(STATE))(error)),
        _ => Ok(()),
    }
}

/// The cache while it is written.
pub(crate) struct Writer {
    folder: PathBuf,
    data: BufWriter<File>,
    index: BufWriter<File>,
    rejected: BufWriter<File>,
    extent: Extent,
    /// Bytes of tokens at the last commit.
    committed: u64,
}

impl Writer {
    /// Goes on after `extent`: what is beyond it was not synced and is cut off.
    fn open(folder: PathBuf, extent: Extent) -> Result<Writer, TrainError> {
        let open = |name: &str, bytes: u64| {
            let path = folder.join(name);
            let open = || -> io::Result<File> {
                let mut file = File::options().create(true).truncate(false).write(true).open(&path)?;
                file.set_len(bytes)?;
                file.seek(SeekFrom::End(0))?;
                Ok(file)
            };
            open().map(|file| BufWriter::with_capacity(BUFFER, file)).map_err(TrainError::io("open", &path))
        };
        let data = open(DATA, extent.data_bytes)?;
        let index = open(INDEX, extent.sequences * ENTRY as u64)?;
        let rejected = open(REJECTED, extent.rejected_bytes)?;
        let committed = extent.data_bytes;
        Ok(Writer { folder, data, index, rejected, extent, committed })
    }

    /// What is written so far.
    pub(crate) fn extent(&self) -> &Extent {
        &self.extent
    }

    /// A file of that name beside the cache, for what is needed while it is made.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Adds the sequences of one example: none where it was left out.
    pub(crate) fn add(&mut self, sequences: &[Words], weight: f32, held_out: bool) -> Result<(), TrainError> {
        for Words { bytes, crc32c } in sequences {
            let mut entry = [0; ENTRY];
            entry[..8].copy_from_slice(&self.extent.data_bytes.to_le_bytes());
            entry[8..12].copy_from_slice(&((bytes.len() / 4) as u32).to_le_bytes());
            entry[12..16].copy_from_slice(&crc32c.to_le_bytes());
            entry[16..20].copy_from_slice(&weight.to_le_bytes());
            entry[20..].copy_from_slice(&u32::from(held_out).to_le_bytes());
            self.data.write_all(bytes).map_err(TrainError::io("write", self.folder.join(DATA)))?;
            self.index.write_all(&entry).map_err(TrainError::io("write", self.folder.join(INDEX)))?;
            self.extent.index_crc32c = crc32c::crc32c_append(self.extent.index_crc32c, &entry);
            self.extent.data_bytes += bytes.len() as u64;
            self.extent.sequences += 1;
            self.extent.held_out += u64::from(held_out);
        }
        self.extent.rows_in += 1;
        self.extent.rows_out += u64::from(!held_out && !sequences.is_empty());
        Ok(())
    }

    /// Counts an example that was left out or cut.
    pub(crate) fn count(&mut self, reason: &str) {
        *self.extent.rejected.entry(reason.to_owned()).or_default() += 1;
    }

    /// Counts an example that cannot be encoded.
    pub(crate) fn count_unencodable(&mut self, trace_id: &str, detail: &str) {
        self.extent.unencodable += 1;
        self.extent.first_unencodable.get_or_insert_with(|| format!("trace {trace_id}: {detail}"));
    }

    /// Names an example that was left out.
    pub(crate) fn name(&mut self, trace_id: &str, reason: &str, detail: &str) -> Result<(), TrainError> {
        let line = serde_json::json!({"trace_id": trace_id, "reason": reason, "detail": detail}).to_string() + "\n";
        self.extent.rejected_bytes += line.len() as u64;
        self.rejected.write_all(line.as_bytes()).map_err(TrainError::io("write", self.folder.join(REJECTED)))
    }

    /// Whether so much was written since the last commit that the next is due.
    pub(crate) fn is_due(&self) -> bool {
        self.extent.data_bytes - self.committed >= COMMIT_BYTES
    }

    /// Everything that was written is on the disk and counts when this returns.
    pub(crate) fn commit(&mut self) -> Result<(), TrainError> {
        let files = [(DATA, &mut self.data), (INDEX, &mut self.index), (REJECTED, &mut self.rejected)];
        for (name, file) in files {
            let synced = file.flush().and_then(|()| file.get_ref().sync_all());
            synced.map_err(TrainError::io("write", self.folder.join(name)))?;
        }
        self.committed = self.extent.data_bytes;
        self.extent.write(&self.folder)
    }

    /// All examples were read: what was written is the cache.
    pub(crate) fn finish(mut self) -> Result<Cache, TrainError> {
        self.extent.complete = true;
        self.commit()?;
        let Writer { folder, extent, .. } = self;
        match Cache::open(&folder, extent) {
            Some(cache) => Ok(cache),
            None => {
                forget(&folder)?;
                Err(TrainError::Tokens { path: folder.join(INDEX), at: 0 })
            }
        }
    }
}

/// Where a sequence lies.
#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u64,
    length: u32,
    crc32c: u32,
    weight: f32,
}

/// All sequences, in the order of the examples.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    data: File,
    learnt: Vec<Entry>,
    held_out: Vec<Entry>,
    extent: Extent,
}

impl Cache {
    /// Reads and checks the index; nothing where it is not what it was.
    fn open(folder: &Path, extent: Extent) -> Option<Cache> {
        let data = File::open(folder.join(DATA)).ok()?;
        let mut index = BufReader::with_capacity(BUFFER, File::open(folder.join(INDEX)).ok()?);
        let held_out = usize::try_from(extent.held_out).ok()?;
        let sequences = usize::try_from(extent.sequences).ok()?;
        // The files are as long as the extent says, so no more is allocated than there is.
        let mut kinds = [Vec::with_capacity(sequences.checked_sub(held_out)?), Vec::with_capacity(held_out)];
        let (mut crc32c, mut end) = (0, 0);
        for _ in 0..sequences {
            let mut bytes = [0; ENTRY];
            index.read_exact(&mut bytes).ok()?;
            crc32c = crc32c::crc32c_append(crc32c, &bytes);
            let word = |at: usize| bytes[at..].first_chunk().map(|word| u32::from_le_bytes(*word));
            let offset = u64::from_le_bytes(*bytes.first_chunk()?);
            let entry = Entry { offset, length: word(8)?, crc32c: word(12)?, weight: f32::from_bits(word(16)?) };
            if offset != end {
                return None;
            }
            end = offset.checked_add(4 * u64::from(entry.length))?;
            kinds.get_mut(word(20)? as usize)?.push(entry);
        }
        let [learnt, held_out] = kinds;
        let whole = (crc32c, end) == (extent.index_crc32c, extent.data_bytes) && u32::try_from(sequences).is_ok();
        whole.then(|| Cache { folder: folder.to_owned(), data, learnt, held_out, extent })
    }

    /// What became of the examples.
    pub(crate) fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Sequences that are learnt.
    pub(crate) fn learnt(&self) -> Sequences<'_> {
        Sequences { cache: self, entries: &self.learnt }
    }

    /// Sequences that are not learnt, for the held-out loss.
    pub(crate) fn held_out(&self) -> Sequences<'_> {
        Sequences { cache: self, entries: &self.held_out }
    }

    /// Names the examples that were left out beside the trained weights; no file where none was.
    pub(crate) fn write_rejected(&self, out: &Path) -> Result<(), TrainError> {
        if self.extent.rejected_bytes == 0 {
            return Ok(());
        }
        let (from, to) = (self.folder.join(REJECTED), out.join(REJECTED));
        copy_fresh(&from, &to).map_err(TrainError::io("copy", from))
    }
}

/// Sequences that are read as they are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequences<'c> {
    cache: &'c Cache,
    entries: &'c [Entry],
}

impl Sequences<'_> {
    /// How many there are: fewer than 2³².
    pub(crate) fn len(self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(self) -> bool {
        self.entries.is_empty()
    }

    /// Tokens of one.
    pub(crate) fn length(self, index: u32) -> usize {
        self.entries[index as usize].length as usize
    }

    /// Tokens of all.
    pub(crate) fn num_tokens(self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.length)).sum()
    }

    /// Reads and checks one.
    ///
    /// # Errors
    /// When the disk refuses, or its bytes are not those that were written; the next run then makes the tokens anew.
    pub(crate) fn read(self, index: u32) -> Result<Sequence, TrainError> {
        let Entry { offset, length, crc32c, weight } = self.entries[index as usize];
        let Cache { folder, data, .. } = self.cache;
        let mut bytes = vec![0; 4 * length as usize];
        let whole = match data.read_exact_at(&mut bytes, offset) {
            Ok(()) => crc32c::crc32c(&bytes) == crc32c,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(TrainError::io("read", folder.join(DATA))(error)),
        };
        if !whole {
            forget(folder)?;
            return Err(TrainError::Tokens { path: folder.join(DATA), at: offset });
        }
        Ok(Sequence { tokens: Words::tokens(&bytes), weight })
    }
}

/// A cache of those sequences, all learnt, and the folder that it is in.
#[cfg(test)]
pub(crate) fn of(sequences: &[Sequence]) -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().expect("a folder");
    let Found::Part(mut writer) = open(folder.path(), "test").expect("a writer") else { panic!("nothing is there") };
    for sequence in sequences {
        let words = Words::of(&sequence.tokens).expect("tokens of 31 bits");
        writer.add(&[words], sequence.weight, false).expect("a sequence");
    }
    let cache = writer.finish().expect("a cache");
    (folder, cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(length: u32, weight: f32) -> Sequence {
        let loss = (0..length).map(|id| id % 3 == 0).collect();
        Sequence { tokens: TokenisedExample { ids: (0..length).collect(), loss }, weight }
    }

    fn part(scratch: &Path, identity: &str) -> Box<Writer> {
        match open(scratch, identity).expect("a folder") {
            Found::Part(writer) => writer,
            Found::Whole(_) => panic!("expected a part"),
        }
    }

    fn add(writer: &mut Writer, sequence: &Sequence, held_out: bool) {
        writer.add(&[Words::of(&sequence.tokens).expect("words")], sequence.weight, held_out).expect("a sequence");
    }

    /// A whole cache: sequences 5 and 1 are learnt, 9 is held out, one example was left out.
    fn whole(scratch: &Path) {
        let mut writer = part(scratch, "a");
        add(&mut writer, &sequence(5, 0.5), false);
        add(&mut writer, &sequence(9, 1.0), true);
        writer.add(&[], 1.0, false).expect("nothing");
        writer.count("too-long");
        writer.name("t2", "too-long", "70 tokens").expect("a line");
        add(&mut writer, &sequence(1, 2.0), false);
        writer.finish().expect("a cache");
    }

    fn whole_again(scratch: &Path) {
        fs::remove_dir_all(scratch.join("tokens")).expect("a folder");
        whole(scratch);
    }

    #[test]
    fn sequences_come_back_as_they_were() {
        let folder = tempfile::tempdir().expect("a folder");
        whole(folder.path());
        let Found::Whole(cache) = open(folder.path(), "a").expect("a cache") else { panic!("expected all of it") };
        let (learnt, held_out) = (cache.learnt(), cache.held_out());
        assert_eq!((learnt.len(), held_out.len(), learnt.length(0), learnt.num_tokens()), (2, 1, 5, 6));
        assert_eq!(learnt.read(0).expect("a sequence"), sequence(5, 0.5));
        assert_eq!(learnt.read(1).expect("a sequence"), sequence(1, 2.0));
        assert_eq!(held_out.read(0).expect("a sequence"), sequence(9, 1.0));
        let extent = cache.extent();
        assert_eq!((extent.rows_in, extent.rows_out, extent.rejected["too-long"]), (4, 2, 1));
        let out = tempfile::tempdir().expect("a folder");
        cache.write_rejected(out.path()).expect("a copy");
        let text = fs::read_to_string(out.path().join(REJECTED)).expect("lines");
        assert_eq!(text, "{\"trace_id\":\"t2\",\"reason\":\"too-long\",\"detail\":\"70 tokens\"}\n");
    }

    #[test]
    fn tokens_of_something_else_are_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        whole(folder.path());
        assert_eq!(part(folder.path(), "b").extent().rows_in, 0, "another identity begins at the first example");
    }

    #[test]
    fn a_kill_costs_what_was_written_since_the_last_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut writer = part(folder.path(), "a");
        add(&mut writer, &sequence(5, 1.0), false);
        writer.name("t", "r", "d").expect("a line");
        writer.commit().expect("a commit");
        add(&mut writer, &sequence(7, 1.0), false);
        writer.name("lost", "r", "d").expect("a line");
        // Written and never committed: as a kill leaves it.
        writer.data.flush().expect("bytes");
        writer.index.flush().expect("bytes");
        writer.rejected.flush().expect("bytes");
        drop(writer);
        let mut writer = part(folder.path(), "a");
        assert_eq!(writer.extent().rows_in, 1);
        add(&mut writer, &sequence(3, 1.0), false);
        let cache = writer.finish().expect("a cache");
        let found: Vec<Sequence> = (0..2).map(|index| cache.learnt().read(index).expect("a sequence")).collect();
        assert_eq!(found, [sequence(5, 1.0), sequence(3, 1.0)]);
        let text = fs::read_to_string(folder.path().join("tokens").join(REJECTED)).expect("lines");
        assert_eq!(text.lines().count(), 1, "what was named after the commit is named again when it is met again");
    }

    /// Every byte of every file, and every shorter length: what is found is right, made anew, or an error with a name.
    #[test]
    fn damage_is_never_wrong_tokens() {
        let folder = tempfile::tempdir().expect("a folder");
        whole(folder.path());
        let expected = [sequence(5, 0.5), sequence(1, 2.0)];
        let (mut named, mut anew) = (0, 0);
        let mut look = |what: &str| match open(folder.path(), "a").expect("no error before a sequence is read") {
            Found::Part(writer) => {
                assert_eq!(writer.extent().rows_in, 0, "{what}: made anew from the first example");
                anew += 1;
            }
            Found::Whole(cache) => {
                for (index, expected) in expected.iter().enumerate() {
                    match cache.learnt().read(index as u32) {
                        Ok(found) => assert_eq!(found, *expected, "{what}"),
                        Err(error) => {
                            assert!(error.to_string().contains("tokens/data"), "{what}: {error}");
                            assert!(matches!(open(folder.path(), "a"), Ok(Found::Part(_))), "{what}: then made anew");
                            named += 1;
                        }
                    }
                }
            }
        };
        for name in [DATA, INDEX, STATE] {
            let path = folder.path().join("tokens").join(name);
            whole_again(folder.path());
            let length = fs::metadata(&path).expect("a file").len() as usize;
            for at in 0..length {
                for cut in [false, true] {
                    whole_again(folder.path());
                    let mut bytes = fs::read(&path).expect("bytes");
                    if cut {
                        bytes.truncate(at)
                    } else {
                        bytes[at] ^= 1
                    }
                    fs::write(&path, bytes).expect("a damaged file");
                    look(&format!("{name}, byte {at}, cut {cut}"));
                }
            }
        }
        assert!(named >= 24 && anew > 200, "{named} errors, made anew {anew} times");
    }

    #[test]
    fn a_token_of_32_bits_is_refused() {
        let tokens = TokenisedExample { ids: vec![1, 1 << 31], loss: vec![true, true] };
        assert!(Words::of(&tokens).is_none());
    }
}
