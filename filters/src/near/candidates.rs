//! Keys of bands enter, pairs of texts that share a bucket leave, each pair once.
//!
//! A bucket is the texts of one key, without copies. Up to a bound all its texts are paired. In a greater one each text
//! is paired with the first 16, the leaders, so that its cost is linear; such buckets are counted.
//!
//! | file | record |
//! |---|---|
//! | `pairs`, of a part | the earlier place; the later |
//! | `buckets`, of a part | buckets of two texts and more; those bounded. Written last: the part is done |
//! | `all-pairs` | the same pairs in one order, each once |

use super::{
    bits::Bits,
    error::{NearError, NearFault},
    merge::{Merge, Sorted},
    plan::{Phase, Plan},
    runs::{Runs, RunsWriter},
    sign::Signed,
};

/// Texts of a bounded bucket that all others are paired with.
const LEADERS: usize = 16;

/// What was found in the buckets.
pub(crate) struct Buckets {
    pub(crate) num_buckets: u64,
    pub(crate) num_bounded: u64,
    pub(crate) pairs: Runs<2>,
}

/// Pairs the texts of every part that is not done, then merges the parts.
pub(crate) fn find_pairs<E: Send>(plan: &Plan<'_, E>, signed: &Signed) -> Result<Buckets, NearError<E>> {
    let num_parts = signed.num_parts();
    if !(0..num_parts).all(|part| plan.is_done(&["pairs", "buckets"], part)) {
        let mut copies = Bits::new(signed);
        for path in plan.parts("copies", num_parts) {
            let runs = Runs::<2>::open(&path)?;
            let mut reader = runs.read(0, runs.num_records(), plan.sort_bytes());
            while let Some([place, _]) = reader.next()? {
                copies.insert(place);
            }
        }
        let paths: Vec<_> = (1..signed.offsets.len() as u64).map(|unit| plan.file("bands", unit - 1)).collect();
        let bands = Sorted::<2>::open(&paths, plan.fan_in(), &plan.stem("bands"))?;
        plan.each_unit(Phase::Candidates, num_parts, |part| {
            Ok(pairs_of_part(plan, bands.part(part, num_parts)?, &copies, part)?)
        })?;
    }
    plan.each_unit(Phase::Pairs, 1, |_| Ok(merge_pairs(plan, num_parts)?))?;
    let mut buckets = Buckets { num_buckets: 0, num_bounded: 0, pairs: Runs::open(&plan.file("all-pairs", 0))? };
    for path in plan.parts("buckets", num_parts) {
        if let Some([all, bounded]) = Runs::<2>::open(&path)?.read(0, 1, 0).next()? {
            buckets.num_buckets += all;
            buckets.num_bounded += bounded;
        }
    }
    Ok(buckets)
}

fn pairs_of_part<E: Send>(
    plan: &Plan<'_, E>,
    mut bands: Merge<2>,
    copies: &Bits<'_>,
    part: u64,
) -> Result<(), NearFault> {
    if plan.is_done(&["pairs", "buckets"], part) {
        return Ok(());
    }
    let mut pairs = RunsWriter::<2>::new(plan.file("pairs", part), plan.sort_bytes())?;
    let most = plan.config.bucket;
    let (mut key, mut size, mut num_buckets, mut num_bounded) = (None, 0usize, 0u64, 0u64);
    // The bucket's first texts, as many as are all paired.
    let mut bucket: Vec<u64> = Vec::new();
    loop {
        let record = bands.next()?;
        if record.map(|[next, _]| next) != key {
            num_buckets += u64::from(size > 1);
            num_bounded += u64::from(size > most);
            if size <= most {
                pair_up(&bucket, usize::MAX, &mut pairs)?;
            }
            bucket.clear();
            size = 0;
            key = record.map(|[next, _]| next);
        }
        let Some([_, place]) = record else { break };
        if copies.contains(place) {
            continue;
        }
        size += 1;
        if size <= most {
            bucket.push(place);
        } else {
            if size == most + 1 {
                pair_up(&bucket, LEADERS, &mut pairs)?;
            }
            bucket.iter().take(LEADERS).try_for_each(|&leader| pairs.push([leader, place]))?;
        }
    }
    pairs.finish()?;
    let mut last = RunsWriter::<2>::new(plan.file("buckets", part), 0)?;
    last.append([num_buckets, num_bounded])?;
    last.finish()?;
    Ok(())
}

/// Pairs each text of the bucket with those before it, at most the first `leaders`.
fn pair_up(bucket: &[u64], leaders: usize, pairs: &mut RunsWriter<2>) -> Result<(), NearFault> {
    for (at, &place) in bucket.iter().enumerate() {
        bucket[..at.min(leaders)].iter().try_for_each(|&earlier| pairs.push([earlier, place]))?;
    }
    Ok(())
}

fn merge_pairs<E: Send>(plan: &Plan<'_, E>, num_parts: u64) -> Result<(), NearFault> {
    let path = plan.file("all-pairs", 0);
    if path.exists() {
        return Ok(());
    }
    let sorted = Sorted::<2>::open(&plan.parts("pairs", num_parts), plan.fan_in(), &plan.stem("pairs"))?;
    let (mut merge, mut writer, mut before) = (sorted.whole()?, RunsWriter::<2>::new(path, 0)?, None);
    while let Some(pair) = merge.next()? {
        if before.replace(pair) != Some(pair) {
            writer.append(pair)?;
        }
    }
    writer.finish()?;
    Ok(())
}
