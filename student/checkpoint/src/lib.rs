//! Checkpoints on disk: `config.json` and safetensors, bytes ↔ named tensors. Knows nothing of Burn.
//!
//! A Hugging Face folder goes in through [`Checkpoint`], one tensor at a time; tensors go out through
//! [`write_safetensors`], whole or not at all. Files are untrusted: nothing is allocated on a header's word.

mod config;
mod error;
#[cfg(test)]
mod hostile;
mod read;
mod write;

pub use config::ModelConfig;
pub use error::CheckpointError;
pub use read::Checkpoint;
pub use write::{Dtype, write_safetensors};

/// A tensor by name, row-major float32.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name in the Hugging Face layout, e.g. `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// Its dimensions, outermost first; a linear layer's weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// Its values.
    pub data: Vec<f32>,
}
