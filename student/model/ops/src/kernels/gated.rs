//! SwiGLU (Shazeer, 2020) over the merged projection, and biases.

use crate::{
    call::{At, Kernel, Launch, strided},
    host::Memory,
};

/// `y = silu(gate) · up` of `x = [gate | up]`.
#[derive(Clone, Copy, Debug)]
pub struct SwiGlu {
    /// `[rows, inner]`
    pub y: At,
    /// `[rows, 2 · inner]`
    pub x: At,
    /// Rows.
    pub rows: usize,
    /// Numbers of a row of `y`.
    pub inner: usize,
}

impl Kernel for SwiGlu {
    fn launch(&self) -> Launch {
        let args = vec![self.y.into(), self.x.into(), self.rows.into(), self.inner.into()];
        Launch::new("swiglu", Some(self.x.dtype()), strided(self.rows * self.inner), args)
    }

    fn define(&self, memory: &mut Memory) {
        for row in 0..self.rows {
            let x = memory.read(self.x.plus(row * 2 * self.inner), 2 * self.inner);
            let (gate, up) = x.split_at(self.inner);
            let y: Vec<f32> = gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
            memory.write(self.y.plus(row * self.inner), &y);
        }
    }
}

/// The gradient of [`SwiGlu`]; `dx` may be `x`.
#[derive(Clone, Copy, Debug)]
pub struct SwiGluBackward {
    /// `[rows, 2 · inner]`
    pub dx: At,
    /// `[rows, 2 · inner]`
    pub x: At,
    /// `[rows, inner]`
    pub dy: At,
    /// Rows.
    pub rows: usize,
    /// Numbers of a row of `dy`.
    pub inner: usize,
}

impl Kernel for SwiGluBackward {
    fn launch(&self) -> Launch {
        let args = vec![self.dx.into(), self.x.into(), self.dy.into(), self.rows.into(), self.inner.into()];
        Launch::new("swiglu_backward", Some(self.x.dtype()), strided(self.rows * self.inner), args)
    }

    fn define(&self, memory: &mut Memory) {
        for row in 0..self.rows {
            let mut x = memory.read(self.x.plus(row * 2 * self.inner), 2 * self.inner);
            let dy = memory.read(self.dy.plus(row * self.inner), self.inner);
            let (gates, ups) = x.split_at_mut(self.inner);
            for ((gate, up), dy) in gates.iter_mut().zip(ups).zip(dy) {
                let sigmoid = 1.0 / (1.0 + (-*gate).exp());
                let silu = *gate * sigmoid;
                let d_gate = dy * *up * (sigmoid + silu * (1.0 - sigmoid));
                (*gate, *up) = (d_gate, dy * silu);
            }
            memory.write(self.dx.plus(row * 2 * self.inner), &x);
        }
    }
}

/// `x += bias` in every row.
#[derive(Clone, Copy, Debug)]
pub struct AddBias {
    /// `[rows, width]`
    pub x: At,
    /// `[width]`, float32.
    pub bias: At,
    /// Rows.
    pub rows: usize,
    /// Numbers of a row.
    pub width: usize,
}

impl Kernel for AddBias {
    fn launch(&self) -> Launch {
        let args = vec![self.x.into(), self.bias.into(), self.rows.into(), self.width.into()];
        Launch::new("add_bias", Some(self.x.dtype()), strided(self.rows * self.width), args)
    }

    fn define(&self, memory: &mut Memory) {
        let bias = memory.read(self.bias, self.width);
        (0..self.rows).for_each(|row| memory.add(self.x.plus(row * self.width), &bias));
    }
}
