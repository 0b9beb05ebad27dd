//! Safetensors in: one file or several with an index, one tensor in memory at a time.
//!
//! Every header is checked against the file's real length before anything is allocated; names in an index cannot lead
//! out of the folder.

use crate::{Tensor, config::ModelConfig, error::CheckpointError};
use safetensors::{Dtype, tensor::Metadata};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Component, Path, PathBuf},
};

/// Longest header that is read: a 70B model's is under 1 MiB.
const MAX_HEADER: u64 = 100 << 20;

/// An opened Hugging Face folder.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    config: ModelConfig,
    tensors: BTreeMap<String, Place>,
    files: Vec<(PathBuf, File)>,
}

#[derive(Clone, Debug)]
struct Place {
    file: usize,
    offset: u64,
    dtype: Dtype,
    shape: Vec<usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens `config.json` and `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// When a file is missing or its header does not hold together.
    pub fn open(dir: &Path) -> Result<Checkpoint, CheckpointError> {
        let config = ModelConfig::load(dir)?;
        let mut checkpoint = Checkpoint { dir: dir.to_owned(), config, tensors: BTreeMap::new(), files: Vec::new() };
        let index = dir.join("model.safetensors.index.json");
        if !index.exists() {
            checkpoint.add_file(&dir.join("model.safetensors"))?;
            return Ok(checkpoint);
        }
        let text = fs::read_to_string(&index).map_err(CheckpointError::io("read", &index))?;
        let parsed: Index =
            serde_json::from_str(&text).map_err(|error| damaged(&index, format!("not a shard index: {error}")))?;
        let names: std::collections::BTreeSet<&String> = parsed.weight_map.values().collect();
        for name in names {
            let mut parts = Path::new(name).components();
            let plain =
                matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains('/');
            if !plain {
                return Err(damaged(&index, format!("expected shard names in this folder, found {name:?}")));
            }
            checkpoint.add_file(&dir.join(name))?;
        }
        match parsed.weight_map.keys().find(|name| !checkpoint.tensors.contains_key(*name)) {
            Some(name) => Err(damaged(&index, format!("tensor {name:?} is listed and in no shard"))),
            None => Ok(checkpoint),
        }
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether a tensor is there.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Reads one tensor as float32, checking its shape.
    ///
    /// # Errors
    /// When it is missing, has another shape, or an element type that holds no weights.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        let place = self.tensors.get(name).ok_or_else(|| CheckpointError::Tensor {
            path: self.dir.clone(),
            message: format!("tensor {name:?} is missing"),
        })?;
        if place.shape != shape {
            let message = format!("tensor {name:?}: expected shape {shape:?}, found {:?}", place.shape);
            return Err(CheckpointError::Tensor { path: self.dir.clone(), message });
        }
        let num: usize = shape.iter().product();
        let (path, file) = &self.files[place.file];
        // The header was checked against the file's length, so this allocation is bounded by what is really there.
        let mut bytes = vec![0; num * width(place.dtype).unwrap_or(4)];
        file.read_exact_at(&mut bytes, place.offset).map_err(CheckpointError::io("read", path))?;
        let data = match place.dtype {
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::BF16 => bytes
                .chunks_exact(2)
                .map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16))
                .collect(),
            _ => bytes.chunks_exact(2).map(|b| half_to_single(u16::from_le_bytes([b[0], b[1]]))).collect(),
        };
        Ok(Tensor { name: name.to_owned(), shape: shape.to_vec(), data })
    }

    fn add_file(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let file = File::open(path).map_err(CheckpointError::io("open", path))?;
        let length = file.metadata().map_err(CheckpointError::io("read", path))?.len();
        let mut prefix = [0; 8];
        if length < 8 {
            return Err(damaged(path, format!("expected a safetensors file, found {length} bytes")));
        }
        file.read_exact_at(&mut prefix, 0).map_err(CheckpointError::io("read", path))?;
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
        let index = self.files.len();
        for (name, info) in metadata.tensors() {
            let (start, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
            let Some(width) = width(info.dtype) else {
                return Err(damaged(
                    path,
                    format!("tensor {name:?}: expected F32, F16 or BF16, found {:?}", info.dtype),
                ));
            };
            let elements = info.shape.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim as u64));
            let claimed = elements.and_then(|elements| elements.checked_mul(width as u64));
            if start > end || claimed != Some(end - start) {
                return Err(damaged(
                    path,
                    format!(
                        "tensor {name:?}: shape {:?} of {:?} does not fill bytes {start}..{end}",
                        info.shape, info.dtype
                    ),
                ));
            }
            if end > length - data {
                return Err(damaged(
                    path,
                    format!("tensor {name:?}: ends at byte {end} of {} (truncated?)", length - data),
                ));
            }
            let place = Place { file: index, offset: data + start, dtype: info.dtype, shape: info.shape.clone() };
            if self.tensors.insert(name.clone(), place).is_some() {
                return Err(damaged(path, format!("tensor {name:?} is stored twice")));
            }
        }
        self.files.push((path.to_owned(), file));
        Ok(())
    }
}

/// Bytes of an element, for the types that hold weights.
fn width(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        _ => None,
    }
}

/// IEEE 754 binary16 → binary32, exactly.
fn half_to_single(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, mantissa) = (u32::from(bits >> 10) & 0x1f, u32::from(bits) & 0x3ff);
    match (exponent, mantissa) {
        (0, _) => f32::from_bits(sign) + if sign == 0 { 1.0 } else { -1.0 } * mantissa as f32 * f32::powi(2.0, -24),
        (31, _) => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

fn damaged(path: &Path, message: String) -> CheckpointError {
    CheckpointError::Damaged { path: path.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_convert_exactly() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 5.960_464_5e-8),
            (0x8000, -0.0),
            (0x7bff, 65504.0),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half_to_single(bits).to_bits(), f32::to_bits(value), "{bits:#06x}");
        }
        assert!(half_to_single(0x7e00).is_nan());
    }
}
