//! One step of decoding, for the engine: token ids, positions and places in the cache in, logits out. Behind it is the
//! forward pass over plain slices on the CPU (`cpu/`), or a program on another device (`programs/`).

use crate::{ModelError, cpu::Forward, device, precision::Precision, programs::DeviceStepper};
use distill_checkpoint::{Checkpoint, ModelConfig};
use std::sync::Arc;

/// Positions in a block of the cache.
pub const BLOCK: usize = 32;

/// One request's part of a step.
#[derive(Clone, Copy, Debug)]
pub struct Share<'a> {
    /// Its new tokens, at least one.
    pub tokens: &'a [u32],
    /// The position of the first of them: how many the cache holds already.
    pub start: usize,
    /// The blocks of its cache in the order of its positions, enough for the new tokens too.
    pub blocks: &'a [u32],
    /// Which logits are wanted.
    pub logits: Wanted,
}

/// After which of a share's tokens logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None: the prompt goes on in the next step.
    None,
    /// The last.
    Last,
    /// Every one.
    All,
}

/// Logits `[rows, vocab]`.
#[derive(Debug)]
pub struct Logits {
    rows: usize,
    vocab: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// As the CPU's products leave them.
    Panels(crate::cpu::Panels),
    /// Row by row. Whoever reads them from a device has them again when the step is looked at no more.
    Rows(Arc<Vec<f32>>),
}

impl Logits {
    pub(crate) fn from_rows(rows: usize, vocab: usize, values: Arc<Vec<f32>>) -> Logits {
        Logits { rows, vocab, values: Values::Rows(values) }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// One row, as long as the vocabulary.
    pub fn copy_row(&self, row: usize, out: &mut Vec<f32>) {
        out.resize(self.vocab, 0.0);
        match &self.values {
            Values::Panels(panels) => panels.copy_row(row, 0, out),
            Values::Rows(values) => out.copy_from_slice(&values[row * self.vocab..(row + 1) * self.vocab]),
        }
    }
}

/// A checkpoint that is decoded step by step, with its cache.
#[derive(Debug)]
pub struct Stepper {
    config: ModelConfig,
    blocks: usize,
    block_bytes: usize,
    on: On,
}

#[derive(Debug)]
enum On {
    Cpu(Box<Forward>),
    Device(Box<DeviceStepper>),
}

impl Stepper {
    /// Loads a checkpoint onto `device` (`cpu`, `cuda` or `cuda:N`) with a cache of at most `cache_bytes`.
    ///
    /// # Errors
    /// When a parameter cannot be read, the device is not there, the cache cannot hold a block, or the precision is not to
    /// be had on this device.
    pub fn load(
        checkpoint: &Checkpoint,
        device_name: &str,
        precision: Precision,
        cache_bytes: usize,
    ) -> Result<Stepper, ModelError> {
        let config = checkpoint.config().clone();
        let block_bytes = block_bytes(&config, device_name, precision);
        let blocks = cache_bytes / block_bytes;
        if blocks == 0 {
            return Err(ModelError::Step(format!(
                "expected room for at least {BLOCK} positions in the cache ({block_bytes} bytes), found {cache_bytes}"
            )));
        }
        let on = if device_name == "cpu" {
            On::Cpu(Box::new(Forward::load(checkpoint, precision, blocks)?))
        } else {
            On::Device(Box::new(DeviceStepper::load(checkpoint, &device(device_name)?, precision, blocks)?))
        };
        Ok(Stepper { config, blocks, block_bytes, on })
    }

    /// Bytes of keys and values of one block, over all layers.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Blocks of the cache.
    pub fn num_blocks(&self) -> usize {
        self.blocks
    }

    /// Takes every share one step further. The logits of the wanted rows come in the order of the shares.
    ///
    /// # Errors
    /// When a share is empty, names a token or a block that is not there, or has too few blocks; when the device fails.
    pub fn step(&mut self, shares: &[Share<'_>]) -> Result<Logits, ModelError> {
        for share in shares {
            self.check(share).map_err(ModelError::Step)?;
        }
        match &mut self.on {
            On::Cpu(forward) => {
                let logits = forward.step(shares);
                Ok(Logits { rows: logits.rows, vocab: logits.width, values: Values::Panels(logits) })
            }
            On::Device(forward) => forward.step(shares),
        }
    }

    fn check(&self, share: &Share<'_>) -> Result<(), String> {
        let end = share.start + share.tokens.len();
        if share.tokens.is_empty() || share.blocks.len() * BLOCK < end {
            let (tokens, blocks) = (share.tokens.len(), share.blocks.len());
            return Err(format!("expected tokens and blocks for {end} positions, found {tokens} and {blocks}"));
        }
        if let Some(token) = share.tokens.iter().find(|token| **token as usize >= self.config.vocab_size) {
            return Err(format!("expected tokens below {}, found {token}", self.config.vocab_size));
        }
        match share.blocks.iter().find(|block| **block as usize >= self.blocks) {
            Some(block) => Err(format!("expected blocks below {}, found {block}", self.blocks)),
            None => Ok(()),
        }
    }
}

/// Bytes of keys and values of one block, over all layers: float32 and in whole panels on the CPU, as the products are elsewhere.
pub fn block_bytes(config: &ModelConfig, device_name: &str, precision: Precision) -> usize {
    let (width, bytes) = match (device_name, precision) {
        ("cpu", _) => (config.head_dim.next_multiple_of(32), size_of::<f32>()),
        (_, Precision::Bf16) => (config.head_dim, size_of::<half::bf16>()),
        _ => (config.head_dim, size_of::<f32>()),
    };
    2 * config.num_hidden_layers * config.num_key_value_heads * width * BLOCK * bytes
}

#[cfg(test)]
impl Stepper {
    /// The programs of other devices, run on the processor.
    pub(crate) fn load_programs(checkpoint: &Checkpoint, cache_bytes: usize) -> Result<Stepper, ModelError> {
        let config = checkpoint.config().clone();
        let block_bytes = block_bytes(&config, "cpu", Precision::Stored);
        let blocks = cache_bytes / block_bytes;
        let forward = DeviceStepper::load(checkpoint, &device("cpu")?, Precision::Stored, blocks)?;
        Ok(Stepper { config, blocks, block_bytes, on: On::Device(Box::new(forward)) })
    }

    pub(crate) fn is_on_cpu(&self) -> bool {
        matches!(self.on, On::Cpu(_))
    }
}
