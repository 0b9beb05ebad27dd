//! Checkpoints on disk: `config.json`, safetensors and GGUF, bytes ↔ named tensors. Knows nothing of Burn.
//!
//! In: a Hugging Face folder or a GGUF file → [`Checkpoint`] (`open`, `safetensors`, `gguf`). Out: [`write_folder`] and
//! [`write_gguf`], which take one tensor at a time. Tensors have their Hugging Face names everywhere, row-major float32, a
//! linear layer's weight `[out, in]`; element types are [`Dtype`]'s business (`dtype`, `blocks`). Files are untrusted:
//! nothing is allocated on a header's word.

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
