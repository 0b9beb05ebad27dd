//! The forward pass on the CPU for decoding: the same function as the Burn model, over plain slices.
//!
//! In: the new tokens of several requests, and where their caches lie. Out: logits. Weights may be kept in the precision
//! they were stored in; what is multiplied is always float32. A request's numbers depend on nothing but its own tokens and
//! the weights: every sum has one order (`tile.rs`), whatever is computed beside it and on however many threads.

mod attention;
mod forward;
mod lanes;
mod matrix;
mod panel;
mod pointwise;
mod rotary;
#[cfg(test)]
mod tests;
mod tile;
pub(crate) mod train;

pub(crate) use forward::Forward;
pub(crate) use panel::Panels;

use lanes::Isa;

/// Softmax weights over a vocabulary, with the CPU's vector instructions.
#[derive(Clone, Copy, Debug)]
pub struct Softmax(Isa);

impl Default for Softmax {
    fn default() -> Softmax {
        Softmax(Isa::detect())
    }
}

impl Softmax {
    /// `out ← e^((logit - largest) · inverse_temperature)`, not divided by their sum, which is returned. `logits` are `[vocab]`, and
    /// `out` becomes as long. The same numbers and the same sum whatever else is computed.
    pub fn exponentials(self, logits: &[f32], largest: f32, inverse_temperature: f32, out: &mut Vec<f32>) -> f64 {
        out.resize(logits.len(), 0.0);
        self.0.run(pointwise::Exponentials { logits, largest, inverse_temperature, out })
    }
}
