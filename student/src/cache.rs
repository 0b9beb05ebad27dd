//! Tokenised examples on disk: whole or not at all, checked when they are read, made anew when they are damaged.

use crate::{
    TrainError,
    corpus::{Corpus, Sequence},
};
use distill_chat::TokenisedExample;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::Path,
};

const FILE: &str = "tokens.bin";
const MAGIC: &[u8; 8] = b"distill1";

/// Saves a corpus.
pub(crate) fn save(scratch: &Path, corpus: &Corpus) -> Result<(), TrainError> {
    let mut bytes = MAGIC.to_vec();
    let number = |bytes: &mut Vec<u8>, value: u64| bytes.extend(value.to_le_bytes());
    number(&mut bytes, corpus.rows_in);
    number(&mut bytes, corpus.rows_out);
    number(&mut bytes, corpus.rejected.len() as u64);
    for (reason, count) in &corpus.rejected {
        number(&mut bytes, reason.len() as u64);
        bytes.extend(reason.as_bytes());
        number(&mut bytes, *count);
    }
    for sequences in [&corpus.sequences, &corpus.holdout] {
        number(&mut bytes, sequences.len() as u64);
        for Sequence { tokens, weight } in sequences {
            bytes.extend(weight.to_le_bytes());
            number(&mut bytes, tokens.ids.len() as u64);
            tokens.ids.iter().for_each(|id| bytes.extend(id.to_le_bytes()));
            bytes.extend(tokens.loss.iter().map(|loss| u8::from(*loss)));
        }
    }
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    let (path, temporary) = (scratch.join(FILE), scratch.join("tokens.tmp"));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    write().map_err(TrainError::io("write", &path))
}

/// The saved corpus; nothing where there is none that is whole.
pub(crate) fn load(scratch: &Path) -> Option<Corpus> {
    let bytes = fs::read(scratch.join(FILE)).ok()?;
    let (content, sum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut reader = Reader(content.strip_prefix(MAGIC)?);
    let (rows_in, rows_out) = (reader.number()?, reader.number()?);
    let mut rejected = BTreeMap::new();
    for _ in 0..reader.number()? {
        let length = reader.length()?;
        let reason = String::from_utf8(reader.take(length)?.to_vec()).ok()?;
        rejected.insert(reason, reader.number()?);
    }
    let (sequences, holdout) = (reader.sequences()?, reader.sequences()?);
    Some(Corpus { sequences, holdout, rows_in, rows_out, rejected })
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn sequences(&mut self) -> Option<Vec<Sequence>> {
        let mut sequences = Vec::new();
        for _ in 0..self.number()? {
            let weight = f32::from_le_bytes(*self.take(4)?.first_chunk()?);
            let length = self.length()?;
            let ids = self.take(length.checked_mul(4)?)?.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
            let ids = ids.collect();
            let loss = self.take(length)?.iter().map(|byte| *byte != 0).collect();
            sequences.push(Sequence { tokens: TokenisedExample { ids, loss }, weight });
        }
        Some(sequences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corpus_comes_back_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let sequence = |length: u32| Sequence {
            tokens: TokenisedExample { ids: (0..length).collect(), loss: (0..length).map(|id| id % 3 == 0).collect() },
            weight: 0.5,
        };
        let corpus = Corpus {
            sequences: vec![sequence(5), sequence(1)],
            holdout: vec![sequence(9)],
            rows_in: 7,
            rows_out: 2,
            rejected: BTreeMap::from([("too-long".to_owned(), 4)]),
        };
        assert!(load(folder.path()).is_none(), "nothing is there");
        save(folder.path(), &corpus).expect("a file");
        assert_eq!(load(folder.path()), Some(corpus));
        let path = folder.path().join(FILE);
        let bytes = fs::read(&path).expect("bytes");
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).expect("a cut file");
            assert!(load(folder.path()).is_none(), "cut to {length} bytes");
        }
        let mut flipped = bytes;
        flipped[40] ^= 1;
        fs::write(&path, flipped).expect("a damaged file");
        assert!(load(folder.path()).is_none(), "one bit is wrong");
    }
}
