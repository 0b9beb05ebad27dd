//! Rotary position embeddings (Su et al., 2021) in the half-split layout of Hugging Face checkpoints: dimension `j` of
//! the first half turns with dimension `j` of the second. Burn's own rotates interleaved pairs, which is another model.

use burn::tensor::{Device, Tensor, TensorData};

/// Cosines and sines of the positions of one forward pass, `[1, 1, seq, head_dim]` each.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rope {
    /// Angles for the positions `start..start + seq`, computed in float64.
    pub(crate) fn new(start: usize, seq: usize, head_dim: usize, theta: f64, device: &Device) -> Self {
        let half = head_dim / 2;
        let angle = |index: usize| {
            let (position, dimension) = (start + index / head_dim, index % head_dim % half);
            position as f64 / theta.powf(2.0 * dimension as f64 / head_dim as f64)
        };
        let table = |function: fn(f64) -> f64| {
            let values: Vec<f32> = (0..seq * head_dim).map(|index| function(angle(index)) as f32).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, seq, head_dim]), device)
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
