//! A file of text, whatever packs it: bytes in UTF-8 without a byte-order mark come out, or an error that says what the file
//! is instead. Nothing is unpacked further than it is read.

use crate::error::DatasetError;
use distill_files::open_regular;
use flate2::bufread::MultiGzDecoder;
use std::{
    io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

/// Bytes that are read at once.
const BUFFER: usize = 1 << 16;
/// Bytes that tell what a file is.
const HEAD: u64 = 8;

/// The text of a file.
pub(super) struct Text {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// What packs it.
    packed: Option<&'static str>,
}

impl Text {
    /// Opens a file, and looks at its first bytes.
    ///
    /// # Errors
    /// When it cannot be read, or is neither text in UTF-8 nor such text packed by gzip or zstd.
    pub(super) fn open(path: &Path) -> Result<Text, DatasetError> {
        let file = open_regular(path).map_err(DatasetError::io("open", path))?;
        let (head, reader) = peeked(BufReader::with_capacity(BUFFER, file)).map_err(DatasetError::io("read", path))?;
        let (packed, reader): (_, Box<dyn BufRead + Send>) = match &head[..] {
            [0x1f, 0x8b, ..] => (Some("gzip"), Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(reader)))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                let unpacked = zstd::Decoder::with_buffer(reader).map_err(DatasetError::io("read", path))?;
                (Some("zstd"), Box::new(BufReader::with_capacity(BUFFER, unpacked)))
            }
            _ => (None, Box::new(reader)),
        };
        let mut text = Text { path: path.to_owned(), reader, packed };
        let (head, reader) = match peeked(std::mem::replace(&mut text.reader, Box::new(io::empty()))) {
            Ok(found) => found,
            Err(error) => return Err(text.unread(error)),
        };
        if let Some(found) = other(&head) {
            let message = format!("expected JSON in UTF-8, found {found}");
            return Err(DatasetError::Foreign { path: path.to_owned(), message });
        }
        text.reader = Box::new(reader);
        if head.starts_with(BYTE_ORDER_MARK) {
            text.reader.consume(BYTE_ORDER_MARK.len());
        }
        Ok(text)
    }

    /// Opens a stretch of a file that nothing packs.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn stretch(path: &Path, bytes: Range<u64>) -> Result<Text, DatasetError> {
        let mut file = open_regular(path).map_err(DatasetError::io("open", path))?;
        file.seek(SeekFrom::Start(bytes.start)).map_err(DatasetError::io("read", path))?;
        let stretch = file.take(bytes.end.saturating_sub(bytes.start));
        let mut reader = BufReader::with_capacity(BUFFER, stretch);
        if bytes.start == 0 && reader.fill_buf().map_err(DatasetError::io("read", path))?.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
        }
        Ok(Text { path: path.to_owned(), reader: Box::new(reader), packed: None })
    }

    /// Whether it is unpacked as it is read.
    pub(super) fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// What is read and not yet consumed; nothing at the end.
    pub(super) fn fill(&mut self) -> Result<&[u8], DatasetError> {
        // Asked twice: the borrow of a slice that is handed out would last through the error's path.
        if let Err(error) = retried(|| self.reader.fill_buf().map(drop)) {
            return Err(self.unread(error));
        }
        self.reader.fill_buf().map_err(DatasetError::io("read", &self.path))
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
    }

    /// Reads at most `most` bytes of a line, its end included, onto `line`; how many they were.
    pub(super) fn line(&mut self, most: u64, line: &mut Vec<u8>) -> Result<u64, DatasetError> {
        let read = self.reader.by_ref().take(most).read_until(b'\n', line);
        read.map(|length| length as u64).map_err(|error| self.unread(error))
    }

    /// Passes over what is left of a line.
    pub(super) fn skip_line(&mut self) -> Result<(), DatasetError> {
        self.reader.skip_until(b'\n').map(drop).map_err(|error| self.unread(error))
    }

    fn unread(&self, source: io::Error) -> DatasetError {
        let path = self.path.clone();
        match self.packed {
            None => DatasetError::Io { action: "read", path, source },
            Some(packed) => DatasetError::Foreign {
                path,
                message: format!(
                    "expected {packed} that unpacks, found damage: {source}\nhint: the file is cut or was changed: copy it again, and compare its size or checksum"
                ),
            },
        }
    }
}

fn retried(mut read: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The first bytes, and a reader of all of them.
fn peeked<R: BufRead + Send + 'static>(mut reader: R) -> io::Result<(Vec<u8>, impl BufRead + Send + 'static)> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

/// What these first bytes are, where they begin no text in UTF-8.
fn other(head: &[u8]) -> Option<&'static str> {
    Some(match head {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
            "UTF-32\nhint: `iconv -f UTF-32 -t UTF-8 FILE > NEW` writes it as UTF-8"
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, b'{' | b'[', ..] | [b'{' | b'[', 0, ..] => {
            "UTF-16\nhint: `iconv -f UTF-16 -t UTF-8 FILE > NEW` writes it as UTF-8"
        }
        [b'P', b'A', b'R', b'1', ..] => "Parquet\nhint: write `parquet = …` in the recipe, or end its name in .parquet",
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => "bzip2\nhint: unpack it first (`bunzip2`), or pack it with gzip or zstd",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz\nhint: unpack it first (`unxz`), or pack it with gzip or zstd",
        [b'P', b'K', 3, 4, ..] => "a zip archive\nhint: unpack it first (`unzip`)",
        [0x04, 0x22, 0x4d, 0x18, ..] => "lz4\nhint: unpack it first (`unlz4`), or pack it with gzip or zstd",
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..] => {
            "Arrow\nhint: write it as Parquet, e.g. `Dataset.to_parquet`"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write};

    fn all(path: &Path) -> Result<String, DatasetError> {
        let (mut text, mut bytes) = (Text::open(path)?, Vec::new());
        loop {
            let found = text.fill()?.to_vec();
            if found.is_empty() {
                return Ok(String::from_utf8(bytes).expect("text"));
            }
            bytes.extend(&found);
            text.consume(found.len());
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).expect("bytes");
        writer.finish().expect("gzip")
    }

    #[test]
    fn what_packs_a_text_and_marks_its_order_is_no_part_of_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("text");
        let text = "{\"a\": \"é\"}\n".repeat(20_000);
        let marked = [BYTE_ORDER_MARK, text.as_bytes()].concat();
        let (first, second) = marked.split_at(marked.len() / 2);
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("zstd");
        let cases = [
            text.clone().into_bytes(),
            marked.clone(),
            gzip(&marked),
            // Of several members or frames, as tools that pack in parallel write them.
            [gzip(first), gzip(second)].concat(),
            zstd(&marked),
            [zstd(first), zstd(second)].concat(),
        ];
        for (index, bytes) in cases.iter().enumerate() {
            fs::write(&path, bytes).expect("a file");
            assert!(all(&path).expect("text") == text, "case {index}");
        }
        fs::write(&path, "").expect("a file");
        assert_eq!(all(&path).expect("text"), "");
        fs::write(&path, "{").expect("a file");
        assert_eq!(all(&path).expect("text"), "{");
    }

    #[test]
    fn what_is_no_text_is_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("text");
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        for (bytes, expected) in [
            (utf16("{\"a\": 1}"), "found UTF-16\nhint: `iconv"),
            (utf16("\u{feff}{\"a\": 1}"), "found UTF-16\nhint: `iconv"),
            ("\u{feff}[{}]".encode_utf16().flat_map(u16::to_be_bytes).collect(), "found UTF-16"),
            (gzip(&utf16("\u{feff}{\"a\": 1}")), "found UTF-16"),
            (b"BZh91AY&SY".to_vec(), "found bzip2\nhint: unpack it"),
            (b"PAR1....".to_vec(), "found Parquet\nhint"),
            (b"PK\x03\x04....".to_vec(), "found a zip archive"),
        ] {
            fs::write(&path, &bytes).expect("a file");
            let error = all(&path).expect_err(expected).to_string();
            assert!(error.contains("expected JSON in UTF-8") && error.contains(expected), "{error}");
            assert!(error.contains(&*path.to_string_lossy()), "{error}");
        }
    }

    #[test]
    fn a_cut_or_damaged_file_is_an_error_that_says_so() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("text");
        let text = (0..20_000).map(|n| format!("{{\"a\": {n}}}\n")).collect::<String>();
        for packed in [gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 1).expect("zstd")] {
            for length in [packed.len() / 2, packed.len() - 1] {
                fs::write(&path, &packed[..length]).expect("a file");
                let error = all(&path).expect_err("a cut file").to_string();
                assert!(error.contains("found damage") && error.contains("hint"), "{error}");
            }
        }
        let mut damaged = gzip(text.as_bytes());
        let middle = damaged.len() / 2;
        damaged[middle..middle + 8].fill(0x55);
        fs::write(&path, damaged).expect("a file");
        assert!(all(&path).expect_err("damage").to_string().contains("found damage"));
    }
}
