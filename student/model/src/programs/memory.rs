//! Room on the device: what goes into each block is kept always, what a block computed as long as there is memory. The blocks
//! behind those that are kept share one room, and are run again on the way back.

use super::{
    batch::Places as BatchPlaces,
    block::{Kept, Scratch, Sizes},
    head::HeadRoom,
};
use crate::{ModelError, Recompute};
use distill_ops::{Buffer, Engine};

/// What is left free, in bytes: the pool rounds what it is asked for.
const SPARE: u64 = 2 << 30;

/// A batch's room.
#[derive(Debug)]
pub(crate) struct Room {
    /// What goes into each block, and what comes out of the last.
    pub(crate) inputs: Vec<Buffer>,
    /// One for each block that is kept, one for all others.
    pub(crate) kept: Vec<Kept>,
    pub(crate) scratch: Scratch,
    pub(crate) head: HeadRoom,
    pub(crate) places: BatchPlaces,
    tokens: usize,
    labels: usize,
    longest: usize,
    recompute: Recompute,
}

impl Room {
    /// Room for batches up to that size.
    pub(crate) fn new(
        engine: &mut Engine,
        sizes: &Sizes,
        [tokens, labels, longest]: [usize; 3],
        recompute: Recompute,
    ) -> Result<Room, ModelError> {
        let layers = sizes.windows.len();
        let places = BatchPlaces::new(engine, tokens.max(labels))?;
        let scratch = Scratch::new(engine, sizes, tokens, longest)?;
        let head = HeadRoom::new(engine, sizes, labels)?;
        let mut inputs = Vec::with_capacity(layers + 1);
        for _ in 0..=layers {
            inputs.push(engine.zeros(sizes.dtype, tokens * sizes.hidden)?);
        }
        let a_block = (tokens * sizes.kept_bytes()).max(1) as u64;
        let fit = match (recompute, engine.free_memory()) {
            (Recompute::Always, _) => 0,
            (Recompute::Never, _) | (Recompute::Auto, None) => layers,
            (Recompute::Auto, Some(free)) => (free.saturating_sub(SPARE) / a_block) as usize,
        };
        // All, or some and one that the others share.
        let rooms = if fit >= layers { layers } else { fit.max(1) };
        let mut kept = Vec::with_capacity(rooms);
        for _ in 0..rooms {
            kept.push(Kept::new(engine, sizes, tokens)?);
        }
        Ok(Room { inputs, kept, scratch, head, places, tokens, labels, longest, recompute })
    }

    /// Bytes beside parameters for batches of so many tokens, all labelled, if nothing is computed again.
    pub(crate) fn bytes(sizes: &Sizes, tokens: usize) -> u64 {
        let layers = sizes.windows.len();
        let inputs = (layers + 1) * tokens * sizes.hidden * sizes.dtype.size();
        (inputs + layers * tokens * sizes.kept_bytes() + HeadRoom::bytes(sizes, tokens)) as u64
    }

    /// What decided how much is kept.
    pub(crate) fn recompute(&self) -> Recompute {
        self.recompute
    }

    /// Whether such a batch fits.
    pub(crate) fn fits(&self, [tokens, labels, longest]: [usize; 3], recompute: Recompute) -> bool {
        let places = self.places.capacity() >= tokens.max(labels);
        places
            && self.tokens >= tokens
            && self.labels >= labels
            && self.longest >= longest
            && self.recompute == recompute
    }

    /// The sizes that hold such a batch and those before.
    pub(crate) fn grown(&self, [tokens, labels, longest]: [usize; 3]) -> [usize; 3] {
        [self.tokens.max(tokens), self.labels.max(labels), self.longest.max(longest)]
    }

    /// Where block `layer` keeps what it computes.
    pub(crate) fn of(&self, layer: usize) -> &Kept {
        &self.kept[layer.min(self.kept.len() - 1)]
    }

    /// Whether block `layer` of `layers` must run again: another one used its room since.
    pub(crate) fn is_gone(&self, layer: usize, layers: usize) -> bool {
        self.kept.len() < layers && layer >= self.kept.len() - 1 && layer + 1 < layers
    }

    /// Gives the memory back.
    pub(crate) fn free(self, engine: &mut Engine) -> Result<(), ModelError> {
        for buffer in self.inputs {
            engine.free(buffer)?;
        }
        for kept in self.kept {
            kept.free(engine)?;
        }
        self.scratch.free(engine)?;
        self.head.free(engine)?;
        self.places.free(engine)
    }
}
