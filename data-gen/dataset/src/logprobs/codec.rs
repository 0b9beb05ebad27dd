//! [`LogProbs`] ↔ bytes.
//!
//! # Layout
//! Little endian:
//!
//! ```text
//! magic        "dlp" and the version, 1
//! checksum     u32, CRC-32 of all that follows
//! flags        u8: 1 tokens are known by their bytes, not by ids; 2 ids of the generated tokens follow at the end
//! k            u8, 0 to 20
//! tokens       u32, tokens of the trace
//! entries      u32, alternatives of all tokens, and the generated tokens that are no alternative of theirs
//! rows         u32, distinct tokens
//! table bytes  u32
//! id bytes     u32, 0 without flag 2
//! columns      one zstd frame of:
//!   table      the distinct tokens, those of most entries first: ids as LEB128; or, of texts, their lengths as LEB128 and
//!              then their bytes
//!   counts     u8 a token: its alternatives
//!   places     u8 a token: which of them was generated, from 1; 0 where none was
//!   rows       an entry's row in the table: all lowest bytes, then all next ones; as many planes as the last row needs
//!   steps      u16 an entry, all low bytes and then all high ones: log-probability in steps of −1/1024 nat; of an
//!              alternative behind another one, how many steps it is below it
//!   ids        LEB128 a token
//! ```
//!
//! A token's entries are its alternatives, the most probable first, then the generated token where its place is 0. In the
//! columns of entries, the first entries of all tokens come first, then all second ones, and so on: what is alike lies
//! together.
//!
//! # Damage
//! What does not check is refused. The header says how long the columns are, at most 64 MiB; memory is taken as they are
//! decompressed, not on the header's word, and never more than four times that, whatever the bytes are.

use super::{LogProbs, LogProbsError, MAX_ALTERNATIVES, MAX_BYTES, Shape, Table};
use std::io::Read;

const MAGIC: &[u8; 3] = b"dlp";
const VERSION: u8 = 1;
/// Bytes before the columns, and those of them that the checksum does not cover.
const HEADER: usize = 30;
const UNCOVERED: usize = 8;
const TEXTS: u8 = 1;
const WITH_IDS: u8 = 2;
/// zstd's own default.
const LEVEL: i32 = 3;
/// A larger window of the decompressor than this level ever asks for is refused.
const MAX_WINDOW_LOG: u32 = 22;
/// More bytes are no log-probabilities: those of the columns, which zstd makes no longer than a little.
pub(super) const MAX_ENCODED: usize = MAX_BYTES + (MAX_BYTES >> 7) + HEADER;

const CUT: LogProbsError = LogProbsError::Damaged("columns are shorter than the header says");

impl LogProbs {
    /// The bytes: the same for the same log-probabilities, with one version of zstd.
    ///
    /// # Errors
    /// `TooLarge` beyond 64 MiB before compression.
    pub fn encode(&self) -> Result<Vec<u8>, LogProbsError> {
        let order = self.by_frequency();
        // A table that was read may have rows that nothing names: they are left out.
        let mut places = vec![0_u32; self.table.len()];
        (0..).zip(&order).for_each(|(place, row)| places[*row as usize] = place);
        let mut columns = Vec::new();
        self.put_table(&order, &mut columns);
        let table_bytes = columns.len();
        columns.extend(self.shapes.iter().map(|shape| shape.alternatives));
        columns.extend(self.shapes.iter().map(|shape| shape.place));
        let entries = || interleaved(&self.shapes);
        for plane in 0..width(order.len()) {
            columns.extend(entries().map(|(at, _)| (places[self.rows[at] as usize] >> (8 * plane)) as u8));
        }
        let step = |(at, is_below): (usize, bool)| match is_below {
            true => self.steps[at].saturating_sub(self.steps[at - 1]),
            false => self.steps[at],
        };
        for plane in 0..2 {
            columns.extend(entries().map(|entry| (step(entry) >> (8 * plane)) as u8));
        }
        let before = columns.len();
        self.ids.iter().flatten().for_each(|id| put_varint(*id, &mut columns));
        let id_bytes = columns.len() - before;
        if columns.len() > MAX_BYTES {
            return Err(LogProbsError::TooLarge { most: MAX_BYTES, found: columns.len() as u64 });
        }
        let texts = if matches!(self.table, Table::Texts(..)) { TEXTS } else { 0 };
        let with_ids = if self.ids.is_some() { WITH_IDS } else { 0 };
        let mut bytes = [MAGIC, &[VERSION][..], &[0; 4], &[texts | with_ids, self.k]].concat();
        for number in [self.shapes.len(), self.rows.len(), order.len(), table_bytes, id_bytes] {
            bytes.extend((number as u32).to_le_bytes());
        }
        let compressed = zstd::bulk::compress(&columns, LEVEL);
        bytes.extend(compressed.map_err(|_| LogProbsError::Damaged("zstd refused to compress"))?);
        let checksum = crc32fast::hash(&bytes[UNCOVERED..]);
        bytes[4..UNCOVERED].copy_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    /// The rows of the table, those of most entries first, those of as many in the order in which they are met.
    fn by_frequency(&self) -> Vec<u32> {
        let mut counts = vec![0_u32; self.table.len()];
        let mut order = Vec::with_capacity(counts.len());
        for row in &self.rows {
            if counts[*row as usize] == 0 {
                order.push(*row);
            }
            counts[*row as usize] += 1;
        }
        order.sort_by_key(|row| std::cmp::Reverse(counts[*row as usize]));
        order
    }

    fn put_table(&self, order: &[u32], out: &mut Vec<u8>) {
        match &self.table {
            Table::Ids(ids) => order.iter().for_each(|row| put_varint(ids[*row as usize], out)),
            Table::Texts(bytes, ends) => {
                let start = |row: usize| row.checked_sub(1).map_or(0, |before| ends[before]);
                let spans: Vec<_> = order.iter().map(|row| start(*row as usize)..ends[*row as usize]).collect();
                spans.iter().for_each(|span| put_varint(span.end - span.start, out));
                spans.iter().for_each(|span| out.extend_from_slice(&bytes[span.start as usize..span.end as usize]));
            }
        }
    }

    /// Reads bytes of [`LogProbs::encode`], whoever wrote them.
    ///
    /// # Errors
    /// What is wrong with them. Never more than 256 MiB are taken to find out.
    pub fn decode(bytes: &[u8]) -> Result<LogProbs, LogProbsError> {
        if bytes.get(..3) != Some(MAGIC) {
            return Err(LogProbsError::Magic);
        }
        let found = bytes.get(3).copied().unwrap_or(0);
        if found != VERSION {
            return Err(LogProbsError::Version { expected: VERSION, found });
        }
        if bytes.len() < HEADER || bytes.len() > MAX_ENCODED {
            return Err(LogProbsError::Damaged("expected a header and columns of at most 64 MiB"));
        }
        let (expected, found) = (number(bytes, 4), crc32fast::hash(&bytes[UNCOVERED..]));
        if expected != found {
            return Err(LogProbsError::Checksum { expected, found });
        }
        let header = Header::read(bytes)?;
        let columns = decompressed(&bytes[HEADER..], header.column_bytes())?;
        header.parse(Columns { left: &columns })
    }
}

/// What the header says, as far as it can be.
struct Header {
    flags: u8,
    k: u8,
    tokens: usize,
    entries: usize,
    rows: usize,
    table_bytes: usize,
    id_bytes: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Header, LogProbsError> {
        let number = |at| number(bytes, at) as usize;
        let header = Header {
            flags: bytes[8],
            k: bytes[9],
            tokens: number(10),
            entries: number(14),
            rows: number(18),
            table_bytes: number(22),
            id_bytes: number(26),
        };
        let is_ids = |flag: bool| if flag { header.id_bytes >= header.tokens } else { header.id_bytes == 0 };
        for (holds, what) in [
            (header.flags & !(TEXTS | WITH_IDS) == 0, "unknown flags"),
            (header.flags != WITH_IDS, "ids beside ids"),
            (header.k <= MAX_ALTERNATIVES, "more than 20 alternatives"),
            (header.tokens <= header.entries, "fewer entries than tokens"),
            (
                header.entries <= header.tokens.saturating_mul(usize::from(header.k) + 1),
                "more entries than tokens have",
            ),
            (header.rows <= header.entries, "more distinct tokens than entries"),
            (header.rows > 0 || header.entries == 0, "entries without tokens"),
            (header.rows <= header.table_bytes, "a table shorter than its tokens"),
            (is_ids(header.flags & WITH_IDS != 0), "ids that are not one for each token"),
        ] {
            if !holds {
                return Err(LogProbsError::Damaged(what));
            }
        }
        match header.column_bytes() {
            found if found > MAX_BYTES as u64 => Err(LogProbsError::TooLarge { most: MAX_BYTES, found }),
            _ => Ok(header),
        }
    }

    /// Bytes of the columns: five numbers of 32 bits, none of them multiplied by more than 6.
    fn column_bytes(&self) -> u64 {
        let planes = width(self.rows) + 2;
        (self.table_bytes + self.id_bytes + 2 * self.tokens + planes * self.entries) as u64
    }

    fn parse(&self, mut columns: Columns<'_>) -> Result<LogProbs, LogProbsError> {
        let table = self.table(columns.take(self.table_bytes)?)?;
        let (counts, places) = (columns.take(self.tokens)?, columns.take(self.tokens)?);
        let shape = |(alternatives, place): (&u8, &u8)| Shape { alternatives: *alternatives, place: *place };
        let shapes: Vec<Shape> = counts.iter().zip(places).map(shape).collect();
        if shapes.iter().any(|shape| shape.alternatives > self.k || shape.place > shape.alternatives) {
            return Err(LogProbsError::Damaged("a token with more alternatives than asked for, or without its own"));
        }
        if shapes.iter().map(|shape| shape.num_entries()).sum::<usize>() != self.entries {
            return Err(LogProbsError::Damaged("other entries than tokens have"));
        }
        let mut rows = vec![0_u32; self.entries];
        for plane in 0..width(self.rows) {
            let bytes = columns.take(self.entries)?;
            interleaved(&shapes).zip(bytes).for_each(|((at, _), byte)| rows[at] |= u32::from(*byte) << (8 * plane));
        }
        if rows.iter().any(|row| *row as usize >= self.rows) {
            return Err(LogProbsError::Damaged("a token that is not in the table"));
        }
        let (low, high) = (columns.take(self.entries)?, columns.take(self.entries)?);
        let mut steps = vec![0_u16; self.entries];
        for ((at, is_below), (low, high)) in interleaved(&shapes).zip(low.iter().zip(high)) {
            let above = if is_below { steps[at - 1] } else { 0 };
            steps[at] = above
                .checked_add(u16::from_le_bytes([*low, *high]))
                .ok_or(LogProbsError::Damaged("a log-probability below -64 nats"))?;
        }
        let mut left = Columns { left: columns.take(self.id_bytes)? };
        let ids = match self.flags & WITH_IDS {
            0 => None,
            _ => Some((0..self.tokens).map(|_| left.varint()).collect::<Result<Vec<u32>, _>>()?),
        };
        left.end()?;
        Ok(LogProbs { k: self.k, table, ids, shapes, rows, steps })
    }

    fn table(&self, bytes: &[u8]) -> Result<Table, LogProbsError> {
        let mut column = Columns { left: bytes };
        let numbers = (0..self.rows).map(|_| column.varint()).collect::<Result<Vec<u32>, _>>()?;
        if self.flags & TEXTS == 0 {
            return column.end().map(|()| Table::Ids(numbers));
        }
        let mut end = 0_u32;
        let mut ends = numbers;
        for length in &mut ends {
            end = end.checked_add(*length).ok_or(CUT)?;
            *length = end;
        }
        let texts = column.take(end as usize)?.to_vec();
        column.end().map(|()| Table::Texts(texts, ends))
    }
}

/// The entries of all tokens, the first ones first, then the second ones: where each is, and whether its steps count from the
/// entry before it.
fn interleaved(shapes: &[Shape]) -> impl Iterator<Item = (usize, bool)> {
    let most = shapes.iter().map(|shape| shape.num_entries()).max().unwrap_or(0);
    (0..most).flat_map(move |rank| {
        let mut next = 0;
        shapes.iter().filter_map(move |shape| {
            let start = next;
            next += shape.num_entries();
            let is_below = rank > 0 && rank < usize::from(shape.alternatives);
            (rank < shape.num_entries()).then_some((start + rank, is_below))
        })
    })
}

/// Bytes of a row's number in a table of so many.
fn width(rows: usize) -> usize {
    (1..4).find(|bytes| rows <= 1 << (8 * bytes)).unwrap_or(4)
}

/// What `bytes` decompress to, which are so many; memory grows with what is there.
fn decompressed(bytes: &[u8], most: u64) -> Result<Vec<u8>, LogProbsError> {
    let no_frame = |_| LogProbsError::Damaged("columns are no zstd frame");
    let mut decoder = zstd::Decoder::with_buffer(bytes).map_err(no_frame)?.single_frame();
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(no_frame)?;
    let mut columns = Vec::new();
    decoder.by_ref().take(most + 1).read_to_end(&mut columns).map_err(no_frame)?;
    columns.shrink_to_fit();
    if columns.len() as u64 != most || !decoder.finish().is_empty() {
        return Err(LogProbsError::Damaged("columns are not as long as the header says"));
    }
    Ok(columns)
}

/// Columns that are not read yet.
struct Columns<'a> {
    left: &'a [u8],
}

impl<'a> Columns<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], LogProbsError> {
        let (taken, left) = self.left.split_at_checked(bytes).ok_or(CUT)?;
        self.left = left;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u32, LogProbsError> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| LogProbsError::Damaged("a number of more than 32 bits"));
            }
        }
        Err(LogProbsError::Damaged("a number of more than five bytes"))
    }

    fn end(&self) -> Result<(), LogProbsError> {
        if self.left.is_empty() { Ok(()) } else { Err(LogProbsError::Damaged("a column longer than what is in it")) }
    }
}

fn put_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number at a place that is there.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
