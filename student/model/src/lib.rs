//! Llama, Qwen2 and Qwen3: a checkpoint's named tensors in, logits out. [`Decoder`] is the model in Burn, for training;
//! [`Stepper`] decodes over a cache, on the CPU by its own forward pass (`cpu/`), elsewhere in Burn's tensors; [`Learner`]
//! trains on the CPU by its own passes forward and backward (`cpu/train/`).
//!
//! The arithmetic follows the reference implementation to float32 rounding: half-split rotary embeddings, RMSNorm
//! statistics in float32, causal attention with grouped queries.

mod attention;
mod blockwise;
mod cpu;
mod decoder;
mod device;
mod norm;
#[cfg(test)]
mod parity;
mod precision;
mod rope;
mod step;
mod tensors;
mod weights;

pub use blockwise::{LossAndGradients, Rectangle};
pub use cpu::Softmax;
pub use cpu::train::{AdamStep, Documents, Kind, Label, Learner, LossOptions, LossSum, Recompute, fastest_product};
pub use decoder::Decoder;
pub use device::device;
pub use precision::Precision;
pub use step::{BLOCK, Logits, Share, Stepper, Wanted, block_bytes};
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
    /// A step of decoding was asked for wrongly, or could not be computed.
    #[error("{0}")]
    Step(String),
}
