//! Named tensors ↔ parameters. One list says which parameter has which name in the Hugging Face layout; loading, saving
//! and random initialisation all walk it.

use crate::{ModelError, attention::Projection, decoder::Decoder};
use burn::{
    module::Param,
    tensor::{Device, Tensor, TensorData},
};
use distill_checkpoint::{Checkpoint, ModelConfig};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

/// A parameter, by what its bytes mean.
enum Slot<'m> {
    /// `[vocab, hidden]`, stored as it is.
    Embedding(&'m mut Param<Tensor<2>>),
    /// Stored `[out, in]`, held `[in, out]`.
    Weight(&'m mut Param<Tensor<2>>),
    /// One number for each output.
    Bias(&'m mut Param<Tensor<1>>),
    /// The scale of a norm.
    Scale(&'m mut Param<Tensor<1>>),
}

/// One parameter of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the Hugging Face layout.
    pub name: String,
    /// Its dimensions in the Hugging Face layout.
    pub shape: Vec<usize>,
    /// How many numbers it holds.
    pub len: usize,
    /// Whether it is a matrix (and decays) or a bias or scale.
    pub is_matrix: bool,
}

impl Decoder {
    /// Random weights: normal with the configuration's standard deviation, norms one, biases zero. They depend on the
    /// seed and the shape alone.
    pub fn init(config: &ModelConfig, seed: u64, device: &Device) -> Decoder {
        let mut decoder = Decoder::empty(config, device);
        let mut random = Normal { rng: ChaCha8Rng::seed_from_u64(seed), spare: None };
        for (_, slot) in decoder.slots() {
            let (Slot::Embedding(param) | Slot::Weight(param)) = slot else { continue };
            let shape = param.dims();
            let values: Vec<f32> =
                (0..shape[0] * shape[1]).map(|_| (random.next() * config.initializer_range) as f32).collect();
            *param = Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device));
        }
        decoder
    }

    /// Loads a checkpoint: every weight goes straight from the file to its place.
    ///
    /// # Errors
    /// When a tensor is missing, has another shape, or cannot be read; when the checkpoint holds one that the model does
    /// not have.
    pub fn load(checkpoint: &Checkpoint, device: &Device) -> Result<Decoder, ModelError> {
        let mut decoder = Decoder::empty(checkpoint.config(), device);
        for (name, slot) in decoder.slots() {
            match slot {
                Slot::Embedding(param) => {
                    let shape = param.dims();
                    let data = checkpoint.read(&name, &shape)?;
                    *param = Param::from_tensor(Tensor::from_data(TensorData::new(data, shape), device));
                }
                Slot::Weight(param) => {
                    let [input, output] = param.dims();
                    let data = transposed(&checkpoint.read(&name, &[output, input])?, input);
                    *param = Param::from_tensor(Tensor::from_data(TensorData::new(data, [input, output]), device));
                }
                Slot::Bias(param) | Slot::Scale(param) => {
                    let shape = param.dims();
                    let data = checkpoint.read(&name, &shape)?;
                    *param = Param::from_tensor(Tensor::from_data(TensorData::new(data, shape), device));
                }
            }
        }
        Ok(decoder)
    }

    /// One parameter by its Hugging Face name, row-major in the Hugging Face layout; nothing for an unknown name. A tied
    /// output projection has no name of its own.
    pub fn read(&self, name: &str) -> Option<Vec<f32>> {
        let values = |data: TensorData| data.convert::<f32>().try_to_vec::<f32>().unwrap_or_default();
        let mut copy = self.clone();
        let (_, slot) = copy.slots().into_iter().find(|(found, _)| found == name)?;
        Some(match slot {
            Slot::Embedding(param) => values(param.val().into_data()),
            Slot::Weight(param) => values(param.val().transpose().into_data()),
            Slot::Bias(param) | Slot::Scale(param) => values(param.val().into_data()),
        })
    }

    /// All parameters in a fixed order, by their Hugging Face names.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut copy = self.clone();
        let parameters = copy.slots().into_iter().map(|(name, slot)| {
            let (shape, is_matrix) = match slot {
                Slot::Embedding(param) => (param.dims().to_vec(), true),
                Slot::Weight(param) => (param.dims().into_iter().rev().collect(), true),
                Slot::Bias(param) | Slot::Scale(param) => (param.dims().to_vec(), false),
            };
            Parameter { name, len: shape.iter().product(), shape, is_matrix }
        });
        parameters.collect()
    }

    fn slots(&mut self) -> Vec<(String, Slot<'_>)> {
        let mut slots = vec![("model.embed_tokens.weight".to_owned(), Slot::Embedding(&mut self.embedding))];
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let at = |name: &str| format!("model.layers.{index}.{name}");
            slots.push((at("input_layernorm.weight"), Slot::Scale(&mut block.input_norm.weight)));
            let attention = &mut block.attention;
            let projections = [
                ("self_attn.q_proj", &mut attention.q),
                ("self_attn.k_proj", &mut attention.k),
                ("self_attn.v_proj", &mut attention.v),
                ("self_attn.o_proj", &mut attention.o),
            ];
            for (name, projection) in projections {
                projection_slots(&at(name), projection, &mut slots);
            }
            for (name, norm) in
                [("self_attn.q_norm", &mut attention.q_norm), ("self_attn.k_norm", &mut attention.k_norm)]
            {
                if let Some(norm) = norm {
                    slots.push((at(&format!("{name}.weight")), Slot::Scale(&mut norm.weight)));
                }
            }
            slots.push((at("post_attention_layernorm.weight"), Slot::Scale(&mut block.post_norm.weight)));
            for (name, projection) in
                [("mlp.gate_proj", &mut block.gate), ("mlp.up_proj", &mut block.up), ("mlp.down_proj", &mut block.down)]
            {
                projection_slots(&at(name), projection, &mut slots);
            }
        }
        slots.push(("model.norm.weight".to_owned(), Slot::Scale(&mut self.norm.weight)));
        if let Some(head) = &mut self.head {
            projection_slots("lm_head", head, &mut slots);
        }
        slots
    }
}

fn projection_slots<'m>(name: &str, projection: &'m mut Projection, slots: &mut Vec<(String, Slot<'m>)>) {
    slots.push((format!("{name}.weight"), Slot::Weight(&mut projection.weight)));
    if let Some(bias) = &mut projection.bias {
        slots.push((format!("{name}.bias"), Slot::Bias(bias)));
    }
}

/// A row-major matrix of `columns` columns, transposed: square by square, so that both sides stay in the cache.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    const SIDE: usize = 32;
    let rows = matrix.len() / columns;
    let mut out = vec![0.0; matrix.len()];
    out.par_chunks_mut(SIDE * rows).enumerate().for_each(|(stripe, out)| {
        let first = stripe * SIDE;
        for start in (0..rows).step_by(SIDE) {
            for (column, out) in out.chunks_exact_mut(rows).enumerate() {
                for row in start..rows.min(start + SIDE) {
                    out[row] = matrix[row * columns + first + column];
                }
            }
        }
    });
    out
}

/// Standard normal numbers by the polar method (Marsaglia and Bray, 1964), in float64.
struct Normal {
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Normal {
    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (u, v) = (self.rng.random::<f64>() * 2.0 - 1.0, self.rng.random::<f64>() * 2.0 - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let factor = (-2.0 * s.ln() / s).sqrt();
                self.spare = Some(v * factor);
                return u * factor;
            }
        }
    }
}
