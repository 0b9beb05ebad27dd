//! Sequences → the steps of one epoch: seeded order, documents packed or lengths bucketed, the same for every machine and
//! after every resume. Steps → micro-batches of documents.
//!
//! An epoch is planned from the sequences' lengths alone, in 12 bytes a sequence (while it is packed, some 32): a run that
//! goes on in the middle reads no token of what comes before.

use crate::{
    TrainError,
    cache::{Sequence, Sequences},
};
use distill_dataset::Digest;
use distill_model::{Documents, Label};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

/// Batches whose sequences are sorted together by length.
const WINDOW: usize = 16;
/// Tokens of a micro-batch where the recipe does not say how many sequences it has.
const MICRO_TOKENS: usize = 8192;

/// The steps of an epoch, each of which has bins of sequences: documents that count as one sequence.
#[derive(Debug, PartialEq)]
pub(crate) struct Epoch {
    /// Indices of sequences, bin by bin.
    order: Vec<u32>,
    /// Places in `order`.
    bins: Vec<Range<u32>>,
    /// Places in `bins`.
    steps: Vec<Range<u32>>,
}

impl Epoch {
    /// How many steps there are: as many in every epoch. Packed, because how full bins become depends on the lengths and not
    /// on their order.
    pub(crate) fn num_steps(&self) -> usize {
        self.steps.len()
    }

    /// The bins of a step, each with the indices of its sequences.
    pub(crate) fn step(&self, index: usize) -> Vec<&[u32]> {
        let places = |range: &Range<u32>| range.start as usize..range.end as usize;
        self.bins[places(&self.steps[index])].iter().map(|bin| &self.order[places(bin)]).collect()
    }
}

/// The steps of an epoch. Every sequence is in exactly one. With `capacity`, documents are packed: a step has `batch_size`
/// bins of at most that many tokens.
pub(crate) fn epoch(
    sequences: Sequences<'_>,
    batch_size: usize,
    capacity: Option<usize>,
    (seed, epoch): (u64, u64),
) -> Epoch {
    let seed = Digest::new("epoch").field(&seed.to_string()).field(&epoch.to_string()).finish_u64();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = sequences.len() as u32;
    let mut order: Vec<u32> = (0..count).collect();
    shuffle(&mut order, &mut rng);
    let chunks = |all: Range<u32>, size: usize| {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        all.clone().step_by(size as usize).map(move |start| start..start.saturating_add(size).min(all.end))
    };
    if let Some(capacity) = capacity {
        let (order, mut bins) = best_fit(order, capacity, |index| sequences.length(index));
        shuffle(&mut bins, &mut rng);
        let steps = chunks(0..bins.len() as u32, batch_size).collect();
        return Epoch { order, bins, steps };
    }
    for window in order.chunks_mut(WINDOW * batch_size) {
        window.sort_by_key(|index| sequences.length(*index));
    }
    let bins = chunks(0..count, 1).collect();
    let windows = chunks(0..count, WINDOW * batch_size);
    let mut steps: Vec<Range<u32>> = windows.flat_map(|window| chunks(window, batch_size)).collect();
    shuffle(&mut steps, &mut rng);
    Epoch { order, bins, steps }
}

/// Best fit decreasing: the longest first, each into the fullest bin that has room for it. Returns the sequences bin by bin,
/// and where each bin is.
fn best_fit(mut order: Vec<u32>, capacity: usize, length: impl Fn(u32) -> usize) -> (Vec<u32>, Vec<Range<u32>>) {
    order.sort_by_key(|index| Reverse(length(*index)));
    let mut bin_of: Vec<u32> = Vec::with_capacity(order.len());
    let mut counts: Vec<u32> = Vec::new();
    // Bins by the room that is left in them.
    let mut by_room: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for index in &order {
        let needed = length(*index);
        let fit = by_room.range(needed..).next().map(|(room, _)| *room);
        let (bin, room) = match fit.and_then(|room| Some((by_room.get_mut(&room)?.pop()?, room))) {
            Some((bin, room)) => {
                if by_room.get(&room).is_some_and(Vec::is_empty) {
                    by_room.remove(&room);
                }
                (bin, room)
            }
            None => {
                counts.push(0);
                (counts.len() as u32 - 1, capacity.max(needed))
            }
        };
        counts[bin as usize] += 1;
        bin_of.push(bin);
        by_room.entry(room - needed).or_default().push(bin);
    }
    // The sequences of a bin become neighbours, in the order in which they came.
    let mut bins: Vec<Range<u32>> = Vec::with_capacity(counts.len());
    let mut end = 0;
    for count in counts {
        bins.push(end..end);
        end += count;
    }
    let mut packed = vec![0; order.len()];
    for (index, bin) in order.into_iter().zip(bin_of) {
        let place = &mut bins[bin as usize].end;
        packed[*place as usize] = index;
        *place += 1;
    }
    (packed, bins)
}

fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
}

/// Cuts bins into micro-batches: of so many bins, or of as many as stay below 8,192 tokens.
pub(crate) fn micro_batches<'b>(
    bins: &'b [&'b [u32]],
    size: Option<usize>,
    sequences: Sequences<'_>,
) -> Vec<&'b [&'b [u32]]> {
    let tokens = |bin: &[u32]| bin.iter().map(|index| sequences.length(*index)).sum::<usize>();
    let mut out = Vec::new();
    let (mut begin, mut held) = (0, 0);
    for (place, bin) in bins.iter().enumerate() {
        let new = tokens(bin);
        let full = size.map_or(held + new > MICRO_TOKENS, |size| place - begin == size);
        if full && place > begin {
            out.push(&bins[begin..place]);
            (begin, held) = (place, 0);
        }
        held += new;
    }
    if begin < bins.len() {
        out.push(&bins[begin..]);
    }
    out
}

/// Reads the documents of a micro-batch.
pub(crate) fn documents(bins: &[&[u32]], sequences: Sequences<'_>) -> Result<Documents, TrainError> {
    let mut documents = Documents::default();
    for index in bins.iter().copied().flatten() {
        append(&mut documents, &sequences.read(*index)?);
    }
    Ok(documents)
}

/// Adds a sequence. Its last token is predicted, never predicted from: it needs no row.
fn append(documents: &mut Documents, sequence: &Sequence) {
    let (ids, first) = (&sequence.tokens.ids, documents.tokens.len());
    let rows = ids.len() - 1;
    documents.tokens.extend(&ids[..rows]);
    documents.lengths.push(rows);
    let labelled = (0..rows).filter(|place| sequence.tokens.loss[place + 1]);
    documents.labels.extend(labelled.map(|place| Label {
        row: first + place,
        target: ids[place + 1],
        weight: sequence.weight,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{self, Cache};
    use distill_chat::TokenisedExample;

    /// Sequences of those lengths, the second half of each learnt.
    fn of(lengths: &[usize]) -> (tempfile::TempDir, Cache) {
        let sequence = |length: &usize| {
            let ids = (0..*length as u32).collect();
            let loss = (0..*length).map(|place| place >= length / 2).collect();
            Sequence { tokens: TokenisedExample { ids, loss }, weight: 1.0 }
        };
        cache::of(&lengths.iter().map(sequence).collect::<Vec<_>>())
    }

    /// The definition, in as much memory as it takes.
    fn plainly(lengths: &[usize], batch_size: usize, capacity: Option<usize>, number: u64) -> Vec<Vec<Vec<u32>>> {
        let seed = Digest::new("epoch").field("5").field(&number.to_string()).finish_u64();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut order: Vec<u32> = (0..lengths.len() as u32).collect();
        shuffle(&mut order, &mut rng);
        let length = |index: u32| lengths[index as usize];
        let Some(capacity) = capacity else {
            let mut batches = Vec::new();
            for window in order.chunks_mut(WINDOW * batch_size) {
                window.sort_by_key(|index| length(*index));
                batches.extend(window.chunks(batch_size).map(|batch| batch.iter().map(|index| vec![*index]).collect()));
            }
            shuffle(&mut batches, &mut rng);
            return batches;
        };
        order.sort_by_key(|index| Reverse(length(*index)));
        // The fullest bin with room; of several, the one that came to have that room last.
        let mut bins: Vec<(usize, usize, Vec<u32>)> = Vec::new();
        for (age, index) in order.into_iter().enumerate() {
            let fits = bins.iter_mut().filter(|(room, ..)| *room >= length(index));
            match fits.min_by_key(|(room, age, _)| (*room, Reverse(*age))) {
                Some((room, touched, bin)) => {
                    *room -= length(index);
                    *touched = age;
                    bin.push(index);
                }
                None => bins.push((capacity.max(length(index)) - length(index), age, vec![index])),
            }
        }
        let mut bins: Vec<Vec<u32>> = bins.into_iter().map(|(_, _, bin)| bin).collect();
        shuffle(&mut bins, &mut rng);
        bins.chunks(batch_size).map(<[_]>::to_vec).collect()
    }

    #[test]
    fn epochs_are_what_their_definition_says() {
        let lengths: Vec<usize> = (0..1003).map(|index| 2 + index * index % 61).collect();
        let (_folder, cache) = of(&lengths);
        for capacity in [None, Some(32), Some(64), Some(200)] {
            for batch_size in [1, 8] {
                for number in 0..3 {
                    let found = epoch(cache.learnt(), batch_size, capacity, (5, number));
                    let expected = plainly(&lengths, batch_size, capacity, number);
                    let found: Vec<Vec<&[u32]>> = (0..found.num_steps()).map(|step| found.step(step)).collect();
                    assert!(found == expected, "epoch {number} in steps of {batch_size}, packed into {capacity:?}");
                }
            }
        }
    }

    #[test]
    fn every_sequence_is_in_one_step_of_each_epoch() {
        let (_folder, cache) = of(&(0..103).map(|index| 4 + index % 17).collect::<Vec<_>>());
        for capacity in [None, Some(32)] {
            let epoch = |number| epoch(cache.learnt(), 8, capacity, (5, number));
            for number in 0..3 {
                let epoch = epoch(number);
                let mut seen: Vec<u32> = (0..epoch.num_steps()).flat_map(|step| epoch.step(step).concat()).collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..103).collect::<Vec<_>>(), "{capacity:?}");
            }
            assert_eq!(epoch(1), epoch(1));
            assert_ne!(epoch(1), epoch(2), "each epoch has its own order");
        }
    }

    #[test]
    fn every_epoch_has_as_many_steps() {
        let (_folder, cache) = of(&(0..999).map(|index| 2 + index * index % 61).collect::<Vec<_>>());
        for capacity in [None, Some(32), Some(64), Some(500)] {
            let steps = |number| epoch(cache.learnt(), 4, capacity, (5, number)).num_steps();
            assert!((1..20).all(|number| steps(number) == steps(0)), "packed into {capacity:?}");
        }
    }

    #[test]
    fn packing_fills_bins_and_overfills_none() {
        let lengths: Vec<usize> = (0..200).map(|index| 3 + index * 7 % 50).collect();
        let (_folder, cache) = of(&lengths);
        let packed = epoch(cache.learnt(), 4, Some(64), (1, 0));
        let bins: Vec<&[u32]> = (0..packed.num_steps()).flat_map(|step| packed.step(step)).collect();
        let tokens = |bin: &&[u32]| bin.iter().map(|index| lengths[*index as usize]).sum::<usize>();
        assert!(bins.iter().all(|bin| tokens(bin) <= 64));
        let total: usize = bins.iter().map(tokens).sum();
        assert_eq!(bins.len(), total.div_ceil(64), "as few bins as there can be");
        let (_folder, alone) = of(&[80]);
        assert_eq!(
            epoch(alone.learnt(), 4, Some(64), (1, 0)).step(0),
            [[0]],
            "what fits nowhere gets a bin of its own"
        );
    }

    #[test]
    fn a_labelled_token_is_predicted_from_the_one_before_it() {
        let (_folder, cache) = of(&[6, 4]);
        let documents = documents(&[&[0], &[1]], cache.learnt()).expect("documents");
        assert_eq!((&documents.tokens[..], &documents.lengths[..]), (&[0, 1, 2, 3, 4, 0, 1, 2][..], &[5, 3][..]));
        let labels: Vec<(usize, u32)> = documents.labels.iter().map(|label| (label.row, label.target)).collect();
        assert_eq!(labels, [(2, 3), (3, 4), (4, 5), (6, 2), (7, 3)]);
        assert_eq!(documents.weight(), 5.0);
    }

    #[test]
    fn micro_batches_have_as_many_sequences_as_asked_or_fit() {
        let (_folder, cache) = of(&[3000; 5]);
        let indices = [0, 1, 2, 3, 4];
        let bins: Vec<&[u32]> = indices.chunks(1).collect();
        let sizes =
            |size| -> Vec<usize> { micro_batches(&bins, size, cache.learnt()).iter().map(|bins| bins.len()).collect() };
        assert_eq!(sizes(Some(3)), [3, 2]);
        assert_eq!(sizes(None), [2, 2, 1], "8,192 tokens hold two of 3,000");
        assert!(micro_batches(&[], None, cache.learnt()).is_empty());
    }
}
