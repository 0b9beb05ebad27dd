//! A checkpoint in: a Hugging Face folder or a GGUF file, one interface. Tensors are read in pieces straight into where
//! they are wanted, so nothing but the model itself takes memory.
//!
//! Files are untrusted: every header is checked against the file's real length before anything is allocated.

use crate::{Dtype, Vocabulary, config::ModelConfig, error::CheckpointError, gguf, safetensors};
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Weights that are read at once by one thread.
const PIECE: usize = 1 << 16;

/// An opened checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    config: ModelConfig,
    vocabulary: Option<Vocabulary>,
    tensors: Tensors,
    /// What the model's tensors are to be.
    layout: BTreeMap<String, Vec<usize>>,
}

/// Where the tensors of one or several files lie.
#[derive(Debug, Default)]
pub(crate) struct Tensors {
    pub(crate) files: Vec<(PathBuf, File)>,
    pub(crate) places: BTreeMap<String, Place>,
}

/// Where one tensor lies, and how.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) offset: u64,
    pub(crate) dtype: Dtype,
    /// Outermost dimension first.
    pub(crate) shape: Vec<usize>,
    /// Rows of a head, where GGUF's order of rotated pairs has to be undone; 0 elsewhere.
    pub(crate) interleaved: usize,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and `model.safetensors` (or the shards that `model.safetensors.index.json`
    /// names), or a `.gguf` file.
    ///
    /// # Errors
    /// When a file is missing or its header does not hold together.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let (config, vocabulary, tensors) = if path.is_dir() {
            let (mut config, mut tensors) = (ModelConfig::load(path)?, safetensors::open(path)?);
            tie(&mut config, &mut tensors)?;
            (config, None, tensors)
        } else {
            let (config, vocabulary, tensors) = gguf::open(path)?;
            (config, Some(vocabulary), tensors)
        };
        let layout = config.layout().into_iter().collect();
        let checkpoint = Checkpoint { path: path.to_owned(), config, vocabulary, tensors, layout };
        checkpoint.refuse_strangers()?;
        Ok(checkpoint)
    }

    /// Weights that the model has no place for would be left out of its result. Some exporters store the rotary
    /// frequencies, and a tied output projection a second time ([`tie`]): both follow from the rest.
    fn refuse_strangers(&self) -> Result<(), CheckpointError> {
        let harmless = |name: &str| name == "lm_head.weight" || name.ends_with("rotary_emb.inv_freq");
        let stranger = self.names().find(|name| {
            (name.starts_with("model.") || name.starts_with("lm_head."))
                && !self.layout.contains_key(*name)
                && !harmless(name)
        });
        match stranger {
            None => Ok(()),
            Some(name) => {
                let message = format!("tensor {name:?} belongs to no such {} model", self.config.architecture.class());
                Err(CheckpointError::Tensor { path: self.path.clone(), message })
            }
        }
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tokenizer inside a GGUF file.
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        self.vocabulary.as_ref()
    }

    /// Names of all tensors in the Hugging Face layout, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.places.keys().map(String::as_str)
    }

    /// How a tensor is stored, if it is there.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.places.get(name).map(|place| place.dtype)
    }

    /// Reads one of the model's own tensors as float32, in the shape that the configuration gives it.
    ///
    /// # Errors
    /// As [`Checkpoint::read_into`].
    pub fn parameter(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let shape = self.layout.get(name).ok_or_else(|| CheckpointError::missing(&self.path, name))?;
        self.read(name, shape)
    }

    /// Reads one tensor as float32.
    ///
    /// # Errors
    /// As [`Checkpoint::read_into`].
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, CheckpointError> {
        self.place(name, shape)?;
        let mut values = vec![0.0; shape.iter().product()];
        self.read_into(name, shape, &mut values)?;
        Ok(values)
    }

    /// Reads one tensor as float32 into `out`, which holds as many numbers as `shape` says.
    ///
    /// # Errors
    /// When it is missing, has another shape, is cut short, or holds a number that is not finite.
    pub fn read_into(&self, name: &str, shape: &[usize], out: &mut [f32]) -> Result<(), CheckpointError> {
        let place = self.place(name, shape)?;
        let (path, file) = &self.tensors.files[place.file];
        if out.len() != shape.iter().product::<usize>() {
            let message = format!("tensor {name:?}: expected room for shape {shape:?}, found {}", out.len());
            return Err(CheckpointError::Tensor { path: path.clone(), message });
        }
        // A vector is cut anywhere between blocks, a matrix between rows, interleaved heads between heads.
        let width = if shape.len() < 2 { 1 } else { shape[shape.len() - 1].max(1) };
        let piece = match (shape.len(), place.interleaved) {
            (_, rows @ 1..) => rows * width,
            (0 | 1, 0) => PIECE,
            _ => (PIECE / width).max(1) * width,
        };
        out.par_chunks_mut(piece).enumerate().try_for_each_init(
            Default::default,
            |(bytes, scratch): &mut (Vec<u8>, Vec<f32>), (index, out)| {
                let blocks = |weights: usize| weights / place.dtype.block_len() * place.dtype.block_bytes();
                bytes.resize(blocks(out.len()), 0);
                let at = place.offset + blocks(index * piece) as u64;
                file.read_exact_at(bytes, at).map_err(CheckpointError::io("read", path))?;
                place.dtype.decode(bytes, out);
                if place.interleaved > 0 {
                    uninterleave(out, width, scratch);
                }
                match out.iter().position(|value| !value.is_finite()) {
                    None => Ok(()),
                    Some(found) => {
                        let at = index * piece + found;
                        let message = format!("tensor {name:?}: expected finite numbers, found {} at {at}", out[found]);
                        Err(CheckpointError::Tensor { path: path.clone(), message })
                    }
                }
            },
        )
    }

    fn place(&self, name: &str, shape: &[usize]) -> Result<&Place, CheckpointError> {
        let wrong = |message: String| CheckpointError::Tensor { path: self.path.clone(), message };
        let place = self.tensors.places.get(name).ok_or_else(|| CheckpointError::missing(&self.path, name))?;
        if place.shape != shape {
            return Err(wrong(format!("tensor {name:?}: expected shape {shape:?}, found {:?}", place.shape)));
        }
        Ok(place)
    }
}

/// Holds a configuration that ties the output projection to the embedding against what is stored, as the reference does:
/// two tensors that differ are two, and one is both, whichever it is.
fn tie(config: &mut ModelConfig, tensors: &mut Tensors) -> Result<(), CheckpointError> {
    const EMBEDDING: &str = "model.embed_tokens.weight";
    const HEAD: &str = "lm_head.weight";
    if !config.tie_word_embeddings {
        return Ok(());
    }
    match (tensors.places.get(EMBEDDING), tensors.places.get(HEAD)) {
        (Some(embedding), Some(head)) if embedding.shape != head.shape || !tensors.are_equal(embedding, head)? => {
            config.tie_word_embeddings = false;
        }
        (None, Some(head)) => {
            let head = head.clone();
            tensors.places.insert(EMBEDDING.to_owned(), head);
        }
        _ => {}
    }
    Ok(())
}

impl Tensors {
    /// Whether two tensors of one shape hold the same numbers.
    fn are_equal(&self, a: &Place, b: &Place) -> Result<bool, CheckpointError> {
        let elements = a.shape.iter().product::<usize>();
        let pieces = (0..elements.div_ceil(PIECE)).into_par_iter();
        let differ = pieces.map(|index| {
            let length = PIECE.min(elements - index * PIECE);
            let read = |place: &Place| {
                let (path, file) = &self.files[place.file];
                let mut bytes = vec![0; length * place.dtype.block_bytes()];
                let at = place.offset + (index * PIECE * place.dtype.block_bytes()) as u64;
                file.read_exact_at(&mut bytes, at).map_err(CheckpointError::io("read", path))?;
                Ok::<_, CheckpointError>(bytes)
            };
            let (first, second) = (read(a)?, read(b)?);
            if a.dtype == b.dtype {
                return Ok(first != second);
            }
            let (mut left, mut right) = (vec![0.0; length], vec![0.0; length]);
            a.dtype.decode(&first, &mut left);
            b.dtype.decode(&second, &mut right);
            Ok(left != right)
        });
        let different = differ.find_any(|differ| !matches!(differ, Ok(false)));
        match different {
            Some(Err(error)) => Err(error),
            Some(Ok(_)) => Ok(false),
            None => Ok(true),
        }
    }
}

/// One head's rows from GGUF's order, in which the two dimensions of a rotated pair are neighbours, back to the
/// half-split order of the Hugging Face layout.
fn uninterleave(head: &mut [f32], width: usize, scratch: &mut Vec<f32>) {
    let half = head.len() / width / 2;
    reorder_rows(head, width, scratch, |row| 2 * (row % half) + row / half);
}

/// Puts row `from(row)` at `row`, for every row.
pub(crate) fn reorder_rows(rows: &mut [f32], width: usize, scratch: &mut Vec<f32>, from: impl Fn(usize) -> usize) {
    scratch.clear();
    scratch.extend_from_slice(rows);
    for (row, out) in rows.chunks_exact_mut(width).enumerate() {
        out.copy_from_slice(&scratch[from(row) * width..(from(row) + 1) * width]);
    }
}
