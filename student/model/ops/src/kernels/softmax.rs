//! The softmax of scores that exist as a whole, for attention as batched products: the reference on a card, and what serves
//! float32 and heads that no fused kernel is made for.

use crate::{
    call::{At, Kernel, Launch},
    host::Memory,
};

/// Which scores a chunk of queries has: `[heads, queries, keys]`, query `i` at position `first + i` of its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scores {
    /// Heads.
    pub heads: usize,
    /// Queries of the chunk.
    pub queries: usize,
    /// Keys.
    pub keys: usize,
    /// Position of the first query.
    pub first: usize,
    /// Positions that a token sees, its own included; 0 for all.
    pub window: usize,
    /// Numbers from a head's `lse` and `delta` to the next head's.
    pub stride: usize,
}

impl Scores {
    fn seen(&self, query: usize) -> std::ops::Range<usize> {
        let own = self.first + query;
        let oldest = if self.window == 0 { 0 } else { (own + 1).saturating_sub(self.window) };
        oldest.min(self.keys)..(own + 1).min(self.keys)
    }

    fn row(&self, head: usize, query: usize) -> usize {
        (head * self.queries + query) * self.keys
    }

    fn args(&self, scale: f32) -> [crate::call::Arg; 6] {
        [self.queries.into(), self.keys.into(), self.first.into(), self.window.into(), scale.into(), self.stride.into()]
    }
}

/// `p = softmax(scale · s)` over what is seen, 0 elsewhere; `lse` the logarithm of its sum.
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    /// `[heads, queries, keys]`
    pub p: At,
    /// Float32, a head's numbers `stride` apart.
    pub lse: At,
    /// As `p`, float32.
    pub s: At,
    /// Factor of the scores.
    pub scale: f32,
    /// The shape.
    pub scores: Scores,
}

impl Kernel for Softmax {
    fn launch(&self) -> Launch {
        let places = [self.p, self.lse, self.s].map(Into::into);
        let args = places.into_iter().chain(self.scores.args(self.scale)).collect();
        Launch::new("softmax", Some(self.p.dtype()), self.scores.queries, args).rows(self.scores.heads)
    }

    fn define(&self, memory: &mut Memory) {
        for head in 0..self.scores.heads {
            for query in 0..self.scores.queries {
                let row = self.scores.row(head, query);
                let s = memory.read(self.s.plus(row), self.scores.keys);
                let seen = self.scores.seen(query);
                let most = s[seen.clone()].iter().copied().fold(f32::NEG_INFINITY, f32::max) * self.scale;
                let sum: f64 = s[seen.clone()].iter().map(|s| f64::from(s * self.scale - most).exp()).sum();
                let lse = (f64::from(most) + sum.ln()) as f32;
                let p = |(key, s): (usize, &f32)| if seen.contains(&key) { (s * self.scale - lse).exp() } else { 0.0 };
                let p: Vec<f32> = s.iter().enumerate().map(p).collect();
                memory.write(self.p.plus(row), &p);
                memory.write(self.lse.plus(head * self.scores.stride + query), &[lse]);
            }
        }
    }
}

/// `ds = p · (dp - delta) · scale`, with `p` formed again.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxBackward {
    /// `[heads, queries, keys]`
    pub ds: At,
    /// Likewise.
    pub p: At,
    /// Float32.
    pub s: At,
    /// Float32.
    pub dp: At,
    /// Of [`Softmax`].
    pub lse: At,
    /// Of [`super::AttentionDelta`].
    pub delta: At,
    /// Factor of the scores.
    pub scale: f32,
    /// The shape.
    pub scores: Scores,
}

impl Kernel for SoftmaxBackward {
    fn launch(&self) -> Launch {
        let places = [self.ds, self.p, self.s, self.dp, self.lse, self.delta].map(Into::into);
        let args = places.into_iter().chain(self.scores.args(self.scale)).collect();
        Launch::new("softmax_backward", Some(self.p.dtype()), self.scores.queries, args).rows(self.scores.heads)
    }

    fn define(&self, memory: &mut Memory) {
        for head in 0..self.scores.heads {
            for query in 0..self.scores.queries {
                let (row, keys) = (self.scores.row(head, query), self.scores.keys);
                let (s, dp) = (memory.read(self.s.plus(row), keys), memory.read(self.dp.plus(row), keys));
                let place = head * self.scores.stride + query;
                let [lse, delta] = [self.lse, self.delta].map(|at| memory.read(at.plus(place), 1)[0]);
                let seen = self.scores.seen(query);
                let p = |(key, s): (usize, &f32)| if seen.contains(&key) { (s * self.scale - lse).exp() } else { 0.0 };
                let p: Vec<f32> = s.iter().enumerate().map(p).collect();
                let ds: Vec<f32> = p.iter().zip(&dp).map(|(p, dp)| p * (dp - delta) * self.scale).collect();
                memory.write(self.p.plus(row), &p);
                memory.write(self.ds.plus(row), &ds);
            }
        }
    }
}
