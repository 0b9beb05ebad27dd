//! Sealed segments: `magic · blocks · index · footer`, each part a frame with its own checksum.
//!
//! A block is about 64 KiB of whole frames, compressed with zstd. It says where in the segment, as it was written, its
//! frames were; the index gives every entry's place there, too. So an entry keeps its place when its segment is sealed,
//! and a reader that holds a place from before finds it after. Without an index, blocks are found by their markers.

use super::{
    frame::{
        self, BLOCK, ENTRY, FOOTER, HEADER, INDEX, LEFT, Layout, MAX_KEY, MAX_PAYLOAD, OWNER, Tail, encode, number,
    },
    segment::{Fate, MAGIC, fate, frames_path, line_of, sealed_path, starts_with},
};
use crate::{
    Digest,
    error::DatasetError,
    lock::{Locked, try_lock},
    process::Process,
    put::{place, random_id, sync_dir},
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, ErrorKind, Write},
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    thread,
    time::Duration,
};

/// First bytes of a sealed segment.
const SEALED_MAGIC: &[u8; 8] = b"distillz";
/// A block ends with the frame that makes it as long as this. Longer blocks compress better; shorter ones are read
/// sooner, and cost less when they are damaged.
pub(super) const BLOCK_BYTES: usize = 64 << 10;
/// More uncompressed bytes are damage.
const MAX_BLOCK: usize = BLOCK_BYTES + HEADER + MAX_KEY + MAX_PAYLOAD;
/// zstd's own default: levels above it cost several times the time for a few percent.
const LEVEL: i32 = 3;
/// How often to ask for the lock of a segment that nobody should have.
const LOOKS: u32 = 10;
const FOOTER_BYTES: u64 = HEADER as u64 + 8;
/// Bytes of a block's and of an entry's line in the index.
const BLOCK_LINE: usize = 24;
const ENTRY_LINE: usize = 28;

/// Where a key's entries are looked up: 128 bits of its digest.
pub(super) fn key_digest(key: &[u8]) -> u128 {
    u128::from_le_bytes(Digest::new("journal-key").bytes(key).finish_bytes())
}

/// One block of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where its first frame was before it was sealed.
    pub start: u64,
    /// Uncompressed bytes.
    pub raw: u32,
    /// Where its frame is in the sealed file, and how long that is.
    pub at: u64,
    pub len: u32,
}

/// One entry: its key's digest, and the place of its frame before the segment was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keyed {
    pub key: u128,
    pub at: u64,
    pub len: u32,
}

/// What is in a sealed segment.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Bytes of the segment, as it was written, that are in it; 0 when that is not known.
    pub covers: u64,
    /// Sorted by start.
    pub blocks: Vec<Block>,
    pub entries: Vec<Keyed>,
    /// Stretches that could not be read.
    pub damage: Vec<Range<u64>>,
}

impl Index {
    /// The block with what was at `at`.
    pub(super) fn block_of(blocks: &[Block], at: u64) -> Option<Block> {
        let after = blocks.partition_point(|block| block.start <= at);
        let block = *blocks.get(after.checked_sub(1)?)?;
        (at < block.start + u64::from(block.raw)).then_some(block)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = (self.blocks.len() as u32).to_le_bytes().to_vec();
        for block in &self.blocks {
            bytes.extend(block.start.to_le_bytes());
            bytes.extend(block.at.to_le_bytes());
            bytes.extend(block.raw.to_le_bytes());
            bytes.extend(block.len.to_le_bytes());
        }
        for entry in &self.entries {
            bytes.extend(entry.key.to_le_bytes());
            bytes.extend(entry.at.to_le_bytes());
            bytes.extend(entry.len.to_le_bytes());
        }
        encode(INDEX, &self.covers.to_le_bytes(), &bytes)
    }

    fn decode(key: &[u8], payload: &[u8]) -> Option<Index> {
        let num_blocks = number(payload) as usize;
        let (blocks, entries) = payload.get(4..)?.split_at_checked(num_blocks.checked_mul(BLOCK_LINE)?)?;
        let block = |line: &[u8]| Block {
            start: long(line),
            at: long(&line[8..]),
            raw: number(&line[16..]),
            len: number(&line[20..]),
        };
        let entry = |line: &[u8]| Keyed {
            key: line.first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes)),
            at: long(&line[16..]),
            len: number(&line[24..]),
        };
        (entries.len() % ENTRY_LINE == 0).then(|| Index {
            covers: long(key),
            blocks: blocks.chunks_exact(BLOCK_LINE).map(block).collect(),
            entries: entries.chunks_exact(ENTRY_LINE).map(entry).collect(),
            damage: Vec::new(),
        })
    }
}

fn long(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Reads the index of a sealed segment, or, where that is damaged, all its blocks.
///
/// # Errors
/// When the disk refuses; damage is none.
pub(super) fn read_index(file: &File) -> io::Result<Index> {
    let size = file.metadata()?.len();
    let mut magic = [0; SEALED_MAGIC.len()];
    let wrong = size < 8 || file.read_exact_at(&mut magic, 0).map(|()| &magic != SEALED_MAGIC)?;
    let mut index = match by_footer(file, size)? {
        Some(index) => index,
        None => by_scan(file, size)?,
    };
    if wrong {
        index.damage.insert(0, 0..size.min(8));
    }
    Ok(index)
}

fn by_footer(file: &File, size: u64) -> io::Result<Option<Index>> {
    let Some(footer_at) = size.checked_sub(FOOTER_BYTES) else { return Ok(None) };
    let mut footer = [0; FOOTER_BYTES as usize];
    file.read_exact_at(&mut footer, footer_at)?;
    let parsed = frame::parse(&footer, Layout::Marked).filter(|frame| frame.marker == FOOTER);
    let Some(index_at) = parsed.map(|frame| long(frame.payload)).filter(|at| *at < footer_at) else { return Ok(None) };
    let mut bytes = vec![0; (footer_at - index_at) as usize];
    file.read_exact_at(&mut bytes, index_at)?;
    let index = frame::parse(&bytes, Layout::Marked).filter(|frame| frame.marker == INDEX);
    Ok(index.and_then(|frame| Index::decode(frame.key, frame.payload)))
}

/// Finds the index, or else every block, by the markers.
fn by_scan(file: &File, size: u64) -> io::Result<Index> {
    let (mut index, mut blocks) = (None, Vec::new());
    let scan = frame::scan(file, (SEALED_MAGIC.len() as u64, size), Layout::Marked, |at, frame| {
        match frame.marker {
            INDEX => index = Index::decode(frame.key, frame.payload),
            BLOCK => blocks.push(Block {
                start: long(frame.key),
                raw: number(frame.key.get(8..).unwrap_or_default()),
                at,
                len: frame.len as u32,
            }),
            _ => {}
        }
        true
    })?;
    let mut damage = scan.damage;
    if scan.tail != Tail::Whole {
        damage.push(scan.end..size);
    }
    if let Some(index) = index {
        return Ok(Index { damage, ..index });
    }
    blocks.sort_by_key(|block| block.start);
    let mut entries = Vec::new();
    for block in &blocks {
        let Some(raw) = read_block(file, block)? else {
            damage.push(block.at..block.at + u64::from(block.len));
            continue;
        };
        let mut offset = 0;
        while let Some(frame) = raw.get(offset..).and_then(|bytes| frame::parse(bytes, Layout::Marked)) {
            let at = block.start + offset as u64;
            entries.push(Keyed { key: key_digest(frame.key), at, len: frame.len as u32 });
            offset += frame.len;
        }
    }
    Ok(Index { covers: 0, blocks, entries, damage })
}

/// A block's frames; nothing when it is damaged.
///
/// # Errors
/// When the disk refuses.
pub(super) fn read_block(file: &File, block: &Block) -> io::Result<Option<Vec<u8>>> {
    if u64::from(block.len) + block.at > file.metadata()?.len() || block.raw as usize > MAX_BLOCK {
        return Ok(None);
    }
    let mut bytes = vec![0; block.len as usize];
    file.read_exact_at(&mut bytes, block.at)?;
    let frame = frame::parse(&bytes, Layout::Marked).filter(|frame| frame.marker == BLOCK);
    let raw = frame.and_then(|frame| zstd::bulk::decompress(frame.payload, block.raw as usize).ok());
    Ok(raw.filter(|raw| raw.len() == block.raw as usize))
}

/// Whether a sealed file has its index, and every entry of it.
fn is_whole(file: &File) -> io::Result<bool> {
    let index = read_index(file)?;
    let mut entries = index.entries.as_slice();
    for block in &index.blocks {
        let Some(raw) = read_block(file, block)? else { return Ok(false) };
        let inside = entries.partition_point(|entry| entry.at < block.start + u64::from(block.raw));
        for entry in &entries[..inside] {
            let bytes = entry.at.checked_sub(block.start).and_then(|offset| raw.get(offset as usize..));
            let frame = bytes.and_then(|bytes| frame::parse(bytes, Layout::Marked));
            if frame.is_none_or(|frame| frame.len != entry.len as usize || key_digest(frame.key) != entry.key) {
                return Ok(false);
            }
        }
        entries = &entries[inside..];
    }
    Ok(index.covers > 0 && entries.is_empty() && index.damage.is_empty())
}

/// Seals the segment `name` of `dir`, unless it may grow or is damaged; one of `ours` is not written to any more. Returns
/// whether a sealed file of all of it is there now.
///
/// The unsealed file is removed last, once the sealed one is on the disk and was read back, and only when its writer is
/// gone for certain; that of a writer on another machine stays beside it. A kill at any point leaves one whole file or
/// both. Several who seal one segment at once do no harm.
///
/// # Errors
/// When the disk refuses; the segment stays as it is.
pub(super) fn seal(dir: &Path, name: &str, ours: bool) -> Result<bool, DatasetError> {
    let (path, target) = (frames_path(dir, name), sealed_path(dir, name));
    let gone = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    let file = match File::options().read(true).write(true).open(&path) {
        Err(error) if gone(&error) => return Ok(target.exists()),
        file => file.map_err(DatasetError::io("open", &path))?,
    };
    let known = take(&file, ours).map_err(DatasetError::io("lock", &path))?;
    let same = fs::metadata(&path).is_ok_and(|there| file.metadata().is_ok_and(|here| there.ino() == here.ino()));
    if known == Fate::Live || !same {
        return Ok(false);
    }
    let size = file.metadata().map_err(DatasetError::io("read", &path))?.len();
    let standing = || -> io::Result<bool> {
        match File::open(&target) {
            Err(error) if gone(&error) => Ok(false),
            sealed => sealed.and_then(|sealed| Ok(read_index(&sealed)?.covers == size && is_whole(&sealed)?)),
        }
    };
    if !standing().map_err(DatasetError::io("read", &target))? {
        if known != Fate::Dead && target.exists() {
            return Ok(false);
        }
        let temporary = dir.join(format!(".{name}.{}.sealed.tmp", &random_id()?[..16]));
        let sealed = write_sealed(&file, size, &temporary, &target, known == Fate::Dead);
        if !matches!(sealed, Ok(true)) {
            let _ = fs::remove_file(&temporary);
            if sealed.as_ref().is_err_and(gone) {
                // Another process took the unfinished file for one that its maker had left behind.
                return Ok(false);
            }
            return sealed.map_err(DatasetError::io("seal", path));
        }
        sync_dir(dir)?;
    }
    if known == Fate::Dead {
        match fs::remove_file(&path) {
            Err(error) if !gone(&error) => return Err(DatasetError::io("remove", path)(error)),
            _ => {}
        }
    }
    Ok(true)
}

/// Locks a segment for as long as `file` is open, and says what became of its writer.
fn take(file: &File, ours: bool) -> io::Result<Fate> {
    let (line, mut locked) = (line_of(file)?, try_lock(file)?);
    for _ in 0..LOOKS {
        // Others who look whether its writer lives have it locked for a moment.
        if locked == Locked::Others {
            thread::sleep(Duration::from_millis(20));
            locked = try_lock(file)?;
        }
    }
    if ours && locked != Locked::Others {
        return Ok(Fate::Dead);
    }
    Ok(fate(line.as_ref(), locked, &Process::this()))
}

/// Writes the sealed form of `file[..size]` under `temporary`, then moves it to `target`; false when the segment is
/// damaged or grew. Only who knows that the writer is gone may replace a sealed file.
fn write_sealed(file: &File, size: u64, temporary: &Path, target: &Path, replace: bool) -> io::Result<bool> {
    let out = File::options().read(true).write(true).create_new(true).open(temporary)?;
    // Whoever finds it without its lock may remove it.
    if try_lock(&out)? == Locked::Others {
        return Ok(false);
    }
    let mut sealing = Sealing { out: BufWriter::new(&out), at: 0, index: Index::default(), start: 0, raw: Vec::new() };
    sealing.out.write_all(SEALED_MAGIC)?;
    sealing.at = SEALED_MAGIC.len() as u64;
    let mut failed = None;
    let scan = frame::scan(file, (MAGIC.len() as u64, size), Layout::Marked, |at, frame| {
        if frame.marker == ENTRY && failed.is_none() {
            failed = sealing.push(at, &frame).err();
        }
        frame.marker == ENTRY || frame.marker == OWNER
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let left = (size - scan.end) as usize;
    if !scan.damage.is_empty() || scan.tail == Tail::Damaged || left > MAX_PAYLOAD || !starts_with(file, MAGIC)? {
        // What may be mended by hand is not thrown away.
        return Ok(false);
    }
    let mut torn = vec![0; left];
    file.read_exact_at(&mut torn, scan.end)?;
    sealing.finish(size, &torn)?;
    out.sync_all()?;
    if !is_whole(&out)? || file.metadata()?.len() != size {
        return Ok(false);
    }
    if !replace {
        return place(temporary, target);
    }
    fs::rename(temporary, target)?;
    Ok(true)
}

struct Sealing<'a> {
    out: BufWriter<&'a File>,
    at: u64,
    index: Index,
    /// The block in the making.
    start: u64,
    raw: Vec<u8>,
}

impl Sealing<'_> {
    fn push(&mut self, at: u64, frame: &frame::Frame<'_>) -> io::Result<()> {
        if at != self.start + self.raw.len() as u64 {
            self.block()?;
        }
        if self.raw.is_empty() {
            self.start = at;
        }
        self.raw.extend(encode(ENTRY, frame.key, frame.payload));
        self.index.entries.push(Keyed { key: key_digest(frame.key), at, len: frame.len as u32 });
        if self.raw.len() >= BLOCK_BYTES { self.block() } else { Ok(()) }
    }

    fn block(&mut self) -> io::Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let mut key = self.start.to_le_bytes().to_vec();
        key.extend((self.raw.len() as u32).to_le_bytes());
        let frame = encode(BLOCK, &key, &zstd::bulk::compress(&self.raw, LEVEL)?);
        let (raw, len) = (self.raw.len() as u32, frame.len() as u32);
        self.index.blocks.push(Block { start: self.start, raw, at: self.at, len });
        self.raw.clear();
        self.put(&frame)
    }

    fn finish(mut self, size: u64, torn: &[u8]) -> io::Result<()> {
        self.block()?;
        if !torn.is_empty() {
            self.put(&encode(LEFT, &[], torn))?;
        }
        self.index.covers = size;
        let index_at = self.at;
        self.put(&self.index.encode())?;
        self.put(&encode(FOOTER, &[], &index_at.to_le_bytes()))?;
        self.out.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}
