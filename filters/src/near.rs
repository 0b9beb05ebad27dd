//! Near duplicates among texts: a corpus enters, clusters of texts that say nearly the same leave.
//!
//! Two texts are near duplicates when the Jaccard similarity of their sets of shingles reaches the threshold and, unless
//! the configuration says otherwise, when they have the same numbers. Candidates are found by MinHash and bands; every
//! pair of them is compared exactly, so all that is reported holds. What is missed is what `Bands::recall` says.
//!
//! | phase | reads | leaves in the scratch folder |
//! |---|---|---|
//! | sign | every text | digests and keys of bands, in sorted runs |
//! | copies | digests | identical texts |
//! | candidates, pairs | keys | pairs that share a bucket |
//! | sets | texts of pairs | their sets of shingles |
//! | compare | pairs, sets | pairs at or above the threshold |
//!
//! The result depends on the texts and their order alone: not on threads, on the ceiling, or on where units are cut.
//!
//! **Going on.** Every file has its name only when it is whole. A run that was killed, given the same folder, goes on at
//! the units that it had not finished. The folder is the caller's to delete.
//!
//! **Memory**, beside what the corpus holds of a text: at most `memory` bytes, half for sorting and merging and half for
//! the index: 40 bytes for a text in a candidate pair, 24 for a group of copies. A run whose index needs more stops with
//! an error. Not in the ceiling: two bits for every row of the corpus, 64 KiB for every open writer, and in every thread
//! the sets of the two texts at hand, 8 bytes a distinct shingle.

mod bands;
mod bits;
mod candidates;
mod clusters;
mod compare;
mod copies;
mod error;
pub(crate) mod hash;
mod merge;
mod plan;
mod runs;
mod sets;
mod shingles;
mod sign;
mod signature;
mod tokens;

#[cfg(test)]
mod tests;

pub use bands::Bands;
pub use error::{NearError, NearFault};
pub use plan::{NearConfig, Phase};
pub use shingles::Shingle;
pub(crate) use shingles::Shingler;
pub use tokens::Grain;

use std::{ops::ControlFlow, path::Path};

/// Texts in numbered units. What is read must be the same every time.
pub trait Corpus: Sync {
    /// Why a unit could not be read.
    type Error: Send;

    /// How many units there are.
    fn num_units(&self) -> u32;

    /// Hands every row of a unit and its text to `each`, rows rising. Returns early, without an error, when `each` breaks.
    /// Units are read in parallel by rayon, so a read should start no rayon work of its own.
    ///
    /// # Errors
    /// When the unit cannot be read.
    fn read(&self, unit: u32, each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>) -> Result<(), Self::Error>;

    /// The same for some rows, rising. Other rows may come too; they are passed over.
    ///
    /// # Errors
    /// When the unit cannot be read.
    fn read_rows(
        &self,
        unit: u32,
        rows: &[u32],
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), Self::Error> {
        let _ = rows;
        self.read(unit, each)
    }
}

/// Where a text is. Places are ordered as the corpus is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Its unit.
    pub unit: u32,
    /// Its row in the unit.
    pub row: u32,
}

impl Place {
    /// The place as one word of the same order.
    fn word(self) -> u64 {
        u64::from(self.unit) << 32 | u64::from(self.row)
    }

    fn of(word: u64) -> Place {
        Place { unit: (word >> 32) as u32, row: word as u32 }
    }
}

/// A text of a cluster of two or more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Duplicate {
    /// The text.
    pub place: Place,
    /// The first text of its cluster, perhaps itself.
    pub representative: Place,
    /// The text most like it: a copy where there is one, else the first of the most similar that it was compared with.
    pub neighbour: Place,
    /// Jaccard similarity to the neighbour, 1 for a copy.
    pub similarity: f32,
    /// Texts of the cluster.
    pub cluster_size: u32,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NearTally {
    /// Texts of the corpus.
    pub texts: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Texts that have a shingle.
    pub compared: u64,
    /// Buckets of two texts and more, copies not counted.
    pub buckets: u64,
    /// Buckets so great that not all their pairs were compared.
    pub bounded_buckets: u64,
    /// Pairs that share a bucket.
    pub candidate_pairs: u64,
    /// Pairs at or above the threshold.
    pub near_pairs: u64,
    /// Clusters of two texts and more.
    pub clusters: u64,
    /// Texts of clusters that are not the first.
    pub duplicates: u64,
}

/// Finds the near duplicates of a corpus, and hands every text of a cluster to `each`, in the order of the corpus.
///
/// `folder` is where the run keeps what it has finished. `on_unit` hears of every finished unit: phase, finished units of
/// the phase, all its units. An error from it ends the run.
///
/// # Errors
/// When the corpus or a callback refuses, a setting is out of range, or the folder cannot be used.
pub fn near_duplicates<C: Corpus>(
    corpus: &C,
    config: &NearConfig,
    folder: &Path,
    mut on_unit: impl FnMut(Phase, u64, u64) -> Result<(), C::Error> + Send,
    each: impl FnMut(Duplicate) -> Result<(), C::Error>,
) -> Result<NearTally, NearError<C::Error>> {
    let plan = plan::Plan::new(config, folder, corpus.num_units(), &mut on_unit)?;
    let signed = sign::sign(corpus, &plan)?;
    copies::find_copies(&plan, &signed)?;
    let buckets = candidates::find_pairs(&plan, &signed)?;
    let sets = sets::read_sets(corpus, &plan, &signed, &buckets.pairs)?;
    let num_segments = compare::compare(&plan, &sets, &buckets.pairs)?;
    let mut tally = NearTally {
        texts: signed.num_texts,
        bytes: signed.num_bytes,
        compared: signed.num_compared,
        buckets: buckets.num_buckets,
        bounded_buckets: buckets.num_bounded,
        candidate_pairs: buckets.pairs.num_records(),
        ..NearTally::default()
    };
    clusters::clusters(&plan, signed.num_parts(), &sets, num_segments, &mut tally, each)?;
    Ok(tally)
}
