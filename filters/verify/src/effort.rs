//! What one judgement may cost. Counted in steps, not in time, so that the same pair gets the same verdict everywhere.

use std::cell::Cell;

/// A step is about ten nanoseconds of work.
const STEPS: u64 = 450_000;

/// Steps that are left.
#[derive(Debug)]
pub(crate) struct Effort(Cell<u64>);

impl Effort {
    /// For one judgement.
    pub(crate) fn new() -> Effort {
        Effort(Cell::new(STEPS))
    }

    /// Takes `steps`; nothing where there are not so many left, and then never again.
    pub(crate) fn spend(&self, steps: u64) -> Option<()> {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.unwrap_or(0));
        left.map(|_| ())
    }

    /// Whether it was too little.
    pub(crate) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}

/// Steps of bringing a fraction of numbers of so many bits to lowest terms: about as many subtractions as bits, each over
/// all words.
pub(crate) fn reduction(bits: u64) -> u64 {
    if bits <= 64 { 4 } else { bits * (8 + bits / 640) }
}
