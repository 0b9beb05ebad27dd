//! Problems: seeded generators in, `Problem` rows of two disjoint splits out.

mod chain_sum;
mod split;

pub use chain_sum::ChainSumConfig;
pub use split::{normalised_key, write_split};

use distill_dataset::{Context, DatasetError, Tally};
use std::path::Path;

/// Why problems could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProblemsError {
    /// The settings allow too few distinct problems.
    #[error(
        "expected {wanted} distinct problems, found {found} in {draws} draws\nhint: widen the ranges or lower the count"
    )]
    TooFew {
        /// How many were asked for.
        wanted: u32,
        /// How many there were.
        found: u32,
        /// How often it was tried.
        draws: u64,
    },
    /// More are held out than there are.
    #[error("expected at most {available} held-out problems, found holdout = {holdout}")]
    Holdout {
        /// What was asked for.
        holdout: u32,
        /// Problems after duplicates are dropped.
        available: u64,
    },
    /// The dataset could not be written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// Makes chained sums and splits them: `holdout` of them for evaluation, the rest for training.
///
/// # Errors
/// When the settings allow too few distinct problems, or the disk refuses.
pub fn chain_sums(
    config: &ChainSumConfig,
    holdout: u32,
    context: &Context,
    out: &Path,
) -> Result<Tally, ProblemsError> {
    write_split(chain_sum::generate(config, context.seed)?, holdout, context.seed, out)
}
