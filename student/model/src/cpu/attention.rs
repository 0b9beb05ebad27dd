//! Attention over a cache in blocks of 32 positions.
//!
//! Keys of a block lie transposed, 32 positions beside each other, and values in panels of 32 dimensions: both products
//! of attention are then the product of `tile.rs`. A block belongs to whoever asked the engine for it; several requests may
//! read one. Positions are counted from the beginning of a request, so that a sum's order does not depend on where the
//! request's blocks are, nor on how its tokens were cut into steps.

use super::{
    lanes::{Isa, Kernel, Lanes},
    panel::{Panels, Row32, WIDTH, panels},
    pointwise::{exp, largest, shared, sum},
    rotary::Rotary,
    tile::accumulate,
};
use crate::step::{BLOCK, Share};
use rayon::prelude::*;

/// Keys and values of one layer, `[kv_head][block]`: for each block `depth` rows of keys, `[dimension]` with 32 positions each,
/// and `depth` of values, `[panel of dimensions][position]` with 32 dimensions each. A block has no memory before it is first
/// written, and keeps it then.
#[derive(Clone, Debug)]
pub(crate) struct LayerCache {
    /// `[kv_heads · blocks]`
    held: Vec<Vec<Row32>>,
    /// Blocks of one head.
    blocks: usize,
}

/// The shape of attention.
#[derive(Clone, Debug)]
pub(crate) struct Heads {
    /// Query heads.
    pub(crate) heads: usize,
    /// Key and value heads; divides the query heads.
    pub(crate) kv_heads: usize,
    /// Numbers of one head.
    pub(crate) dim: usize,
    /// Added to the mean square where heads are normalised.
    pub(crate) eps: f32,
}

/// One layer's own part of attention.
pub(crate) struct Layer<'a> {
    /// Weights of the norm of query heads, `[dim]`, where they are normalised.
    pub(crate) q_norm: Option<&'a [f32]>,
    /// Those of key heads, `[dim]`.
    pub(crate) k_norm: Option<&'a [f32]>,
    /// Positions that a token sees, its own included, if that is limited.
    pub(crate) window: Option<usize>,
}

impl Heads {
    /// Rows of keys, and of values, of one head in one block.
    fn depth(&self) -> usize {
        panels(self.dim) * WIDTH
    }

    /// Query heads of a key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

impl LayerCache {
    /// Room for so many blocks of every key head.
    pub(crate) fn new(heads: &Heads, blocks: usize) -> LayerCache {
        LayerCache { held: vec![Vec::new(); heads.kv_heads * blocks], blocks }
    }

    /// Keys and values of one head in one block that was written, `depth` rows of 32 each.
    fn block(&self, head: usize, block: u32) -> (&[Row32], &[Row32]) {
        let rows = &self.held[head * self.blocks + block as usize];
        rows.split_at(rows.len() / 2)
    }
}

/// Queries, keys and values `[rows, (heads + 2 · kv_heads) · dim]` of all shares, one after the other → what attention
/// mixes, `[rows, heads · dim]`. Keys and values are put into the cache first.
///
/// For each query head `softmax(q · Kᵀ / √dim) · V` over the positions that it sees (Vaswani et al., 2017), several of them over
/// one head of keys and values (Ainslie et al., 2023).
pub(crate) fn attend(
    isa: Isa,
    heads: &Heads,
    layer: &Layer<'_>,
    rotary: &Rotary,
    qkv: &Panels,
    shares: &[Share<'_>],
    cache: &mut LayerCache,
) -> Panels {
    let store = |(head, held): (usize, &mut [Vec<Row32>])| store(heads, layer, rotary, qkv, shares, head, held);
    if shared(qkv.rows) {
        cache.held.par_chunks_exact_mut(cache.blocks).enumerate().for_each(store);
    } else {
        cache.held.chunks_exact_mut(cache.blocks).enumerate().for_each(store);
    }
    // A tile is some rows of one share, with all query heads of one key head.
    let height = (12 / heads.group()).max(1);
    let mut tiles = Vec::new();
    let mut first_row = 0;
    for share in shares {
        for start in (0..share.tokens.len()).step_by(height) {
            let count = (share.tokens.len() - start).min(height);
            let tile = Tile { share: *share, first: share.start + start, row: first_row + start, count };
            tiles.extend((0..heads.kv_heads).map(|head| (tile, head)));
        }
        first_row += share.tokens.len();
    }
    let cache = &*cache;
    let mixed: Vec<Vec<Row32>> = tiles
        .par_iter()
        .map(|(tile, head)| isa.run(Attend { heads, layer, rotary, qkv, cache, tile: *tile, head: *head }))
        .collect();
    let mut out = Panels::zeros(qkv.rows, heads.heads * heads.dim);
    let mut row = vec![0.0; heads.depth()];
    for ((tile, head), mixed) in tiles.iter().zip(&mixed) {
        let queries = tile.count * heads.group();
        for query in 0..queries {
            for (panel, part) in row.chunks_exact_mut(WIDTH).enumerate() {
                part.copy_from_slice(&mixed[panel * queries + query].0);
            }
            let (row_of, head_of) = (query / heads.group(), head * heads.group() + query % heads.group());
            out.set_row(tile.row + row_of, head_of * heads.dim, &row[..heads.dim]);
        }
    }
    out
}

/// Puts one head's new keys and values, out of `qkv` `[rows, (heads + 2 · kv_heads) · dim]`, where they belong; `held` are that
/// head's blocks.
fn store(
    heads: &Heads,
    layer: &Layer<'_>,
    rotary: &Rotary,
    qkv: &Panels,
    shares: &[Share<'_>],
    head: usize,
    held: &mut [Vec<Row32>],
) {
    let (dim, depth) = (heads.dim, heads.depth());
    let mut values = vec![0.0; dim];
    let mut row = 0;
    for share in shares {
        for position in share.start..share.start + share.tokens.len() {
            let block = &mut held[share.blocks[position / BLOCK] as usize];
            if block.is_empty() {
                block.resize(2 * depth, Row32::ZERO);
            }
            let (keys, kept_values) = block.split_at_mut(depth);
            let place = position % BLOCK;
            qkv.copy_row(row, (heads.heads + head) * dim, &mut values);
            prepare(&mut values, layer.k_norm, heads.eps, rotary, position);
            for (key, value) in keys.iter_mut().zip(&values) {
                key.0[place] = *value;
            }
            qkv.copy_row(row, (heads.heads + heads.kv_heads + head) * dim, &mut values);
            for (panel, values) in values.chunks(WIDTH).enumerate() {
                kept_values[panel * WIDTH + place].0[..values.len()].copy_from_slice(values);
            }
            row += 1;
        }
    }
}

/// A query's or a key's head, `[dim]`, in place: normalised where the architecture says so, `x · weight / √(mean(x²) + eps)` with
/// `norm` as weight, `[dim]` (Zhang and Sennrich, 2019), then rotated.
fn prepare(head: &mut [f32], norm: Option<&[f32]>, eps: f32, rotary: &Rotary, position: usize) {
    if let Some(norm) = norm {
        let square: f32 = head.iter().map(|value| value * value).sum();
        let scale = 1.0 / (square / head.len() as f32 + eps).sqrt();
        head.iter_mut().zip(norm).for_each(|(value, norm)| *value = *value * scale * norm);
    }
    rotary.rotate(head, position);
}

/// Some rows of a share.
#[derive(Clone, Copy)]
struct Tile<'a> {
    share: Share<'a>,
    /// Position of its first row in the request.
    first: usize,
    /// Its first row among the step's rows.
    row: usize,
    /// How many rows.
    count: usize,
}

/// Attention of a tile's rows for all query heads of one key head: `count · heads / kv_heads` queries, row by row.
struct Attend<'a> {
    heads: &'a Heads,
    layer: &'a Layer<'a>,
    rotary: &'a Rotary,
    /// `[rows, (heads + 2 · kv_heads) · dim]`
    qkv: &'a Panels,
    cache: &'a LayerCache,
    tile: Tile<'a>,
    /// The key head.
    head: usize,
}

impl Kernel for Attend<'_> {
    /// What the queries mix, `[queries, dim]`: `[panel of dimensions][query]`.
    type Output = Vec<Row32>;

    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> Vec<Row32> {
        let Attend { heads, layer, rotary, qkv, cache, tile, head } = self;
        let (dim, group, wide) = (heads.dim, heads.group(), panels(heads.dim));
        let queries = tile.count * group;
        let mut q = vec![Row32::ZERO; wide * queries];
        let mut values = vec![0.0; dim];
        let scale = (dim as f64).powf(-0.5) as f32;
        for query in 0..queries {
            qkv.copy_row(tile.row + query / group, (head * group + query % group) * dim, &mut values);
            prepare(&mut values, layer.q_norm, heads.eps, rotary, tile.first + query / group);
            for (panel, values) in values.chunks(WIDTH).enumerate() {
                for (out, value) in q[panel * queries + query].0.iter_mut().zip(values) {
                    *out = value * scale;
                }
            }
        }
        let end = tile.first + tile.count;
        let seen_from = layer.window.map_or(0, |window| (tile.first + 1).saturating_sub(window));
        let (first_block, last_block) = (seen_from / BLOCK, (end - 1) / BLOCK);
        // Scores, `[block][query]`: 32 positions each.
        let blocks = last_block - first_block + 1;
        let mut scores = vec![Row32::ZERO; blocks * queries];
        for (block, scores) in scores.chunks_exact_mut(queries).enumerate() {
            let (keys, _) = cache.block(head, tile.share.blocks[first_block + block]);
            for (q, keys) in q.chunks_exact(queries).zip(keys.chunks_exact(WIDTH)) {
                accumulate(lanes, q, keys, scores);
            }
        }
        let sums = weigh(lanes, &mut scores, tile, layer.window, first_block, group);
        let mut out = vec![Row32::ZERO; wide * queries];
        for (block, scores) in scores.chunks_exact(queries).enumerate() {
            let index = first_block + block;
            let filled = (end - index * BLOCK).min(BLOCK);
            let (_, kept_values) = cache.block(head, tile.share.blocks[index]);
            for (out, values) in out.chunks_exact_mut(queries).zip(kept_values.chunks_exact(WIDTH)) {
                accumulate(lanes, scores, &values[..filled], out);
            }
        }
        for out in out.chunks_exact_mut(queries) {
            for (out, sum) in out.iter_mut().zip(&sums) {
                let scale = lanes.splat(1.0 / sum);
                let (low, high) = out.halves_mut();
                lanes.store(lanes.mul(lanes.load(low), scale), low);
                lanes.store(lanes.mul(lanes.load(high), scale), high);
            }
        }
        out
    }
}

/// Scores → softmax weights before division, `e^(score - largest)`, unseen positions zero; returns each query's sum, `[queries]`.
/// `scores` are `[block][query]`, 32 positions each, from block `first_block` on; `group` queries have one position.
#[inline(always)]
fn weigh<L: Lanes>(
    lanes: L,
    scores: &mut [Row32],
    tile: Tile<'_>,
    window: Option<usize>,
    first_block: usize,
    group: usize,
) -> Vec<f32> {
    let queries = tile.count * group;
    let mut sums = Vec::with_capacity(queries);
    for query in 0..queries {
        let position = tile.first + query / group;
        let oldest = window.map_or(0, |window| (position + 1).saturating_sub(window));
        let mut most = lanes.splat(f32::NEG_INFINITY);
        for (block, scores) in scores.chunks_exact_mut(queries).enumerate() {
            let start = (first_block + block) * BLOCK;
            let row = &mut scores[query];
            if start + BLOCK > position + 1 || start < oldest {
                for (place, score) in row.0.iter_mut().enumerate() {
                    if start + place > position || start + place < oldest {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
            let (low, high) = row.halves();
            most = lanes.max(most, lanes.max(lanes.load(low), lanes.load(high)));
        }
        let most = lanes.splat(-largest(lanes, most));
        let (mut total_low, mut total_high) = (lanes.splat(0.0), lanes.splat(0.0));
        for scores in scores.chunks_exact_mut(queries) {
            let (low, high) = scores[query].halves_mut();
            let weights = exp(lanes, lanes.add(lanes.load(low), most));
            lanes.store(weights, low);
            total_low = lanes.add(total_low, weights);
            let weights = exp(lanes, lanes.add(lanes.load(high), most));
            lanes.store(weights, high);
            total_high = lanes.add(total_high, weights);
        }
        sums.push(sum(lanes, lanes.add(total_low, total_high)));
    }
    sums
}
