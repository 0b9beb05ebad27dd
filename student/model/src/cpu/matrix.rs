//! A weight matrix, packed for products: in the precision it is kept in, 32 outputs beside each other.

use super::{
    lanes::{Isa, Kernel, Lanes},
    panel::{Byte32, Half32, Panels, Row32, WIDTH, panels},
    tile::{Bf16, Columns, F16, Rows, Stored, product},
};
use distill_checkpoint::Dtype;
use half::{bf16, f16};
use rayon::prelude::*;

/// `[outputs, inputs]` of weights.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    inputs: usize,
    pub(crate) outputs: usize,
    kept: Kept,
}

/// `[panel of outputs][input]`, inputs filled up with zeros to whole chunks of 32.
#[derive(Clone, Debug)]
enum Kept {
    F32(Vec<Row32>),
    Bf16(Vec<Bf16>),
    F16(Vec<F16>),
    /// With a scale for each chunk of 32 inputs, `[panel][chunk]`.
    Q8(Vec<Byte32>, Vec<Half32>),
}

impl Matrix {
    /// Packs row-major weights `[outputs, inputs]`. They are rounded to `dtype`: float32, float16, bfloat16 or Q8_0;
    /// anything else is kept as float32.
    pub(crate) fn pack(weights: &[f32], inputs: usize, dtype: Dtype) -> Matrix {
        let outputs = weights.len() / inputs;
        let depth = panels(inputs) * WIDTH;
        // One panel as float32, `[depth]` rows.
        let panel = |index: usize, row: &mut dyn FnMut(usize, Row32)| {
            let first = index * WIDTH;
            let count = (outputs - first).min(WIDTH);
            for input in 0..depth {
                let mut out = Row32::ZERO;
                if input < inputs {
                    for (column, out) in out.0[..count].iter_mut().enumerate() {
                        *out = weights[(first + column) * inputs + input];
                    }
                }
                row(input, out);
            }
        };
        let kept = match dtype {
            Dtype::BF16 => {
                let round = |row: Row32| {
                    let at = |index: usize| bf16::from_f32(row.0[index / 2 + index % 2 * 16]).to_bits();
                    Bf16(Half32(std::array::from_fn(at)))
                };
                Kept::Bf16(fill(panels(outputs), depth, Bf16(Half32([0; WIDTH])), |index, out| {
                    panel(index, &mut |input, row| out[input] = round(row));
                }))
            }
            Dtype::F16 => {
                let round = |row: Row32| F16(Half32(row.0.map(|value| f16::from_f32(value).to_bits())));
                Kept::F16(fill(panels(outputs), depth, F16(Half32([0; WIDTH])), |index, out| {
                    panel(index, &mut |input, row| out[input] = round(row));
                }))
            }
            Dtype::Q8_0 => {
                let float = fill(panels(outputs), depth, Row32::ZERO, |index, out| {
                    panel(index, &mut |input, row| out[input] = row);
                });
                let (bytes, scales) = float.par_chunks_exact(WIDTH).map(quantise).collect::<(Vec<_>, Vec<_>)>();
                Kept::Q8(bytes.into_iter().flatten().collect(), scales)
            }
            _ => Kept::F32(fill(panels(outputs), depth, Row32::ZERO, |index, out| {
                panel(index, &mut |input, row| out[input] = row);
            })),
        };
        Matrix { inputs, outputs, kept }
    }

    /// The weights of one output, a row of an embedding, into `out`, `[inputs]`: float32.
    pub(crate) fn output_into(&self, output: usize, out: &mut [f32]) {
        let depth = panels(self.inputs) * WIDTH;
        let (start, lane) = (output / WIDTH * depth, output % WIDTH);
        let rows = start..start + self.inputs;
        match &self.kept {
            Kept::F32(weights) => {
                for (out, row) in out.iter_mut().zip(&weights[rows]) {
                    *out = row.0[lane];
                }
            }
            Kept::Bf16(weights) => {
                let place = lane % 16 * 2 + lane / 16;
                for (out, row) in out.iter_mut().zip(&weights[rows]) {
                    *out = bf16::from_bits(row.0.0[place]).to_f32();
                }
            }
            Kept::F16(weights) => {
                for (out, row) in out.iter_mut().zip(&weights[rows]) {
                    *out = f16::from_bits(row.0.0[lane]).to_f32();
                }
            }
            Kept::Q8(weights, scales) => {
                for (index, (out, row)) in out.iter_mut().zip(&weights[rows]).enumerate() {
                    let scale = f16::from_bits(scales[(start + index) / WIDTH].0[lane]).to_f32();
                    *out = f32::from(row.0[lane]) * scale;
                }
            }
        }
    }

    /// `x · wᵀ` of `x`, `[rows, inputs]`, panel by panel of the result: `finish` gets a panel's index, its product, `[rows, 32]`, and
    /// its part of `out`, `[rows, 32]` of `[rows, outputs]`.
    pub(crate) fn multiply(
        &self,
        isa: Isa,
        x: &Panels,
        out: &mut Panels,
        finish: impl Fn(usize, &[Row32], &mut [Row32]) + Sync,
    ) {
        let rows = x.rows;
        if rows == 0 {
            return;
        }
        out.data.par_chunks_exact_mut(rows).enumerate().for_each_init(
            || vec![Row32::ZERO; rows],
            |product, (panel, out)| {
                self.panel(isa, x, panel, product);
                finish(panel, product, out);
            },
        );
    }

    /// One panel of `x · wᵀ`: `x` is `[rows, inputs]`, `out` `[rows, 32]`.
    pub(crate) fn panel(&self, isa: Isa, x: &Panels, panel: usize, out: &mut [Row32]) {
        let chunks = panels(self.inputs);
        let depth = chunks * WIDTH;
        let rows = Rows { data: &x.data, all: x.rows };
        let part = panel * depth..(panel + 1) * depth;
        match &self.kept {
            Kept::F32(weights) => isa.run(Product { rows, w: Columns { rows: &weights[part], scales: &[] }, out }),
            Kept::Bf16(weights) => isa.run(Product { rows, w: Columns { rows: &weights[part], scales: &[] }, out }),
            Kept::F16(weights) => isa.run(Product { rows, w: Columns { rows: &weights[part], scales: &[] }, out }),
            Kept::Q8(weights, scales) => {
                let w = Columns { rows: &weights[part], scales: &scales[panel * chunks..(panel + 1) * chunks] };
                isa.run(Product { rows, w, out });
            }
        }
    }
}

/// One panel of a product.
struct Product<'a, S> {
    /// `[rows, inputs]`
    rows: Rows<'a>,
    /// `[inputs, 32]`
    w: Columns<'a, S>,
    /// `[rows, 32]`
    out: &'a mut [Row32],
}

impl<S: Stored> Kernel for Product<'_, S> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) {
        product(lanes, self.rows, self.w, self.out);
    }
}

/// `count` panels of `depth` rows, `[count][depth]`, each filled by itself.
fn fill<S: Clone + Send>(count: usize, depth: usize, empty: S, panel: impl Fn(usize, &mut [S]) + Sync) -> Vec<S> {
    let mut rows = vec![empty; count * depth];
    rows.par_chunks_exact_mut(depth).enumerate().for_each(|(index, out)| panel(index, out));
    rows
}

/// 32 inputs of 32 outputs, `[input][output]`, to bytes in the same order, as GGML's Q8_0 does for each output: a scale that takes
/// the largest to 127, rounded to half precision; `[32]` scales, one for each output.
fn quantise(chunk: &[Row32]) -> ([Byte32; WIDTH], Half32) {
    let (mut bytes, mut scales) = ([Byte32([0; WIDTH]); WIDTH], Half32([0; WIDTH]));
    for lane in 0..WIDTH {
        let largest = chunk.iter().fold(0.0_f32, |largest, row| largest.max(row.0[lane].abs()));
        let scale = largest / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        scales.0[lane] = f16::from_f32(scale).to_bits();
        for (byte, row) in bytes.iter_mut().zip(chunk) {
            byte.0[lane] = (row.0[lane] * inverse).round() as i8;
        }
    }
    (bytes, scales)
}
