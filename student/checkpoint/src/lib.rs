//! Checkpoints on disk: `config.json`, safetensors and GGUF, bytes ↔ named tensors. Knows nothing of Burn.
//!
//! In: a Hugging Face folder or a GGUF file → [`Checkpoint`] (`open`, `safetensors`, `gguf`). Out: [`write_folder`] and
//! [`write_gguf`], which take one tensor at a time. Tensors have their Hugging Face names everywhere, row-major float32, a
//! linear layer's weight `[out, in]`; element types are [`Dtype`]'s business (`dtype`, `blocks`). Files are untrusted:
//! nothing is allocated on a header's word.
//!
//! A small model out and in, every weight one half:
//!
//! ```
//! # use distill_checkpoint::{Checkpoint, Dtype, MAX_SHARD_BYTES, ModelConfig, write_folder};
//! # use std::collections::BTreeMap;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ModelConfig::from_json(
//!     r#"{"model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
//!     "num_attention_heads": 4, "max_position_embeddings": 64, "rope_theta": 10000.0}"#,
//! )?;
//! let shapes: BTreeMap<String, Vec<usize>> = config.layout().into_iter().collect();
//! let mut weights = |name: &str| Ok(vec![0.5_f32; shapes[name].iter().product::<usize>()]);
//! let folder = tempfile::tempdir()?;
//! write_folder(folder.path(), &config, Dtype::BF16, MAX_SHARD_BYTES, &mut weights)?;
//!
//! let checkpoint = Checkpoint::open(folder.path())?;
//! assert_eq!(checkpoint.config().num_parameters(), config.num_parameters());
//! assert_eq!(checkpoint.dtype("model.norm.weight"), Some(Dtype::BF16));
//! assert_eq!(checkpoint.parameter("model.norm.weight")?, [0.5; 16]);
//! # Ok(())
//! # }
//! ```

mod blocks;
mod config;
mod dtype;
mod error;
mod file;
mod gguf;
mod open;
mod safetensors;
#[cfg(test)]
mod tests;
mod write;

pub use config::{Architecture, ModelConfig, Rope, RopeScaling, SlidingWindow};
pub use dtype::Dtype;
pub use error::CheckpointError;
pub use gguf::{TokenKind, Vocabulary, write_gguf};
pub use open::Checkpoint;
pub use write::{Layout, MAX_SHARD_BYTES, ReadTensor, write_folder, write_safetensors};
