//! GGUF, version 3: the single file that llama.cpp and its kin run.
//!
//! In: header (`metadata`) → configuration and tensor names (`model`), tokenizer (`vocabulary`); the weights stay where
//! they are. Out: `write`. Dimensions are innermost first in the file and outermost first here. Format:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod metadata;
mod model;
mod tokenizer;
mod vocabulary;
mod write;

pub use vocabulary::{TokenKind, Vocabulary};
pub use write::write_gguf;

use crate::{
    Dtype,
    config::ModelConfig,
    error::{CheckpointError, damaged, is_pointer, pointer},
    file,
    open::{Place, Tensors},
    safetensors::MAX_HEADER,
};
use metadata::{Header, Metadata, Value, shortened};
use std::{fs::File, io::BufReader, os::unix::fs::FileExt, path::Path};

const MAGIC: &[u8; 4] = b"GGUF";
const ALIGNMENT: u64 = 32;
/// Bytes of the shortest entry in the list of tensors.
const SHORTEST_ENTRY: u64 = 24;

/// Reads the header of a GGUF file.
pub(crate) fn open(path: &Path) -> Result<(ModelConfig, Vocabulary, Tensors), CheckpointError> {
    let file = file::open(path)?;
    let length = file.metadata().map_err(CheckpointError::io("read", path))?.len();
    let mut beginning = [0; 32];
    if file.read_at(&mut beginning, 0).is_ok_and(|length| is_pointer(&beginning[..length])) {
        return Err(pointer(path));
    }
    let (metadata, mut tensors) = read(file, path, length).map_err(|message| damaged(path, message))?;
    let config = model::config(&metadata, &mut tensors)
        .map_err(|message| CheckpointError::Config { path: path.to_owned(), message })?;
    let vocabulary = Vocabulary::from_metadata(&metadata, config.vocab_size)
        .map_err(|message| CheckpointError::Config { path: path.to_owned(), message })?;
    Ok((config, vocabulary, tensors))
}

fn read(file: File, path: &Path, length: u64) -> Result<(Metadata, Tensors), String> {
    let mut header = Header::new(BufReader::with_capacity(1 << 16, &file), length.min(MAX_HEADER));
    if header.bytes(4).ok().as_deref() != Some(MAGIC) {
        return Err("expected a GGUF file: it does not begin with \"GGUF\"".to_owned());
    }
    let version = header.u32()?;
    if version != 3 {
        return Err(format!("`version`: expected 3, found {version}"));
    }
    let (num_tensors, num_pairs) = (header.u64()?, header.u64()?);
    let metadata = header.metadata(num_pairs)?;
    header.claim(num_tensors, SHORTEST_ENTRY).map_err(|message| format!("`tensor_count`: {message}"))?;
    let mut entries = Vec::new();
    for index in 0..num_tensors {
        let name = header.text().map_err(|message| format!("tensor {index} of {num_tensors}: {message}"))?;
        let entry =
            entry(&mut header, &name).map_err(|message| format!("tensor \"{}\": {message}", shortened(&name)))?;
        entries.push((name, entry));
    }
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(Value::Unsigned(found)) if found.is_power_of_two() && (8..=1 << 20).contains(found) => *found,
        Some(found) => return Err(format!("`general.alignment`: expected a power of two from 8, found {found:?}")),
    };
    let data = header.position.next_multiple_of(alignment);
    let mut tensors = Tensors { files: Vec::new(), ..Tensors::default() };
    let mut taken = Vec::new();
    for (name, (dtype, shape, offset)) in entries {
        let wrong = |message: String| format!("tensor \"{}\": {message}", shortened(&name));
        let bytes = dtype
            .num_bytes(&shape)
            .ok_or_else(|| wrong(format!("shape {shape:?} does not consist of whole {} blocks", dtype.ggml_name())))?;
        let end = data.checked_add(offset).and_then(|start| start.checked_add(bytes));
        if offset % alignment != 0 || end.is_none_or(|end| end > length) {
            let room = length.saturating_sub(data);
            return Err(wrong(format!(
                "expected {bytes} bytes at a multiple of {alignment} inside {room}, found offset {offset} (truncated?)"
            )));
        }
        taken.push((offset, bytes, name.clone()));
        let place = Place { file: 0, offset: data + offset, dtype, shape, interleaved: 0 };
        if tensors.places.insert(name.clone(), place).is_some() {
            return Err(format!("tensor \"{}\" is stored twice", shortened(&name)));
        }
    }
    taken.sort();
    for pair in taken.windows(2) {
        if pair[0].0 + pair[0].1 > pair[1].0 {
            return Err(format!("tensor \"{}\" overlaps \"{}\"", shortened(&pair[1].2), shortened(&pair[0].2)));
        }
    }
    tensors.files.push((path.to_owned(), file));
    Ok((metadata, tensors))
}

/// Element type, shape (outermost first) and offset of one tensor.
fn entry<R: std::io::Read>(header: &mut Header<R>, name: &str) -> Result<(Dtype, Vec<usize>, u64), String> {
    let dims = header.u32()?;
    if dims == 0 || dims > 4 || name.is_empty() {
        return Err(format!("expected a name and 1 to 4 dimensions, found {dims}"));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        let dim = header.u64()?;
        shape.push(usize::try_from(dim).map_err(|_| format!("dimension {dim} is too large"))?);
    }
    shape.reverse();
    let number = header.u32()?;
    let dtype = Dtype::from_ggml(number).ok_or_else(|| {
        format!("its element type, number {number}, is not supported\nhint: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are")
    })?;
    Ok((dtype, shape, header.u64()?))
}
