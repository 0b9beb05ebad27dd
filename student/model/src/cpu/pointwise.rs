//! What is computed number by number: the exponential, the gate of the feed-forward block, norms, softmax weights.

use super::{
    lanes::{Kernel, Lanes},
    panel::{Panels, Row32},
};

/// Rows from which work on single numbers is shared out between threads.
const SHARED_ROWS: usize = 48;

/// `e^x` of sixteen numbers, to about one unit in the last place; exactly zero below -104 (and for minus infinity), finite
/// everywhere.
#[inline(always)]
pub(crate) fn exp<L: Lanes>(lanes: L, x: L::V) -> L::V {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Cephes' polynomial for e^r - 1 - r over r², on ±ln 2 / 2.
    const POLYNOMIAL: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let x = lanes.min(lanes.max(x, lanes.splat(-110.0)), lanes.splat(88.0));
    let n = lanes.round(lanes.mul(x, lanes.splat(std::f32::consts::LOG2_E)));
    let r = lanes.fma(n, lanes.splat(-LN_2_HIGH), x);
    let r = lanes.fma(n, lanes.splat(-LN_2_LOW), r);
    let mut p = lanes.splat(POLYNOMIAL[0]);
    for coefficient in &POLYNOMIAL[1..] {
        p = lanes.fma(p, r, lanes.splat(*coefficient));
    }
    let p = lanes.add(lanes.fma(p, lanes.mul(r, r), r), lanes.splat(1.0));
    // In two halves, so that results below the smallest normal number are reached and zero after them.
    let half = lanes.round(lanes.mul(n, lanes.splat(0.5)));
    let rest = lanes.fma(half, lanes.splat(-1.0), n);
    lanes.mul(lanes.mul(p, lanes.power_of_two(half)), lanes.power_of_two(rest))
}

/// The sum of sixteen lanes, always in the same order.
#[inline(always)]
pub(crate) fn sum<L: Lanes>(lanes: L, value: L::V) -> f32 {
    let mut values = [0.0; 16];
    lanes.store(value, &mut values);
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            values[lane] += values[lane + width];
        }
    }
    values[0]
}

/// The largest of sixteen lanes.
#[inline(always)]
pub(crate) fn largest<L: Lanes>(lanes: L, value: L::V) -> f32 {
    let mut values = [0.0; 16];
    lanes.store(value, &mut values);
    values.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// One panel of SwiGLU (Shazeer, 2020): `gate ← gate / (1 + e^-gate) · up`.
pub(crate) struct Gate<'a> {
    /// `[rows, 32]`; written over.
    pub(crate) gate: &'a mut [Row32],
    /// `[rows, 32]`
    pub(crate) up: &'a [Row32],
}

impl Kernel for Gate<'_> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) {
        for (gate, up) in self.gate.iter_mut().zip(self.up) {
            let ((gate_low, gate_high), (up_low, up_high)) = (gate.halves_mut(), up.halves());
            gate_by(lanes, gate_low, up_low);
            gate_by(lanes, gate_high, up_high);
        }
    }
}

/// Sixteen numbers of [`Gate`].
#[inline(always)]
fn gate_by<L: Lanes>(lanes: L, gate: &mut [f32; 16], up: &[f32; 16]) {
    let x = lanes.load(gate);
    let divisor = lanes.add(lanes.splat(1.0), exp(lanes, lanes.mul(x, lanes.splat(-1.0))));
    lanes.store(lanes.mul(lanes.div(x, divisor), lanes.load(up)), gate);
}

/// RMSNorm (Zhang and Sennrich, 2019) of every row: what comes out, `[rows, width]`, is `x · scale · weight` with
/// `scale = 1 / √(mean(x²) + eps)`.
pub(crate) struct Norm<'a> {
    /// `[rows, width]`
    pub(crate) x: &'a Panels,
    /// `[width]`, in rows of 32.
    pub(crate) weight: &'a [Row32],
    /// Added to the mean square.
    pub(crate) eps: f32,
}

impl Kernel for Norm<'_> {
    type Output = Panels;
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> Panels {
        let Norm { x, weight, eps } = self;
        let rows = x.rows;
        let mut sums = vec![(lanes.splat(0.0), lanes.splat(0.0)); rows];
        for panel in x.data.chunks_exact(rows.max(1)) {
            for (sum, x) in sums.iter_mut().zip(panel) {
                let (low, high) = x.halves();
                let (low, high) = (lanes.load(low), lanes.load(high));
                *sum = (lanes.fma(low, low, sum.0), lanes.fma(high, high, sum.1));
            }
        }
        let mut scales = Vec::with_capacity(rows);
        for (low, high) in sums {
            scales.push(1.0 / (sum(lanes, lanes.add(low, high)) / x.width as f32 + eps).sqrt());
        }
        let mut out = Panels { rows, width: x.width, data: Vec::with_capacity(x.data.len()) };
        for (panel, weight) in x.data.chunks_exact(rows.max(1)).zip(weight) {
            let (weight_low, weight_high) = weight.halves();
            let (weight_low, weight_high) = (lanes.load(weight_low), lanes.load(weight_high));
            for (x, scale) in panel.iter().zip(&scales) {
                let (low, high) = x.halves();
                let scale = lanes.splat(*scale);
                let mut row = Row32::ZERO;
                let (out_low, out_high) = row.halves_mut();
                lanes.store(lanes.mul(lanes.mul(lanes.load(low), scale), weight_low), out_low);
                lanes.store(lanes.mul(lanes.mul(lanes.load(high), scale), weight_high), out_high);
                out.data.push(row);
            }
        }
        out
    }
}

/// `out ← out + product (+ bias)` in one panel: `out` and `product` are `[rows, 32]`, `bias` is `[32]`.
pub(crate) fn add(out: &mut [Row32], product: &[Row32], bias: Option<&Row32>) {
    for (out, product) in out.iter_mut().zip(product) {
        for (lane, (out, product)) in out.0.iter_mut().zip(product.0).enumerate() {
            *out += product + bias.map_or(0.0, |bias| bias.0[lane]);
        }
    }
}

/// `out ← product (+ bias)` in one panel: `out` and `product` are `[rows, 32]`, `bias` is `[32]`.
pub(crate) fn set(out: &mut [Row32], product: &[Row32], bias: Option<&Row32>) {
    for (out, product) in out.iter_mut().zip(product) {
        *out = *product;
        if let Some(bias) = bias {
            out.0.iter_mut().zip(bias.0).for_each(|(out, bias)| *out += bias);
        }
    }
}

/// `out ← e^((logit - largest) / temperature)`; returns their sum. Divided by it, they are a softmax's weights.
pub(crate) struct Exponentials<'a> {
    /// `[vocab]`
    pub(crate) logits: &'a [f32],
    /// The largest of them.
    pub(crate) largest: f32,
    /// One over the temperature.
    pub(crate) inverse_temperature: f32,
    /// `[vocab]`; written over.
    pub(crate) out: &'a mut [f32],
}

impl Kernel for Exponentials<'_> {
    type Output = f64;
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> f64 {
        let (largest, factor) = (lanes.splat(-self.largest), lanes.splat(self.inverse_temperature));
        let (chunks, rest) = self.logits.as_chunks::<16>();
        let (out_chunks, out_rest) = self.out.as_chunks_mut::<16>();
        let mut total = 0.0;
        // Sums of 64 chunks in float32, then float64: exact enough for any vocabulary, always in one order.
        for (logits, out) in chunks.chunks(64).zip(out_chunks.chunks_mut(64)) {
            let mut part = lanes.splat(0.0);
            for (logits, out) in logits.iter().zip(out) {
                let weight = exp(lanes, lanes.mul(lanes.add(lanes.load(logits), largest), factor));
                lanes.store(weight, out);
                part = lanes.add(part, weight);
            }
            total += f64::from(sum(lanes, part));
        }
        if !rest.is_empty() {
            let (mut logits, mut out) = ([f32::NEG_INFINITY; 16], [0.0; 16]);
            logits[..rest.len()].copy_from_slice(rest);
            let weight = exp(lanes, lanes.mul(lanes.add(lanes.load(&logits), largest), factor));
            lanes.store(weight, &mut out);
            total += f64::from(sum(lanes, weight));
            out_rest.copy_from_slice(&out[..rest.len()]);
        }
        total
    }
}

/// Whether this many rows are worth more than one thread for work on single numbers.
pub(crate) fn shared(rows: usize) -> bool {
    rows >= SHARED_ROWS && rayon::current_num_threads() > 1
}
