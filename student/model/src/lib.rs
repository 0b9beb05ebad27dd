//! Llama, Qwen2 and Qwen3: a checkpoint's named tensors in, logits out.
//!
//! [`Stepper`] decodes over a cache, on the CPU by its own forward pass (`cpu/`), on a device by a program (`programs/`).
//! [`Learner`] trains on the CPU by its own passes forward and backward (`cpu/train/`), [`DeviceLearner`] on a device. [`Decoder`]
//! is the model in Burn's tensors: its plain definition, and where random weights come from.
//!
//! The arithmetic follows the reference implementation to float32 rounding: half-split rotary embeddings, RMSNorm
//! statistics in float32, causal attention with grouped queries.
//!
//! A model of random weights, asked for the logits after three tokens: all at once, and cut into two steps.
//!
//! ```
//! # use distill_checkpoint::{Checkpoint, CheckpointError, Dtype, MAX_SHARD_BYTES, ModelConfig, write_folder};
//! # use distill_model::{Decoder, Precision, Share, Stepper, Wanted, device};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ModelConfig::from_json(
//!     r#"{"model_type": "qwen2", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
//!     "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "rope_theta": 10000.0}"#,
//! )?;
//! # let folder = tempfile::tempdir()?;
//! let random = Decoder::init(&config, 17, &device("cpu")?);
//! let mut read = |name: &str| random.read(name).ok_or_else(|| CheckpointError::missing(folder.path(), name));
//! write_folder(folder.path(), &config, Dtype::F32, MAX_SHARD_BYTES, &mut read)?;
//!
//! let mut stepper = Stepper::load(&Checkpoint::open(folder.path())?, "cpu", Precision::Stored, 1 << 20)?;
//! let (mut whole, mut cut) = (Vec::new(), Vec::new());
//! let logits = stepper.step(&[Share { tokens: &[1, 2, 3], start: 0, blocks: &[0], logits: Wanted::Last }])?;
//! logits.copy_row(0, &mut whole);
//! assert_eq!((logits.rows(), whole.len()), (1, config.vocab_size));
//!
//! stepper.step(&[Share { tokens: &[1, 2], start: 0, blocks: &[1], logits: Wanted::None }])?;
//! let logits = stepper.step(&[Share { tokens: &[3], start: 2, blocks: &[1], logits: Wanted::Last }])?;
//! logits.copy_row(0, &mut cut);
//! assert_eq!(whole, cut, "bit for bit");
//! # Ok(())
//! # }
//! ```

mod attention;
mod cpu;
mod decoder;
mod device;
mod norm;
#[cfg(test)]
mod parity;
mod precision;
mod programs;
mod rope;
mod step;
mod weights;

pub use cpu::Softmax;
pub use cpu::train::{AdamStep, Documents, Kind, Label, Learner, LossOptions, LossSum, Recompute, fastest_product};
pub use decoder::Decoder;
pub use device::{Operations, device, examine};
pub use distill_ops::leave_if_hanging;
pub use precision::Precision;
pub use programs::{DeviceLearner, States};
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
    /// An operation failed on the device.
    #[error(transparent)]
    Operation(#[from] distill_ops::OpsError),
    /// A step took far longer than those before.
    #[error(
        "a step took {seconds:.1} s on the device, expected about {expected:.1} s as those before\nhint: another program may be using the device, this one may have been paused, or the device is failing; run it again, and it goes on from the last saved state"
    )]
    Slow {
        /// How long it took.
        seconds: f64,
        /// How long it would have been.
        expected: f64,
    },
    /// What was computed on the device is no number.
    #[error(
        "the {what} is {value} on the device; the first gradient that is not finite: {parameter}\nhint: a learning rate that is too high does this, and so does a device that computes wrongly: `distill doctor` checks it. Nothing of this step was saved"
    )]
    NotFinite {
        /// Loss or norm.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The parameter.
        parameter: String,
    },
}
