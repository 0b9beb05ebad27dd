//! Safetensors in: one file or several with an index. Headers only; the weights stay where they are.

use crate::{
    Dtype,
    error::{CheckpointError, damaged, is_pointer, pointer},
    file,
    open::{Place, Tensors},
};
use safetensors::{Dtype as Element, tensor::Metadata};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    os::unix::fs::FileExt,
    path::{Component, Path},
};

/// Longest header or index that is read: a 70B model's is under 1 MiB.
pub(crate) const MAX_HEADER: u64 = 100 << 20;
pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Finds the tensors of a folder. Where there is a whole file beside an index of others, the file counts, as in the
/// reference.
pub(crate) fn open(dir: &Path) -> Result<Tensors, CheckpointError> {
    let mut tensors = Tensors::default();
    let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
    if single.exists() || !index.exists() {
        if !single.exists()
            && let Some(other) = other_weights(dir)
        {
            let message = format!(
                "expected {SINGLE} or {INDEX}, found {other} alone\nhint: only safetensors and GGUF files are read, since other formats can run code; save the model again with `save_pretrained(..., safe_serialization=True)`"
            );
            return Err(damaged(dir, message));
        }
        add_file(&mut tensors, &single)?;
        return Ok(tensors);
    }
    let mut text = String::new();
    let file = file::open(&index)?;
    file.take(MAX_HEADER).read_to_string(&mut text).map_err(CheckpointError::io("read", &index))?;
    if is_pointer(text.as_bytes()) {
        return Err(pointer(&index));
    }
    let parsed: Index =
        serde_json::from_str(&text).map_err(|error| damaged(&index, format!("not a shard index: {error}")))?;
    for name in parsed.weight_map.values().collect::<BTreeSet<_>>() {
        let mut parts = Path::new(name).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains('/');
        if !plain {
            return Err(damaged(&index, format!("expected shard names in this folder, found {name:?}")));
        }
        add_file(&mut tensors, &dir.join(name))?;
    }
    for (name, shard) in &parsed.weight_map {
        let found = tensors.places.get(name).map(|place| &tensors.files[place.file].0);
        if found != Some(&dir.join(shard)) {
            return Err(damaged(&index, format!("tensor {name:?} is listed in {shard:?} and not there")));
        }
    }
    Ok(tensors)
}

/// A file of weights in a format that is not read, the first by name.
fn other_weights(dir: &Path) -> Option<String> {
    let names = std::fs::read_dir(dir).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let other = |name: &String| {
        let weights = [".bin", ".pth", ".pt", ".ckpt", ".h5", ".msgpack", ".gguf", ".safetensors"];
        weights.iter().any(|ending| name.ends_with(ending)) && name != "training_args.bin"
    };
    names.filter(other).min()
}

fn add_file(tensors: &mut Tensors, path: &Path) -> Result<(), CheckpointError> {
    let file = file::open(path)?;
    let length = file.metadata().map_err(CheckpointError::io("read", path))?.len();
    let mut prefix = [0; 8];
    if length < 8 {
        return Err(damaged(path, format!("expected a safetensors file, found {length} bytes")));
    }
    file.read_exact_at(&mut prefix, 0).map_err(CheckpointError::io("read", path))?;
    let mut beginning = [0; 32];
    if file.read_at(&mut beginning, 0).is_ok_and(|length| is_pointer(&beginning[..length])) {
        return Err(pointer(path));
    }
    let header_length = u64::from_le_bytes(prefix);
    if header_length > MAX_HEADER || header_length > length - 8 {
        return Err(damaged(path, format!("its header claims {header_length} bytes; the file has {length}")));
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact_at(&mut header, 8).map_err(CheckpointError::io("read", path))?;
    // The parser itself refuses overlaps and holes between tensors.
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| damaged(path, format!("its header does not hold together: {error}")))?;
    let data = 8 + header_length;
    let index = tensors.files.len();
    let mut filled = 0;
    for (name, info) in metadata.tensors() {
        let (start, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let dtype = match info.dtype {
            Element::F32 => Dtype::F32,
            Element::F16 => Dtype::F16,
            Element::BF16 => Dtype::BF16,
            other => {
                return Err(damaged(path, format!("tensor {name:?}: expected F32, F16 or BF16, found {other:?}")));
            }
        };
        if start > end || dtype.num_bytes(&info.shape) != Some(end - start) {
            let message = format!("shape {:?} of {:?} does not fill bytes {start}..{end}", info.shape, info.dtype);
            return Err(damaged(path, format!("tensor {name:?}: {message}")));
        }
        if end > length - data {
            let message = format!("tensor {name:?}: ends at byte {end} of {} (truncated?)", length - data);
            return Err(damaged(path, message));
        }
        filled = filled.max(end);
        let place = Place { file: index, offset: data + start, dtype, shape: info.shape.clone(), interleaved: 0 };
        if tensors.places.insert(name.clone(), place).is_some() {
            return Err(damaged(path, format!("tensor {name:?} is stored twice")));
        }
    }
    if filled != length - data {
        return Err(damaged(path, format!("its tensors end at byte {filled} of {}", length - data)));
    }
    tensors.files.push((path.to_owned(), file));
    Ok(())
}
