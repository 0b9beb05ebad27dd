//! What training computes number by number: norms and gates forward and backward, sums of columns, the update.
//!
//! Work is shared out by panels, and every sum is formed in an order that does not depend on the number of threads.

use crate::cpu::{
    lanes::{Isa, Kernel, Lanes},
    panel::{Panels, Row32},
    pointwise::{exp, sum},
};
use distill_ops::kernels::AdamNumbers;
use rayon::prelude::*;

/// RMSNorm (Zhang and Sennrich, 2019) of every row: `out ← x · scale · weight`, with `scale = 1 / √(mean(x²) + eps)`.
///
/// `x` and `out` are `[rows, width]`, `weight` is `[width]`; `[rows]` scales are returned.
pub(super) fn norm(isa: Isa, x: &Panels, weight: &[Row32], eps: f32, out: &mut Panels) -> Vec<f32> {
    let sums = row_sums(isa, x, x);
    let scales: Vec<f32> = sums.iter().map(|sum| 1.0 / (sum / x.width as f32 + eps).sqrt()).collect();
    let (rows, panels) = (x.rows.max(1), out.data.par_chunks_exact_mut(x.rows.max(1)));
    panels.zip(x.data.par_chunks_exact(rows)).zip(weight).for_each(|((out, x), weight)| {
        isa.run(Scale { x, scales: &scales, weight, out });
    });
    scales
}

/// The gradient of [`norm`] (of the formula of Zhang and Sennrich, 2019), row by row:
/// `dx += scale · (weight·dy − x · scale² · mean(x · weight · dy))` and `gradient += Σ over rows of dy · x · scale`.
///
/// `x`, `dy` and `dx` are `[rows, width]`, `scales` `[rows]`, `weight` and its `gradient` `[width]`. Both `dx` and `gradient` are
/// added to.
pub(super) fn norm_backward(
    isa: Isa,
    (x, scales): (&Panels, &[f32]),
    (weight, gradient): (&[Row32], &mut [Row32]),
    dy: &Panels,
    dx: &mut Panels,
) {
    // dx = scale · (w·dy − x · scale² · mean(x·w·dy))
    let rows = x.rows.max(1);
    let weighted: Vec<Vec<f32>> = x
        .data
        .par_chunks_exact(rows)
        .zip(dy.data.par_chunks_exact(rows))
        .zip(weight)
        .map(|((x, dy), weight)| isa.run(WeightedDots { x, dy, weight }))
        .collect();
    let dots = in_order(&weighted, x.rows);
    let factors: Vec<f32> =
        dots.iter().zip(scales).map(|(dot, scale)| -dot * scale * scale * scale / x.width as f32).collect();
    let sides = x.data.par_chunks_exact(rows).zip(dy.data.par_chunks_exact(rows)).zip(weight);
    dx.data.par_chunks_exact_mut(rows).zip(gradient).zip(sides).for_each(|((dx, gradient), ((x, dy), weight))| {
        isa.run(NormBackward { x, dy, weight, scales, factors: &factors, dx, gradient });
    });
}

/// The sum over every row of `a · b`: `[rows]`, of two matrices `[rows, width]`.
pub(super) fn row_sums(isa: Isa, a: &Panels, b: &Panels) -> Vec<f32> {
    let rows = a.rows.max(1);
    let parts: Vec<Vec<f32>> =
        a.data.par_chunks_exact(rows).zip(b.data.par_chunks_exact(rows)).map(|(a, b)| isa.run(Dots { a, b })).collect();
    in_order(&parts, a.rows)
}

/// The same on one thread, within a piece of work.
pub(super) fn serial_row_sums(isa: Isa, a: &Panels, b: &Panels) -> Vec<f32> {
    let rows = a.rows.max(1);
    let parts = a.data.chunks_exact(rows).zip(b.data.chunks_exact(rows)).map(|(a, b)| isa.run(Dots { a, b }));
    in_order(&parts.collect::<Vec<_>>(), a.rows)
}

/// `[panels][rows]` → `[rows]`: the sums of panels, one panel after the other.
fn in_order(parts: &[Vec<f32>], rows: usize) -> Vec<f32> {
    let mut sums = vec![0.0; rows];
    for part in parts {
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// The sums over each row of one panel of `a · b`: `[rows]`.
struct Dots<'a> {
    /// `[rows, 32]`
    a: &'a [Row32],
    /// `[rows, 32]`
    b: &'a [Row32],
}

impl Kernel for Dots<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.a.len());
        for (a, b) in self.a.iter().zip(self.b) {
            let ((a_low, a_high), (b_low, b_high)) = (a.halves(), b.halves());
            let low = lanes.mul(lanes.load(a_low), lanes.load(b_low));
            out.push(sum(lanes, lanes.fma(lanes.load(a_high), lanes.load(b_high), low)));
        }
        out
    }
}

/// The sums over each row of one panel of `x · weight · dy`: `[rows]`.
struct WeightedDots<'a> {
    /// `[rows, 32]`
    x: &'a [Row32],
    /// `[rows, 32]`
    dy: &'a [Row32],
    /// `[32]`
    weight: &'a Row32,
}

impl Kernel for WeightedDots<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> Vec<f32> {
        let (low, high) = self.weight.halves();
        let (weight_low, weight_high) = (lanes.load(low), lanes.load(high));
        let mut out = Vec::with_capacity(self.x.len());
        for (x, dy) in self.x.iter().zip(self.dy) {
            let ((x_low, x_high), (dy_low, dy_high)) = (x.halves(), dy.halves());
            let low = lanes.mul(lanes.mul(lanes.load(x_low), weight_low), lanes.load(dy_low));
            let high = lanes.mul(lanes.load(x_high), weight_high);
            out.push(sum(lanes, lanes.fma(high, lanes.load(dy_high), low)));
        }
        out
    }
}

/// One panel of [`norm`]: `out ← x · scale · weight`.
struct Scale<'a> {
    /// `[rows, 32]`
    x: &'a [Row32],
    /// `[rows]`
    scales: &'a [f32],
    /// `[32]`
    weight: &'a Row32,
    /// `[rows, 32]`
    out: &'a mut [Row32],
}

impl Kernel for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) {
        let (low, high) = self.weight.halves();
        let (weight_low, weight_high) = (lanes.load(low), lanes.load(high));
        for ((x, scale), out) in self.x.iter().zip(self.scales).zip(self.out) {
            let scale = lanes.splat(*scale);
            let ((low, high), (out_low, out_high)) = (x.halves(), out.halves_mut());
            lanes.store(lanes.mul(lanes.mul(lanes.load(low), scale), weight_low), out_low);
            lanes.store(lanes.mul(lanes.mul(lanes.load(high), scale), weight_high), out_high);
        }
    }
}

/// One panel of [`norm_backward`]: `dx += weight · scale · dy + x · factor`, `gradient += Σ over rows of dy · x · scale`.
struct NormBackward<'a> {
    /// `[rows, 32]`
    x: &'a [Row32],
    /// `[rows, 32]`
    dy: &'a [Row32],
    /// `[32]`
    weight: &'a Row32,
    /// `[rows]`
    scales: &'a [f32],
    /// `−scale³ · mean(x · weight · dy)`, `[rows]`.
    factors: &'a [f32],
    /// `[rows, 32]`; added to.
    dx: &'a mut [Row32],
    /// `[32]`; added to.
    gradient: &'a mut Row32,
}

impl Kernel for NormBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) {
        let NormBackward { x, dy, weight, scales, factors, dx, gradient } = self;
        let (weights, gradients) = (weight.halves(), gradient.halves_mut());
        for (half, (weight, gradient)) in [(weights.0, gradients.0), (weights.1, gradients.1)].into_iter().enumerate() {
            let weight = lanes.load(weight);
            let mut learnt = lanes.splat(0.0);
            let pick = |row: &'_ Row32| -> [f32; 16] { if half == 0 { *row.halves().0 } else { *row.halves().1 } };
            for (((x, dy), (scale, factor)), dx) in x.iter().zip(dy).zip(scales.iter().zip(factors)).zip(&mut *dx) {
                let (x, dy) = (lanes.load(&pick(x)), lanes.load(&pick(dy)));
                let scale = lanes.splat(*scale);
                let normed = lanes.mul(x, scale);
                learnt = lanes.fma(normed, dy, learnt);
                let out = if half == 0 { dx.halves_mut().0 } else { dx.halves_mut().1 };
                let before = lanes.fma(lanes.mul(weight, scale), dy, lanes.load(out));
                lanes.store(lanes.fma(x, lanes.splat(*factor), before), out);
            }
            lanes.store(lanes.add(lanes.load(gradient), learnt), gradient);
        }
    }
}

/// SwiGLU (Shazeer, 2020): `out ← silu(gate) · up`, with `silu(x) = x · σ(x)`. All are `[rows, inner]`.
pub(super) fn gated(isa: Isa, gate: &Panels, up: &Panels, out: &mut Panels) {
    let sides = gate.data.par_chunks(CHUNK).zip(up.data.par_chunks(CHUNK));
    out.data.par_chunks_mut(CHUNK).zip(sides).for_each(|(out, (gate, up))| isa.run(Gated { gate, up, out }));
}

/// The gradient of [`gated`] (of the formula of Shazeer, 2020), number by number:
/// `gate ← dy · up · σ(gate) · (1 + gate · (1 − σ(gate)))` and `up ← dy · silu(gate)`.
///
/// All are `[rows, inner]`; `gate` and `up` come as they were and go as their gradients.
pub(super) fn gated_backward(isa: Isa, gate: &mut Panels, up: &mut Panels, dy: &Panels) {
    let sides = gate.data.par_chunks_mut(CHUNK).zip(up.data.par_chunks_mut(CHUNK));
    sides.zip(dy.data.par_chunks(CHUNK)).for_each(|((gate, up), dy)| isa.run(GatedBackward { gate, up, dy }));
}

/// Rows of 32 that a thread takes at a time.
const CHUNK: usize = 1024;

/// Some rows of 32 of [`gated`], as many of each.
struct Gated<'a> {
    gate: &'a [Row32],
    up: &'a [Row32],
    /// Written over.
    out: &'a mut [Row32],
}

impl Kernel for Gated<'_> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) {
        for ((gate, up), out) in self.gate.iter().zip(self.up).zip(self.out) {
            let (out_low, out_high) = out.halves_mut();
            gate_half(lanes, gate.halves().0, up.halves().0, out_low);
            gate_half(lanes, gate.halves().1, up.halves().1, out_high);
        }
    }
}

/// Some rows of 32 of [`gated_backward`], as many of each.
struct GatedBackward<'a> {
    /// Becomes its gradient.
    gate: &'a mut [Row32],
    /// Becomes its gradient.
    up: &'a mut [Row32],
    dy: &'a [Row32],
}

impl Kernel for GatedBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) {
        for ((gate, up), dy) in self.gate.iter_mut().zip(self.up).zip(self.dy) {
            let ((gate_low, gate_high), (up_low, up_high)) = (gate.halves_mut(), up.halves_mut());
            gate_half_backward(lanes, gate_low, up_low, dy.halves().0);
            gate_half_backward(lanes, gate_high, up_high, dy.halves().1);
        }
    }
}

// Functions and not closures, which would be compiled without the CPU's vector instructions.

/// Sixteen numbers of `out ← silu(gate) · up`.
#[inline(always)]
fn gate_half<L: Lanes>(lanes: L, gate: &[f32; 16], up: &[f32; 16], out: &mut [f32; 16]) {
    let x = lanes.load(gate);
    lanes.store(lanes.mul(lanes.mul(x, logistic(lanes, x)), lanes.load(up)), out);
}

/// Sixteen numbers of `gate` and `up` → their gradients.
#[inline(always)]
fn gate_half_backward<L: Lanes>(lanes: L, gate: &mut [f32; 16], up: &mut [f32; 16], dy: &[f32; 16]) {
    let (x, u, dy) = (lanes.load(gate), lanes.load(up), lanes.load(dy));
    let one = lanes.splat(1.0);
    let sigma = logistic(lanes, x);
    let silu = lanes.mul(x, sigma);
    // d silu(x) = σ · (1 + x · (1 − σ))
    let slope = lanes.mul(sigma, lanes.fma(x, lanes.fma(sigma, lanes.splat(-1.0), one), one));
    lanes.store(lanes.mul(lanes.mul(dy, u), slope), gate);
    lanes.store(lanes.mul(dy, silu), up);
}

/// `σ(x) = 1 / (1 + e^-x)` of sixteen numbers.
#[inline(always)]
fn logistic<L: Lanes>(lanes: L, x: L::V) -> L::V {
    let one = lanes.splat(1.0);
    lanes.div(one, lanes.add(one, exp(lanes, lanes.mul(x, lanes.splat(-1.0)))))
}

/// Adds `bias`, `[width]`, to every row of `x`, `[rows, width]`.
pub(super) fn add_bias(x: &mut Panels, bias: &[Row32]) {
    let rows = x.rows.max(1);
    x.data.par_chunks_exact_mut(rows).zip(bias).for_each(|(panel, bias)| {
        panel.iter_mut().for_each(|row| row.0.iter_mut().zip(&bias.0).for_each(|(value, bias)| *value += bias));
    });
}

/// Adds the sums of all columns of `x`, `[rows, width]`, to `out`, `[width]`: a bias's gradient.
pub(super) fn add_columns(x: &Panels, out: &mut [Row32]) {
    let rows = x.rows.max(1);
    x.data.par_chunks_exact(rows).zip(out).for_each(|(panel, out)| {
        let mut total = Row32::ZERO;
        panel.iter().for_each(|row| total.0.iter_mut().zip(&row.0).for_each(|(total, value)| *total += value));
        out.0.iter_mut().zip(&total.0).for_each(|(out, total)| *out += total);
    });
}

/// The sum of all squares of any number of rows of 32, in float64, in an order that is always the same.
pub(super) fn squares(isa: Isa, values: &[Row32]) -> f64 {
    let parts: Vec<f64> = values.par_chunks(CHUNK).map(|values| isa.run(Squares { values })).collect();
    parts.iter().sum()
}

/// The sum of the squares of some rows of 32.
struct Squares<'a> {
    values: &'a [Row32],
}

impl Kernel for Squares<'_> {
    type Output = f64;
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> f64 {
        let mut total = 0.0;
        for values in self.values.chunks(64) {
            let mut part = lanes.splat(0.0);
            for value in values {
                let (low, high) = value.halves();
                let (low, high) = (lanes.load(low), lanes.load(high));
                part = lanes.fma(high, high, lanes.fma(low, low, part));
            }
            total += f64::from(sum(lanes, part));
        }
        total
    }
}

/// One parameter's values and what belongs to them: as many rows of 32 of each, in the same order.
pub(super) struct Moved<'a> {
    pub(super) values: &'a mut [Row32],
    pub(super) gradient: &'a [Row32],
    /// The first moments.
    pub(super) first: &'a mut [Row32],
    /// The second moments.
    pub(super) second: &'a mut [Row32],
}

/// A step of AdamW (Loshchilov and Hutter, 2019), number by number, as [`super::AdamStep`] has it; values and moments are
/// written over: `w ← w · kept − step_size · m / (√v · root + epsilon)`, where `step_size = η / (1 − β₁ᵗ)`,
/// `root = 1 / √(1 − β₂ᵗ)` and `kept = 1 − η·λ`.
pub(super) fn update(isa: Isa, moved: Moved<'_>, adam: AdamNumbers) {
    let moments = moved.first.par_chunks_mut(CHUNK).zip(moved.second.par_chunks_mut(CHUNK));
    let sides = moved.values.par_chunks_mut(CHUNK).zip(moved.gradient.par_chunks(CHUNK));
    sides.zip(moments).for_each(|((values, gradient), (first, second))| {
        isa.run(Update(Moved { values, gradient, first, second }, adam));
    });
}

/// Some rows of 32 of [`update`].
struct Update<'a>(Moved<'a>, AdamNumbers);

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, _: L) {
        let Update(Moved { values, gradient, first, second }, adam) = self;
        let moments = first.iter_mut().zip(second);
        for ((value, gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
            let moments = first.0.iter_mut().zip(&mut second.0);
            for ((value, gradient), (first, second)) in value.0.iter_mut().zip(&gradient.0).zip(moments) {
                let gradient = gradient * adam.scale;
                *first = *first * adam.betas[0] + gradient * adam.rests[0];
                *second = *second * adam.betas[1] + gradient * gradient * adam.rests[1];
                let denominator = second.sqrt() * adam.root + adam.epsilon;
                *value = *value * adam.kept - *first * adam.step_size / denominator;
            }
        }
    }
}
