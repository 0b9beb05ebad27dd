//! The mix: of what the filters keep, how much of each source goes on, so that their numbers of traces stand to each other
//! as the sources' weights do. DeepSeek-R1's 600k reasoning and 200k general samples (arXiv 2501.12948, §2.3.3) are
//! weights of 3 and 1.
//!
//! As many traces stay as the scarcest source allows. Which ones is drawn: those with the smallest hashes of the recipe's
//! seed and their own id, so that it depends on nothing else.

use crate::{FilterConfig, FilterError, Inputs, Unit, select::decided};
use distill_dataset::{Context, Dataset, Digest};

/// What becomes of each source's kept traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    seed: u64,
    /// The largest hash that stays, by source; none where nothing does.
    largest: Vec<Option<u64>>,
}

impl Mix {
    /// Who drops what is more than its source's share, in decisions and funnels.
    pub const NAME: &str = "mix";
    /// Why.
    pub const REASON: &str = "over-its-share";

    /// Looks at everything that the filters keep. `weights` has one positive number for each source.
    ///
    /// # Errors
    /// When a table cannot be read, or a source has no trace that is kept: there is no mix without it.
    pub fn of(
        weights: &[f64],
        (filters, measures): (&[FilterConfig], &[Dataset]),
        inputs: &Inputs<'_>,
        context: &Context,
    ) -> Result<Mix, FilterError> {
        let seed = context.seed;
        let mut hashes: Vec<Vec<u64>> = vec![Vec::new(); weights.len()];
        for unit in inputs.units() {
            let of_source = &mut hashes[unit.source];
            decided((filters, measures), &unit, context, |trace, outcomes| {
                let mut goes_on = true;
                for outcome in outcomes {
                    goes_on &= outcome?.is_none_or(|decided| decided.goes_on);
                }
                of_source.extend(goes_on.then(|| hash(seed, &trace.id)));
                Ok(())
            })?;
        }
        let counts: Vec<usize> = hashes.iter().map(Vec::len).collect();
        if let Some(source) = counts.iter().position(|count| *count == 0) {
            return Err(FilterError::NothingToMix { number: source + 1 });
        }
        let shares = shares(weights, &counts);
        let largest = hashes.iter_mut().zip(shares).map(|(hashes, share)| {
            let last = share.checked_sub(1)?;
            Some(*hashes.select_nth_unstable(last).1)
        });
        Ok(Mix { seed, largest: largest.collect() })
    }

    /// Whether a trace of that source stays.
    pub(crate) fn keeps(&self, unit: &Unit<'_>, trace_id: &str) -> bool {
        self.largest.get(unit.source).copied().flatten().is_some_and(|largest| hash(self.seed, trace_id) <= largest)
    }
}

fn hash(seed: u64, trace_id: &str) -> u64 {
    Digest::new("mix").field(&seed.to_string()).field(trace_id).finish_u64()
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
