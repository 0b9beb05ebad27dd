//! The mix: of what the filters keep, how much of each source goes on, so that their numbers of traces stand to each other
//! as the sources' weights do. DeepSeek-R1's 600k reasoning and 200k general samples (arXiv 2501.12948, §2.3.3) are
//! weights of 3 and 1.
//!
//! As many traces stay as the scarcest source allows. Which ones is drawn: those with the smallest hashes of the recipe's
//! seed and their own id, so that it depends on nothing else.

use crate::{Candidate, Contest, Dropped, FilterError};
use distill_dataset::Digest;

/// What every filter keeps, by source. 16 bytes a row.
pub(crate) struct Mix {
    weights: Vec<f64>,
    seed: u64,
    /// Hash and place of each row, by source.
    rows: Vec<Vec<(u64, u64)>>,
}

impl Mix {
    /// Who drops what is more than its source's share, in decisions and funnels.
    pub(crate) const NAME: &str = "mix";
    /// Why.
    pub(crate) const REASON: &str = "over-its-share";

    /// `weights` has one positive number for each source.
    pub(crate) fn new(weights: &[f64], seed: u64) -> Mix {
        Mix { weights: weights.to_vec(), seed, rows: vec![Vec::new(); weights.len()] }
    }
}

impl Contest for Mix {
    fn add(&mut self, row: &Candidate<'_>) {
        if let (Some(rows), true) = (self.rows.get_mut(row.source), row.reaches) {
            let hash = Digest::new("mix").field(&self.seed.to_string()).field(row.id).finish_u64();
            rows.push((hash, row.place));
        }
    }

    fn close(mut self: Box<Self>) -> Result<Dropped, FilterError> {
        let counts: Vec<usize> = self.rows.iter().map(Vec::len).collect();
        if let Some(source) = counts.iter().position(|count| *count == 0) {
            return Err(FilterError::NothingToMix { number: source + 1 });
        }
        let mut dropped = Vec::new();
        for (rows, share) in self.rows.iter_mut().zip(shares(&self.weights, &counts)) {
            rows.sort_unstable();
            dropped.extend(rows[share..].iter().map(|(_, place)| (*place, Mix::REASON)));
        }
        Ok(Dropped::new(dropped))
    }
}

/// How many of `counts` stay, in the ratio of the weights: the most that all of them have.
fn shares(weights: &[f64], counts: &[usize]) -> Vec<usize> {
    let scarcest =
        weights.iter().zip(counts).map(|(weight, count)| *count as f64 / weight).fold(f64::INFINITY, f64::min);
    // A product that should be whole may be a little less.
    let share = |(weight, count): (&f64, &usize)| ((weight * scarcest + 1e-6).floor() as usize).min(*count);
    weights.iter().zip(counts).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scarcest_source_decides_how_much_there_is() {
        assert_eq!(shares(&[3.0, 1.0], &[900, 200]), [600, 200]);
        assert_eq!(shares(&[3.0, 1.0], &[300, 200]), [300, 100]);
        assert_eq!(shares(&[0.1, 0.3], &[100, 100]), [33, 100]);
        assert_eq!(shares(&[600.0, 200.0, 1.0], &[7, 7, 7]), [7, 2, 0]);
        assert_eq!(shares(&[1.0], &[5]), [5]);
    }
}
