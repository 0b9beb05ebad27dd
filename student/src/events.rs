//! TensorBoard's event files: records of a length, its checksum, a protocol buffer and its checksum (TFRecord; the
//! messages are `Event` and `Summary` of tensorflow/core/util/event.proto and framework/summary.proto).

use crate::TrainError;
use distill_dataset::create_fresh;
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// An event file that is written to.
#[derive(Debug)]
pub(crate) struct Events {
    path: PathBuf,
    file: File,
    clock: Clock,
}

/// When something is said to have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// When it did: to watch a run.
    Wall,
    /// A second for each step: the same file whenever the same steps were taken.
    Steps,
}

impl Events {
    /// Begins a new file in `folder`. A run that was resumed has several; TensorBoard shows them as one.
    pub(crate) fn create(folder: &Path, clock: Clock) -> Result<Events, TrainError> {
        fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let begun = clock.at(0);
        let path = folder.join(format!("events.out.tfevents.{:010}.{:09}", begun as u64, (begun.fract() * 1e9) as u64));
        let file = create_fresh(&path).map_err(TrainError::io("create", &path))?;
        let mut events = Events { path, file, clock };
        let mut event = double(1, begun);
        event.extend(bytes(3, b"brain.Event:2"));
        events.write(&event)?;
        Ok(events)
    }

    /// Adds numbers by their tags.
    pub(crate) fn add(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), TrainError> {
        let value = |(tag, value): &(&str, f64)| {
            let mut message = bytes(1, tag.as_bytes());
            message.push(2 << 3 | 5);
            message.extend((*value as f32).to_le_bytes());
            bytes(1, &message)
        };
        let summary: Vec<u8> = values.iter().flat_map(value).collect();
        let mut event = double(1, self.clock.at(step));
        event.push(2 << 3);
        event.extend(varint(step));
        event.extend(bytes(5, &summary));
        self.write(&event)
    }

    fn write(&mut self, event: &[u8]) -> Result<(), TrainError> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(&length).to_le_bytes());
        record.extend(event);
        record.extend(masked(event).to_le_bytes());
        self.file.write_all(&record).map_err(TrainError::io("write", &self.path))
    }
}

impl Clock {
    /// Seconds since 1970.
    fn at(self, step: u64) -> f64 {
        match self {
            Clock::Wall => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            Clock::Steps => step as f64,
        }
    }
}

/// CRC-32C, turned and shifted as TFRecord has it.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn double(field: u8, value: f64) -> Vec<u8> {
    let mut out = vec![field << 3 | 1];
    out.extend(value.to_le_bytes());
    out
}

fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    out.extend(varint(content.len() as u64));
    out.extend(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field by field, after the messages' definitions: step 300, tag `loss`, value 0.5.
    #[test]
    fn an_event_is_tensorboards() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut events = Events::create(folder.path(), Clock::Wall).expect("a file");
        events.add(300, &[("loss", 0.5)]).expect("an event");
        let written = fs::read(&events.path).expect("bytes");
        let header = 8 + 4 + 9 + 2 + 13 + 4;
        assert_eq!(&written[21..23], [0x1a, 13]);
        let record = &written[header..];
        assert_eq!(u64::from_le_bytes(*record.first_chunk().expect("a length")), record.len() as u64 - 16);
        let event = &record[12..record.len() - 4];
        assert_eq!(&event[9..], [16, 172, 2, 42, 13, 10, 11, 10, 4, b'l', b'o', b's', b's', 21, 0, 0, 0, 63]);
    }
}
