//! The one inner loop: a tile of a product, a few rows by 32 columns, its sums in registers.
//!
//! Every number of a result is one chain of fused multiply-adds over the inputs in their order. So it does not depend on
//! how many rows are multiplied together, nor on who computes it: a request's numbers are the same alone and in company.

use super::{
    lanes::Lanes,
    panel::{Byte32, Half32, Row32, WIDTH},
};

/// Weights as they are kept: 32 columns of one input.
pub(crate) trait Stored: Copy + Send + Sync + 'static {
    /// What 32 inputs of a panel share.
    type Scale<L: Lanes>: Copy;
    /// That of one chunk of 32 inputs, out of `scales`, `[chunks][column]`; nothing where the weights have none.
    fn scale<L: Lanes>(lanes: L, scales: &[Half32], chunk: usize) -> Self::Scale<L>;
    /// Its 32 columns as float32: the first sixteen, and the others.
    fn load<L: Lanes>(&self, lanes: L, scale: Self::Scale<L>) -> (L::V, L::V);
}

impl Stored for Row32 {
    type Scale<L: Lanes> = ();
    #[inline(always)]
    fn scale<L: Lanes>(_: L, _: &[Half32], _: usize) {}
    #[inline(always)]
    fn load<L: Lanes>(&self, lanes: L, (): ()) -> (L::V, L::V) {
        let (low, high) = self.halves();
        (lanes.load(low), lanes.load(high))
    }
}

/// bfloat16.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bf16(pub(crate) Half32);

impl Stored for Bf16 {
    type Scale<L: Lanes> = ();
    #[inline(always)]
    fn scale<L: Lanes>(_: L, _: &[Half32], _: usize) {}
    #[inline(always)]
    fn load<L: Lanes>(&self, lanes: L, (): ()) -> (L::V, L::V) {
        lanes.bf16(&self.0.0)
    }
}

/// IEEE half precision.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct F16(pub(crate) Half32);

impl Stored for F16 {
    type Scale<L: Lanes> = ();
    #[inline(always)]
    fn scale<L: Lanes>(_: L, _: &[Half32], _: usize) {}
    #[inline(always)]
    fn load<L: Lanes>(&self, lanes: L, (): ()) -> (L::V, L::V) {
        lanes.f16(&self.0.0)
    }
}

/// Bytes; 32 inputs of an output share a half-precision scale (GGML's Q8_0).
impl Stored for Byte32 {
    type Scale<L: Lanes> = (L::V, L::V);
    #[inline(always)]
    fn scale<L: Lanes>(lanes: L, scales: &[Half32], chunk: usize) -> (L::V, L::V) {
        lanes.f16(&scales[chunk].0)
    }
    #[inline(always)]
    fn load<L: Lanes>(&self, lanes: L, scale: (L::V, L::V)) -> (L::V, L::V) {
        let (low, high) = lanes.i8(&self.0);
        (lanes.mul(low, scale.0), lanes.mul(high, scale.1))
    }
}

/// The rows of a tile among the rows of a panel-wise activation `[rows, depth]`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// `[chunk][row]`: 32 inputs of a row.
    pub(crate) data: &'a [Row32],
    /// Rows in all.
    pub(crate) all: usize,
}

/// 32 columns of weights, `[depth, 32]`: a row of 32 for each input, inputs filled up to whole chunks of 32.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a, S> {
    /// `[depth]`
    pub(crate) rows: &'a [S],
    /// One for each chunk of 32 inputs, `[depth / 32]`, where the weights have them.
    pub(crate) scales: &'a [Half32],
}

/// Calls `$tile::<…, ROWS>` with `$count` for ROWS, which is at most 12.
macro_rules! sized {
    ($count:expr, $tile:ident::<$($kind:ident),*>($($argument:expr),*)) => {
        match $count {
            0 => {}
            1 => $tile::<$($kind,)* 1>($($argument),*),
            2 => $tile::<$($kind,)* 2>($($argument),*),
            3 => $tile::<$($kind,)* 3>($($argument),*),
            4 => $tile::<$($kind,)* 4>($($argument),*),
            5 => $tile::<$($kind,)* 5>($($argument),*),
            6 => $tile::<$($kind,)* 6>($($argument),*),
            7 => $tile::<$($kind,)* 7>($($argument),*),
            8 => $tile::<$($kind,)* 8>($($argument),*),
            9 => $tile::<$($kind,)* 9>($($argument),*),
            10 => $tile::<$($kind,)* 10>($($argument),*),
            11 => $tile::<$($kind,)* 11>($($argument),*),
            _ => $tile::<$($kind,)* 12>($($argument),*),
        }
    };
}

/// Calls `$tile::<…, ROWS>` for tiles of nearly equal height that make up all rows of `$out`, ROWS being at most
/// `L::ROWS`. A macro and not a function with a closure: a closure would be compiled without the CPU's vector
/// instructions, since only what is inlined to the last has them.
macro_rules! in_tiles {
    ($lanes:ident, $out:ident, |$first:ident, $part:ident| $tile:ident::<$($kind:ident),*>($($argument:expr),*)) => {
        let tiles = $out.len().div_ceil(L::ROWS).max(1);
        let mut $first = 0;
        for index in 0..tiles {
            let count = ($out.len() - $first) / (tiles - index);
            let $part = &mut $out[$first..$first + count];
            sized!(count, $tile::<$($kind),*>($($argument),*));
            $first += count;
        }
    };
}

/// `out[row] = x[row] · w` for all rows, by tiles: `x` is `[rows, depth]`, `w` `[depth, 32]`, `out` `[rows, 32]`.
#[inline(always)]
pub(crate) fn product<L: Lanes, S: Stored>(lanes: L, x: Rows<'_>, w: Columns<'_, S>, out: &mut [Row32]) {
    in_tiles!(lanes, out, |first, part| tile::<L, S>(lanes, x, w, first, part));
}

/// Several panels of columns beside each other: `out[panel][row] (+)= x[row] · w[panel]`. A tile of rows meets one panel
/// after the other, so that it is read from memory once for all of them. With `ADD` the products are added to what is
/// there. `x` is `[rows, depth]`, `w` `[panels][depth]` and `out` `[panels][rows]`, each of 32 columns.
#[inline(always)]
pub(crate) fn products<L: Lanes, const ADD: bool>(lanes: L, x: Rows<'_>, w: &[Row32], out: &mut [Row32]) {
    let panels = out.len() / x.all;
    let depth = w.len() / panels;
    let tiles = x.all.div_ceil(L::ROWS);
    let mut first = 0;
    for index in 0..tiles {
        let count = (x.all - first) / (tiles - index);
        for (w, out) in w.chunks_exact(depth).zip(out.chunks_exact_mut(x.all)) {
            let out = &mut out[first..first + count];
            sized!(count, added_tile::<L, ADD>(lanes, x, w, first, out));
        }
        first += count;
    }
}

/// A tile of [`products`] in one panel: rows `first` to `first + ROWS` of `x`, `w` `[depth, 32]`, `out` `[ROWS, 32]`.
#[inline(always)]
fn added_tile<L: Lanes, const ADD: bool, const ROWS: usize>(
    lanes: L,
    x: Rows<'_>,
    w: &[Row32],
    first: usize,
    out: &mut [Row32],
) {
    let Some(out) = out.first_chunk_mut::<ROWS>() else { return };
    let mut sums = [(lanes.splat(0.0), lanes.splat(0.0)); ROWS];
    if ADD {
        for (sum, out) in sums.iter_mut().zip(&*out) {
            let (low, high) = out.halves();
            *sum = (lanes.load(low), lanes.load(high));
        }
    }
    for (weights, x) in w.as_chunks::<WIDTH>().0.iter().zip(x.data.chunks_exact(x.all)) {
        let Some(x) = x[first..].first_chunk::<ROWS>() else { break };
        for (k, weight) in weights.iter().enumerate() {
            lanes.prefetch(weight, AHEAD * size_of::<Row32>());
            let (low, high) = weight.load(lanes, ());
            for (sum, x) in sums.iter_mut().zip(x) {
                let value = lanes.splat(x.0[k]);
                *sum = (lanes.fma(value, low, sum.0), lanes.fma(value, high, sum.1));
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        let (low, high) = out.halves_mut();
        lanes.store(sum.0, low);
        lanes.store(sum.1, high);
    }
}

/// How far ahead of the sums weights are asked for, in rows of 32: one page of float32.
const AHEAD: usize = 32;

/// A tile of [`product`]: rows `first` to `first + ROWS` of `x`, `w` `[depth, 32]`, `out` `[ROWS, 32]`.
#[inline(always)]
fn tile<L: Lanes, S: Stored, const ROWS: usize>(
    lanes: L,
    x: Rows<'_>,
    w: Columns<'_, S>,
    first: usize,
    out: &mut [Row32],
) {
    let zero = lanes.splat(0.0);
    let mut sums = [(zero, zero); ROWS];
    let chunks = w.rows.as_chunks::<WIDTH>().0;
    for (index, (weights, x)) in chunks.iter().zip(x.data.chunks_exact(x.all)).enumerate() {
        let Some(x) = x[first..].first_chunk::<ROWS>() else { break };
        let scale = S::scale(lanes, w.scales, index);
        for (k, weight) in weights.iter().enumerate() {
            lanes.prefetch(weight, AHEAD * size_of::<S>());
            let (low, high) = weight.load(lanes, scale);
            for (sum, x) in sums.iter_mut().zip(x) {
                let value = lanes.splat(x.0[k]);
                *sum = (lanes.fma(value, low, sum.0), lanes.fma(value, high, sum.1));
            }
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        let (low, high) = out.halves_mut();
        lanes.store(sum.0, low);
        lanes.store(sum.1, high);
    }
}

/// Adds to `out`, `[rows, 32]`, what one chunk of at most 32 inputs brings: `out[row] += x[row][..depth] · w[..depth]`, with `x`
/// `[rows, 32]` and `w` `[depth, 32]`.
#[inline(always)]
pub(crate) fn accumulate<L: Lanes>(lanes: L, x: &[Row32], w: &[Row32], out: &mut [Row32]) {
    in_tiles!(lanes, out, |first, part| extend::<L>(lanes, &x[first..], w, part));
}

/// A tile of [`accumulate`]: `ROWS` rows of `x` and of `out`.
#[inline(always)]
fn extend<L: Lanes, const ROWS: usize>(lanes: L, x: &[Row32], w: &[Row32], out: &mut [Row32]) {
    let (Some(x), Some(out)) = (x.first_chunk::<ROWS>(), out.first_chunk_mut::<ROWS>()) else { return };
    let mut sums = [(lanes.splat(0.0), lanes.splat(0.0)); ROWS];
    for (sum, out) in sums.iter_mut().zip(&*out) {
        let (low, high) = out.halves();
        *sum = (lanes.load(low), lanes.load(high));
    }
    for (k, weight) in w.iter().take(WIDTH).enumerate() {
        let (low, high) = weight.load(lanes, ());
        for (sum, x) in sums.iter_mut().zip(x) {
            let value = lanes.splat(x.0[k]);
            *sum = (lanes.fma(value, low, sum.0), lanes.fma(value, high, sum.1));
        }
    }
    for (out, sum) in out.iter_mut().zip(sums) {
        let (low, high) = out.halves_mut();
        lanes.store(sum.0, low);
        lanes.store(sum.1, high);
    }
}
