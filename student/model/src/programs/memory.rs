//! Room on the device: what goes into each block is kept always, what a block computed as long as there is memory. The blocks
//! behind those that are kept share one room, and are run again on the way back.

use super::{
    batch::BatchRoom,
    block::{Kept, Scratch, Sizes},
    head::HeadRoom,
    lot::{Lot, Making},
};
use crate::{ModelError, Recompute};
use distill_ops::{Buffer, Engine};

/// What is left free, in bytes: the pool rounds what it is asked for.
const SPARE: u64 = 2 << 30;

/// A number of tokens that rooms are made for: batches differ by a few, and are not to make room anew each time.
pub(crate) fn rounded(tokens: usize) -> usize {
    tokens.next_multiple_of((tokens.next_power_of_two() / 16).max(1))
}

/// A batch's room.
#[derive(Debug)]
pub(crate) struct Room {
    /// What goes into each block, and what comes out of the last.
    pub(crate) inputs: Vec<Buffer>,
    /// One for each block that is kept, one for all others.
    kept: Vec<Kept>,
    pub(crate) rooms: Rooms,
    pub(crate) scratch: Scratch,
    pub(crate) head: HeadRoom,
    pub(crate) batch: BatchRoom,
    lot: Lot,
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
        let mut making = Making::new(engine);
        let batch = BatchRoom::new(&mut making, tokens.max(labels))?;
        let scratch = Scratch::new(&mut making, sizes, tokens, longest)?;
        let head = HeadRoom::new(&mut making, sizes, labels)?;
        let mut inputs = Vec::with_capacity(layers + 1);
        for _ in 0..=layers {
            inputs.push(making.zeros(sizes.dtype, tokens * sizes.hidden)?);
        }
        let rooms = Rooms::for_blocks(layers, tokens * sizes.kept_bytes(), recompute, making.engine.free_memory());
        let mut kept = Vec::with_capacity(rooms.count);
        for _ in 0..rooms.count {
            kept.push(Kept::new(&mut making, sizes, tokens)?);
        }
        let lot = making.done();
        Ok(Room { inputs, kept, rooms, scratch, head, batch, lot, tokens, labels, longest, recompute })
    }

    /// What decided how much is kept.
    pub(crate) fn recompute(&self) -> Recompute {
        self.recompute
    }

    /// Whether such a batch fits.
    pub(crate) fn fits(&self, [tokens, labels, longest]: [usize; 3], recompute: Recompute) -> bool {
        self.tokens >= tokens && self.labels >= labels && self.longest >= longest && self.recompute == recompute
    }

    /// The sizes that hold such a batch and those before.
    pub(crate) fn grown(&self, [tokens, labels, longest]: [usize; 3]) -> [usize; 3] {
        [self.tokens.max(tokens), self.labels.max(labels), self.longest.max(longest)]
    }

    /// Where block `layer` keeps what it computes.
    pub(crate) fn of(&self, layer: usize) -> &Kept {
        &self.kept[self.rooms.of(layer)]
    }

    /// Gives the memory back.
    pub(crate) fn free(self, engine: &mut Engine) -> Result<(), ModelError> {
        Ok(self.lot.free(engine)?)
    }
}

/// Which block uses which room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rooms {
    count: usize,
    layers: usize,
}

impl Rooms {
    /// For blocks that keep so many bytes each: a room for every one, or for as many as fit, the last one shared.
    fn for_blocks(layers: usize, bytes: usize, recompute: Recompute, free: Option<u64>) -> Rooms {
        let fit = match (recompute, free) {
            (Recompute::Always, _) => 1,
            (Recompute::Never, _) | (Recompute::Auto, None) => layers,
            (Recompute::Auto, Some(free)) => (free.saturating_sub(SPARE) / bytes.max(1) as u64) as usize,
        };
        Rooms { count: fit.clamp(1, layers.max(1)), layers }
    }

    fn of(self, layer: usize) -> usize {
        layer.min(self.count - 1)
    }

    /// Whether a block must run again before its way back: another one used its room since.
    pub(crate) fn is_gone(self, layer: usize) -> bool {
        self.count < self.layers && layer + 1 >= self.count && layer + 1 < self.layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_finds_what_it_kept_on_the_way_back() {
        for layers in 1..7 {
            for free in 0..9 {
                let rooms = Rooms::for_blocks(layers, 1 << 30, Recompute::Auto, Some(SPARE + (free << 30)));
                let mut held = vec![usize::MAX; rooms.count];
                (0..layers).for_each(|layer| held[rooms.of(layer)] = layer);
                for layer in (0..layers).rev() {
                    if rooms.is_gone(layer) {
                        held[rooms.of(layer)] = layer;
                    }
                    assert_eq!(held[rooms.of(layer)], layer, "{layers} blocks, room for {free}");
                }
                let again = (0..layers).filter(|layer| rooms.is_gone(*layer)).count();
                assert_eq!(again, layers.saturating_sub(rooms.count), "no more than must be runs again");
            }
        }
        assert_eq!(Rooms::for_blocks(4, 1, Recompute::Always, Some(u64::MAX)).count, 1);
        assert_eq!(Rooms::for_blocks(4, 1 << 40, Recompute::Never, Some(0)).count, 4);
    }
}
