//! A Hugging Face folder out: shards of a stated size, one tensor in memory at a time, every byte re-read before any file
//! has its name.
//!
//! A folder without `config.json` is no checkpoint, to this crate as to others. So the old one is the first file that goes,
//! and the new one the last that comes, and the folder is synced in between: a crash or a power cut leaves the old
//! checkpoint, none, or the new one, never a mixture of both.

use crate::{
    Dtype,
    config::ModelConfig,
    error::{CheckpointError, damaged},
    safetensors::{INDEX, SINGLE},
};
use distill_files::create_fresh;
use rayon::prelude::*;
use serde_json::{Map, json};
use std::{
    fs::{self, File},
    io::{BufWriter, Read, Write},
    path::{Path, PathBuf},
};

/// Names and shapes, in the order in which they are stored.
pub type Layout = [(String, Vec<usize>)];
/// Where weights come from: a name of the layout → as many numbers as its shape says.
pub type ReadTensor<'r> = &'r mut dyn FnMut(&str) -> Result<Vec<f32>, CheckpointError>;

/// Weights that one thread encodes at once, and all together: whole blocks of every element type.
const PIECE: usize = 1 << 15;
const ENCODED_TOGETHER: usize = 1 << 21;

const CONFIG: &str = "config.json";

/// Bytes of a shard at most, where one tensor is not larger: 5 GB.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// Writes `config.json` and the weights it describes, in `dtype`, into shards of at most `max_shard_bytes`. Shards of an
/// earlier checkpoint in that folder are removed.
///
/// # Errors
/// When the disk refuses, a tensor cannot be read, or what was written does not read back.
pub fn write_folder(
    dir: &Path,
    config: &ModelConfig,
    dtype: Dtype,
    max_shard_bytes: u64,
    read: ReadTensor<'_>,
) -> Result<(), CheckpointError> {
    let layout = config.layout();
    let shards = shards(&layout, dtype, max_shard_bytes).map_err(|message| damaged(dir, message))?;
    let name = |index: usize| match shards.len() {
        1 => SINGLE.to_owned(),
        count => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
    };
    let mut written = Temporary { dir, names: Vec::new() };
    let (mut weight_map, mut total) = (Map::new(), 0);
    for (index, shard) in shards.iter().enumerate() {
        let name = name(index);
        total += write_file(&written.add(&name), shard, dtype, read)?;
        weight_map.extend(shard.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
    }
    if shards.len() > 1 {
        let metadata = json!({"total_parameters": config.num_parameters(), "total_size": total});
        let index = json!({"metadata": metadata, "weight_map": weight_map});
        write_text(&written.add(INDEX), &format!("{index:#}\n"))?;
    }

    let text = ModelConfig { dtype, ..config.clone() }.to_json();
    write_text(&written.add(CONFIG), &text)?;
    // The names of what is written are on the disk before anything older goes.
    sync_dir(dir)?;
    let changes = changes(dir, &written.names)?;
    changes.iter().try_for_each(|change| change.make(dir))?;
    written.names.clear();
    Ok(())
}

/// One change to a folder on the way from a checkpoint to the next.
#[derive(Debug)]
enum Change {
    Remove(PathBuf),
    /// A file gets its name.
    Name(String),
    /// What came before is on the disk.
    Sync,
}

impl Change {
    fn make(&self, dir: &Path) -> Result<(), CheckpointError> {
        match self {
            Change::Remove(path) => fs::remove_file(path).map_err(CheckpointError::io("remove", path)),
            Change::Name(name) => {
                let path = dir.join(name);
                fs::rename(temporary(dir, name), &path).map_err(CheckpointError::io("rename", path))
            }
            Change::Sync => sync_dir(dir),
        }
    }
}

/// From what is in the folder to the files of those names, which are written: the last of them is the configuration.
fn changes(dir: &Path, names: &[String]) -> Result<Vec<Change>, CheckpointError> {
    let mut changes = Vec::new();
    let config = dir.join(CONFIG);
    if config.exists() {
        changes.extend([Change::Remove(config), Change::Sync]);
    }
    changes.extend(stale(dir)?.into_iter().map(Change::Remove));
    let (config, weights) = names.split_last().map_or((None, names), |(last, names)| (Some(last), names));
    changes.extend(weights.iter().cloned().map(Change::Name));
    changes.push(Change::Sync);
    changes.extend(config.cloned().map(Change::Name));
    changes.push(Change::Sync);
    Ok(changes)
}

/// Files that do not have their names yet; removed where they never get them.
struct Temporary<'d> {
    dir: &'d Path,
    names: Vec<String>,
}

impl Temporary<'_> {
    fn add(&mut self, name: &str) -> PathBuf {
        self.names.push(name.to_owned());
        temporary(self.dir, name)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = fs::remove_file(temporary(self.dir, name));
        }
    }
}

fn temporary(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.tmp"))
}

/// Writes one safetensors file under its name, whole or not at all; file and name are on the disk when this returns.
///
/// # Errors
/// When the disk refuses, a tensor cannot be read, or what was written does not read back.
pub fn write_safetensors(
    path: &Path,
    layout: &Layout,
    dtype: Dtype,
    read: ReadTensor<'_>,
) -> Result<(), CheckpointError> {
    let temporary = path.with_extension("safetensors.tmp");
    write_file(&temporary, layout, dtype, read)?;
    fs::rename(&temporary, path).map_err(CheckpointError::io("rename", &temporary))?;
    // A name alone lies in the current folder.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new(".")))
}

/// Cuts a layout into runs of at most `max` bytes; a tensor is never cut.
fn shards(layout: &Layout, dtype: Dtype, max: u64) -> Result<Vec<&Layout>, String> {
    let (mut shards, mut begin, mut held) = (Vec::new(), 0, 0_u64);
    for (index, (name, shape)) in layout.iter().enumerate() {
        let bytes = dtype.num_bytes(shape).ok_or_else(|| format!("tensor {name:?}: shape {shape:?} is too large"))?;
        if index > begin && held.saturating_add(bytes) > max {
            shards.push(&layout[begin..index]);
            (begin, held) = (index, 0);
        }
        held = held.saturating_add(bytes);
    }
    shards.push(&layout[begin..]);
    Ok(shards)
}

/// Header, tensors, sync, and the whole file read again; returns the bytes of the tensors.
fn write_file(path: &Path, layout: &Layout, dtype: Dtype, read: ReadTensor<'_>) -> Result<u64, CheckpointError> {
    let element = match dtype {
        Dtype::F32 => "F32",
        Dtype::F16 => "F16",
        Dtype::BF16 => "BF16",
        other => return Err(damaged(path, format!("safetensors hold F32, F16 or BF16, not {}", other.name()))),
    };
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut offset = 0;
    for (name, shape) in layout {
        let bytes = dtype.num_bytes(shape).ok_or_else(|| damaged(path, format!("tensor {name:?} is too large")))?;
        let entry = json!({"dtype": element, "shape": shape, "data_offsets": [offset, offset + bytes]});
        header.insert(name.clone(), entry);
        offset += bytes;
    }
    let mut header = serde_json::to_string(&header).unwrap_or_default();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut file = Checked::create(path)?;
    file.write(&(header.len() as u64).to_le_bytes())?;
    file.write(header.as_bytes())?;
    for (name, shape) in layout {
        file.write_weights(name, shape, dtype, &read(name)?)?;
    }
    file.finish()?;
    Ok(offset)
}

/// A file whose every byte is checked once it is on the disk.
pub(crate) struct Checked {
    path: PathBuf,
    file: BufWriter<File>,
    digest: crc32fast::Hasher,
    length: u64,
    finished: bool,
}

impl Drop for Checked {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Checked {
    pub(crate) fn create(path: &Path) -> Result<Checked, CheckpointError> {
        let file = create_fresh(path).map_err(CheckpointError::io("create", path))?;
        Ok(Checked {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 20, file),
            digest: crc32fast::Hasher::new(),
            length: 0,
            finished: false,
        })
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.digest.update(bytes);
        self.length += bytes.len() as u64;
        self.file.write_all(bytes).map_err(CheckpointError::io("write", &self.path))
    }

    /// Weights in `dtype`, in pieces.
    pub(crate) fn write_weights(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: Dtype,
        values: &[f32],
    ) -> Result<(), CheckpointError> {
        if values.len() != shape.iter().product::<usize>() {
            let message = format!("tensor {name:?}: expected shape {shape:?}, found {} numbers", values.len());
            return Err(damaged(&self.path, message));
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let message = format!("tensor {name:?}: expected finite numbers, found {} at {at}", values[at]);
            return Err(damaged(&self.path, message));
        }
        if let Some(at) = dtype.overflow(values) {
            let (found, dtype) = (values[at], dtype.name());
            let message = format!(
                "tensor {name:?}: expected numbers that {dtype} holds, found {found} at {at}\nhint: store it as bfloat16 or float32"
            );
            return Err(damaged(&self.path, message));
        }
        // A few pieces at a time, encoded side by side.
        for pieces in values.chunks(ENCODED_TOGETHER) {
            let encoded: Vec<Option<Vec<u8>>> = pieces.par_chunks(PIECE).map(|piece| dtype.encode(piece)).collect();
            for bytes in encoded {
                self.write(
                    &bytes.ok_or_else(|| damaged(&self.path, format!("{} is read and not written", dtype.name())))?,
                )?;
            }
        }
        Ok(())
    }

    /// Syncs, then reads the file again and compares.
    pub(crate) fn finish(mut self) -> Result<(), CheckpointError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(CheckpointError::io("write", &self.path))?;
        let mut file = File::open(&self.path).map_err(CheckpointError::io("open", &self.path))?;
        let (mut again, mut found, mut piece) = (crc32fast::Hasher::new(), 0, vec![0; 1 << 20]);
        loop {
            match file.read(&mut piece).map_err(CheckpointError::io("read", &self.path))? {
                0 => break,
                count => {
                    again.update(&piece[..count]);
                    found += count as u64;
                }
            }
        }
        if (found, again.finalize()) != (self.length, self.digest.clone().finalize()) {
            let message = "does not read back as it was written: the disk or its driver is failing";
            return Err(damaged(&self.path, message.to_owned()));
        }
        self.finished = true;
        Ok(())
    }
}

fn write_text(path: &Path, text: &str) -> Result<(), CheckpointError> {
    let written =
        create_fresh(path).and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(CheckpointError::io("write", path))
}

/// Weights and indexes of an earlier checkpoint, index first.
fn stale(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(CheckpointError::io("list", dir))? {
        let name = entry.map_err(CheckpointError::io("list", dir))?.file_name().to_string_lossy().into_owned();
        let shard = name.strip_prefix("model-").and_then(|rest| rest.strip_suffix(".safetensors"));
        let numbered = shard.and_then(|rest| rest.split_once("-of-")).is_some_and(|(index, count)| {
            [index, count].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        });
        if name == SINGLE || name == INDEX || numbered {
            found.push((name != INDEX, dir.join(name)));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn sync_dir(dir: &Path) -> Result<(), CheckpointError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(CheckpointError::io("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Checkpoint;

    /// A model whose every weight is `value`, and whose configuration is told by the same number.
    fn write(dir: &Path, value: f32, max_shard_bytes: u64) {
        let config = config(value);
        let layout = config.layout();
        let mut read = |name: &str| {
            let (_, shape) = layout.iter().find(|(found, _)| found == name).expect("a known name");
            Ok(vec![value; shape.iter().product()])
        };
        write_folder(dir, &config, Dtype::F32, max_shard_bytes, &mut read).expect("a checkpoint");
    }

    fn config(value: f32) -> ModelConfig {
        // Nothing in the shapes tells the one from the other.
        ModelConfig::from_json(&format!(
            r#"{{"model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "rope_theta": {value}}}"#
        ))
        .expect("a configuration")
    }

    /// By which number a checkpoint is told, if there is one: the same in weights and configuration.
    fn found(dir: &Path) -> Option<f32> {
        let checkpoint = Checkpoint::open(dir).ok()?;
        let value = checkpoint.config().rope.theta as f32;
        for (name, shape) in checkpoint.config().layout() {
            let weights = checkpoint.read(&name, &shape).expect("weights");
            assert!(weights.iter().all(|weight| *weight == value), "{name} is not of the configuration's checkpoint");
        }
        Some(value)
    }

    fn copy(from: &Path, to: &Path, suffix: &str) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(from).expect("a folder") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            fs::copy(from.join(&name), to.join(format!("{name}{suffix}"))).expect("a copy");
            names.push(name);
        }
        names
    }

    #[test]
    fn a_kill_at_any_step_leaves_the_old_checkpoint_none_or_the_new_one() {
        let (one, many) = (MAX_SHARD_BYTES, 4000);
        for (old_bytes, new_bytes) in [(one, one), (one, many), (many, one), (many, many)] {
            let [old, new] = [2.0, 3.0].map(|value| {
                let dir = tempfile::tempdir().expect("a folder");
                write(dir.path(), value, if value == 2.0 { old_bytes } else { new_bytes });
                assert_eq!(found(dir.path()), Some(value));
                dir
            });
            let mut seen = Vec::new();
            for steps in 0.. {
                // As the folder is when all of the new checkpoint is written and nothing of it has its name.
                let dir = tempfile::tempdir().expect("a folder");
                copy(old.path(), dir.path(), "");
                let mut names = copy(new.path(), dir.path(), ".tmp");
                names.sort_by_key(|name| (name == CONFIG, name.clone()));
                let changes = changes(dir.path(), &names).expect("changes");
                changes.iter().take(steps).for_each(|change| change.make(dir.path()).expect("a change"));
                seen.push(found(dir.path()));
                if steps == changes.len() {
                    break;
                }
                // And another write makes it whole, whatever was left.
                write(dir.path(), 5.0, new_bytes);
                assert_eq!(found(dir.path()), Some(5.0), "after {steps} steps");
            }
            seen.dedup();
            assert_eq!(seen, [Some(2.0), None, Some(3.0)], "the old one, none, the new one, in this order");
        }
    }
}
