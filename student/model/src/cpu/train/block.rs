//! One transformer block, forward and backward: `middle = x + o(attention(norm(x)))`, and out comes
//! `middle + down(silu(gate(norm(middle))) · up(norm(middle)))`. The names of shapes are those of `mod.rs`.

use super::{
    attention::{Layer, Projected, Shape},
    pointwise::{add_bias, add_columns, gated, gated_backward, norm, norm_backward},
    product::{Into, transpose},
    weights::{Matrix, Vector},
};
use crate::cpu::{
    lanes::Isa,
    panel::{Panels, WIDTH, panels},
};

/// A linear map.
#[derive(Debug)]
pub(super) struct Linear {
    /// `[outputs, inputs]`
    pub(super) weight: Matrix,
    /// `[outputs]`
    pub(super) bias: Option<Vector>,
}

impl Linear {
    /// `x · wᵀ + bias`: `[rows, inputs]` → `[rows, outputs]`.
    fn apply(&self, isa: Isa, x: &Panels) -> Panels {
        let mut out = self.weight.room(x.rows);
        self.weight.apply(isa, x, &mut out, Into::Set);
        if let Some(bias) = &self.bias {
            add_bias(&mut out, &bias.values);
        }
        out
    }

    /// `out += x · wᵀ + bias`, with `x` `[rows, inputs]` and `out` `[rows, outputs]`.
    fn add_to(&self, isa: Isa, x: &Panels, out: &mut Panels) {
        self.weight.apply(isa, x, out, Into::Add);
        if let Some(bias) = &self.bias {
            add_bias(out, &bias.values);
        }
    }

    /// Learns from the gradient of what came out, and passes on that of what came in: `dw += dyᵀ · x`,
    /// `dbias += Σ over rows of dy`, `dx (+)= dy · w`. `x` and `dx` are `[rows, inputs]`, `dy` is `[rows, outputs]`.
    fn backward(&mut self, isa: Isa, x: &Panels, dy: &Panels, dx: &mut Panels, into: Into) {
        let mut flipped = Panels::zeros(panels(dy.width) * WIDTH, dy.rows);
        transpose(isa, dy, &mut flipped);
        self.weight.learn(isa, &flipped, x);
        if let Some(bias) = &mut self.bias {
            add_columns(dy, &mut bias.gradient);
        }
        self.weight.back(isa, dy, dx, into);
    }
}

/// A block's parameters.
#[derive(Debug)]
pub(super) struct Block {
    /// `[hidden]`
    pub(super) input_norm: Vector,
    /// `[heads · dim, hidden]`
    pub(super) q: Linear,
    /// `[kv_heads · dim, hidden]`
    pub(super) k: Linear,
    /// `[kv_heads · dim, hidden]`
    pub(super) v: Linear,
    /// `[dim]`
    pub(super) q_norm: Option<Vector>,
    /// `[dim]`
    pub(super) k_norm: Option<Vector>,
    /// `[hidden, heads · dim]`
    pub(super) o: Linear,
    /// `[hidden]`
    pub(super) post_norm: Vector,
    /// `[inner, hidden]`
    pub(super) gate: Linear,
    /// `[inner, hidden]`
    pub(super) up: Linear,
    /// `[hidden, inner]`
    pub(super) down: Linear,
    /// Positions that a token sees, its own included, if that is limited.
    pub(super) window: Option<usize>,
}

/// What the backward pass needs of the forward pass, beside what came in.
#[derive(Debug)]
pub(super) struct Kept {
    /// The norm's, `[rows]`.
    input_scales: Vec<f32>,
    projected: Projected,
    /// What attention mixed, `[rows, heads · dim]`.
    mixed: Panels,
    /// The logarithms of the queries' sums, `[documents · heads][tokens]`.
    sums: Vec<Vec<f32>>,
    /// After attention, `[rows, hidden]`.
    middle: Panels,
    /// The norm's, `[rows]`.
    middle_scales: Vec<f32>,
    /// `[rows, inner]`
    gate: Panels,
    /// `[rows, inner]`
    up: Panels,
}

impl Kept {
    /// Floats kept for each row.
    pub(super) fn floats(block: &Block) -> usize {
        let projections = [&block.q, &block.k, &block.v, &block.q, &block.o, &block.gate, &block.up];
        projections.iter().map(|linear| panels(linear.weight.outputs) * WIDTH).sum()
    }
}

impl Block {
    /// What comes out for `x`, `[rows, hidden]` → `[rows, hidden]`, and what the backward pass needs.
    pub(super) fn forward(&self, shape: Shape<'_>, x: &Panels) -> (Panels, Kept) {
        let isa = shape.isa;
        let eps = shape.heads.eps;
        let mut normed = Panels::zeros(x.rows, x.width);
        let input_scales = norm(isa, x, &self.input_norm.values, eps, &mut normed);
        let projected =
            Projected { q: self.q.apply(isa, &normed), k: self.k.apply(isa, &normed), v: self.v.apply(isa, &normed) };
        let mut mixed = Panels::zeros(x.rows, projected.q.width);
        let norms = self.head_norms();
        let sums = shape.forward(norms.layer(self.window), &projected, &mut mixed);
        let mut middle = x.clone();
        self.o.add_to(isa, &mixed, &mut middle);
        let middle_scales = norm(isa, &middle, &self.post_norm.values, eps, &mut normed);
        let (gate, up) = (self.gate.apply(isa, &normed), self.up.apply(isa, &normed));
        let mut inner = Panels::zeros(x.rows, gate.width);
        gated(isa, &gate, &up, &mut inner);
        let mut out = middle.clone();
        self.down.add_to(isa, &inner, &mut out);
        (out, Kept { input_scales, projected, mixed, sums, middle, middle_scales, gate, up })
    }

    /// Learns from `dy`, the gradient of what came out, and turns it into that of `x`, what came in: both `[rows, hidden]`.
    pub(super) fn backward(&mut self, shape: Shape<'_>, x: &Panels, kept: Kept, dy: &mut Panels) {
        let isa = shape.isa;
        let Kept { input_scales, projected, mixed, sums, middle, middle_scales, mut gate, mut up } = kept;
        let mut inner = Panels::zeros(x.rows, gate.width);
        gated(isa, &gate, &up, &mut inner);
        let mut d_inner = Panels::zeros(x.rows, gate.width);
        self.down.backward(isa, &inner, dy, &mut d_inner, Into::Set);
        drop(inner);
        gated_backward(isa, &mut gate, &mut up, &d_inner);
        drop(d_inner);
        let mut normed = Panels::zeros(x.rows, x.width);
        let eps = shape.heads.eps;
        norm(isa, &middle, &self.post_norm.values, eps, &mut normed);
        let mut d_normed = Panels::zeros(x.rows, x.width);
        self.gate.backward(isa, &normed, &gate, &mut d_normed, Into::Set);
        self.up.backward(isa, &normed, &up, &mut d_normed, Into::Add);
        drop((gate, up));
        let post_norm = (self.post_norm.values.as_slice(), self.post_norm.gradient.as_mut_slice());
        norm_backward(isa, (&middle, &middle_scales), post_norm, &d_normed, dy);
        let mut d_mixed = Panels::zeros(x.rows, mixed.width);
        self.o.backward(isa, &mixed, dy, &mut d_mixed, Into::Set);
        let norms = self.head_norms();
        let (d, learnt) = shape.backward(norms.layer(self.window), &projected, (&mixed, &sums), &d_mixed);
        for (norm, gradient) in [(&mut self.q_norm, learnt.q), (&mut self.k_norm, learnt.k)] {
            if let Some(norm) = norm {
                norm.learn(&gradient);
            }
        }
        norm(isa, x, &self.input_norm.values, eps, &mut normed);
        self.q.backward(isa, &normed, &d.q, &mut d_normed, Into::Set);
        self.k.backward(isa, &normed, &d.k, &mut d_normed, Into::Add);
        self.v.backward(isa, &normed, &d.v, &mut d_normed, Into::Add);
        let input_norm = (self.input_norm.values.as_slice(), self.input_norm.gradient.as_mut_slice());
        norm_backward(isa, (x, &input_scales), input_norm, &d_normed, dy);
    }

    /// Its head norms as plain numbers.
    fn head_norms(&self) -> HeadNorms {
        let plain = |norm: &Option<Vector>| norm.as_ref().map(Vector::plain);
        HeadNorms { q: plain(&self.q_norm), k: plain(&self.k_norm) }
    }
}

/// Weights of the norms of query and key heads, `[dim]` each.
struct HeadNorms {
    q: Option<Vec<f32>>,
    k: Option<Vec<f32>>,
}

impl HeadNorms {
    /// A layer's own part of attention.
    fn layer(&self, window: Option<usize>) -> Layer<'_> {
        Layer { q_norm: self.q.as_deref(), k_norm: self.k.as_deref(), window }
    }
}
