//! Parameters with their gradients: matrices in panels, ready for the products of the backward pass, and transposed for
//! those of the forward pass.

use super::product::{Into, multiply, transpose};
use crate::cpu::{
    lanes::Isa,
    panel::{Panels, Row32, WIDTH, panels, rows_of},
};

/// A vector `[len]`: a bias or a norm's weight.
#[derive(Debug)]
pub(super) struct Vector {
    pub(super) len: usize,
    /// In rows of 32, the last filled up with zeros.
    pub(super) values: Vec<Row32>,
    /// In rows of 32 likewise. It is added to.
    pub(super) gradient: Vec<Row32>,
}

impl Vector {
    /// From its numbers, `[len]`, with a gradient of zero.
    pub(super) fn new(values: &[f32]) -> Vector {
        let values_in_rows = rows_of(values);
        Vector { len: values.len(), gradient: vec![Row32::ZERO; values_in_rows.len()], values: values_in_rows }
    }

    /// The numbers alone, `[len]`.
    pub(super) fn plain(&self) -> Vec<f32> {
        self.values.iter().flat_map(|row| row.0).take(self.len).collect()
    }

    /// Adds `gradient`, `[len]`, to its gradient; nothing where that is empty.
    pub(super) fn learn(&mut self, gradient: &[f32]) {
        for (row, part) in self.gradient.iter_mut().zip(gradient.chunks(WIDTH)) {
            row.0.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
    }
}

/// A matrix `[outputs, inputs]`; its rows are filled up with zeros to a multiple of 32.
#[derive(Debug)]
pub(super) struct Matrix {
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// `[outputs, inputs]`, which lie as `[panel of inputs][output]`.
    pub(super) values: Panels,
    /// `[outputs, inputs]` likewise. It is added to.
    pub(super) gradient: Panels,
    /// The transpose `[inputs, outputs]`, which lies as `[panel of outputs][input]`, as of the last [`Matrix::refresh`]; nothing
    /// where no product needs it. Its rows are filled up to a multiple of 32 too.
    forward: Option<Panels>,
}

impl Matrix {
    /// From row-major values `[outputs, inputs]`, with a gradient of zero.
    pub(super) fn new(isa: Isa, values: &[f32], inputs: usize) -> Matrix {
        let mut matrix = Matrix::table(values, inputs);
        matrix.forward = Some(Panels::zeros(panels(inputs) * WIDTH, matrix.outputs));
        matrix.refresh(isa);
        matrix
    }

    /// The same for a matrix that is only looked up in.
    pub(super) fn table(values: &[f32], inputs: usize) -> Matrix {
        let outputs = values.len() / inputs;
        let rows = panels(outputs) * WIDTH;
        let mut matrix = Matrix {
            outputs,
            inputs,
            values: Panels::zeros(rows, inputs),
            gradient: Panels::zeros(rows, inputs),
            forward: None,
        };
        for (row, values) in values.chunks_exact(inputs).enumerate() {
            matrix.values.set_row(row, 0, values);
        }
        matrix
    }

    /// The first `outputs` rows of `[rows, inputs]`, row-major: `[outputs, inputs]`.
    pub(super) fn to_rows(panels: &Panels, outputs: usize) -> Vec<f32> {
        let mut out = vec![0.0; outputs * panels.width];
        for (row, out) in out.chunks_exact_mut(panels.width).enumerate() {
            panels.copy_row(row, 0, out);
        }
        out
    }

    /// Brings the forward pass up to the values.
    pub(super) fn refresh(&mut self, isa: Isa) {
        if let Some(forward) = &mut self.forward {
            transpose(isa, &self.values, forward);
        }
    }

    /// Room for what comes out for so many rows: `[rows, outputs]` of zeros.
    pub(super) fn room(&self, rows: usize) -> Panels {
        Panels::zeros(rows, self.outputs)
    }

    /// `out (+)= x · wᵀ`, with `x` `[rows, inputs]` and `out` `[rows, outputs]`.
    pub(super) fn apply(&self, isa: Isa, x: &Panels, out: &mut Panels, into: Into) {
        if let Some(forward) = &self.forward {
            multiply(isa, x, forward, out, into);
        }
    }

    /// `dx (+)= dy · w`, with `dy` `[rows, outputs]` and `dx` `[rows, inputs]`.
    pub(super) fn back(&self, isa: Isa, dy: &Panels, dx: &mut Panels, into: Into) {
        multiply(isa, dy, &self.values, dx, into);
    }

    /// `dw += dyᵀ · x`, with `dy` transposed `[outputs, rows]` and `x` `[rows, inputs]`; rows are a multiple of 32, and so are those
    /// of `dy` transposed.
    pub(super) fn learn(&mut self, isa: Isa, dy_transposed: &Panels, x: &Panels) {
        multiply(isa, dy_transposed, x, &mut self.gradient, Into::Add);
    }
}
