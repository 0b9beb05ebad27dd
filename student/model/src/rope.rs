//! Rotary position embeddings (Su et al., 2021) in the half-split layout of Hugging Face checkpoints: dimension `j` of
//! the first half turns with dimension `j` of the second. Burn's own rotates interleaved pairs, which is another model.

use burn::tensor::{DType, Device, Tensor, TensorData};
use distill_checkpoint::ModelConfig;

/// What turns the positions of a model: radians per position for each pair, and a factor on cosines and sines.
#[derive(Clone, Debug)]
pub(crate) struct Frequencies {
    pub(crate) per_position: Vec<f32>,
    pub(crate) factor: f32,
}

impl Frequencies {
    /// Those of a model.
    pub(crate) fn of(config: &ModelConfig) -> Frequencies {
        Frequencies {
            per_position: config.rope.inverse_frequencies(config.head_dim),
            factor: config.rope.attention_factor(),
        }
    }

    /// A function of one position's angles, for each dimension of a head: float32 products, as the reference forms them.
    pub(crate) fn row(&self, position: usize, function: fn(f64) -> f64) -> impl Iterator<Item = f32> {
        let half = self.per_position.len();
        (0..2 * half).map(move |index| {
            let angle = position as f32 * self.per_position[index % half];
            function(f64::from(angle)) as f32 * self.factor
        })
    }
}

/// Cosines and sines of the positions of one forward pass, `[1, 1, seq, head_dim]` each.
#[derive(Clone, Debug)]
pub(crate) struct Rope {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rope {
    /// Angles for the positions from 0, in the precision of what is rotated.
    pub(crate) fn new(seq: usize, frequencies: &Frequencies, dtype: DType, device: &Device) -> Self {
        let dim = 2 * frequencies.per_position.len();
        let table = |function: fn(f64) -> f64| {
            let values: Vec<f32> = (0..seq).flat_map(|position| frequencies.row(position, function)).collect();
            Tensor::<4>::from_data(TensorData::new(values, [1, 1, seq, dim]), device).cast(dtype)
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
