//! Where a file can be cut, so that many can read it at once, and each part of it again: lines of JSON at their ends, Parquet
//! between row groups. A file that is packed, or one array, is one part.

use super::{FileFormat, json::RawRows, metadata, row_groups, unharmed};
use crate::error::DatasetError;
use distill_files::open_regular;
use std::{io::Read, ops::Range, path::Path};

/// Bytes that are looked through at once.
const BUFFER: usize = 1 << 20;

/// A stretch of a file's rows. All of them, in order, are the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub(super) stretch: Stretch,
    /// The place of its first row, or of the first that it may have.
    pub first: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    Whole,
    /// Lines, by their bytes.
    Lines(Range<u64>),
    /// A row group.
    Group(usize),
}

/// Cuts a file into parts of about `bytes` bytes of lines, or of a row group.
///
/// # Errors
/// When it cannot be read or is not stored that way.
pub fn parts(path: &Path, format: FileFormat, bytes: u64) -> Result<Vec<Part>, DatasetError> {
    if format == FileFormat::Parquet {
        let file = open_regular(path).map_err(DatasetError::io("open", path))?;
        let known = unharmed(|| metadata(&file)).map_err(|message| DatasetError::Foreign {
            path: path.to_owned(),
            message: row_groups::not_parquet(&message),
        })?;
        let starts =
            row_groups::starts(known.metadata()).into_iter().enumerate().take(known.metadata().num_row_groups());
        return Ok(starts.map(|(group, start)| Part { stretch: Stretch::Group(group), first: start + 1 }).collect());
    }
    if RawRows::open(path)?.can_be_cut() {
        return lines(path, bytes.max(1));
    }
    Ok(vec![Part { stretch: Stretch::Whole, first: 1 }])
}

fn lines(path: &Path, bytes: u64) -> Result<Vec<Part>, DatasetError> {
    let mut file = open_regular(path).map_err(DatasetError::io("open", path))?;
    let (mut parts, mut start, mut first) = (Vec::new(), 0, 1);
    // The byte that is looked at, and the number of its line.
    let (mut at, mut line) = (0, 1);
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = file.read(&mut buffer).map_err(DatasetError::io("read", path))?;
        if length == 0 {
            break;
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            // Up to here the part goes on whatever there is; it ends with the line that goes over.
            let least = (start + bytes).saturating_sub(at).min(rest.len() as u64) as usize;
            let end = rest[least..].iter().position(|byte| *byte == b'\n').map(|end| least + end + 1);
            let taken = end.unwrap_or(rest.len());
            line += rest[..taken].iter().filter(|byte| **byte == b'\n').count() as u64;
            (at, rest) = (at + taken as u64, &rest[taken..]);
            if end.is_some() {
                parts.push(Part { stretch: Stretch::Lines(start..at), first });
                (start, first) = (at, line);
            }
        }
    }
    if start < at || parts.is_empty() {
        parts.push(Part { stretch: Stretch::Lines(start..at), first });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreign::{Row, Rows};

    fn all(rows: Rows) -> Vec<Row> {
        rows.map(|row| row.expect("a row")).collect()
    }

    fn are_the_file(path: &Path, format: FileFormat, bytes: u64) -> usize {
        let whole = all(Rows::open(path, format, &["a"]).expect("a file"));
        let parts = parts(path, format, bytes).expect("parts");
        let read = |part: &Part| all(Rows::open_part(path, format, &["a"], part).expect("a part"));
        let pieces: Vec<Row> = parts.iter().flat_map(read).collect();
        assert_eq!(pieces, whole, "parts of {bytes} bytes of {}", path.display());
        for (part, next) in parts.iter().zip(&parts[1..]) {
            assert!(read(part).iter().all(|row| (part.first..next.first).contains(&row.place)), "{part:?} {next:?}");
        }
        for wanted in whole.iter().step_by(3) {
            let part = parts.iter().rfind(|part| part.first <= wanted.place).expect("a part");
            let mut rows = Rows::open_part(path, format, &["a"], part).expect("a part");
            rows.seek(wanted.place);
            assert_eq!(rows.next().expect("a row").expect("a row"), *wanted);
        }
        parts.len()
    }

    #[test]
    fn parts_in_order_are_the_file_wherever_it_is_cut() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("rows.jsonl");
        let lines: String = (0..200)
            .map(|n| match n % 9 {
                0 => "\n".to_owned(),
                1 => "{\"a\": broken\r\n".to_owned(),
                _ => format!("{{\"a\": \"{}\"}}\n", "é".repeat(n % 40)),
            })
            .collect();
        for text in [lines.clone(), format!("\u{feff}\n\n{lines}"), lines.trim_end().to_owned(), String::new()] {
            std::fs::write(&path, &text).expect("a file");
            for bytes in [1, 7, 100, 1000, 1 << 40] {
                are_the_file(&path, FileFormat::Jsonl, bytes);
            }
        }
        std::fs::write(&path, &lines).expect("a file");
        assert!(are_the_file(&path, FileFormat::Jsonl, 1000) > 4);
        std::fs::write(&path, "[{\"a\": 1},\n{\"a\": 2}]").expect("a file");
        assert_eq!(are_the_file(&path, FileFormat::Jsonl, 1), 1, "an array is one part");
    }
}
