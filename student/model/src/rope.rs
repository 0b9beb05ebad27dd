//! Rotary position embeddings (Su et al., 2021) in the half-split layout of Hugging Face checkpoints: dimension `j` of
//! the first half turns with dimension `j` of the second. Burn's own rotates interleaved pairs, which is another model.

use burn::tensor::{Device, Tensor, TensorData};

/// What turns the positions of a model: radians per position for each pair, and a factor on cosines and sines.
#[derive(Clone, Debug)]
pub(crate) struct Frequencies {
    pub(crate) per_position: Vec<f32>,
    pub(crate) factor: f32,
}

/// Cosines and sines of the positions of one forward pass, `[1, 1, seq, head_dim]` each.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rope {
    /// Angles for the positions `start..start + seq`: float32 products, as the reference forms them.
    pub(crate) fn new(start: usize, seq: usize, frequencies: &Frequencies, device: &Device) -> Self {
        let half = frequencies.per_position.len();
        let table = |function: fn(f64) -> f64| {
            let value = |index: usize| {
                let angle = (start + index / (2 * half)) as f32 * frequencies.per_position[index % half];
                function(f64::from(angle)) as f32 * frequencies.factor
            };
            let values: Vec<f32> = (0..seq * 2 * half).map(value).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, seq, 2 * half]), device)
        };
        Rope { cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Rotates `[batch, heads, seq, head_dim]`.
    pub(crate) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, heads, seq, dim] = x.dims();
        let first = x.clone().slice([0..batch, 0..heads, 0..seq, 0..dim / 2]);
        let second = x.clone().slice([0..batch, 0..heads, 0..seq, dim / 2..dim]);
        x * self.cos.clone() + Tensor::cat(vec![second.neg(), first], 3) * self.sin.clone()
    }
}
