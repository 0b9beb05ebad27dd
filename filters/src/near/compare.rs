//! Candidate pairs enter, pairs at or above the threshold leave, with their exact Jaccard similarity.
//!
//! | file of a segment of pairs | record |
//! |---|---|
//! | `edges` | number of the earlier text among those compared; of the later; shingles in common and in all, 32 bits each |

use super::{
    error::{NearError, NearFault},
    plan::{Phase, Plan},
    runs::{Runs, RunsWriter},
    sets::Sets,
};
use std::cmp::Ordering;

/// Pairs of a segment, at least. There are at most 4,096 segments.
const SEGMENT: u64 = 1 << 14;

/// Compares the pairs of every segment that is not done. Returns how many segments there are.
pub(crate) fn compare<E: Send>(plan: &Plan<'_, E>, sets: &Sets, pairs: &Runs<2>) -> Result<u64, NearError<E>> {
    let num_pairs = pairs.num_records();
    let width = SEGMENT.max(num_pairs.div_ceil(4096));
    let num_segments = num_pairs.div_ceil(width);
    plan.each_unit(Phase::Compare, num_segments, |segment| {
        let range = (segment * width, num_pairs.min((segment + 1) * width));
        Ok(compare_segment(plan, sets, pairs, segment, range)?)
    })?;
    Ok(num_segments)
}

fn compare_segment<E: Send>(
    plan: &Plan<'_, E>,
    sets: &Sets,
    pairs: &Runs<2>,
    segment: u64,
    (start, end): (u64, u64),
) -> Result<(), NearFault> {
    let path = plan.file("edges", segment);
    if path.exists() {
        return Ok(());
    }
    let mut edges = RunsWriter::<3>::new(path.clone(), 0)?;
    let mut reader = pairs.read(start, end, plan.sort_bytes().min(1 << 20));
    let (mut bytes, mut one, mut other, mut held) = (Vec::new(), Vec::new(), Vec::new(), None);
    while let Some([earlier, later]) = reader.next()? {
        if plan.is_stopped() {
            return Ok(());
        }
        let (Some(a), Some(b)) = (sets.number(earlier), sets.number(later)) else {
            let expected = "places of the index".to_owned();
            return Err(NearFault::Damaged { path, expected, found: format!("{earlier:x} {later:x}") });
        };
        let (least, most) = (sets.len(a).min(sets.len(b)), sets.len(a).max(sets.len(b)));
        if !reaches(least, most, plan.config.threshold) {
            continue;
        }
        // Pairs come sorted, so the earlier text is often that of the pair before.
        if held != Some(a) {
            sets.read(a, &mut bytes, &mut one)?;
            held = Some(a);
        }
        sets.read(b, &mut bytes, &mut other)?;
        if plan.config.numbers && one[0] != other[0] {
            continue;
        }
        let common = in_common(&one[1..], &other[1..]);
        let all = sets.len(a) + sets.len(b) - common;
        if reaches(common, all, plan.config.threshold) {
            edges.append([a as u64, b as u64, common << 32 | all])?;
        }
    }
    edges.finish()?;
    Ok(())
}

/// Whether `common` of `all` is at or above the threshold.
pub(crate) fn reaches(common: u64, all: u64, threshold: f64) -> bool {
    common as f64 / all as f64 >= threshold
}

/// Words that two sorted sets have in common.
pub(crate) fn in_common(one: &[u64], other: &[u64]) -> u64 {
    let (mut a, mut b, mut common) = (0, 0, 0);
    while let (Some(x), Some(y)) = (one.get(a), other.get(b)) {
        // Without branches on the order, which no processor could guess.
        let order = x.cmp(y);
        a += usize::from(order != Ordering::Greater);
        b += usize::from(order != Ordering::Less);
        common += u64::from(order == Ordering::Equal);
    }
    common
}
