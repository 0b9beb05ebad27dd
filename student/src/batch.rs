//! Sequences → the steps of one epoch: seeded order, documents packed or lengths bucketed, the same for every machine and
//! after every resume. Steps → micro-batches of documents, and those padded for devices that want rectangles.

use crate::corpus::Sequence;
use distill_dataset::Digest;
use distill_model::{Documents, Label, Rectangle};
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

/// Documents as rows of rectangles, those of like length together; what the padding is does not matter, since no token sees
/// it. There are few lengths, so that a device meets few shapes.
pub(crate) fn rectangles(documents: &Documents) -> Vec<Rectangle> {
    let mut starts = Vec::with_capacity(documents.lengths.len());
    let mut rows = 0;
    for length in &documents.lengths {
        starts.push(rows);
        rows += length;
    }
    // By length, and documents of one length in their order.
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, length) in documents.lengths.iter().enumerate() {
        groups.entry(padded(*length)).or_default().push(index);
    }
    // Where each token comes to be: its rectangle and its place there.
    let mut places = vec![(0, 0); documents.tokens.len()];
    let mut out = Vec::with_capacity(groups.len());
    for (seq, members) in groups {
        let mut tokens = vec![0; members.len() * seq];
        for (row, index) in members.iter().enumerate() {
            for offset in 0..documents.lengths[*index] {
                let (from, to) = (starts[*index] + offset, row * seq + offset);
                tokens[to] = documents.tokens[from] as i32;
                places[from] = (out.len(), to as i32);
            }
        }
        let shape = [members.len(), seq];
        out.push(Rectangle { tokens, shape, positions: Vec::new(), targets: Vec::new(), weights: Vec::new() });
    }
    for label in &documents.labels {
        let (rectangle, place) = places[label.row];
        let rectangle: &mut Rectangle = &mut out[rectangle];
        rectangle.positions.push(place);
        rectangle.targets.push(label.target as i32);
        rectangle.weights.push(label.weight);
    }
    out
}

/// The next of the lengths that rows have: four between a power of two and the next.
fn padded(length: usize) -> usize {
    let step = (length.max(1).next_power_of_two() / 8).max(16);
    length.max(1).next_multiple_of(step)
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
        let [rectangle] = &rectangles(documents)[..] else { panic!("one rectangle") };
        assert_eq!(rectangle.shape, [2, 16]);
        let mut expected = [0; 32];
        expected[..5].copy_from_slice(&[0, 1, 2, 3, 4]);
        expected[16..19].copy_from_slice(&[0, 1, 2]);
        assert_eq!(rectangle.tokens, expected);
        assert_eq!((&rectangle.positions[..], &rectangle.targets[..]), (&[2, 3, 4, 17, 18][..], &[3, 4, 5, 2, 3][..]));
    }

    #[test]
    fn rectangles_hold_documents_of_like_length_and_few_shapes() {
        let lengths = [100, 700, 3, 129, 90, 1000, 640, 1025];
        let sequences = lengths.map(|length| sequence(length + 1));
        let step: Vec<Bin> = (0..lengths.len()).map(|index| vec![index]).collect();
        let [documents] = &micro_batches(&step, Some(lengths.len()), &sequences)[..] else { panic!("one micro-batch") };
        let rectangles = rectangles(documents);
        let shapes: Vec<[usize; 2]> = rectangles.iter().map(|rectangle| rectangle.shape).collect();
        assert_eq!(shapes, [[1, 16], [1, 96], [1, 112], [1, 160], [1, 640], [1, 768], [1, 1024], [1, 1280]]);
        let labels: usize = rectangles.iter().map(|rectangle| rectangle.positions.len()).sum();
        assert_eq!(labels, documents.labels.len());
        for rectangle in &rectangles {
            for (position, target) in rectangle.positions.iter().zip(&rectangle.targets) {
                // Tokens count up, so the next one is one more.
                assert_eq!(rectangle.tokens[*position as usize] + 1, *target);
            }
        }
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
