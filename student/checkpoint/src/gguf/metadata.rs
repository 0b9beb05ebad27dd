//! GGUF's key–value pairs: bytes ↔ typed values. Lengths and counts are believed only as far as the file goes on.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// Either float.
    Float(f64),
    /// True or false.
    Flag(bool),
    /// Text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of numbers or flags.
    Numbers(Vec<f64>),
}

/// Values by key.
pub(super) type Metadata = BTreeMap<String, Value>;

/// GGUF's number for each kind of value, as it is written.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Flag = 7,
    Text = 8,
    List = 9,
}

/// A file's header, read in order; never further than `left` bytes.
pub(super) struct Header<R> {
    inner: R,
    /// Bytes that the header may still take.
    left: u64,
    /// Bytes read so far.
    pub(super) position: u64,
}

impl<R: Read> Header<R> {
    pub(super) fn new(inner: R, length: u64) -> Header<R> {
        Header { inner, left: length, position: 0 }
    }

    pub(super) fn bytes(&mut self, count: u64) -> Result<Vec<u8>, String> {
        self.claim(count, 1)?;
        let mut bytes = vec![0; count as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn text(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        String::from_utf8(self.bytes(length)?).map_err(|_| "expected UTF-8 text".to_owned())
    }

    /// Refuses a count of things of at least `size` bytes that the file cannot hold.
    pub(super) fn claim(&self, count: u64, size: u64) -> Result<(), String> {
        match count.checked_mul(size) {
            Some(bytes) if bytes <= self.left => Ok(()),
            _ => Err(format!("claims {count} of at least {size} bytes; {} are left", self.left)),
        }
    }

    pub(super) fn metadata(&mut self, count: u64) -> Result<Metadata, String> {
        self.claim(count, 13)?;
        let mut metadata = Metadata::new();
        for index in 0..count {
            let key = self.text().map_err(|message| format!("key {index} of {count}: {message}"))?;
            let value = self.u32().and_then(|kind| self.value(kind));
            let value = value.map_err(|message| format!("`{}`: {message}", shortened(&key)))?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(format!("`{}` is there twice", shortened(&key)));
            }
        }
        Ok(metadata)
    }

    fn value(&mut self, kind: u32) -> Result<Value, String> {
        Ok(match kind {
            0 | 2 | 4 | 10 => Value::Unsigned(self.integer(kind)? as u64),
            1 | 3 | 5 | 11 => Value::Signed(self.integer(kind)?),
            6 | 12 => Value::Float(self.number(kind)?),
            7 => Value::Flag(self.number(kind)? != 0.0),
            8 => Value::Text(self.text()?),
            9 => {
                let (kind, count) = (self.u32()?, self.u64()?);
                if kind == 8 {
                    self.claim(count, 8)?;
                    Value::Texts((0..count).map(|_| self.text()).collect::<Result<_, _>>()?)
                } else {
                    let size =
                        size(kind).ok_or_else(|| format!("expected a list of plain values, found type {kind}"))?;
                    self.claim(count, size)?;
                    Value::Numbers((0..count).map(|_| self.number(kind)).collect::<Result<_, _>>()?)
                }
            }
            other => return Err(format!("expected a type from 0 to 12, found {other}")),
        })
    }

    fn number(&mut self, kind: u32) -> Result<f64, String> {
        Ok(match kind {
            6 => f64::from(f32::from_bits(self.u32()?)),
            12 => f64::from_bits(self.u64()?),
            10 => self.u64()? as f64,
            other => self.integer(other)? as f64,
        })
    }

    fn integer(&mut self, kind: u32) -> Result<i64, String> {
        let mut bytes = [0; 8];
        let size = size(kind).ok_or_else(|| format!("expected a number, found type {kind}"))? as usize;
        self.fill(&mut bytes[..size])?;
        let raw = i64::from_le_bytes(bytes);
        let unused = 64 - 8 * size as u32;
        // Signed types are sign-extended.
        Ok(if matches!(kind, 1 | 3 | 5 | 11) { raw << unused >> unused } else { raw })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        let count = bytes.len() as u64;
        if count > self.left {
            return Err(format!("the file ends at byte {}, in the middle of the header", self.position + self.left));
        }
        self.inner.read_exact(bytes).map_err(|error: io::Error| error.to_string())?;
        self.left -= count;
        self.position += count;
        Ok(())
    }
}

/// Bytes of a plain value.
fn size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// A name from a file, cut to what an error message bears.
pub(super) fn shortened(name: &str) -> String {
    let cut: String = name.chars().take(80).collect();
    cut.escape_debug().to_string()
}

/// Key–value pairs as they are written, counted.
#[derive(Default)]
pub(super) struct Pairs {
    pub(super) count: u64,
    pub(super) bytes: Vec<u8>,
}

impl Pairs {
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key, Kind::Text);
        self.string(value);
    }

    pub(super) fn u32(&mut self, key: &str, value: usize) -> Result<(), String> {
        let value = u32::try_from(value).map_err(|_| format!("`{key}`: {value} is too large for GGUF"))?;
        self.key(key, Kind::U32);
        self.bytes.extend(value.to_le_bytes());
        Ok(())
    }

    pub(super) fn f32(&mut self, key: &str, value: f64) {
        self.key(key, Kind::F32);
        self.bytes.extend((value as f32).to_le_bytes());
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key, Kind::Flag);
        self.bytes.push(u8::from(value));
    }

    pub(super) fn texts(&mut self, key: &str, values: &[String]) {
        self.list(key, Kind::Text, values.len());
        values.iter().for_each(|value| self.string(value));
    }

    pub(super) fn i32s(&mut self, key: &str, values: impl ExactSizeIterator<Item = i32>) {
        self.list(key, Kind::I32, values.len());
        values.for_each(|value| self.bytes.extend(value.to_le_bytes()));
    }

    fn list(&mut self, key: &str, kind: Kind, count: usize) {
        self.key(key, Kind::List);
        self.bytes.extend((kind as u32).to_le_bytes());
        self.bytes.extend((count as u64).to_le_bytes());
    }

    fn key(&mut self, key: &str, kind: Kind) {
        self.count += 1;
        self.string(key);
        self.bytes.extend((kind as u32).to_le_bytes());
    }

    fn string(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }
}
