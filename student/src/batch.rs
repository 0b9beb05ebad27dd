//! Sequences → the steps of one epoch: seeded order, documents packed or lengths bucketed, the same for every machine and
//! after every resume. Steps → micro-batches of documents, and those padded for devices that want rectangles.

use crate::corpus::Sequence;
use distill_dataset::Digest;
use distill_model::{Documents, Label};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::collections::BTreeMap;

/// Batches whose sequences are sorted together by length.
const WINDOW: usize = 16;
/// Tokens of a micro-batch where the recipe does not say how many sequences it has.
const MICRO_TOKENS: usize = 8192;

/// Documents that count as one sequence, as indices into the corpus.
pub(crate) type Bin = Vec<usize>;

/// The steps of an epoch. Every sequence is in exactly one. With `capacity`, documents are packed: a step has `batch_size`
/// bins of at most that many tokens.
pub(crate) fn epoch(
    sequences: &[Sequence],
    batch_size: usize,
    capacity: Option<usize>,
    (seed, epoch): (u64, u64),
) -> Vec<Vec<Bin>> {
    let seed = Digest::new("epoch").field(&seed.to_string()).field(&epoch.to_string()).finish_u64();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    shuffle(&mut order, &mut rng);
    let length = |index: usize| sequences[index].tokens.ids.len();
    if let Some(capacity) = capacity {
        let mut bins = best_fit(&order, capacity, length);
        shuffle(&mut bins, &mut rng);
        return bins.chunks(batch_size).map(<[Bin]>::to_vec).collect();
    }
    let mut batches = Vec::new();
    for window in order.chunks_mut(WINDOW * batch_size) {
        window.sort_by_key(|index| length(*index));
        batches.extend(window.chunks(batch_size).map(|batch| batch.iter().map(|index| vec![*index]).collect()));
    }
    shuffle(&mut batches, &mut rng);
    batches
}

/// Best fit decreasing: the longest first, each into the fullest bin that has room for it.
fn best_fit(order: &[usize], capacity: usize, length: impl Fn(usize) -> usize) -> Vec<Bin> {
    let mut longest_first = order.to_vec();
    longest_first.sort_by_key(|index| std::cmp::Reverse(length(*index)));
    let mut bins: Vec<Bin> = Vec::new();
    // Bins by the room that is left in them.
    let mut by_room: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in longest_first {
        let needed = length(index);
        let fit = by_room.range(needed..).next().map(|(room, _)| *room);
        let (bin, room) = match fit.and_then(|room| Some((by_room.get_mut(&room)?.pop()?, room))) {
            Some((bin, room)) => {
                if by_room.get(&room).is_some_and(Vec::is_empty) {
                    by_room.remove(&room);
                }
                (bin, room)
            }
            None => {
                bins.push(Vec::new());
                (bins.len() - 1, capacity.max(needed))
            }
        };
        bins[bin].push(index);
        by_room.entry(room - needed).or_default().push(bin);
    }
    bins
}

fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
}

/// Cuts a step into micro-batches: of so many bins, or of as many as stay below 8,192 tokens.
pub(crate) fn micro_batches(step: &[Bin], size: Option<usize>, sequences: &[Sequence]) -> Vec<Documents> {
    let tokens = |bin: &Bin| bin.iter().map(|index| sequences[*index].tokens.ids.len()).sum::<usize>();
    let mut out: Vec<Documents> = Vec::new();
    let (mut count, mut held) = (0, 0);
    for bin in step {
        let new = tokens(bin);
        let full = size.map_or(held + new > MICRO_TOKENS, |size| count == size);
        if out.is_empty() || full {
            out.push(Documents::default());
            (count, held) = (0, 0);
        }
        (count, held) = (count + 1, held + new);
        if let Some(documents) = out.last_mut() {
            bin.iter().for_each(|index| append(documents, &sequences[*index]));
        }
    }
    out
}

/// Adds a sequence. Its last token is predicted, never predicted from: it needs no row.
pub(crate) fn append(documents: &mut Documents, sequence: &Sequence) {
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

/// Documents as rows of a rectangle, padded on the right.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Padded {
    /// Tokens, `[batch, seq]` row by row.
    pub(crate) tokens: Vec<i32>,
    pub(crate) shape: [usize; 2],
    /// Flat positions in `[batch * seq]` whose next token carries loss.
    pub(crate) positions: Vec<i32>,
    /// Those next tokens.
    pub(crate) targets: Vec<i32>,
    /// Their weights.
    pub(crate) weights: Vec<f32>,
}

impl Padded {
    /// Pads to the longest document; what the padding is does not matter, since no token sees it.
    pub(crate) fn of(documents: &Documents) -> Padded {
        let seq = documents.lengths.iter().copied().max().unwrap_or(0).max(1);
        let mut tokens = vec![0; documents.lengths.len() * seq];
        let mut places = Vec::with_capacity(documents.tokens.len());
        let mut read = documents.tokens.iter();
        for (row, length) in documents.lengths.iter().enumerate() {
            for (place, token) in (0..*length).zip(&mut read) {
                tokens[row * seq + place] = *token as i32;
                places.push((row * seq + place) as i32);
            }
        }
        let labels = &documents.labels;
        Padded {
            tokens,
            shape: [documents.lengths.len(), seq],
            positions: labels.iter().map(|label| places[label.row]).collect(),
            targets: labels.iter().map(|label| label.target as i32).collect(),
            weights: labels.iter().map(|label| label.weight).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use distill_chat::TokenisedExample;

    fn sequence(length: usize) -> Sequence {
        let ids: Vec<u32> = (0..length as u32).collect();
        let loss = (0..length).map(|place| place >= length / 2).collect();
        Sequence { tokens: TokenisedExample { ids, loss }, weight: 1.0 }
    }

    #[test]
    fn every_sequence_is_in_one_step_of_each_epoch() {
        let sequences: Vec<Sequence> = (0..103).map(|index| sequence(4 + index % 17)).collect();
        for capacity in [None, Some(32)] {
            let epoch = |number| epoch(&sequences, 8, capacity, (5, number));
            for number in 0..3 {
                let mut seen: Vec<usize> = epoch(number).into_iter().flatten().flatten().collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..103).collect::<Vec<_>>(), "{capacity:?}");
            }
            assert_eq!(epoch(1), epoch(1));
            assert_ne!(epoch(1), epoch(2), "each epoch has its own order");
        }
    }

    #[test]
    fn packing_fills_bins_and_overfills_none() {
        let sequences: Vec<Sequence> = (0..200).map(|index| sequence(3 + index * 7 % 50)).collect();
        let bins: Vec<Bin> = epoch(&sequences, 4, Some(64), (1, 0)).into_iter().flatten().collect();
        let tokens = |bin: &Bin| bin.iter().map(|index| sequences[*index].tokens.ids.len()).sum::<usize>();
        assert!(bins.iter().all(|bin| tokens(bin) <= 64));
        let total: usize = bins.iter().map(tokens).sum();
        assert_eq!(bins.len(), total.div_ceil(64), "as few bins as there can be");
        let alone = epoch(&[sequence(80)], 4, Some(64), (1, 0));
        assert_eq!(alone, [[[0]]], "what fits nowhere gets a bin of its own");
    }

    #[test]
    fn a_labelled_token_is_predicted_from_the_one_before_it() {
        let sequences = [sequence(6), sequence(4)];
        let [documents] = &micro_batches(&[vec![0], vec![1]], None, &sequences)[..] else { panic!("one micro-batch") };
        assert_eq!((&documents.tokens[..], &documents.lengths[..]), (&[0, 1, 2, 3, 4, 0, 1, 2][..], &[5, 3][..]));
        let labels: Vec<(usize, u32)> = documents.labels.iter().map(|label| (label.row, label.target)).collect();
        assert_eq!(labels, [(2, 3), (3, 4), (4, 5), (6, 2), (7, 3)]);
        assert_eq!(documents.weight(), 5.0);
        let padded = Padded::of(documents);
        assert_eq!(padded.shape, [2, 5]);
        assert_eq!(padded.tokens, [0, 1, 2, 3, 4, 0, 1, 2, 0, 0]);
        assert_eq!((padded.positions, padded.targets), (vec![2, 3, 4, 6, 7], vec![3, 4, 5, 2, 3]));
    }

    #[test]
    fn micro_batches_have_as_many_sequences_as_asked_or_fit() {
        let sequences: Vec<Sequence> = (0..5).map(|_| sequence(3000)).collect();
        let step: Vec<Bin> = (0..5).map(|index| vec![index]).collect();
        let sizes = |size| -> Vec<usize> {
            micro_batches(&step, size, &sequences).iter().map(|documents| documents.lengths.len()).collect()
        };
        assert_eq!(sizes(Some(3)), [3, 2]);
        assert_eq!(sizes(None), [2, 2, 1], "8,192 tokens hold two of 3,000");
    }
}
