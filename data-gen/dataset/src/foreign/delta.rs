//! What the [delta encodings](https://parquet.apache.org/docs/file-format/data-pages/encodings/) of text unpack to. Few
//! bytes may claim 2⁴⁰ lengths there, and a prefix repeats the text before it at no cost.

use super::guard::{Read, Stop, Thrift};
use parquet::{
    basic::Encoding,
    column::page::{Page, PageReader},
    errors::{ParquetError, Result},
    file::{metadata::ColumnChunkMetaData, serialized_reader::SerializedPageReader},
};
use std::{fs::File, sync::Arc};

/// Their numbers in a page's header: `DELTA_LENGTH_BYTE_ARRAY` and `DELTA_BYTE_ARRAY`.
pub(super) const ENCODINGS: [i64; 2] = [6, 7];
/// Most lengths in one page.
const MAX_LENGTHS: u64 = 1 << 26;
/// Bytes that a reader keeps for each length.
const LENGTH_BYTES: i64 = 4;

/// Bytes that the pages of a column of text in a delta encoding unpack to, lengths among them.
///
/// # Errors
/// When a page cannot be read, or has more lengths, or others, than any data.
pub(super) fn unpacked(file: &File, column: &ColumnChunkMetaData) -> Result<i64> {
    let rows = usize::try_from(column.num_values()).unwrap_or_default();
    let mut pages = SerializedPageReader::new(Arc::new(file.try_clone()?), column, rows, None)?;
    let wrong = |stop: Stop| ParquetError::General(format!("a page in a delta encoding {}", stop.what()));
    let descriptor = column.column_descr();
    let levels = [descriptor.max_rep_level(), descriptor.max_def_level()].map(|max| max > 0);
    let mut unpacked: i64 = 0;
    while let Some(page) = pages.get_next_page()? {
        let in_page = match &page {
            Page::DataPage { buf, encoding, .. } => {
                behind_levels(buf, levels).and_then(|values| text(*encoding, values))
            }
            Page::DataPageV2 { buf, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                let mut bytes = Thrift(buf);
                bytes.pass(levels).and_then(|()| text(*encoding, bytes.0))
            }
            Page::DictionaryPage { .. } => Ok(0),
        };
        unpacked = unpacked.saturating_add(in_page.map_err(wrong)?);
    }
    Ok(unpacked)
}

/// The values of a page of the first version, which lie behind its levels: each with its bytes in front.
fn behind_levels(page: &[u8], levels: [bool; 2]) -> Read<&[u8]> {
    let mut bytes = Thrift(page);
    for _ in levels.into_iter().filter(|has| *has) {
        let length = bytes.0.first_chunk::<4>().ok_or(Stop::Short)?;
        bytes.pass(4 + u64::from(u32::from_le_bytes(*length)))?;
    }
    Ok(bytes.0)
}

/// Bytes that a page's values unpack to.
fn text(encoding: Encoding, values: &[u8]) -> Read<i64> {
    let mut bytes = Thrift(values);
    match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => lengths(&mut bytes),
        // Prefixes, then what follows each of them.
        Encoding::DELTA_BYTE_ARRAY => Ok(lengths(&mut bytes)?.saturating_add(lengths(&mut bytes)?)),
        _ => Ok(values.len() as i64),
    }
}

/// Reads lengths in `DELTA_BINARY_PACKED`: their sum, and what it takes to keep them.
fn lengths(bytes: &mut Thrift<'_>) -> Read<i64> {
    let (block, minis, count) = (bytes.unsigned()?, bytes.unsigned()?, bytes.unsigned()?);
    let mut length = bytes.integer()?;
    let in_mini = block.checked_div(minis).filter(|values| *values > 0 && values % 32 == 0);
    let in_mini = in_mini.ok_or(Stop::Nonsense("has blocks of no known size"))?;
    if count > MAX_LENGTHS {
        return Err(Stop::Nonsense("has more lengths than any data"));
    }
    let (mut left, mut sum) = (count.saturating_sub(1), 0);
    if count > 0 {
        sum = plus(sum, length)?;
    }
    while left > 0 {
        let least = bytes.integer()?;
        let widths = bytes.0;
        bytes.pass(minis)?;
        for width in widths.iter().take(minis as usize).map(|width| u64::from(*width)) {
            // Those behind the last value have any width, and no bytes.
            if left == 0 {
                break;
            }
            if width > 32 {
                return Err(Stop::Nonsense("has lengths of more than 32 bits"));
            }
            let packed = bytes.0;
            // The last one may be cut where its values end.
            bytes.pass((width * in_mini / 8).min(packed.len() as u64))?;
            for index in 0..in_mini.min(left) {
                let delta = bits(packed, index * width, width)?;
                length = i64::from(length.wrapping_add(least).wrapping_add(delta) as i32);
                sum = plus(sum, length)?;
            }
            left = left.saturating_sub(in_mini);
        }
    }
    Ok(sum.saturating_add(count as i64 * LENGTH_BYTES))
}

fn plus(sum: i64, length: i64) -> Read<i64> {
    let length = u32::try_from(length).map_err(|_| Stop::Nonsense("has a length that is none"))?;
    Ok(sum.saturating_add(i64::from(length)))
}

/// A number of at most 32 bits, which begins at that bit; the lowest bit is first.
fn bits(bytes: &[u8], at: u64, width: u64) -> Read<i64> {
    if width == 0 {
        return Ok(0);
    }
    let first = (at / 8) as usize;
    let last = ((at + width - 1) / 8) as usize;
    let bytes = bytes.get(first..=last).ok_or(Stop::Short)?;
    let number = bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    Ok((number >> (at % 8) & ((1 << width) - 1)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, FileFormat, Rows};
    use arrow_array::{RecordBatch, StringArray};
    use parquet::{
        arrow::ArrowWriter,
        basic::Compression,
        file::properties::{WriterProperties, WriterVersion},
    };
    use std::{fs, path::Path};

    fn written(path: &Path, texts: Vec<Option<String>>, encoding: Encoding, version: WriterVersion) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter([("text", Arc::new(StringArray::from(texts)) as _)]).expect("a batch");
        let properties = WriterProperties::builder()
            .set_writer_version(version)
            .set_dictionary_enabled(false)
            .set_encoding(encoding)
            .set_compression(Compression::UNCOMPRESSED)
            .build();
        let mut writer = ArrowWriter::try_new(File::create(path).expect("a file"), batch.schema(), Some(properties))
            .expect("a writer");
        writer.write(&batch).expect("rows");
        writer.close().expect("a file");
        fs::read(path).expect("the file")
    }

    const BOTH: [Encoding; 2] = [Encoding::DELTA_LENGTH_BYTE_ARRAY, Encoding::DELTA_BYTE_ARRAY];

    #[test]
    fn text_in_delta_encodings_is_read() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("delta.parquet");
        for encoding in BOTH {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                for rows in [1, 31, 129, 5000] {
                    let text = |n: usize| (!n.is_multiple_of(7)).then(|| format!("a text {}", "x".repeat(n * n % 300)));
                    let texts: Vec<_> = (1..=rows).map(text).collect();
                    written(&path, texts.clone(), encoding, version);
                    let found = Rows::open(&path, FileFormat::Parquet, &["text"])
                        .expect("a file")
                        .map(|row| row.expect("a row").cells.expect("cells").remove(0).map(Cell::said));
                    assert!(found.eq(texts), "{encoding} of {rows} rows, {version:?}");
                }
            }
        }
    }

    #[test]
    fn a_text_that_repeats_the_one_before_it_without_end_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("bomb.parquet");
        let text = "0".repeat(1 << 18);
        let size = written(&path, vec![Some(text); 3000], Encoding::DELTA_BYTE_ARRAY, WriterVersion::PARQUET_2_0).len();
        assert!(size < 1 << 21, "expected a bomb, found {size} bytes");
        let error = Rows::open(&path, FileFormat::Parquet, &["text"]).err().expect("a refusal").to_string();
        assert!(error.contains("column `text`") && error.contains("refused"), "{error}");
    }

    #[test]
    fn more_lengths_than_there_can_be_are_refused_before_room_is_made_for_them() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("bomb.parquet");
        for encoding in BOTH {
            let texts = (0..0x3456).map(|n| Some(format!("{n}"))).collect();
            let mut bytes = written(&path, texts, encoding, WriterVersion::PARQUET_2_0);
            // 0x3456 as the format writes it, three bytes if need be, in front of the first length.
            let claim = [0x80, 0x01, 0x04, 0xd6, 0x68];
            let at = bytes.windows(claim.len()).position(|window| window == claim);
            let Some(at) = at else { panic!("{encoding}: the number of lengths is found") };
            // 2⁴⁰ of them take six bytes: over the first length and the first block's least.
            bytes[at + 3..at + 9].copy_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x20]);
            fs::write(&path, &bytes).expect("a file");
            let error = Rows::open(&path, FileFormat::Parquet, &["text"]).err().expect("a refusal").to_string();
            assert!(error.contains("more lengths than any data"), "{encoding}: {error}");
        }
    }
}
