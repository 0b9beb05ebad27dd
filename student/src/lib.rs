//! The trainer: a base checkpoint and examples in, a checkpoint out.
//!
//! A base is made or adapted first (`base`): random weights, or a checkpoint with another context or more tokens. Then
//! `examples` → tokens and loss mask, once (`corpus`; `holdout`, `shuffle`), into files (`cache`) → packed or length-bucketed
//! steps (`batch`) → gradients and AdamW on the CPU or a device (`learner`), written down (`journal`,
//! `events`, `speed`) and saved as it goes (`state`), in the Hugging Face layout at the end (`train`).
//!
//! Memory holds the model with what it learns with, the sequences of one step, and for each sequence of the corpus 24 bytes
//! of the cache's index and 12 of an epoch's order.
//!
//! One step of a small student on the CPU; [`train()`] is the loop around it:
//!
//! ```
//! # use distill_chat::Chat;
//! # use distill_checkpoint::Checkpoint;
//! # use distill_dataset::{Cancel, Context, Message, Progress};
//! # use distill_model::{AdamStep, Documents, Label, LossOptions, Recompute};
//! # use distill_student::{Compute, Learner, States, initialise};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (folder, here) = (tempfile::tempdir()?, std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
//! # let (nano, base, scratch) = (here.join("../recipes/nano"), folder.path().join("base"), folder.path().join("scratch"));
//! # std::fs::create_dir_all(&base)?;
//! # let context = Context { scratch, cancel: Cancel::default(), progress: Progress::hidden(), seed: 17 };
//! initialise(&nano.join("student.json"), &nano, "cpu", &context, &base)?;
//! let mut learner = Learner::load(&Checkpoint::open(&base)?, "cpu", Compute::Auto, States::Float32)?;
//!
//! let chat = Chat::load(&base)?;
//! let answer = Message::assistant(chat.turn().join("34+5=39", "\\boxed{39}"));
//! let example = chat.encode_example(&[Message::user("What is 34+5?"), answer])?;
//! let learnt = (1..example.ids.len()).filter(|at| example.loss[*at]);
//! let labels: Vec<Label> = learnt.map(|at| Label { row: at - 1, target: example.ids[at], weight: 1.0 }).collect();
//! let documents = Documents { lengths: vec![example.ids.len()], tokens: example.ids.clone(), labels };
//!
//! let before = learner.loss(&documents)?;
//! learner.accumulate(&documents, LossOptions { divisor: documents.weight(), z_loss: 0.0 }, Recompute::Auto)?;
//! let (betas, epsilon) = ([0.9, 0.95], 1e-8);
//! learner.step(&AdamStep { count: 1, learning_rate: 1e-3, scale: 1.0, betas, epsilon, weight_decay: 0.0 }, |_| Some(false))?;
//! assert!(learner.loss(&documents)? < before);
//! # Ok(())
//! # }
//! ```

mod base;
mod batch;
mod cache;
mod config;
mod corpus;
mod events;
mod holdout;
mod journal;
mod learner;
#[cfg(test)]
mod parity;
mod shuffle;
mod speed;
mod state;
#[cfg(test)]
mod tests;
mod train;

pub use base::{Base, Surgery, adapt, initialise};
pub use config::{Answers, Checkpointing, Compute, Overlong, Schedule, Select, States, TrainingConfig};
pub use learner::{Learner, Totals};
pub use train::{Prepared, prepare, train};

use distill_chat::ChatError;
use distill_checkpoint::CheckpointError;
use distill_dataset::{DatasetError, Interrupted, Stage};
use distill_model::ModelError;
use std::{io, path::PathBuf};

/// The stage of [`initialise`] and [`adapt`].
pub const BASE: Stage = Stage { name: "base", version: 2 };

/// The stage of [`train`].
pub const TRAINING: Stage = Stage { name: "training", version: 4 };

/// Why a student was not trained.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing to learn from, or something that must not be learnt from.
    #[error("{0}")]
    Examples(String),
    /// The tokenizer and the weights do not belong together.
    #[error(
        "expected a tokenizer of at most {rows} tokens, found {tokens}\nhint: the configuration's vocab_size counts the embedding's rows"
    )]
    Vocabulary {
        /// Rows of the embedding.
        rows: usize,
        /// Tokens of the tokenizer.
        tokens: usize,
    },
    /// Training blew up.
    #[error(
        "the loss is {loss} at step {step}; {skipped} steps were skipped because loss or gradient were no numbers\nhint: lower `learning-rate` or `max-grad-norm`: that is another training, which begins anew"
    )]
    Diverged {
        /// Optimiser step, from 1.
        step: u64,
        /// Steps that were skipped, this one included.
        skipped: u64,
        /// The loss there.
        loss: f64,
    },
    /// Less than float32 was asked of the CPU.
    #[error(
        "the CPU computes in float32: expected `compute` and `states` to be absent, \"auto\" or \"float32\", found \"bfloat16\"\nhint: --device cuda computes in bfloat16"
    )]
    Precision,
    /// The device cannot hold the model and what it learns with.
    #[error(
        "weights, gradients and moments take {} MiB, the device holds {} MiB\nhint: {}",
        needed >> 20,
        there >> 20,
        if *rounded { "a smaller model, or a larger device" } else { "`states = \"bfloat16\"` takes 10 bytes for a parameter instead of 16 to 18" }
    )]
    Memory {
        /// Bytes that are needed, without activations.
        needed: u64,
        /// Bytes the device holds.
        there: u64,
        /// Whether states are bfloat16 already.
        rounded: bool,
    },
    /// The journal lacks steps that the saved state has taken.
    #[error(
        "{}: expected the lines of {done} steps, found {steps}\nhint: remove it and the states beside it to begin anew",
        path.display()
    )]
    Metrics {
        /// The journal.
        path: PathBuf,
        /// Steps of the state.
        done: u64,
        /// Steps of the journal.
        steps: u64,
    },
    /// A run is resumed where it would not go on as it began.
    #[error(
        "this training began on {began}, and would go on on {now}\nhint: go on as it began, or remove {} and the states beside it to begin anew",
        folder.display()
    )]
    Elsewhere {
        /// Where it began.
        began: String,
        /// Where it would go on.
        now: String,
        /// The newest saved state.
        folder: PathBuf,
    },
    /// The weights that are to be written are not as they were saved.
    #[error("the state with the least held-out loss is damaged: {}\nhint: remove it and what is beside it to train again", folder.display())]
    Damaged {
        /// Where it is.
        folder: PathBuf,
    },
    /// Tokens are not as they were written.
    #[error(
        "{}: expected the tokens that were written at byte {at}, found others\nhint: run it again: the tokens are made anew from the examples, and the training goes on from its last saved state",
        path.display()
    )]
    Tokens {
        /// The file of the token cache.
        path: PathBuf,
        /// Where in it.
        at: u64,
    },
    /// Asked to stop; the state is saved.
    #[error("interrupted")]
    Interrupted(#[from] Interrupted),
    /// The examples could not be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The tokenizer or template refused.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The base checkpoint is damaged.
    #[error(transparent)]
    Checkpoint(CheckpointError),
    /// The model could not be set up.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<CheckpointError> for TrainError {
    fn from(error: CheckpointError) -> TrainError {
        match error {
            CheckpointError::Interrupted => Interrupted.into(),
            error => TrainError::Checkpoint(error),
        }
    }
}

impl From<TrainError> for CheckpointError {
    /// Where a checkpoint is written from a learner whose device fails.
    fn from(error: TrainError) -> CheckpointError {
        CheckpointError::Source(error.to_string())
    }
}

impl TrainError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> TrainError {
        let path = path.into();
        move |source| TrainError::Io { action, path, source }
    }
}
