//! Attention over a paged cache: keys and values of a request lie in blocks, wherever there was room (Kwon et al., 2023).

use super::Heads;
use crate::{
    call::{At, Kernel, Launch},
    host::Memory,
};

/// Keys and values of new rows go to their places in the cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheWrite {
    /// `[places, heads.key · dim]`
    pub keys: At,
    /// Likewise.
    pub values: At,
    /// `[rows, heads.width()]`
    pub qkv: At,
    /// Integers `[rows]`, none twice.
    pub places: At,
    /// Rows.
    pub rows: usize,
    /// Their heads.
    pub heads: Heads,
}

impl Kernel for CacheWrite {
    fn launch(&self) -> Launch {
        let places = [self.keys, self.values, self.qkv, self.places].map(Into::into);
        let args = places.into_iter().chain([self.rows.into()]).chain(self.heads.args()).collect();
        Launch::new("cache_write", Some(self.qkv.dtype()), self.rows, args)
    }

    fn define(&self, memory: &mut Memory) {
        let width = self.heads.key * self.heads.dim;
        for (row, place) in memory.ints(self.places, self.rows).into_iter().enumerate() {
            let first = self.qkv.plus(row * self.heads.width() + self.heads.queries());
            for (to, from) in [(self.keys, first), (self.values, first.plus(width))] {
                let numbers = memory.read(from, width);
                memory.write(to.plus(place as usize * width), &numbers);
            }
        }
    }
}

/// Where the positions of requests lie.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// Blocks of each request in the order of its positions: integers `[requests, stride]`.
    pub tables: At,
    /// Blocks that a request's row of the table has room for.
    pub stride: usize,
    /// Positions of a block.
    pub block: usize,
    /// Each row's request: integers `[rows]`.
    pub request: At,
    /// Each row's position: integers `[rows]`.
    pub positions: At,
}

/// `out = softmax(scale · q · kᵀ) · v` of each row over the positions of its request up to its own.
#[derive(Clone, Copy, Debug)]
pub struct PagedAttention {
    /// `[rows, heads.queries()]`
    pub out: At,
    /// `[rows, heads.width()]`; the queries are looked at.
    pub qkv: At,
    /// `[places, heads.key · dim]`
    pub keys: At,
    /// Likewise.
    pub values: At,
    /// Where positions lie.
    pub pages: Pages,
    /// Rows.
    pub rows: usize,
    /// Their heads.
    pub heads: Heads,
    /// Positions that a token sees, its own included; 0 for all.
    pub window: usize,
}

impl Kernel for PagedAttention {
    fn launch(&self) -> Launch {
        let Pages { tables, stride, block, request, positions } = self.pages;
        let places = [self.out, self.qkv, self.keys, self.values, tables, request, positions].map(Into::into);
        let sizes = [block.into(), stride.into(), self.window.into(), self.heads.scale().into()];
        let args = places.into_iter().chain([self.rows.into()]).chain(self.heads.args()).chain(sizes).collect();
        Launch::new("paged_attention", Some(self.qkv.dtype()), self.rows, args).rows(self.heads.key)
    }

    fn define(&self, memory: &mut Memory) {
        let Heads { query, key, dim } = self.heads;
        let requests = memory.ints(self.pages.request, self.rows);
        for (row, position) in memory.ints(self.pages.positions, self.rows).into_iter().enumerate() {
            let own = position as usize;
            let oldest = if self.window == 0 { 0 } else { (own + 1).saturating_sub(self.window) };
            let table = self.pages.tables.plus(requests[row] as usize * self.pages.stride);
            let table = memory.ints(table, own / self.pages.block + 1);
            let place = |at: usize| table[at / self.pages.block] as usize * self.pages.block + at % self.pages.block;
            for head in 0..query {
                let q = memory.read(self.qkv.plus(row * self.heads.width() + head * dim), dim);
                let of = |at: usize| (place(at) * key + head / self.heads.group()) * dim;
                let score = |at: usize| {
                    let k = memory.read(self.keys.plus(of(at)), dim);
                    self.heads.scale() * q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>()
                };
                let scores: Vec<f32> = (oldest..=own).map(score).collect();
                let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = scores.iter().map(|score| (score - most).exp()).sum();
                let mut out = vec![0.0_f32; dim];
                for (at, score) in (oldest..=own).zip(scores) {
                    let weight = (score - most).exp() / sum;
                    let v = memory.read(self.values.plus(of(at)), dim);
                    out.iter_mut().zip(v).for_each(|(out, v)| *out += weight * v);
                }
                memory.write(self.out.plus((row * query + head) * dim), &out);
            }
        }
    }
}
