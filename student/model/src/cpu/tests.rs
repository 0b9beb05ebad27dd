//! The kernels against plain arithmetic, on every instruction set that this CPU has.

use super::{
    lanes::{Isa, Kernel, Lanes},
    matrix::Matrix,
    panel::{Panels, Row32},
    pointwise::{Exponentials, exp},
};
use distill_checkpoint::Dtype;

fn every_isa() -> Vec<Isa> {
    let mut found = vec![Isa::Portable, Isa::detect()];
    #[cfg(target_arch = "x86_64")]
    found.extend(Isa::avx2());
    found
}

/// Numbers in -1..1 that look random.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn activation(rows: usize, width: usize, values: &[f32]) -> Panels {
    let mut panels = Panels::zeros(rows, width);
    for (row, values) in values.chunks_exact(width).enumerate() {
        panels.set_row(row, 0, values);
    }
    panels
}

fn row(panels: &Panels, row: usize) -> Vec<f32> {
    let mut out = vec![0.0; panels.width];
    panels.copy_row(row, 0, &mut out);
    out
}

fn multiply(matrix: &Matrix, isa: Isa, x: &Panels) -> Panels {
    let mut out = Panels::zeros(x.rows, matrix.outputs);
    matrix.multiply(isa, x, &mut out, |_, product, out| out.copy_from_slice(product));
    out
}

#[test]
fn products_equal_plain_sums_in_every_precision() {
    let (inputs, outputs, rows) = (70, 45, 29);
    let weights = numbers(inputs * outputs, 1);
    let values = numbers(inputs * rows, 2);
    let x = activation(rows, inputs, &values);
    for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::Q8_0] {
        let matrix = Matrix::pack(&weights, inputs, dtype);
        // What the matrix says its weights are; how far they were rounded is judged apart.
        let mut kept = vec![0.0; inputs * outputs];
        for (output, kept) in kept.chunks_exact_mut(inputs).enumerate() {
            matrix.output_into(output, kept);
        }
        let rounding = kept.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let allowed = match dtype {
            Dtype::F32 => 0.0,
            Dtype::BF16 => 1.0 / 256.0,
            Dtype::F16 => 1.0 / 2048.0,
            _ => 1.0 / 200.0,
        };
        assert!(rounding <= allowed, "{dtype:?}: weights are off by {rounding}, allowed {allowed}");
        for isa in every_isa() {
            let found = multiply(&matrix, isa, &x);
            for (index, x) in values.chunks_exact(inputs).enumerate() {
                for (found, weights) in row(&found, index).into_iter().zip(kept.chunks_exact(inputs)) {
                    let expected: f64 = x.iter().zip(weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    assert!((f64::from(found) - expected).abs() < 1e-5, "{dtype:?} {isa:?}: {found} for {expected}");
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_in_any_company() {
    let (inputs, outputs) = (96, 64);
    let matrix = Matrix::pack(&numbers(inputs * outputs, 3), inputs, Dtype::F32);
    let values = numbers(inputs * 40, 4);
    for isa in every_isa() {
        let alone: Vec<Vec<f32>> = values
            .chunks_exact(inputs)
            .map(|values| row(&multiply(&matrix, isa, &activation(1, inputs, values)), 0))
            .collect();
        for rows in 1..=40 {
            let together = multiply(&matrix, isa, &activation(rows, inputs, &values[..rows * inputs]));
            for (index, alone) in alone.iter().take(rows).enumerate() {
                assert_eq!(&row(&together, index), alone, "{isa:?}: row {index} of {rows}");
            }
        }
    }
}

struct Exp<'a>(&'a mut [Row32]);

impl Kernel for Exp<'_> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) {
        for row in self.0 {
            let (low, high) = row.halves_mut();
            lanes.store(exp(lanes, lanes.load(low)), low);
            lanes.store(exp(lanes, lanes.load(high)), high);
        }
    }
}

#[test]
fn the_exponential_is_exact_to_the_last_bits_and_zero_far_below() {
    for isa in every_isa() {
        for start in -86..88 {
            let mut rows = [Row32(std::array::from_fn(|lane| start as f32 + lane as f32 / 32.0))];
            let inputs = rows[0].0;
            isa.run(Exp(&mut rows));
            for (x, found) in inputs.into_iter().zip(rows[0].0) {
                let expected = f64::from(x).exp();
                let error = (f64::from(found) - expected).abs() / expected;
                assert!(error < 2e-7, "{isa:?}: e^{x} is {found:e}, expected {expected:e}");
            }
        }
        let mut rows = [Row32([f32::NEG_INFINITY; 32])];
        isa.run(Exp(&mut rows));
        assert_eq!(rows[0], Row32::ZERO, "{isa:?}: what is not seen weighs nothing");
    }
}

#[test]
fn softmax_weights_sum_to_what_is_returned() {
    for len in [1, 16, 17, 1024, 2000] {
        let logits: Vec<f32> = numbers(len, 5).iter().map(|value| value * 9.0).collect();
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for isa in every_isa() {
            let mut out = vec![0.0; len];
            let total =
                isa.run(Exponentials { logits: &logits, largest: most, inverse_temperature: 1.5, out: &mut out });
            let expected: f64 = logits.iter().map(|logit| (f64::from(logit - most) * 1.5).exp()).sum();
            assert!((total - expected).abs() < 1e-5 * expected, "{isa:?}: {total}, expected {expected}");
            let kept: f64 = out.iter().map(|weight| f64::from(*weight)).sum();
            assert!((total - kept).abs() < 1e-5 * expected, "{isa:?}: the sum {total} is that of the weights, {kept}");
        }
    }
}
