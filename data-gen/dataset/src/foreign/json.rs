//! Rows of JSON: one object a line, or one array of objects as a whole file; plain, or packed by gzip or zstd. A row that
//! cannot be read is handed on as that, the rest goes on; what is wrong with the whole file is an error.
//!
//! No more than one row and [`MAX_ROW`] bytes of it is held, but for those at the beginning that are looked through for the
//! wanted columns.

use super::{
    cell::{Row, Unreadable},
    object::Object,
    unpack::Text,
};
use crate::error::DatasetError;
use std::{
    collections::{BTreeSet, VecDeque},
    ops::Range,
    path::{Path, PathBuf},
};

/// Longest row.
pub(super) const MAX_ROW: usize = 1 << 26;
/// Rows, and bytes of rows, at the beginning that are looked through for the wanted columns.
const LOOKED_THROUGH: (usize, usize) = (256, 1 << 24);
/// Names that a message lists.
const MOST_NAMES: usize = 50;

/// The bytes of a row and its place, or why it has none.
type Raw = (u64, Result<Vec<u8>, Unreadable>);

/// Rows as bytes.
pub(super) struct RawRows {
    path: PathBuf,
    text: Text,
    layout: Layout,
    /// Of the row that was read last.
    place: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Lines,
    /// An array; whether an element was read already.
    Array(bool),
    Ended,
}

impl RawRows {
    /// Opens a file, and finds out how its rows are laid out.
    ///
    /// # Errors
    /// When it cannot be read or is no text.
    pub(super) fn open(path: &Path) -> Result<RawRows, DatasetError> {
        let mut rows = RawRows { path: path.to_owned(), text: Text::open(path)?, layout: Layout::Lines, place: 0 };
        let lines = rows.skip_space()?;
        match rows.text.fill()?.first() {
            Some(b'[') => {
                rows.text.consume(1);
                rows.layout = Layout::Array(false);
            }
            _ => rows.place = lines,
        }
        Ok(rows)
    }

    /// Opens a stretch of a file's lines, of which the first has that number.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn lines(path: &Path, bytes: Range<u64>, first: u64) -> Result<RawRows, DatasetError> {
        let text = Text::stretch(path, bytes)?;
        Ok(RawRows { path: path.to_owned(), text, layout: Layout::Lines, place: first.saturating_sub(1) })
    }

    /// Whether its rows are lines of a file that nothing packs: any stretch of whole lines can be read by itself.
    pub(super) fn can_be_cut(&self) -> bool {
        self.layout != Layout::Array(false) && !self.text.is_packed()
    }

    /// The next row; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Raw>, DatasetError> {
        match self.layout {
            Layout::Lines => self.line(),
            Layout::Array(is_begun) => self.element(is_begun),
            Layout::Ended => Ok(None),
        }
    }

    fn line(&mut self) -> Result<Option<Raw>, DatasetError> {
        loop {
            let mut line = Vec::new();
            let length = self.text.line(MAX_ROW as u64, &mut line)?;
            if length == 0 {
                self.layout = Layout::Ended;
                return Ok(None);
            }
            let is_first = self.place == 0;
            self.place += 1;
            if line.len() == MAX_ROW && line.last() != Some(&b'\n') {
                self.text.skip_line()?;
                let long = Unreadable::new("line-too-long", format!("more than {MAX_ROW} bytes"));
                return Ok(Some((self.place, Err(long))));
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            match line.trim_ascii() {
                b"" => {}
                b"{" if is_first => {
                    return Err(self.wrong(
                        "expected one JSON object a line, or one array of objects, found an object of several lines\nhint: `jq -c . FILE > NEW.jsonl` writes each on a line of its own",
                    ));
                }
                _ => return Ok(Some((self.place, Ok(line)))),
            }
        }
    }

    fn element(&mut self, is_begun: bool) -> Result<Option<Raw>, DatasetError> {
        self.skip_space()?;
        if !is_begun && self.text.fill()?.first() == Some(&b']') {
            self.text.consume(1);
            return self.end();
        }
        self.place += 1;
        let (mut bytes, mut depth, mut quoted, mut escaped, mut long) = (Vec::new(), 0_u64, false, false, false);
        loop {
            let found = self.text.fill()?;
            if found.is_empty() {
                let place = self.place;
                return Err(self.wrong(&format!(
                    "expected `]` at the end of the array, found the end of the file in element {place}\nhint: the file is cut: copy it again, and compare its size or checksum"
                )));
            }
            let mut end = None;
            let mut taken = found.len();
            for (at, byte) in found.iter().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if quoted => escaped = true,
                    b'"' => quoted = !quoted,
                    _ if quoted => {}
                    b'[' | b'{' => depth += 1,
                    b',' | b']' if depth == 0 => {
                        (end, taken) = (Some(*byte), at);
                        break;
                    }
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            if bytes.len() + taken > MAX_ROW {
                (long, bytes) = (true, Vec::new());
            }
            if !long {
                bytes.extend_from_slice(&found[..taken]);
            }
            self.text.consume(taken + usize::from(end.is_some()));
            let Some(end) = end else { continue };
            self.layout = Layout::Array(true);
            if end == b']' {
                self.end()?;
            }
            let row = match long {
                true => Err(Unreadable::new("element-too-long", format!("more than {MAX_ROW} bytes"))),
                false => Ok(bytes),
            };
            return Ok(Some((self.place, row)));
        }
    }

    /// What comes behind an array is nothing.
    fn end(&mut self) -> Result<Option<Raw>, DatasetError> {
        self.layout = Layout::Ended;
        self.skip_space()?;
        if self.text.fill()?.is_empty() {
            return Ok(None);
        }
        Err(self.wrong(
            "expected the end of the file behind the array's `]`, found more\nhint: a file holds one array of objects, or one object a line",
        ))
    }

    /// Passes over white space; how many lines end in it.
    fn skip_space(&mut self) -> Result<u64, DatasetError> {
        let mut lines = 0;
        loop {
            let found = self.text.fill()?;
            let space = found.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            lines += found[..space].iter().filter(|byte| **byte == b'\n').count() as u64;
            let is_done = space < found.len() || found.is_empty();
            self.text.consume(space);
            if is_done {
                return Ok(lines);
            }
        }
    }

    fn wrong(&self, message: &str) -> DatasetError {
        DatasetError::Foreign { path: self.path.clone(), message: message.to_owned() }
    }
}

/// Rows with their cells.
pub(super) struct JsonRows {
    raw: RawRows,
    columns: Vec<String>,
    /// Those at the beginning, once they were looked through.
    first: Option<VecDeque<Row>>,
    /// Rows before that place are passed over.
    until: u64,
}

impl JsonRows {
    /// Opens a file. That it has the columns is found out with the first row.
    ///
    /// # Errors
    /// As [`RawRows::open`].
    pub(super) fn open(path: &Path, columns: &[&str]) -> Result<JsonRows, DatasetError> {
        Ok(JsonRows::of(RawRows::open(path)?, columns, None))
    }

    /// Opens a stretch of a file's lines, of which the first has that number. Nobody asks whether they have the columns.
    ///
    /// # Errors
    /// As [`RawRows::open`].
    pub(super) fn lines(
        path: &Path,
        columns: &[&str],
        bytes: Range<u64>,
        first: u64,
    ) -> Result<JsonRows, DatasetError> {
        Ok(JsonRows::of(RawRows::lines(path, bytes, first)?, columns, Some(VecDeque::new())))
    }

    fn of(raw: RawRows, columns: &[&str], first: Option<VecDeque<Row>>) -> JsonRows {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        JsonRows { raw, columns, first, until: 0 }
    }

    /// Passes over what comes before a place; it is not looked into.
    pub(super) fn seek(&mut self, place: u64) {
        self.until = place;
    }

    /// Reads the rows at the beginning: a column that none of them has is a mistake, not a property of every row.
    fn look_through(&mut self) -> Result<VecDeque<Row>, DatasetError> {
        let (mut rows, mut bytes) = (VecDeque::new(), 0);
        let (mut missing, mut names): (BTreeSet<usize>, Vec<String>) = ((0..self.columns.len()).collect(), Vec::new());
        while rows.len() < LOOKED_THROUGH.0 && bytes < LOOKED_THROUGH.1 {
            let Some((place, row)) = self.raw.next()? else { break };
            bytes += row.as_ref().map_or(0, Vec::len);
            let row = row.and_then(|row| {
                let object = Object::read(text(&row)?)?;
                missing.retain(|column| object.find(&self.columns[*column]).is_none());
                for (name, _) in object.names() {
                    if names.len() < MOST_NAMES && !names.iter().any(|known| known == name) {
                        names.push(name.to_owned());
                    }
                }
                object.cells(&self.columns)
            });
            rows.push_back(Row { place, rows: 1, cells: row });
        }
        match missing.first() {
            // Where no row is an object, that is what is wrong.
            Some(column) if !names.is_empty() => Err(DatasetError::Column {
                path: self.raw.path.clone(),
                column: self.columns[*column].clone(),
                found: names.join(", "),
            }),
            _ => Ok(rows),
        }
    }

    fn read(&mut self) -> Result<Option<Row>, DatasetError> {
        if self.first.is_none() {
            self.first = Some(self.look_through()?);
        }
        while let Some(row) = self.first.as_mut().and_then(VecDeque::pop_front) {
            if row.place >= self.until {
                return Ok(Some(row));
            }
        }
        while let Some((place, row)) = self.raw.next()? {
            if place >= self.until {
                let cells = row.and_then(|row| Object::read(text(&row)?)?.cells(&self.columns));
                return Ok(Some(Row { place, rows: 1, cells }));
            }
        }
        Ok(None)
    }
}

impl Iterator for JsonRows {
    type Item = Result<Row, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.read().transpose();
        if row.as_ref().is_none_or(Result::is_err) {
            // Nothing after an error.
            (self.raw.layout, self.first) = (Layout::Ended, Some(VecDeque::new()));
        }
        row
    }
}

/// The names in a file's first object, and whether each can be read as text.
pub(super) fn columns(path: &Path) -> Result<Vec<(String, bool)>, DatasetError> {
    let mut raw = RawRows::open(path)?;
    for _ in 0..LOOKED_THROUGH.0 {
        let Some((_, row)) = raw.next()? else { break };
        if let Ok(row) = &row
            && let Ok(object) = text(row).and_then(Object::read)
        {
            return Ok(object.names().map(|(name, is_text)| (name.to_owned(), is_text)).collect());
        }
    }
    Err(raw.wrong("expected JSON objects, one a line or in one array, found none at the beginning of the file"))
}

fn text(row: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(row.trim_ascii()).map_err(|error| {
        let byte = row.trim_ascii()[error.valid_up_to()];
        let detail = format!("expected UTF-8, found the byte 0x{byte:02x} at {} of the row", error.valid_up_to() + 1);
        Unreadable::new("not-utf-8", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cell;

    fn read(text: impl AsRef<[u8]>, columns: &[&str]) -> Result<Vec<Row>, DatasetError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("rows.json");
        std::fs::write(&path, text).expect("a file");
        JsonRows::open(&path, columns)?.collect()
    }

    /// The places of the rows and the text in column `a`, or why there is none.
    fn told(text: impl AsRef<[u8]>) -> Vec<(u64, String)> {
        let rows = read(text, &["a"]).expect("rows");
        let said = |row: Row| match row.cells {
            Ok(mut cells) => (row.place, cells.remove(0).map_or("-".to_owned(), Cell::said)),
            Err(unreadable) => (row.place, unreadable.reason.to_owned()),
        };
        rows.into_iter().map(said).collect()
    }

    fn expected(rows: &[(u64, &str)]) -> Vec<(u64, String)> {
        rows.iter().map(|(place, text)| (*place, (*text).to_owned())).collect()
    }

    #[test]
    fn lines_are_rows_by_their_numbers() {
        let text = "\n \r\n{\"a\": 1}\r\n\n{\"a\": \"x\"\n[1]\n{\"b\": 2}\n  {\"a\": [1, 2]}  ";
        let rows = [(3, "1"), (5, "malformed-json"), (6, "malformed-json"), (7, "-"), (8, "[1,2]")];
        assert_eq!(told(text), expected(&rows));
        assert_eq!(told(b"\xef\xbb\xbf{\"a\": 1}\n{\"a\": \"\xe9\"}\n"), expected(&[(1, "1"), (2, "not-utf-8")]));
        assert_eq!(told(""), []);
        assert_eq!(told(" \n\n "), []);
    }

    #[test]
    fn elements_of_an_array_are_rows_by_their_numbers() {
        let text =
            " [\n {\"a\": \"],[ \\\" \\\\\"},\n\n{\"a\": {\"b\": [1]}}, 3 , {\"a\"}, {\n\"a\"\n:\n2.50\n}\n]\n \n";
        let rows = [(1, "],[ \" \\"), (2, "{\"b\":[1]}"), (3, "malformed-json"), (4, "malformed-json"), (5, "2.50")];
        assert_eq!(told(text), expected(&rows));
        assert_eq!(told("[]"), []);
        assert_eq!(told("\u{feff}[{\"a\": 1}]"), expected(&[(1, "1")]));
    }

    #[test]
    fn an_array_that_is_cut_or_goes_on_is_an_error() {
        for (text, expected) in [
            ("[{\"a\": 1}, {\"a\": 2}", "found the end of the file in element 2\nhint: the file is cut"),
            ("[{\"a\": 1}, {\"a\": \"2]", "found the end of the file in element 2"),
            ("[{\"a\": 1},", "found the end of the file in element 2"),
            ("[", "found the end of the file in element 1"),
            ("[{\"a\": 1}]\n{\"a\": 2}", "behind the array's `]`, found more"),
            ("{\n  \"a\": 1\n}\n", "found an object of several lines\nhint: `jq"),
        ] {
            let error = read(text, &["a"]).expect_err(text).to_string();
            assert!(error.contains(expected) && error.contains("rows.json"), "{text}: {error}");
        }
    }

    #[test]
    fn a_column_that_no_row_at_the_beginning_has_is_an_error_that_lists_what_is_there() {
        let error = read("{\"b\": 1, \"c\": 2}\n{\"d\": 3}", &["b", "a"]).expect_err("no column").to_string();
        assert!(error.contains("expected a column `a`, found b, c, d"), "{error}");
        assert_eq!(read("{\"b\": 1}\n{\"a\": 3}", &["b", "a"]).expect("rows").len(), 2, "a row need not have all");
        assert_eq!(told("x\ny"), expected(&[(1, "malformed-json"), (2, "malformed-json")]), "no object has no names");
    }

    #[test]
    fn a_row_without_end_is_passed_over_without_being_held() {
        let long = "x".repeat(MAX_ROW + 5);
        let lines = format!("{{\"a\": \"{long}\"}}\n{{\"a\": 1}}\n");
        assert_eq!(told(lines), expected(&[(1, "line-too-long"), (2, "1")]));
        let array = format!("[{{\"a\": \"{long}\"}}, {{\"a\": 1}}]");
        assert_eq!(told(array), expected(&[(1, "element-too-long"), (2, "1")]));
    }

    #[test]
    fn a_bomb_is_passed_over_without_being_unpacked_into_memory() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("bomb.jsonl.zst");
        let mut writer = zstd::Encoder::new(std::fs::File::create(&path).expect("a file"), 1).expect("zstd");
        let zeros = vec![b'0'; 1 << 20];
        (0..300).for_each(|_| std::io::Write::write_all(&mut writer, &zeros).expect("bytes"));
        std::io::Write::write_all(&mut writer, b"\n{\"a\": 1}\n").expect("bytes");
        writer.finish().expect("a file");
        let rows: Vec<Row> = JsonRows::open(&path, &["a"]).expect("a file").map(|row| row.expect("a row")).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].cells.as_ref().expect_err("too long").reason, "line-too-long");
    }
}
