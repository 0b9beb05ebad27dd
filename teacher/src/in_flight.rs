//! A sample on its way: what is reserved for it, and what was spooled and counted of its answer so far.

use crate::{
    Ask, Cost, Most, Piece,
    partial::Spooled,
    writer::{Charged, Job},
};

/// A sample that is asked for.
pub(crate) struct InFlight {
    pub(crate) ask: Ask,
    /// What is reserved for the attempt.
    pub(crate) most: Most,
    /// The attempt's number.
    pub(crate) number: String,
    /// How many pieces of its answer were spooled.
    pub(crate) num_pieces: u32,
    /// Tokens of it that were counted.
    pub(crate) counted: u64,
}

impl InFlight {
    /// What arrived since the piece before, for the spool.
    pub(crate) fn spooled(&mut self, piece: Piece, discarded: bool) -> (String, Spooled) {
        let Piece { reasoning, content, ids, model, cost } = piece;
        let (attempt, pieces) = (self.number.clone(), (self.num_pieces, self.num_pieces));
        let begins = self.num_pieces == 0 && self.ask.partial.is_none();
        self.num_pieces += 1;
        (self.ask.id.clone(), Spooled { attempt, pieces, reasoning, content, ids, cost, model, begins, discarded })
    }

    /// Nobody goes on from what was spooled of this attempt. Its charge says what it cost.
    pub(crate) fn discarded(&mut self) -> Job {
        Job::Pieces(vec![self.spooled(Piece::default(), true)])
    }

    pub(crate) fn charged(&self, cost: Cost, wasted: bool) -> Option<Charged> {
        (cost != Cost::default()).then(|| Charged { number: self.number.clone(), cost, wasted })
    }
}
