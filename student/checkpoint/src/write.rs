//! Safetensors out: whole or not at all, bytes decided by the tensors alone.

use crate::{Tensor, error::CheckpointError};
use safetensors::tensor::{Dtype as Element, TensorView};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::Write,
    path::Path,
};

/// The element type of stored weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// The upper half of single precision, rounded to nearest even.
    BF16,
}

/// Writes tensors under a temporary name, syncs, renames. The header says `{"format": "pt"}`, as loaders expect.
///
/// # Errors
/// When the disk refuses, or a shape does not fit its data; then no file of that name appears.
pub fn write_safetensors(path: &Path, tensors: &[Tensor], dtype: Dtype) -> Result<(), CheckpointError> {
    let damaged = |message: String| CheckpointError::Damaged { path: path.to_owned(), message };
    let encoded: Vec<Vec<u8>> = tensors.iter().map(|tensor| encode(&tensor.data, dtype)).collect();
    let element = match dtype {
        Dtype::F32 => Element::F32,
        Dtype::BF16 => Element::BF16,
    };
    let mut views = Vec::with_capacity(tensors.len());
    for (tensor, bytes) in tensors.iter().zip(&encoded) {
        let view = TensorView::new(element, tensor.shape.clone(), bytes)
            .map_err(|error| damaged(format!("tensor {:?}: {error}", tensor.name)))?;
        views.push((tensor.name.as_str(), view));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| damaged(error.to_string()))?;
    let temporary = path.with_extension("safetensors.tmp");
    let mut file = File::create(&temporary).map_err(CheckpointError::io("create", &temporary))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(CheckpointError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(CheckpointError::io("rename", &temporary))
}

fn encode(data: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F32 => data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Dtype::BF16 => data.iter().flat_map(|value| round_to_bf16(*value).to_le_bytes()).collect(),
    }
}

fn round_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}
