//! Sequences → the batches of one epoch: seeded order, lengths bucketed so that little is padding, the same for every
//! machine and after every resume.

use crate::corpus::Sequence;
use distill_dataset::Digest;
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// Batches whose sequences are sorted together by length.
const WINDOW: usize = 16;

/// The batches of an epoch, as indices into the sequences. Every sequence is in exactly one.
pub(crate) fn epoch(sequences: &[Sequence], batch_size: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let seed = Digest::new("epoch").field(&seed.to_string()).field(&epoch.to_string()).finish_u64();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    shuffle(&mut order, &mut rng);
    let mut batches = Vec::new();
    for window in order.chunks_mut(WINDOW * batch_size) {
        window.sort_by_key(|index| sequences[*index].tokens.ids.len());
        batches.extend(window.chunks(batch_size).map(<[usize]>::to_vec));
    }
    shuffle(&mut batches, &mut rng);
    batches
}

fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
}

/// A micro-batch as plain numbers: rows padded on the right, and for each token that carries loss where it is predicted
/// from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MicroBatch {
    /// Tokens, `[batch, seq]` row by row.
    pub(crate) tokens: Vec<i32>,
    pub(crate) shape: [usize; 2],
    /// Flat positions in `[batch * seq]` whose next token carries loss.
    pub(crate) positions: Vec<i32>,
    /// Those next tokens.
    pub(crate) targets: Vec<i32>,
    /// Their weights.
    pub(crate) weights: Vec<f32>,
    /// Tokens that are not padding.
    pub(crate) num_tokens: u64,
}

impl MicroBatch {
    /// Pads `rows` to the longest of them.
    pub(crate) fn of(rows: &[&Sequence], pad_id: u32) -> MicroBatch {
        // The last token of a sequence is predicted, never predicted from: it needs no column.
        let seq = rows.iter().map(|row| row.tokens.ids.len() - 1).max().unwrap_or(0).max(1);
        let mut batch = MicroBatch {
            tokens: vec![pad_id as i32; rows.len() * seq],
            shape: [rows.len(), seq],
            positions: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
            num_tokens: 0,
        };
        for (row, sequence) in rows.iter().enumerate() {
            let ids = &sequence.tokens.ids;
            batch.num_tokens += ids.len() as u64;
            for (place, id) in ids[..ids.len() - 1].iter().enumerate() {
                batch.tokens[row * seq + place] = *id as i32;
                if sequence.tokens.loss[place + 1] {
                    batch.positions.push((row * seq + place) as i32);
                    batch.targets.push(ids[place + 1] as i32);
                    batch.weights.push(sequence.weight);
                }
            }
        }
        batch
    }

    /// Sum of the weights of its labelled tokens.
    pub(crate) fn weight(&self) -> f64 {
        self.weights.iter().map(|weight| f64::from(*weight)).sum()
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
    fn every_sequence_is_in_one_batch_of_each_epoch() {
        let sequences: Vec<Sequence> = (0..103).map(|index| sequence(4 + index % 17)).collect();
        for number in 0..3 {
            let batches = epoch(&sequences, 8, 5, number);
            let mut seen: Vec<usize> = batches.iter().flatten().copied().collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..103).collect::<Vec<_>>());
        }
        assert_eq!(epoch(&sequences, 8, 5, 1), epoch(&sequences, 8, 5, 1));
        assert_ne!(epoch(&sequences, 8, 5, 1), epoch(&sequences, 8, 5, 2), "each epoch has its own order");
    }

    #[test]
    fn a_labelled_token_is_predicted_from_the_one_before_it() {
        let (long, short) = (sequence(6), sequence(4));
        let batch = MicroBatch::of(&[&long, &short], 99);
        assert_eq!(batch.shape, [2, 5]);
        assert_eq!(batch.tokens, [0, 1, 2, 3, 4, 0, 1, 2, 99, 99]);
        assert_eq!(batch.positions, [2, 3, 4, 6, 7]);
        assert_eq!(batch.targets, [3, 4, 5, 2, 3]);
        assert_eq!((batch.num_tokens, batch.weight()), (10, 5.0));
    }
}
