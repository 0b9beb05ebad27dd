//! Frames: how an entry lies in a file, and how whole frames are found again in a damaged one.
//!
//! A frame of today is `marker [4] · key bytes (u32) · payload bytes (u32) · CRC-32 (u32) · key · payload`, little endian;
//! the checksum covers both lengths, the key and the payload. Markers begin with `ff` and end with `fe`, bytes that no
//! UTF-8 text has, so that a text never passes for a frame. A frame of old journals is `length (u32) · CRC-32 (u32) · JSON`,
//! with nothing to find it by but a checksum that holds.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

/// What a frame holds, by its first four bytes.
pub(super) const ENTRY: [u8; 4] = [0xff, b'e', b'n', 0xfe];
/// The process that writes a segment; the key is empty.
pub(super) const OWNER: [u8; 4] = [0xff, b'o', b'w', 0xfe];
/// Compressed frames of a sealed segment.
pub(super) const BLOCK: [u8; 4] = [0xff, b'b', b'l', 0xfe];
/// Half a frame that a killed writer left at the end of its segment, as it was.
pub(super) const LEFT: [u8; 4] = [0xff, b'l', b'e', 0xfe];
/// Where a sealed segment has which key.
pub(super) const INDEX: [u8; 4] = [0xff, b'i', b'x', 0xfe];
/// Where the index is: the last frame of a sealed segment.
pub(super) const FOOTER: [u8; 4] = [0xff, b'f', b't', 0xfe];

/// Bytes before the key.
pub(super) const HEADER: usize = 16;
/// Longer payloads are damage.
pub(super) const MAX_PAYLOAD: usize = 1 << 28;
/// Longer keys are damage.
pub(super) const MAX_KEY: usize = 1 << 16;
/// Bytes before the JSON of an old frame.
const OLD_HEADER: usize = 8;
/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// Which frames a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Marked, with a key.
    Marked,
    /// `length · CRC-32 · JSON`, as version 0.1.0 wrote them.
    Old,
}

/// A whole frame.
pub(super) struct Frame<'a> {
    pub marker: [u8; 4],
    /// Empty in old frames.
    pub key: &'a [u8],
    pub payload: &'a [u8],
    /// Bytes of the whole frame.
    pub len: usize,
}

/// A frame of a key of at most [`MAX_KEY`] and a payload of at most [`MAX_PAYLOAD`] bytes.
pub(super) fn encode(marker: [u8; 4], key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + key.len() + payload.len());
    frame.extend(marker);
    frame.extend((key.len() as u32).to_le_bytes());
    frame.extend((payload.len() as u32).to_le_bytes());
    frame.extend(checksum(&frame[4..12], key, payload).to_le_bytes());
    frame.extend(key);
    frame.extend(payload);
    frame
}

fn checksum(lengths: &[u8], key: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    [lengths, key, payload].iter().for_each(|bytes| hasher.update(bytes));
    hasher.finalize()
}

/// The frame that `bytes` begin with, if it is whole.
pub(super) fn parse(bytes: &[u8], layout: Layout) -> Option<Frame<'_>> {
    let len = length(bytes, layout)?;
    let frame = bytes.get(..len)?;
    match layout {
        Layout::Old => {
            let payload = &frame[OLD_HEADER..];
            let whole = crc32fast::hash(payload) == number(&frame[4..8]);
            whole.then_some(Frame { marker: ENTRY, key: &[], payload, len })
        }
        Layout::Marked => {
            let (key, payload) = frame[HEADER..].split_at(number(&frame[4..8]) as usize);
            let whole = checksum(&frame[4..12], key, payload) == number(&frame[12..16]);
            let marker = [frame[0], frame[1], frame[2], frame[3]];
            whole.then_some(Frame { marker, key, payload, len })
        }
    }
}

/// Bytes of the frame that a header announces, if it can be one.
fn length(header: &[u8], layout: Layout) -> Option<usize> {
    match layout {
        Layout::Old => {
            let payload = number(header.get(..OLD_HEADER)?) as usize;
            (1..=MAX_PAYLOAD).contains(&payload).then_some(OLD_HEADER + payload)
        }
        Layout::Marked => {
            let header = header.get(..HEADER)?;
            let (key, payload) = (number(&header[4..8]) as usize, number(&header[8..12]) as usize);
            (is_marker(header) && key <= MAX_KEY && payload <= MAX_PAYLOAD).then_some(HEADER + key + payload)
        }
    }
}

fn is_marker(bytes: &[u8]) -> bool {
    [ENTRY, OWNER, BLOCK, LEFT, INDEX, FOOTER].iter().any(|marker| bytes.starts_with(marker))
}

/// The first four bytes as a number.
pub(super) fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// What a scan came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// End of the last whole frame.
    pub end: u64,
    /// Stretches without a whole frame, each before one.
    pub damage: Vec<Range<u64>>,
    /// What follows the last whole frame.
    pub tail: Tail,
}

/// The end of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tail {
    /// A whole frame.
    #[default]
    Whole,
    /// The beginning of a frame: it is being written, or its writer was killed.
    Torn,
    /// Something else.
    Damaged,
}

/// Gives every whole frame in `file[from..size]` and its place to `each`, which says whether it understood it. After
/// damage, goes on at the next place at which a checksum holds.
pub(super) fn scan(
    file: &File,
    (from, size): (u64, u64),
    layout: Layout,
    mut each: impl FnMut(u64, Frame<'_>) -> bool,
) -> io::Result<Scan> {
    let mut window = Window { file, start: 0, bytes: Vec::new(), size };
    let mut scan = Scan { end: from, ..Scan::default() };
    let (mut at, mut lost) = (from, None);
    while at < size {
        let header = window.get(at, HEADER)?;
        let len = length(header, layout);
        let torn = len.is_some_and(|len| at + len as u64 > size) || (len.is_none() && begins(header, layout));
        let whole = match len {
            Some(len) if at + len as u64 <= size => parse(window.get(at, len)?, layout),
            _ => None,
        };
        let Some(frame) = whole else {
            lost.get_or_insert((at, if torn { Tail::Torn } else { Tail::Damaged }));
            at = window.next_candidate(at + 1, layout)?;
            continue;
        };
        scan.damage.extend(lost.take().map(|(from, _)| from..at));
        let end = at + frame.len as u64;
        if !each(at, frame) {
            scan.damage.push(at..end);
        }
        (at, scan.end) = (end, end);
    }
    scan.tail = lost.map_or(Tail::Whole, |(_, tail)| tail);
    Ok(scan)
}

/// Whether bytes that are too few for a header may be the beginning of one.
fn begins(header: &[u8], layout: Layout) -> bool {
    match layout {
        Layout::Old => header.len() < OLD_HEADER,
        Layout::Marked => header.len() < HEADER && (is_marker(header) || ENTRY.starts_with(header)),
    }
}

/// A stretch of a file in memory.
struct Window<'a> {
    file: &'a File,
    start: u64,
    bytes: Vec<u8>,
    size: u64,
}

impl Window<'_> {
    /// `len` bytes at `at`, fewer at the end of the file.
    fn get(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let len = (self.size.saturating_sub(at)).min(len as u64) as usize;
        let inside = at >= self.start && at + len as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            let fill = (self.size - at).min(len.max(CHUNK) as u64) as usize;
            self.bytes.resize(fill, 0);
            self.file.read_exact_at(&mut self.bytes, at)?;
            self.start = at;
        }
        let offset = (at - self.start) as usize;
        Ok(&self.bytes[offset..offset + len])
    }

    /// Bytes at `at`: those in memory when a header fits into them, else as many as are read at a time.
    fn some(&mut self, at: u64) -> io::Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        let inside = at >= self.start && at + HEADER as u64 <= end;
        self.get(at, if inside { (end - at) as usize } else { CHUNK })
    }

    /// The next place from `at` on that may be a frame's; the end of the file when there is none.
    fn next_candidate(&mut self, mut at: u64, layout: Layout) -> io::Result<u64> {
        let size = self.size;
        while at < size {
            let bytes = self.some(at)?;
            let found = match layout {
                Layout::Marked => (0..bytes.len()).find(|&offset| bytes[offset] == 0xff && is_marker(&bytes[offset..])),
                Layout::Old => (0..bytes.len()).find(|&offset| {
                    let (header, left) = (&bytes[offset..], size - at - offset as u64);
                    let fits = length(header, layout).is_some_and(|len| len as u64 <= left);
                    // What is stored begins as JSON does; anything else is not worth a checksum.
                    fits && header.get(OLD_HEADER).is_none_or(|first| b"{[\"-0123456789tfn".contains(first))
                }),
            };
            match found {
                Some(offset) => return Ok(at + offset as u64),
                None if at + bytes.len() as u64 == size => return Ok(size),
                // A header may lie across two reads.
                None => at += (bytes.len() - (HEADER - 1)) as u64,
            }
        }
        Ok(size)
    }
}
