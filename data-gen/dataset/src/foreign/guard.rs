//! What a Parquet file says of itself, looked at before anybody acts on it. Readers take the numbers of its footer and of
//! its pages' headers for sizes to allocate and depths to recurse into.
//!
//! Both are structs of [Parquet's Thrift definition](https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift)
//! in Thrift's [compact protocol](https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), of which
//! only the few fields that matter here are understood.

use super::{delta, pages};
use parquet::{
    basic::Type,
    errors::{ParquetError, Result},
    file::metadata::ColumnChunkMetaData,
};
use std::{fs::File, os::unix::fs::FileExt};

/// A page or a column of a row group that unpacks to more than this, and to more than [`MAX_RATIO`] times what is stored, is
/// no data: text packs to a tenth at best, and what repeats stays packed in a dictionary.
const MAX_UNPACKED: i64 = 256 << 20;
const MAX_RATIO: i64 = 100;
/// Most values of a column in a row group where a row may have many: a reader keeps a view and levels for each, of whole rows.
const MAX_VALUES: u64 = 1 << 25;
/// Longest footer: a thousand columns in a thousand row groups have one of some 100 MB.
const MAX_FOOTER: u64 = 256 << 20;
/// Deepest column, in groups.
const MAX_NESTING: usize = 32;
/// Deepest struct in a struct that is skipped.
const MAX_DEPTH: u32 = 32;
/// Bytes that are read for a page's header at first, and at most: it may quote the least and the largest value.
const HEADER_BYTES: (u64, u64) = (1 << 10, 1 << 24);
const MAGIC: &[u8] = b"PAR1";

fn wrong(message: impl Into<String>) -> ParquetError {
    ParquetError::General(message.into())
}

/// Looks at the footer: its lists are no longer than the footer, its schema is no deeper than any data's. A file that has
/// no footer is left to the reader, who says so.
///
/// # Errors
/// When it is as no writer makes it, or cannot be read.
pub(super) fn footer(file: &File) -> Result<()> {
    let length = file.metadata()?.len();
    let mut tail = [0; 8];
    let Some(at) = length.checked_sub(tail.len() as u64) else { return Ok(()) };
    file.read_exact_at(&mut tail, at)?;
    let ([size @ .., _, _, _, _], magic) = (tail, &tail[4..]);
    let size = u64::from(u32::from_le_bytes(size));
    if magic != MAGIC || size > at {
        return Ok(());
    }
    if size > MAX_FOOTER {
        return Err(wrong(format!("a footer of {size} bytes, at most {MAX_FOOTER} are expected")));
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, at - size)?;
    let mut thrift = Thrift(&bytes);
    file_metadata(&mut thrift).map_err(|stop| wrong(format!("the footer {}", stop.what())))
}

/// `FileMetaData`: field 2 is the schema, a tree in depth-first order.
fn file_metadata(thrift: &mut Thrift<'_>) -> Read<()> {
    let mut last = 0;
    while let Some((field, kind)) = thrift.field(&mut last)? {
        match (field, kind) {
            (2, LIST) => schema(thrift)?,
            _ => thrift.skip(kind, MAX_DEPTH)?,
        }
    }
    Ok(())
}

/// A list of `SchemaElement`s: field 5 tells how many of those that follow are an element's children.
fn schema(thrift: &mut Thrift<'_>) -> Read<()> {
    let (kind, size) = thrift.list()?;
    if kind != STRUCT {
        return Err(Stop::Nonsense("has a schema that is none"));
    }
    // Children that are still to come, of every group that is open.
    let mut open: Vec<u64> = Vec::new();
    for index in 0..size {
        let (mut last, mut children) = (0, 0);
        while let Some((field, kind)) = thrift.field(&mut last)? {
            match (field, kind) {
                (5, I32) => children = thrift.integer()?,
                _ => thrift.skip(kind, MAX_DEPTH)?,
            }
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        match u64::try_from(children) {
            Ok(0) => {}
            Ok(children) if children < size - index => open.push(children),
            _ => return Err(Stop::Nonsense("has a group of more columns than there are")),
        }
        if open.len() > MAX_NESTING {
            return Err(Stop::Nonsense("nests columns deeper than any data"));
        }
    }
    Ok(())
}

/// Looks at a column of a row group, and at the headers of all its pages.
///
/// # Errors
/// When it, or a page, would unpack to a multiple that no data has, or they cannot be read.
pub(super) fn column(file: &File, column: &ColumnChunkMetaData) -> Result<()> {
    let name = || column.column_path().string();
    plausible(column.compressed_size(), column.uncompressed_size())
        .map_err(|message| wrong(format!("column `{}`: {message}", name())))?;
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let range = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok());
    let range = range.and_then(|(start, length)| Some((start, start.checked_add(length)?)));
    let Some((mut at, end)) = range.filter(|(_, end)| file.metadata().is_ok_and(|data| *end <= data.len())) else {
        return Err(wrong(format!("column `{}`: it would lie outside of the file", name())));
    };
    // What its footer says may be less than what its pages do.
    let (mut unpacked, mut values, mut delta) = (0, 0, false);
    while at < end {
        let looked_at = page(file, at, end).and_then(|(header, page)| {
            if page.is_packed && pages::is_endless(column.compression()) {
                let (from, bytes) = (at + header + page.levels, (page.packed as u64).saturating_sub(page.levels));
                let mut packed = vec![0; bytes.min(end - at) as usize];
                file.read_exact_at(&mut packed, from)?;
                pages::within(column.compression(), &packed, page.unpacked as u64)?;
            }
            Ok((header + page.packed as u64, page))
        });
        let (length, page) = looked_at.map_err(|error| match error {
            ParquetError::General(message) => wrong(format!("column `{}`, a page at byte {at}: {message}", name())),
            other => other,
        })?;
        (at, unpacked, delta) =
            (at + length, unpacked + page.unpacked, delta || delta::ENCODINGS.contains(&page.encoding));
        values += page.values;
    }
    if column.column_descr().max_rep_level() > 0 && values > MAX_VALUES {
        return Err(wrong(format!(
            "column `{}`: {values} values in a row group are refused, at most {MAX_VALUES} are read: write smaller row groups",
            name()
        )));
    }
    // What its pages do may be less than what the lengths in them do.
    if delta && column.column_type() == Type::BYTE_ARRAY {
        let of_pages = delta::unpacked(file, column).map_err(|error| wrong(format!("column `{}`: {error}", name())))?;
        unpacked = unpacked.max(of_pages);
    }
    plausible(column.compressed_size(), unpacked).map_err(|message| wrong(format!("column `{}`: {message}", name())))
}

/// What a page's header says.
struct PageHeader {
    /// Bytes that the page unpacks to: field 2.
    unpacked: i64,
    /// Bytes that are stored behind the header: field 3.
    packed: i64,
    /// Of its data: nothing where it is a dictionary.
    values: u64,
    /// The number of its values' encoding. A dictionary's is plain.
    encoding: i64,
    /// Bytes in front that are not packed.
    levels: u64,
    /// Whether the rest is packed.
    is_packed: bool,
}

/// The header of the page that begins there, and the header's own bytes.
fn page(file: &File, at: u64, end: u64) -> Result<(u64, PageHeader)> {
    let mut room = HEADER_BYTES.0;
    loop {
        let mut bytes = vec![0; room.min(end - at) as usize];
        file.read_exact_at(&mut bytes, at)?;
        let mut thrift = Thrift(&bytes);
        match page_header(&mut thrift) {
            Ok(page) => {
                plausible(page.packed, page.unpacked).map_err(wrong)?;
                return Ok(((bytes.len() - thrift.0.len()) as u64, page));
            }
            Err(Stop::Short) if room < HEADER_BYTES.1.min(end - at) => room *= 8,
            Err(stop) => return Err(wrong(format!("its header {}", stop.what()))),
        }
    }
}

fn page_header(thrift: &mut Thrift<'_>) -> Read<PageHeader> {
    let mut page = PageHeader { unpacked: -1, packed: -1, values: 0, encoding: 0, levels: 0, is_packed: true };
    let mut last = 0;
    while let Some((field, kind)) = thrift.field(&mut last)? {
        match (field, kind) {
            (2, I32) => page.unpacked = thrift.integer()?,
            (3, I32) => page.packed = thrift.integer()?,
            (5, STRUCT) => first_version(thrift, &mut page)?,
            (8, STRUCT) => second_version(thrift, &mut page)?,
            _ => thrift.skip(kind, MAX_DEPTH)?,
        }
    }
    if page.unpacked < 0 || page.packed < 0 { Err(Stop::Nonsense("has no sizes")) } else { Ok(page) }
}

/// `DataPageHeader`: its values in field 1, their encoding in field 2.
fn first_version(thrift: &mut Thrift<'_>, page: &mut PageHeader) -> Read<()> {
    let mut last = 0;
    while let Some((field, kind)) = thrift.field(&mut last)? {
        match (field, kind) {
            (1, I32) => page.values = count(thrift.integer()?)?,
            (2, I32) => page.encoding = thrift.integer()?,
            _ => thrift.skip(kind, MAX_DEPTH)?,
        }
    }
    Ok(())
}

/// `DataPageHeaderV2`: its values in field 1, their encoding in field 4, bytes of levels in fields 5 and 6, whether what is
/// behind them is packed in field 7, of which the kind is the value.
fn second_version(thrift: &mut Thrift<'_>, page: &mut PageHeader) -> Read<()> {
    let mut last = 0;
    while let Some((field, kind)) = thrift.field(&mut last)? {
        match (field, kind) {
            (1, I32) => page.values = count(thrift.integer()?)?,
            (4, I32) => page.encoding = thrift.integer()?,
            (5 | 6, I32) => page.levels += count(thrift.integer()?)?,
            (7, 1 | 2) => page.is_packed = kind == 1,
            _ => thrift.skip(kind, MAX_DEPTH)?,
        }
    }
    Ok(())
}

fn count(number: i64) -> Read<u64> {
    u32::try_from(number).map(u64::from).map_err(|_| Stop::Nonsense("has a number that counts nothing"))
}

fn plausible(packed: i64, unpacked: i64) -> std::result::Result<(), String> {
    if unpacked > MAX_UNPACKED && unpacked / packed.max(1) > MAX_RATIO {
        return Err(format!(
            "{packed} bytes that unpack to {unpacked} are refused, at most {MAX_RATIO} times as many are expected"
        ));
    }
    Ok(())
}

/// Why reading stopped.
pub(super) enum Stop {
    /// There are no more bytes.
    Short,
    /// This is wrong with what was read.
    Nonsense(&'static str),
}

impl Stop {
    pub(super) fn what(&self) -> &'static str {
        match self {
            Stop::Short => "ends early",
            Stop::Nonsense(what) => what,
        }
    }
}

pub(super) type Read<T> = std::result::Result<T, Stop>;

/// What is left to be read.
pub(super) struct Thrift<'b>(pub(super) &'b [u8]);

const I32: u8 = 5;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

impl Thrift<'_> {
    pub(super) fn byte(&mut self) -> Read<u8> {
        let (byte, rest) = self.0.split_first().ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn pass(&mut self, bytes: u64) -> Read<()> {
        let rest = usize::try_from(bytes).ok().and_then(|bytes| self.0.get(bytes..));
        self.0 = rest.ok_or(Stop::Short)?;
        Ok(())
    }

    pub(super) fn unsigned(&mut self) -> Read<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Stop::Nonsense("has a number without end"))
    }

    pub(super) fn integer(&mut self) -> Read<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A struct's next field, and its kind; nothing at its end.
    fn field(&mut self, last: &mut i64) -> Read<Option<(i64, u8)>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        *last = match byte >> 4 {
            0 => self.integer()?,
            step => last.wrapping_add(i64::from(step)),
        };
        Ok(Some((*last, byte & 0x0f)))
    }

    /// A list's kind and length, of which each element takes a byte at least.
    fn list(&mut self) -> Read<(u8, u64)> {
        let byte = self.byte()?;
        let size = match byte >> 4 {
            15 => self.unsigned()?,
            size => u64::from(size),
        };
        if size > self.0.len() as u64 { Err(Stop::Short) } else { Ok((byte & 0x0f, size)) }
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Read<()> {
        let Some(depth) = depth.checked_sub(1) else { return Err(Stop::Nonsense("nests structs without end")) };
        match kind {
            // A boolean's value is its kind.
            1 | 2 => Ok(()),
            3 => self.pass(1),
            4..=6 => self.unsigned().map(drop),
            7 => self.pass(8),
            8 => self.unsigned().and_then(|bytes| self.pass(bytes)),
            LIST | 10 => {
                let (kind, size) = self.list()?;
                (0..size).try_for_each(|_| self.skip_element(kind, depth))
            }
            11 => {
                let size = self.unsigned()?;
                let kinds = if size == 0 { 0 } else { self.byte()? };
                (0..size).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0x0f, depth)
                })
            }
            STRUCT => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth)?;
                }
                Ok(())
            }
            _ => Err(Stop::Nonsense("has a field of no known kind")),
        }
    }

    fn skip_element(&mut self, kind: u8, depth: u32) -> Read<()> {
        // In a list, a boolean takes a byte.
        if matches!(kind, 1 | 2) { self.pass(1) } else { self.skip(kind, depth) }
    }
}

#[cfg(test)]
mod tests {
    use crate::{FileFormat, Rows, foreign::tests::bomb};
    use arrow_array::{Int64Array, ListArray, RecordBatch, StringArray, types::Int64Type};
    use parquet::{
        arrow::ArrowWriter,
        basic::Compression,
        file::{
            metadata::{ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter},
            properties::WriterProperties,
        },
    };
    use std::{
        fs::{self, File},
        path::Path,
        sync::Arc,
    };

    fn refusal(path: &Path) -> String {
        Rows::open(path, FileFormat::Parquet, &["text"]).err().expect("a refusal").to_string()
    }

    #[test]
    fn a_footer_that_belittles_its_pages_is_not_believed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = bomb(dir.path());
        let file = File::open(&path).expect("a file");
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).expect("a footer");
        let data = metadata.row_groups()[0].column(0).compressed_size() as usize + 4;
        let column = metadata.row_groups()[0].column(0).clone().into_builder();
        let column = column.set_total_uncompressed_size(1000).build().expect("a column");
        let group = metadata.row_groups()[0].clone().into_builder().set_column_metadata(vec![column]);
        let group = group.build().expect("a row group");
        let lie = ParquetMetaData::new(metadata.file_metadata().clone(), vec![group]);
        let mut bytes = fs::read(&path).expect("the file");
        bytes.truncate(data);
        ParquetMetaDataWriter::new(&mut bytes, &lie).finish().expect("a footer");
        fs::write(&path, bytes).expect("a file");
        let error = refusal(&path);
        assert!(error.contains("column `text`") && error.contains("refused"), "{error}");
    }

    /// A file of that footer alone.
    fn of_footer(path: &Path, footer: &[u8]) {
        let size = (footer.len() as u32).to_le_bytes();
        fs::write(path, [b"PAR1".as_slice(), footer, &size, b"PAR1"].concat()).expect("a file");
    }

    #[test]
    fn footers_that_would_overflow_the_stack_or_the_memory_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("bad.parquet");
        // Version 1, then a schema of groups with one child each.
        let mut deep = [0x15, 0x02, 0x19, 0xfc, 0xc0, 0x9a, 0x0c].to_vec();
        (0..200_000).for_each(|_| deep.extend_from_slice(&[0x48, 0x01, b'g', 0x15, 0x02, 0x00]));
        of_footer(&path, &[deep, vec![0]].concat());
        assert!(refusal(&path).contains("nests columns deeper"), "{}", refusal(&path));
        // A schema, and row groups, of 2,147,483,647 elements.
        for list in [0x19, 0x39] {
            of_footer(&path, &[0x15, 0x02, list, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00]);
            assert!(refusal(&path).contains("ends early"), "{}", refusal(&path));
        }
        // A field of structs in structs.
        of_footer(&path, &[0x1c; 100_000]);
        assert!(refusal(&path).contains("nests structs"), "{}", refusal(&path));
    }

    /// 64-bit xorshift.
    fn next(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state as usize
    }

    #[test]
    fn no_damage_to_a_file_ends_the_program() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("a.parquet");
        let texts: Vec<Option<String>> = (0..600).map(|n| (n % 7 > 0).then(|| format!("row {}", n % 50))).collect();
        let numbers: Int64Array = (0..600).collect();
        let lists = (0..600)
            .map(|n| (n % 5 > 0).then(|| (0..n % 4).map(|item| (item > 0).then_some(item)).collect::<Vec<_>>()));
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let batch = RecordBatch::try_from_iter([
            ("text", Arc::new(StringArray::from(texts)) as _),
            ("number", Arc::new(numbers) as _),
            ("list", Arc::new(lists) as _),
        ]);
        let batch = batch.expect("a batch");
        let mut state = 17;
        let (mut refused, mut read) = (0, 0);
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::ZSTD(Default::default()),
            Compression::SNAPPY,
            Compression::GZIP(Default::default()),
            Compression::BROTLI(Default::default()),
            Compression::LZ4,
            Compression::LZ4_RAW,
        ] {
            let properties = WriterProperties::builder().set_compression(compression).build();
            let file = File::create(&path).expect("a file");
            let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
            writer.write(&batch).expect("rows");
            writer.close().expect("a file");
            let sound = fs::read(&path).expect("a file");
            for round in 0..900 {
                let mut bytes = sound.clone();
                for _ in 0..=next(&mut state) % 3 {
                    // Every other time in the footer, which is a part of the whole only.
                    let from = if round % 2 == 0 { bytes.len() / 2 } else { 0 };
                    let at = from + next(&mut state) % (bytes.len() - from);
                    match next(&mut state) % 4 {
                        0 => bytes[at] = next(&mut state) as u8,
                        1 => bytes[at] ^= 1 << (next(&mut state) % 8),
                        2 => bytes[at] = 0xff,
                        _ => drop(bytes.remove(at)),
                    }
                }
                fs::write(&path, bytes).expect("a file");
                let rows = Rows::open(&path, FileFormat::Parquet, &["text", "number", "list", "list.1"]);
                match rows.and_then(|rows| rows.take(10_000).collect::<Result<Vec<_>, _>>()) {
                    Ok(_) => read += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 1000 && read > 100, "{refused} were refused, {read} read");
    }
}
