//! Content digests: BLAKE3 over length-prefixed fields, so that no two field sequences collide by concatenation.

use distill_files::open_regular;
use std::{io, path::Path};

/// A digest in the making.
pub struct Digest(blake3::Hasher);

impl Digest {
    /// Starts a digest of the given kind; kinds never collide with each other.
    pub fn new(kind: &str) -> Self {
        let mut digest = Digest(blake3::Hasher::new());
        digest.field(kind);
        digest
    }

    /// Adds a field.
    pub fn field(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a field of bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// 64 hex digits.
    pub fn finish(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }

    /// 32 hex digits: enough for a row's identity.
    pub fn finish_short(&self) -> String {
        let mut hex = self.finish();
        hex.truncate(32);
        hex
    }

    /// The first 16 bytes: for sets of seen rows.
    pub fn finish_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        bytes
    }

    /// The first eight bytes as a number: for seeds.
    pub fn finish_u64(&self) -> u64 {
        let hash = self.0.finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(bytes)
    }
}

/// The BLAKE3 digest of a file's bytes, 64 hex digits, read in pieces.
///
/// # Errors
/// When the file cannot be read.
pub fn digest_file(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open_regular(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// A place in a seeded order: rows sorted by it are shuffled, always the same way, and whatever else is among them.
pub fn seeded_rank(purpose: &str, seed: u64, name: &str) -> [u8; 16] {
    Digest::new(purpose).field(&seed.to_string()).field(name).finish_bytes()
}
