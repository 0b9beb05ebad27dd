//! Causal attention over documents that lie one after the other, forward and backward: a token sees its own document
//! alone. One query head of one document is one piece of work.
//!
//! Scores are formed 32 queries by 32 keys at a time, and only where a query sees a key. They are not kept: the backward
//! pass forms them again from the logarithm of each query's sum (Dao et al., 2022).
//!
//! With `Q` normalised, rotated and scaled by `1 / √dim`, and `K` normalised and rotated, each `[tokens, dim]`:
//!
//! | forward | backward, given `dO` |
//! |---|---|
//! | `S = Q · Kᵀ`, `−∞` where a query does not see a key | `P = e^(S − L)`, `D = Σ over dim of dO · O` |
//! | `L = ln Σ e^S` over keys, `[tokens]` | `dV = Pᵀ · dO`, `dP = dO · Vᵀ` |
//! | `O = e^(S − L) · V` | `dS = P · (dP − D)`, `dQ = dS · K`, `dK = dSᵀ · Q` |
//!
//! This is scaled dot-product attention (Vaswani et al., 2017) with the backward pass of Dao et al. (2022). The names of
//! shapes are those of `mod.rs`; a head of one document is filled up to a multiple of 32 rows, here `padded`.

use super::product::{flip, transposed};
use crate::cpu::{
    attention::Heads,
    lanes::{Isa, Kernel, Lanes},
    panel::{Panels, Row32, WIDTH, panels},
    pointwise::{exp, largest, sum},
    rotary::Rotary,
    tile::accumulate,
};
use rayon::prelude::*;

/// A document's tokens among the rows of an activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The row of its first token.
    pub(super) first: usize,
    /// Its tokens.
    pub(super) len: usize,
}

impl Span {
    /// Its length, filled up to a multiple of 32.
    fn rows(&self) -> usize {
        panels(self.len) * WIDTH
    }
}

/// What every layer shares.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    pub(super) isa: Isa,
    pub(super) heads: &'a Heads,
    /// With the angles of all positions that occur.
    pub(super) rotary: &'a Rotary,
    /// `[documents]`
    pub(super) spans: &'a [Span],
}

/// One layer's own part.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    /// `[dim]`
    pub(super) q_norm: Option<&'a [f32]>,
    /// `[dim]`
    pub(super) k_norm: Option<&'a [f32]>,
    /// Positions that a token sees, its own included, if that is limited.
    pub(super) window: Option<usize>,
}

/// Queries, keys and values as projected: neither normalised nor rotated.
#[derive(Debug)]
pub(super) struct Projected {
    /// `[rows, heads · dim]`
    pub(super) q: Panels,
    /// `[rows, kv_heads · dim]`
    pub(super) k: Panels,
    /// `[rows, kv_heads · dim]`
    pub(super) v: Panels,
}

/// Gradients of the norms of query and key heads, `[dim]` each; empty where there is no norm.
#[derive(Debug, Default)]
pub(super) struct NormGradients {
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
}

impl Shape<'_> {
    /// What scores are multiplied by: `1 / √dim` (Vaswani et al., 2017).
    fn scale(&self) -> f32 {
        (self.heads.dim as f64).powf(-0.5) as f32
    }

    /// All pieces of work, `[documents · heads]`: document and query head.
    fn pieces(&self) -> Vec<(Span, usize)> {
        self.spans.iter().flat_map(|span| (0..self.heads.heads).map(|head| (*span, head))).collect()
    }

    /// A head of a document as attention uses it: normalised where the architecture says so, rotated, scaled. Out of `x`,
    /// `[rows, any heads · dim]`, with `norm` `[dim]`, comes `[padded, dim]`.
    fn prepared(&self, x: &Panels, span: Span, head: usize, norm: Option<&[f32]>, scale: f32) -> Panels {
        let dim = self.heads.dim;
        let mut out = Panels::zeros(span.rows(), dim);
        let mut row = vec![0.0; dim];
        for position in 0..span.len {
            x.copy_row(span.first + position, head * dim, &mut row);
            if let Some(norm) = norm {
                let factor = self.norm_scale(&row);
                row.iter_mut().zip(norm).for_each(|(value, norm)| *value = *value * factor * norm);
            }
            self.rotary.rotate(&mut row, position);
            row.iter_mut().for_each(|value| *value *= scale);
            out.set_row(position, 0, &row);
        }
        out
    }

    /// RMSNorm's scale (Zhang and Sennrich, 2019) of one head, `[dim]`: `1 / √(mean(x²) + eps)`.
    fn norm_scale(&self, row: &[f32]) -> f32 {
        let square: f32 = row.iter().map(|value| value * value).sum();
        1.0 / (square / row.len() as f32 + self.heads.eps).sqrt()
    }

    /// A head of a document as it is: of `x`, `[rows, any heads · dim]`, `[padded, dim]`.
    fn plain(&self, x: &Panels, span: Span, head: usize) -> Panels {
        let dim = self.heads.dim;
        let mut out = Panels::zeros(span.rows(), dim);
        let mut row = vec![0.0; dim];
        for position in 0..span.len {
            x.copy_row(span.first + position, head * dim, &mut row);
            out.set_row(position, 0, &row);
        }
        out
    }

    /// Gradients of prepared heads → of projected ones: the rotation is undone (the transpose of Su et al., 2021), then
    /// `dx = s · (w·dy − x · s² · mean(x · w · dy))` and `dw += dy · x · s` with the norm's scale `s` (of the formula of Zhang and
    /// Sennrich, 2019).
    ///
    /// `gradient` is `[padded, dim]`, `x` and `out` are `[rows, any heads · dim]`, of which the document's rows of this head are
    /// read and written over; `norm` is `[dim]`, and its gradient is added to `learnt`, `[dim]`.
    fn unprepare(
        &self,
        (gradient, scale): (&Panels, f32),
        (x, norm): (&Panels, Option<&[f32]>),
        (span, head): (Span, usize),
        out: &mut Panels,
        learnt: &mut Vec<f32>,
    ) {
        let dim = self.heads.dim;
        let (mut row, mut raw) = (vec![0.0; dim], vec![0.0; dim]);
        for position in 0..span.len {
            gradient.copy_row(position, 0, &mut row);
            row.iter_mut().for_each(|value| *value *= scale);
            self.rotary.rotate_back(&mut row, position);
            if let Some(norm) = norm {
                learnt.resize(dim, 0.0);
                x.copy_row(span.first + position, head * dim, &mut raw);
                let factor = self.norm_scale(&raw);
                let mut dot = 0.0;
                for ((dy, x), (norm, learnt)) in row.iter().zip(&raw).zip(norm.iter().zip(&mut *learnt)) {
                    *learnt += dy * x * factor;
                    dot += dy * norm * x;
                }
                let pull = dot * factor * factor * factor / dim as f32;
                row.iter_mut().zip(&raw).zip(norm).for_each(|((dy, x), norm)| *dy = *dy * norm * factor - x * pull);
            }
            out.set_row(span.first + position, head * dim, &row);
        }
    }

    /// What attention mixes is written to `mixed`, `[rows, heads · dim]`; returns for each piece of work the logarithms `L` of its
    /// queries' sums, `[documents · heads][tokens]`.
    pub(super) fn forward(&self, layer: Layer<'_>, projected: &Projected, mixed: &mut Panels) -> Vec<Vec<f32>> {
        let group = self.heads.heads / self.heads.kv_heads;
        let pieces = self.pieces();
        let done: Vec<(Panels, Vec<f32>)> = pieces
            .par_iter()
            .map(|(span, head)| {
                let q = self.prepared(&projected.q, *span, *head, layer.q_norm, self.scale());
                let k = self.prepared(&projected.k, *span, head / group, layer.k_norm, 1.0);
                let v = self.plain(&projected.v, *span, head / group);
                let keys = transposed(self.isa, &k);
                self.isa.run(Forward { q: &q, keys: &keys, v: &v, len: span.len, window: layer.window })
            })
            .collect();
        let dim = self.heads.dim;
        let mut row = vec![0.0; dim];
        for ((span, head), (out, _)) in pieces.iter().zip(&done) {
            for position in 0..span.len {
                out.copy_row(position, 0, &mut row);
                mixed.set_row(span.first + position, head * dim, &row);
            }
        }
        done.into_iter().map(|(_, sums)| sums).collect()
    }

    /// The gradients of what was projected, given `gradient`, that of what was mixed. `mixed` and `gradient` are
    /// `[rows, heads · dim]`, `sums` what [`Shape::forward`] returned. A key's gradient is the sum over the query heads that
    /// share it (grouped queries; Ainslie et al., 2023).
    pub(super) fn backward(
        &self,
        layer: Layer<'_>,
        projected: &Projected,
        (mixed, sums): (&Panels, &[Vec<f32>]),
        gradient: &Panels,
    ) -> (Projected, NormGradients) {
        let group = self.heads.heads / self.heads.kv_heads;
        let pieces = self.pieces();
        let done: Vec<[Panels; 3]> = pieces
            .par_iter()
            .zip(sums)
            .map(|((span, head), sums)| {
                let q = self.prepared(&projected.q, *span, *head, layer.q_norm, self.scale());
                let k = self.prepared(&projected.k, *span, head / group, layer.k_norm, 1.0);
                let v = self.plain(&projected.v, *span, head / group);
                let (dy, y) = (self.plain(gradient, *span, *head), self.plain(mixed, *span, *head));
                let dots = super::pointwise::serial_row_sums(self.isa, &dy, &y);
                let (queries, outs) = (transposed(self.isa, &q), transposed(self.isa, &dy));
                let side = Side { q: &q, queries: &queries, dy: &dy, outs: &outs };
                self.isa.run(Backward { side, k: &k, v: &v, sums, dots: &dots, len: span.len, window: layer.window })
            })
            .collect();
        let zeros = |like: &Panels| Panels::zeros(like.rows, like.width);
        let mut out = Projected { q: zeros(&projected.q), k: zeros(&projected.k), v: zeros(&projected.v) };
        let mut learnt = NormGradients::default();
        let mut row = vec![0.0; self.heads.dim];
        for (pieces, done) in pieces.chunks(group).zip(done.chunks(group)) {
            let Some((span, first)) = pieces.first().copied() else { continue };
            let kv = first / group;
            let [mut dk, mut dv] =
                [Panels::zeros(span.rows(), self.heads.dim), Panels::zeros(span.rows(), self.heads.dim)];
            for ((_, head), [dq, part_k, part_v]) in pieces.iter().zip(done) {
                let x = (&projected.q, layer.q_norm);
                self.unprepare((dq, self.scale()), x, (span, *head), &mut out.q, &mut learnt.q);
                add(&mut dk, part_k);
                add(&mut dv, part_v);
            }
            self.unprepare((&dk, 1.0), (&projected.k, layer.k_norm), (span, kv), &mut out.k, &mut learnt.k);
            for position in 0..span.len {
                dv.copy_row(position, 0, &mut row);
                out.v.set_row(span.first + position, kv * self.heads.dim, &row);
            }
        }
        (out, learnt)
    }
}

/// `to += from`, of one shape.
fn add(to: &mut Panels, from: &Panels) {
    for (to, from) in to.data.iter_mut().zip(&from.data) {
        to.0.iter_mut().zip(&from.0).for_each(|(to, from)| *to += from);
    }
}

/// Whether the query at position `query` of a document sees the key at position `key`.
#[inline(always)]
fn sees(query: usize, key: usize, window: Option<usize>) -> bool {
    key <= query && window.is_none_or(|window| query < key + window)
}

/// The first block of keys that a block of queries sees.
#[inline(always)]
fn first_block(block: usize, window: Option<usize>) -> usize {
    window.map_or(0, |window| (block * WIDTH + 1).saturating_sub(window) / WIDTH)
}

/// 32 rows of a panel of `[rows, width]`: `[32, 32]`.
#[inline(always)]
fn rows32(x: &Panels, panel: usize, block: usize) -> &[Row32] {
    &x.data[panel * x.rows + block * WIDTH..][..WIDTH]
}

/// The same, to be written.
#[inline(always)]
fn rows32_mut(x: &mut Panels, panel: usize, block: usize) -> &mut [Row32] {
    &mut x.data[panel * x.rows + block * WIDTH..][..WIDTH]
}

/// One head of one document: what it mixes, `[padded, dim]`, and the logarithms of its queries' sums, `[tokens]`.
struct Forward<'a> {
    /// `[padded, dim]`
    q: &'a Panels,
    /// Keys transposed, `[dim, padded]`: `[panel of keys][dimension]`.
    keys: &'a Panels,
    /// `[padded, dim]`
    v: &'a Panels,
    /// Tokens of the document.
    len: usize,
    /// Positions that a query sees, its own included.
    window: Option<usize>,
}

impl Kernel for Forward<'_> {
    type Output = (Panels, Vec<f32>);

    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> (Panels, Vec<f32>) {
        let Forward { q, keys, v, len, window } = self;
        let (blocks, wide) = (q.rows / WIDTH, panels(q.width));
        let mut out = Panels::zeros(q.rows, q.width);
        let mut sums = vec![0.0; q.rows];
        let mut scores = vec![Row32::ZERO; q.rows];
        for block in 0..blocks {
            let from = first_block(block, window);
            let scores = &mut scores[..(block + 1 - from) * WIDTH];
            scores.fill(Row32::ZERO);
            for (index, scores) in scores.chunks_exact_mut(WIDTH).enumerate() {
                for panel in 0..wide {
                    let keys = &keys.data[(from + index) * keys.rows + panel * WIDTH..][..WIDTH];
                    accumulate(lanes, rows32(q, panel, block), keys, scores);
                }
            }
            for query in 0..WIDTH {
                let position = block * WIDTH + query;
                let mut most = lanes.splat(f32::NEG_INFINITY);
                for (index, scores) in scores.chunks_exact_mut(WIDTH).enumerate() {
                    let start = (from + index) * WIDTH;
                    let row = &mut scores[query];
                    if start + WIDTH > position + 1 || window.is_some() {
                        for (place, score) in row.0.iter_mut().enumerate() {
                            if !sees(position, start + place, window) {
                                *score = f32::NEG_INFINITY;
                            }
                        }
                    }
                    let (low, high) = row.halves();
                    most = lanes.max(most, lanes.max(lanes.load(low), lanes.load(high)));
                }
                let most = largest(lanes, most);
                let shift = lanes.splat(-most);
                let mut total = lanes.splat(0.0);
                for scores in scores.chunks_exact_mut(WIDTH) {
                    let (low, high) = scores[query].halves_mut();
                    let (a, b) =
                        (exp(lanes, lanes.add(lanes.load(low), shift)), exp(lanes, lanes.add(lanes.load(high), shift)));
                    lanes.store(a, low);
                    lanes.store(b, high);
                    total = lanes.add(total, lanes.add(a, b));
                }
                let total = sum(lanes, total);
                let inverse = lanes.splat(1.0 / total);
                for scores in scores.chunks_exact_mut(WIDTH) {
                    let (low, high) = scores[query].halves_mut();
                    lanes.store(lanes.mul(lanes.load(low), inverse), low);
                    lanes.store(lanes.mul(lanes.load(high), inverse), high);
                }
                sums[position] = most + total.ln();
            }
            for (index, weights) in scores.chunks_exact(WIDTH).enumerate() {
                for panel in 0..wide {
                    accumulate(lanes, weights, rows32(v, panel, from + index), rows32_mut(&mut out, panel, block));
                }
            }
        }
        sums.truncate(len);
        (out, sums)
    }
}

/// What belongs to the queries of one head of one document.
#[derive(Clone, Copy)]
struct Side<'a> {
    /// `[padded, dim]`
    q: &'a Panels,
    /// Queries transposed, `[dim, padded]`.
    queries: &'a Panels,
    /// The gradient of what they mixed, `[padded, dim]`.
    dy: &'a Panels,
    /// The same, transposed: `[dim, padded]`.
    outs: &'a Panels,
}

/// One head of one document, backward. Scores are formed with keys as rows and queries as lanes.
struct Backward<'a> {
    side: Side<'a>,
    /// `[padded, dim]`
    k: &'a Panels,
    /// `[padded, dim]`
    v: &'a Panels,
    /// The logarithms `L` of the queries' sums, `[tokens]`.
    sums: &'a [f32],
    /// `D`: for each query, its gradient times what it mixed, summed up over `dim`; `[padded]`.
    dots: &'a [f32],
    len: usize,
    window: Option<usize>,
}

impl Kernel for Backward<'_> {
    /// Gradients of queries, keys and values, `[padded, dim]` each. Those of queries are of scaled ones.
    type Output = [Panels; 3];

    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> [Panels; 3] {
        let Backward { side: Side { q, queries, dy, outs }, k, v, sums, dots, len, window } = self;
        let (blocks, wide) = (q.rows / WIDTH, panels(q.width));
        let zeros = || Panels::zeros(q.rows, q.width);
        let (mut dq, mut dk, mut dv) = (zeros(), zeros(), zeros());
        let mut weights = [Row32::ZERO; WIDTH];
        let mut slopes = [Row32::ZERO; WIDTH];
        let mut flipped = [Row32::ZERO; WIDTH];
        for block in 0..blocks {
            let (mut sum, mut dot) = (Row32::ZERO, Row32::ZERO);
            let first = block * WIDTH;
            let count = (len - first).min(WIDTH);
            sum.0[..count].copy_from_slice(&sums[first..first + count]);
            dot.0[..count].copy_from_slice(&dots[first..first + count]);
            for at in first_block(block, window)..=block {
                weights.fill(Row32::ZERO);
                slopes.fill(Row32::ZERO);
                for panel in 0..wide {
                    let part = |x: &'_ Panels| -> std::ops::Range<usize> {
                        let start = block * x.rows + panel * WIDTH;
                        start..start + WIDTH
                    };
                    accumulate(lanes, rows32(k, panel, at), &queries.data[part(queries)], &mut weights);
                    accumulate(lanes, rows32(v, panel, at), &outs.data[part(outs)], &mut slopes);
                }
                let edge = at == block || window.is_some() || count < WIDTH;
                for (key, (weight, slope)) in weights.iter_mut().zip(&mut slopes).enumerate() {
                    soften(lanes, weight, slope, &sum, &dot);
                    if edge {
                        for place in 0..WIDTH {
                            if place >= count || !sees(first + place, at * WIDTH + key, window) {
                                weight.0[place] = 0.0;
                                slope.0[place] = 0.0;
                            }
                        }
                    }
                }
                flip(&slopes, &mut flipped);
                for panel in 0..wide {
                    accumulate(lanes, &weights, rows32(dy, panel, block), rows32_mut(&mut dv, panel, at));
                    accumulate(lanes, &slopes, rows32(q, panel, block), rows32_mut(&mut dk, panel, at));
                    accumulate(lanes, &flipped, rows32(k, panel, at), rows32_mut(&mut dq, panel, block));
                }
            }
        }
        [dq, dk, dv]
    }
}

/// Scores `S` and gradients of weights `dP` → weights `P = e^(S − L)` and gradients of scores `dS = P · (dP − D)` (Dao et al., 2022),
/// of one key and 32 queries; `sum` and `dot` are `L` and `D` of these queries.
#[inline(always)]
fn soften<L: Lanes>(lanes: L, weight: &mut Row32, slope: &mut Row32, sum: &Row32, dot: &Row32) {
    let ((weight_low, weight_high), (slope_low, slope_high)) = (weight.halves_mut(), slope.halves_mut());
    soften_half(lanes, weight_low, slope_low, (sum.halves().0, dot.halves().0));
    soften_half(lanes, weight_high, slope_high, (sum.halves().1, dot.halves().1));
}

/// The same of sixteen queries.
#[inline(always)]
fn soften_half<L: Lanes>(
    lanes: L,
    weight: &mut [f32; 16],
    slope: &mut [f32; 16],
    (sum, dot): (&[f32; 16], &[f32; 16]),
) {
    let minus = lanes.splat(-1.0);
    let p = exp(lanes, lanes.fma(lanes.load(sum), minus, lanes.load(weight)));
    lanes.store(p, weight);
    lanes.store(lanes.mul(p, lanes.fma(lanes.load(dot), minus, lanes.load(slope))), slope);
}
