//! Cosines and sines of positions, formed once for each position and kept.
//!
//! Rotary position embeddings (Su et al., 2021) in the half-split layout: dimension `j` of a head's first half and dimension
//! `j` of its second turn together by `position · frequency[j]` radians. Cosines and sines are multiplied by the model's own
//! factor, which is 1 for most.

use crate::rope::Frequencies;

/// The angles of the positions met so far.
#[derive(Clone, Debug)]
pub(crate) struct Rotary {
    frequencies: Frequencies,
    /// `[positions, dim]`: cosines of all `dim / 2` pairs, then sines of all pairs.
    table: Vec<f32>,
}

impl Rotary {
    /// With `dim / 2` frequencies, in radians per position; no position is known yet.
    pub(crate) fn new(frequencies: Frequencies) -> Rotary {
        Rotary { frequencies, table: Vec::new() }
    }

    /// Makes sure that positions below `end` are known.
    pub(crate) fn reach(&mut self, end: usize) {
        let half = self.frequencies.per_position.len();
        for position in self.table.len() / (2 * half)..end {
            self.table.extend(self.frequencies.row(position, f64::cos).take(half));
            self.table.extend(self.frequencies.row(position, f64::sin).take(half));
        }
    }

    /// Rotates one head, `[dim]`, in place: `(a, b) ← (a·cos − b·sin, b·cos + a·sin)` for each pair (Su et al., 2021).
    pub(crate) fn rotate(&self, head: &mut [f32], position: usize) {
        self.turn(head, position, 1.0);
    }

    /// The transpose of that, how a gradient `[dim]` comes back: `(a, b) ← (a·cos + b·sin, b·cos − a·sin)` for each pair.
    pub(crate) fn rotate_back(&self, head: &mut [f32], position: usize) {
        self.turn(head, position, -1.0);
    }

    /// One head, `[dim]`, turned forwards (1) or back (-1). Its position is one that was reached.
    fn turn(&self, head: &mut [f32], position: usize, direction: f32) {
        let half = self.frequencies.per_position.len();
        let (cosines, sines) = self.table[position * 2 * half..(position + 1) * 2 * half].split_at(half);
        let (first, second) = head.split_at_mut(half);
        for ((a, b), (cosine, sine)) in first.iter_mut().zip(second).zip(cosines.iter().zip(sines)) {
            let sine = sine * direction;
            (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
        }
    }
}
