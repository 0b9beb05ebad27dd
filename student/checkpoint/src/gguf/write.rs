//! GGUF out: header, then the weights, one tensor in memory at a time, re-read before the file has its name.

use super::{
    ALIGNMENT, MAGIC,
    metadata::Pairs,
    model::{self, ROPE_FACTORS, rope_factors},
    vocabulary::Vocabulary,
};
use crate::{
    Dtype,
    config::{ModelConfig, RopeScaling},
    error::CheckpointError,
    open::reorder_rows,
    write::{Checked, ReadTensor},
};
use std::{fs, path::Path};

/// What one tensor of the file is.
struct Entry {
    /// The Hugging Face name; none for the rotary factors.
    source: Option<String>,
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
}

/// Writes a GGUF file with the tokenizer and chat template inside. Matrices are stored as `dtype`, in `q4_0` the
/// embedding and the output projection as `q8_0`; rows that do not consist of whole blocks as `f16`; norms and biases as
/// `f32`.
///
/// # Errors
/// When the file format or llama.cpp cannot say what the model is, or the disk refuses.
pub fn write_gguf(
    path: &Path,
    config: &ModelConfig,
    vocabulary: &Vocabulary,
    dtype: Dtype,
    read: ReadTensor<'_>,
) -> Result<(), CheckpointError> {
    let wrong = |message: String| CheckpointError::Config { path: path.to_owned(), message };
    let entries = entries(config, dtype).map_err(wrong)?;
    let header = header(config, vocabulary, dtype, &entries).map_err(wrong)?;
    let temporary = path.with_extension("gguf.tmp");
    let mut file = Checked::create(&temporary)?;
    file.write(&header)?;
    for entry in &entries {
        let padding = file.length().next_multiple_of(ALIGNMENT) - file.length();
        file.write(&vec![0; padding as usize])?;
        let mut values = match &entry.source {
            Some(source) => read(source)?,
            None => rope_factors(&config.rope, config.head_dim),
        };
        let source = entry.source.as_deref().unwrap_or_default();
        if model::is_interleaved(config.architecture, source) {
            let width = if entry.shape.len() < 2 { 1 } else { config.hidden_size };
            interleave(&mut values, config.head_dim, width);
        }
        file.write_weights(&entry.name, &entry.shape, entry.dtype, &values)?;
    }
    let padding = file.length().next_multiple_of(ALIGNMENT) - file.length();
    file.write(&vec![0; padding as usize])?;
    file.finish()?;
    // What was written must be a checkpoint to us as well.
    super::open(&temporary)?;
    fs::rename(&temporary, path).map_err(CheckpointError::io("rename", &temporary))
}

fn entries(config: &ModelConfig, dtype: Dtype) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    if matches!(config.rope.scaling, RopeScaling::Llama3 { .. }) {
        let name = ROPE_FACTORS.to_owned();
        entries.push(Entry { source: None, name, shape: vec![config.head_dim / 2], dtype: Dtype::F32 });
    }
    for (source, shape) in config.layout() {
        let name = model::gguf_name(&source).ok_or_else(|| format!("tensor {source:?} has no name in GGUF"))?;
        let outside = ["token_embd.weight", "output.weight"].contains(&name.as_str());
        let wanted = match dtype {
            Dtype::Q4_0 if outside => Dtype::Q8_0,
            other => other,
        };
        let dtype = match (shape.as_slice(), wanted.num_bytes(&shape)) {
            ([_], _) => Dtype::F32,
            (_, None) => Dtype::F16,
            (_, Some(_)) => wanted,
        };
        entries.push(Entry { source: Some(source), name, shape, dtype });
    }
    Ok(entries)
}

fn header(config: &ModelConfig, vocabulary: &Vocabulary, dtype: Dtype, entries: &[Entry]) -> Result<Vec<u8>, String> {
    let file_type = match dtype {
        Dtype::F32 => 0,
        Dtype::F16 => 1,
        Dtype::Q4_0 => 2,
        Dtype::Q8_0 => 7,
        Dtype::BF16 => 32,
        other => return Err(format!("expected f32, f16, bf16, q8_0 or q4_0 to write, found {}", other.ggml_name())),
    };
    let mut pairs = Pairs::default();
    pairs.text("general.architecture", config.architecture.model_type());
    pairs.u32("general.alignment", ALIGNMENT as usize)?;
    pairs.u32("general.file_type", file_type)?;
    pairs.u32("general.quantization_version", 2)?;
    model::pairs(config, &mut pairs)?;
    vocabulary.pairs(&mut pairs)?;
    let mut header = MAGIC.to_vec();
    header.extend(3_u32.to_le_bytes());
    header.extend((entries.len() as u64).to_le_bytes());
    header.extend(pairs.count.to_le_bytes());
    header.extend(pairs.bytes);
    let mut offset = 0_u64;
    for entry in entries {
        header.extend((entry.name.len() as u64).to_le_bytes());
        header.extend(entry.name.as_bytes());
        header.extend((entry.shape.len() as u32).to_le_bytes());
        entry.shape.iter().rev().for_each(|dim| header.extend((*dim as u64).to_le_bytes()));
        header.extend(entry.dtype.ggml().to_le_bytes());
        header.extend(offset.to_le_bytes());
        let bytes =
            entry.dtype.num_bytes(&entry.shape).ok_or_else(|| format!("tensor {:?} is too large", entry.name))?;
        offset = (offset + bytes).next_multiple_of(ALIGNMENT);
    }
    Ok(header)
}

/// Every head's rows from the half-split order into the order in which rotated pairs are neighbours, as llama.cpp
/// rotates them.
fn interleave(values: &mut [f32], head_dim: usize, width: usize) {
    let mut scratch = Vec::new();
    for head in values.chunks_exact_mut(head_dim * width) {
        reorder_rows(head, width, &mut scratch, |row| (row % 2) * (head_dim / 2) + row / 2);
    }
}
