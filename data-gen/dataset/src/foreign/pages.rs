//! What a page really unpacks to, by the codecs whose readers go on until the stream ends, whatever the page's header says.

use parquet::{
    basic::Compression,
    errors::{ParquetError, Result},
};
use std::io::{self, Read};

/// What LZ4's own frames begin with. Readers take them for pages of the codec `LZ4` where nothing else fits, and unpack all of
/// them; no writer has made them for years.
const LZ4_FRAME: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Bytes that are unpacked at once.
const BUFFER: usize = 1 << 14;

/// Whether pages of a codec have to be unpacked to know how far they do.
pub(super) fn is_endless(codec: Compression) -> bool {
    matches!(codec, Compression::GZIP(_) | Compression::BROTLI(_) | Compression::LZ4)
}

/// Unpacks a page and forgets it.
///
/// # Errors
/// When it unpacks to more than `most` bytes. Whatever else is wrong with it is left to its reader, who meets it before that.
pub(super) fn within(codec: Compression, page: &[u8], most: u64) -> Result<()> {
    let unpacked = match codec {
        Compression::GZIP(_) => count(flate2::bufread::MultiGzDecoder::new(page), most),
        Compression::BROTLI(_) => count(brotli::Decompressor::new(page, BUFFER), most),
        Compression::LZ4 if page.starts_with(&LZ4_FRAME) => {
            return Err(ParquetError::General("it is an LZ4 frame, which no writer of today makes".to_owned()));
        }
        _ => 0,
    };
    if unpacked > most {
        return Err(ParquetError::General(format!("it unpacks to more than the {most} bytes that its header says")));
    }
    Ok(())
}

fn count(reader: impl Read, most: u64) -> u64 {
    let mut count = Count(0);
    // What came before an error counts.
    let _ = io::copy(&mut reader.take(most.saturating_add(1)), &mut count);
    count.0
}

struct Count(u64);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
