//! Llama, Qwen2 and Qwen3 in Burn: a checkpoint's named tensors in, logits out, with or without a key-value cache.
//!
//! The arithmetic follows the reference implementation to float32 rounding: half-split rotary embeddings, RMSNorm
//! statistics in float32, causal attention with grouped queries.

mod attention;
mod cache;
mod decoder;
mod device;
mod norm;
#[cfg(test)]
mod parity;
mod rope;
mod weights;

pub use cache::KvCache;
pub use decoder::Decoder;
pub use device::device;
pub use weights::Parameter;

use distill_checkpoint::CheckpointError;

/// What can go wrong in setting up a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The device is unknown, not compiled in, or not there.
    #[error("{0}")]
    Device(String),
    /// The checkpoint does not hold the model.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}
