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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_unpacks_further_than_it_says_is_refused() {
        let zeros = vec![0; 1 << 20];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, &zeros).expect("bytes");
        let gzip = gzip.finish().expect("gzip");
        let mut brotli = Vec::new();
        brotli::BrotliCompress(&mut &zeros[..], &mut brotli, &Default::default()).expect("brotli");
        for (codec, page) in
            [(Compression::GZIP(Default::default()), gzip), (Compression::BROTLI(Default::default()), brotli)]
        {
            assert!(page.len() < zeros.len() / 32 && is_endless(codec), "expected a bomb, found {} bytes", page.len());
            within(codec, &page, 1 << 20).expect("what its header says");
            let error = within(codec, &page, (1 << 20) - 1).expect_err("one byte more").to_string();
            assert!(error.contains("more than the 1048575 bytes that its header says"), "{error}");
            within(codec, &page[..page.len() / 2], 1 << 20).expect("that it is cut is for its reader to say");
        }
        assert!(within(Compression::LZ4, &LZ4_FRAME, 1 << 20).is_err(), "frames are unpacked to their end");
        within(Compression::LZ4, &[0, 0, 0, 1, 0, 0, 0, 1, 0], 1).expect("a page as it is written");
    }
}
