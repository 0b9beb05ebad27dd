//! A set of texts, one bit each: an eighth of a byte for every row of the corpus.

use super::{Place, sign::Signed};

/// A set of places.
pub(crate) struct Bits<'a> {
    offsets: &'a [u64],
    words: Vec<u64>,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(signed: &'a Signed) -> Self {
        let num_rows = signed.offsets.last().copied().unwrap_or(0);
        Bits { offsets: &signed.offsets, words: vec![0; num_rows.div_ceil(64) as usize] }
    }

    fn bit(&self, place: Place) -> (usize, u64) {
        let bit = self.offsets.get(place.unit as usize).copied().unwrap_or(0) + u64::from(place.row);
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    pub(crate) fn insert(&mut self, word: u64) {
        let (at, bit) = self.bit(Place::of(word));
        if let Some(bits) = self.words.get_mut(at) {
            *bits |= bit;
        }
    }

    pub(crate) fn contains(&self, word: u64) -> bool {
        let (at, bit) = self.bit(Place::of(word));
        self.words.get(at).is_some_and(|bits| bits & bit != 0)
    }

    pub(crate) fn len(&self) -> u64 {
        self.words.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// The places of the set, in order.
    pub(crate) fn places(&self) -> impl Iterator<Item = u64> {
        let mut unit = 0;
        let words = self.words.iter().enumerate().filter(|(_, bits)| **bits != 0);
        let bits =
            words.flat_map(|(at, bits)| (0..64).filter(move |b| bits >> b & 1 == 1).map(move |b| at as u64 * 64 + b));
        bits.map(move |bit| {
            while self.offsets.get(unit + 1).is_some_and(|&next| next <= bit) {
                unit += 1;
            }
            Place { unit: unit as u32, row: (bit - self.offsets[unit]) as u32 }.word()
        })
    }
}
