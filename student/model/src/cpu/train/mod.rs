//! Training on the CPU: the gradients of a decoder, formed by hand over plain slices, and AdamW.
//!
//! Documents in, one after the other with nothing between them; the loss out, and gradients that add up until a step is
//! taken. The same function as the Burn model to float32 rounding. Every sum has one order, so that the same batch gives the
//! same gradients on any number of threads.
//!
//! # Shapes
//!
//! | name | what it counts |
//! |---|---|
//! | `rows` | tokens of all documents, filled up to a multiple of 32 |
//! | `tokens` | tokens of one document |
//! | `hidden`, `inner`, `vocab` | widths of the residual stream, of the feed-forward block, of the logits |
//! | `heads`, `kv_heads`, `dim` | query heads, key and value heads, numbers of a head |
//!
//! Everything is float32. A matrix `[rows, width]` is a [`Panels`]: 32 columns of every row lie together, `[panel][row]`. A
//! slice of [`Row32`] is one panel, `[rows, 32]`, or a vector in rows of 32, where nothing else is said. Weights and their
//! gradients are `[outputs, inputs]`. `dx` is the gradient of the loss for `x`, and has the shape of `x`.

mod attention;
mod block;
mod loss;
mod pointwise;
mod product;
#[cfg(test)]
mod tests;
mod weights;

pub use loss::{Label, LossOptions, LossSum};
pub use product::fastest_product;

use self::{
    attention::{Shape, Span},
    block::{Block, Kept, Linear},
    loss::cross_entropy,
    pointwise::{Moved, norm, norm_backward, squares, update},
    weights::{Matrix, Vector},
};
use super::{
    attention::Heads,
    lanes::Isa,
    panel::{Panels, Row32, WIDTH, panels},
    rotary::Rotary,
};
use crate::{ModelError, rope::Frequencies, weights::Parameter};
use distill_checkpoint::{Checkpoint, ModelConfig};
use distill_ops::kernels::AdamNumbers;
use rayon::prelude::*;

/// Activations that are kept without being asked about, in bytes.
const AUTO_BYTES: usize = 4 << 30;

/// Documents to learn from; positions begin anew with each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents {
    /// Their tokens, one document after the other: as many as the lengths sum up to.
    pub tokens: Vec<u32>,
    /// How many tokens each has, `[documents]`.
    pub lengths: Vec<usize>,
    /// What is to be predicted, one label for each row that predicts something.
    pub labels: Vec<Label>,
}

impl Documents {
    /// The sum of the labels' weights.
    pub fn weight(&self) -> f64 {
        self.labels.iter().map(|label| f64::from(label.weight)).sum()
    }
}

/// Whether what the backward pass needs of a block is kept or computed again. The gradients are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// Again where keeping it would take more than 4 GiB on the CPU, or more than is free on a device.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// One step `t` of AdamW (Loshchilov and Hutter, 2019), for each number `w` with its gradient times `scale`, `g`:
///
/// `m ← β₁·m + (1 − β₁)·g`, `v ← β₂·v + (1 − β₂)·g²`,
/// `w ← w·(1 − η·λ) − η·(m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)`
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Its number `t`, from 1.
    pub count: u64,
    /// The learning rate `η`.
    pub learning_rate: f64,
    /// What gradients are multiplied by first: clipping.
    pub scale: f64,
    /// Decay of the first and of the second moment, `β₁` and `β₂`.
    pub betas: [f64; 2],
    /// Added to the root of the second moment, `ε`.
    pub epsilon: f64,
    /// Decoupled weight decay `λ`.
    pub weight_decay: f64,
}

impl AdamStep {
    /// What of it is the same for every number of a parameter. Without `decays`, `λ` is 0.
    pub(crate) fn numbers(&self, decays: bool) -> AdamNumbers {
        let correction = |beta: f64| 1.0 - beta.powi(i32::try_from(self.count).unwrap_or(i32::MAX));
        let decay = if decays { self.learning_rate * self.weight_decay } else { 0.0 };
        AdamNumbers {
            scale: self.scale as f32,
            betas: self.betas.map(|beta| beta as f32),
            rests: self.betas.map(|beta| (1.0 - beta) as f32),
            step_size: (self.learning_rate / correction(self.betas[0])) as f32,
            root: (1.0 / correction(self.betas[1]).sqrt()) as f32,
            epsilon: self.epsilon as f32,
            kept: (1.0 - decay) as f32,
        }
    }
}

/// What is kept for each number of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The number.
    Value,
    /// Its gradient.
    Gradient,
    /// The first moment.
    First,
    /// The second moment.
    Second,
}

/// A decoder with its gradients and moments, in float32.
#[derive(Debug)]
pub struct Learner {
    isa: Isa,
    /// `[vocab, hidden]`
    embedding: Matrix,
    /// `[vocab, hidden]`; absent when the embedding is the output projection.
    head: Option<Matrix>,
    blocks: Vec<Block>,
    /// `[hidden]`
    norm: Vector,
    heads: Heads,
    rotary: Rotary,
    hidden: usize,
    /// First and second moments, by parameter: as many rows of 32 as its values have, in their order.
    moments: Vec<[Vec<Row32>; 2]>,
}

/// Where a parameter is.
enum Slot<'a> {
    Matrix(&'a mut Matrix),
    Vector(&'a mut Vector),
}

impl Slot<'_> {
    /// Its values and its gradient, `[panel of inputs][output]` for a matrix, rows of 32 for a vector.
    fn rows(&mut self) -> (&mut [Row32], &mut [Row32]) {
        match self {
            Slot::Matrix(matrix) => (&mut matrix.values.data, &mut matrix.gradient.data),
            Slot::Vector(vector) => (&mut vector.values, &mut vector.gradient),
        }
    }

    /// Its name and shape: `[outputs, inputs]` for a matrix, `[len]` for a vector.
    fn parameter(&self, name: String) -> Parameter {
        let (shape, is_matrix) = match self {
            Slot::Matrix(matrix) => (vec![matrix.outputs, matrix.inputs], true),
            Slot::Vector(vector) => (vec![vector.len], false),
        };
        Parameter { name, len: shape.iter().product(), shape, is_matrix }
    }
}

impl Learner {
    /// Loads a checkpoint, with gradients and moments of zero.
    ///
    /// # Errors
    /// When a parameter is missing, has another shape, or cannot be read.
    pub fn load(checkpoint: &Checkpoint) -> Result<Learner, ModelError> {
        let (config, isa) = (checkpoint.config(), Isa::detect());
        let load = Load { checkpoint, isa };
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let width = config.num_attention_heads * config.head_dim;
        let block = |index: usize| -> Result<Block, ModelError> {
            let at = |name: &str| format!("model.layers.{index}.{name}");
            let linear = |name: &str, inputs: usize, bias: bool| load.linear(&at(name), inputs, bias);
            let head_norm = |name: &str| config.qk_norm().then(|| load.vector(&at(name))).transpose();
            let (bias, mlp) = (config.qkv_bias(), config.mlp_bias);
            Ok(Block {
                input_norm: load.vector(&at("input_layernorm.weight"))?,
                q: linear("self_attn.q_proj", hidden, bias)?,
                k: linear("self_attn.k_proj", hidden, bias)?,
                v: linear("self_attn.v_proj", hidden, bias)?,
                q_norm: head_norm("self_attn.q_norm.weight")?,
                k_norm: head_norm("self_attn.k_norm.weight")?,
                o: linear("self_attn.o_proj", width, config.output_bias())?,
                post_norm: load.vector(&at("post_attention_layernorm.weight"))?,
                gate: linear("mlp.gate_proj", hidden, mlp)?,
                up: linear("mlp.up_proj", hidden, mlp)?,
                down: linear("mlp.down_proj", inner, mlp)?,
                window: config.window(index),
            })
        };
        let tied = config.tie_word_embeddings;
        let embedding = checkpoint.parameter("model.embed_tokens.weight")?;
        let mut learner = Learner {
            isa,
            embedding: if tied { Matrix::new(isa, &embedding, hidden) } else { Matrix::table(&embedding, hidden) },
            head: (!tied).then(|| load.matrix("lm_head.weight", hidden)).transpose()?,
            blocks: (0..config.num_hidden_layers).map(block).collect::<Result<_, _>>()?,
            norm: load.vector("model.norm.weight")?,
            heads: heads(config),
            rotary: Rotary::new(Frequencies::of(config)),
            hidden,
            moments: Vec::new(),
        };
        let zeros = |rows: usize| [vec![Row32::ZERO; rows], vec![Row32::ZERO; rows]];
        learner.moments = learner.slots().into_iter().map(|(_, mut slot)| zeros(slot.rows().0.len())).collect();
        Ok(learner)
    }

    /// Adds the gradients of these documents' loss, divided by `options.divisor`, to those of every parameter; returns the
    /// loss, in nats, not divided. Activations are `[rows, hidden]`.
    pub fn accumulate(&mut self, documents: &Documents, options: LossOptions, recompute: Recompute) -> LossSum {
        let isa = self.isa;
        let (x, spans) = self.enter(documents);
        let heads = self.heads.clone();
        let shape = Shape { isa, heads: &heads, rotary: &self.rotary, spans: &spans };
        let floats = self.blocks.first().map_or(0, Kept::floats) * self.blocks.len() * x.rows;
        let keep = match recompute {
            Recompute::Auto => floats * 4 <= AUTO_BYTES,
            Recompute::Always => false,
            Recompute::Never => true,
        };
        let mut inputs = vec![x];
        let mut kept = Vec::new();
        for block in &self.blocks {
            let (out, part) = block.forward(shape, &inputs[inputs.len() - 1]);
            kept.push(keep.then_some(part));
            inputs.push(out);
        }
        let Some(last) = inputs.pop() else { return LossSum::default() };
        let mut normed = Panels::zeros(last.rows, last.width);
        let scales = norm(isa, &last, &self.norm.values, heads.eps, &mut normed);
        let mut d_normed = Panels::zeros(last.rows, last.width);
        let head = self.head.as_mut().unwrap_or(&mut self.embedding);
        let loss = cross_entropy(isa, &normed, &documents.labels, options, head, Some(&mut d_normed));
        let mut dx = Panels::zeros(last.rows, last.width);
        let weight = (self.norm.values.as_slice(), self.norm.gradient.as_mut_slice());
        norm_backward(isa, (&last, &scales), weight, &d_normed, &mut dx);
        drop((last, normed, d_normed));
        for block in self.blocks.iter_mut().rev() {
            let (Some(x), Some(part)) = (inputs.pop(), kept.pop()) else { break };
            let part = part.unwrap_or_else(|| block.forward(shape, &x).1);
            block.backward(shape, &x, part, &mut dx);
        }
        let gradient = self.embedding.gradient.data.par_chunks_exact_mut(self.embedding.gradient.rows);
        gradient.zip(dx.data.par_chunks_exact(dx.rows.max(1))).for_each(|(gradient, dx)| {
            for (token, dx) in documents.tokens.iter().zip(dx) {
                gradient[*token as usize].0.iter_mut().zip(&dx.0).for_each(|(sum, value)| *sum += value);
            }
        });
        loss
    }

    /// The loss of these documents, in nats, not divided, without learning.
    pub fn loss(&mut self, documents: &Documents, options: LossOptions) -> LossSum {
        let isa = self.isa;
        let (mut x, spans) = self.enter(documents);
        let shape = Shape { isa, heads: &self.heads, rotary: &self.rotary, spans: &spans };
        for block in &self.blocks {
            x = block.forward(shape, &x).0;
        }
        let mut normed = Panels::zeros(x.rows, x.width);
        norm(isa, &x, &self.norm.values, self.heads.eps, &mut normed);
        let head = self.head.as_mut().unwrap_or(&mut self.embedding);
        cross_entropy(isa, &normed, &documents.labels, options, head, None)
    }

    /// Embeds the tokens, `[rows, hidden]`; rows are filled up with zeros to a multiple of 32. And where each document lies.
    fn enter(&mut self, documents: &Documents) -> (Panels, Vec<Span>) {
        let rows = panels(documents.tokens.len()) * WIDTH;
        self.rotary.reach(documents.lengths.iter().copied().max().unwrap_or(0));
        let mut x = Panels::zeros(rows, self.hidden);
        let table = self.embedding.values.data.par_chunks_exact(self.embedding.values.rows);
        x.data.par_chunks_exact_mut(rows.max(1)).zip(table).for_each(|(x, table)| {
            for (x, token) in x.iter_mut().zip(&documents.tokens) {
                *x = table[*token as usize];
            }
        });
        let mut first = 0;
        let spans = documents.lengths.iter().map(|len| {
            let span = Span { first, len: *len };
            first += len;
            span
        });
        (x, spans.collect())
    }

    /// The L2 norm over the gradients of all parameters that learn, by their index: `√(Σ g²)`, summed up in float64.
    pub fn gradient_norm(&mut self, learns: impl Fn(usize) -> bool) -> f64 {
        let isa = self.isa;
        let slots = self.slots().into_iter().enumerate().filter(|(index, _)| learns(*index));
        slots.map(|(_, (_, mut slot))| squares(isa, slot.rows().1)).sum::<f64>().sqrt()
    }

    /// Takes a step with the gradients that have added up, and forgets them. `plan` says for each parameter, by its index,
    /// whether it decays; nothing for one that stays as it is.
    pub fn step(&mut self, step: &AdamStep, plan: impl Fn(usize) -> Option<bool>) {
        let isa = self.isa;
        let mut moments = std::mem::take(&mut self.moments);
        for ((index, (_, mut slot)), [first, second]) in self.slots().into_iter().enumerate().zip(&mut moments) {
            let Some(decays) = plan(index) else { continue };
            let (values, gradient) = slot.rows();
            update(isa, Moved { values, gradient, first, second }, step.numbers(decays));
            if let Slot::Matrix(matrix) = slot {
                matrix.refresh(isa);
            }
        }
        self.moments = moments;
        self.forget();
    }

    /// Sets the gradients to zero.
    pub fn forget(&mut self) {
        for (_, mut slot) in self.slots() {
            slot.rows().1.par_iter_mut().for_each(|row| *row = Row32::ZERO);
        }
    }

    /// All parameters in a fixed order, by their Hugging Face names.
    pub fn parameters(&mut self) -> Vec<Parameter> {
        self.slots().into_iter().map(|(name, slot)| slot.parameter(name)).collect()
    }

    /// The numbers of a parameter, row-major in the Hugging Face layout, `[outputs, inputs]` or `[len]`; nothing for an unknown
    /// name.
    pub fn read(&mut self, name: &str, kind: Kind) -> Option<Vec<f32>> {
        let index = self.slots().iter().position(|(found, _)| found == name)?;
        let moments = std::mem::take(&mut self.moments);
        let slot = self.slots().swap_remove(index).1;
        let out = match (&slot, kind) {
            (Slot::Matrix(matrix), Kind::Value) => Matrix::to_rows(&matrix.values, matrix.outputs),
            (Slot::Matrix(matrix), Kind::Gradient) => Matrix::to_rows(&matrix.gradient, matrix.outputs),
            (Slot::Matrix(matrix), Kind::First | Kind::Second) => {
                let data = moments[index][usize::from(kind == Kind::Second)].clone();
                let shape = &matrix.values;
                Matrix::to_rows(&Panels { rows: shape.rows, width: shape.width, data }, matrix.outputs)
            }
            (Slot::Vector(vector), kind) => {
                let rows = match kind {
                    Kind::Value => &vector.values,
                    Kind::Gradient => &vector.gradient,
                    Kind::First => &moments[index][0],
                    Kind::Second => &moments[index][1],
                };
                rows.iter().flat_map(|row| row.0).take(vector.len).collect()
            }
        };
        self.moments = moments;
        Some(out)
    }

    /// Puts numbers where [`Learner::read`] finds them, in the same order. `false` for an unknown name or another number of them.
    pub fn write(&mut self, name: &str, kind: Kind, values: &[f32]) -> bool {
        let isa = self.isa;
        let Some(index) = self.slots().iter().position(|(found, _)| found == name) else { return false };
        let mut moments = std::mem::take(&mut self.moments);
        let mut slot = self.slots().swap_remove(index).1;
        let inputs = match &slot {
            Slot::Matrix(matrix) => matrix.inputs,
            Slot::Vector(vector) => vector.len,
        };
        let fits = slot.parameter(String::new()).len == values.len();
        if fits {
            let (value_rows, gradient_rows) = slot.rows();
            let rows: &mut [Row32] = match kind {
                Kind::Value => value_rows,
                Kind::Gradient => gradient_rows,
                Kind::First => &mut moments[index][0],
                Kind::Second => &mut moments[index][1],
            };
            let per_panel = rows.len() / panels(inputs);
            for (row, values) in values.chunks_exact(inputs).enumerate() {
                for (panel, values) in values.chunks(WIDTH).enumerate() {
                    rows[panel * per_panel + row].0[..values.len()].copy_from_slice(values);
                }
            }
            if let Slot::Matrix(matrix) = &mut slot {
                matrix.refresh(isa);
            }
        }
        self.moments = moments;
        fits
    }

    /// All parameters in a fixed order, by their Hugging Face names.
    fn slots(&mut self) -> Vec<(String, Slot<'_>)> {
        let mut slots = vec![("model.embed_tokens.weight".to_owned(), Slot::Matrix(&mut self.embedding))];
        for (index, block) in self.blocks.iter_mut().enumerate() {
            let at = |name: &str| format!("model.layers.{index}.{name}");
            slots.push((at("input_layernorm.weight"), Slot::Vector(&mut block.input_norm)));
            let projections = [
                ("self_attn.q_proj", &mut block.q),
                ("self_attn.k_proj", &mut block.k),
                ("self_attn.v_proj", &mut block.v),
                ("self_attn.o_proj", &mut block.o),
            ];
            for (name, linear) in projections {
                linear_slots(&at(name), linear, &mut slots);
            }
            let norms = [("self_attn.q_norm", &mut block.q_norm), ("self_attn.k_norm", &mut block.k_norm)];
            for (name, norm) in norms {
                slots.extend(norm.as_mut().map(|norm| (at(&format!("{name}.weight")), Slot::Vector(norm))));
            }
            slots.push((at("post_attention_layernorm.weight"), Slot::Vector(&mut block.post_norm)));
            let projections = [
                ("mlp.gate_proj", &mut block.gate),
                ("mlp.up_proj", &mut block.up),
                ("mlp.down_proj", &mut block.down),
            ];
            for (name, linear) in projections {
                linear_slots(&at(name), linear, &mut slots);
            }
        }
        slots.push(("model.norm.weight".to_owned(), Slot::Vector(&mut self.norm)));
        slots.extend(self.head.as_mut().map(|head| ("lm_head.weight".to_owned(), Slot::Matrix(head))));
        slots
    }
}

/// Adds a linear map's weight `[outputs, inputs]` and, where it has one, its bias `[outputs]`.
fn linear_slots<'m>(name: &str, linear: &'m mut Linear, slots: &mut Vec<(String, Slot<'m>)>) {
    slots.push((format!("{name}.weight"), Slot::Matrix(&mut linear.weight)));
    slots.extend(linear.bias.as_mut().map(|bias| (format!("{name}.bias"), Slot::Vector(bias))));
}

/// The shape of a model's attention.
fn heads(config: &ModelConfig) -> Heads {
    Heads {
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads,
        dim: config.head_dim,
        eps: config.rms_norm_eps as f32,
    }
}

/// Reads parameters.
struct Load<'a> {
    checkpoint: &'a Checkpoint,
    isa: Isa,
}

impl Load<'_> {
    /// `[len]`
    fn vector(&self, name: &str) -> Result<Vector, ModelError> {
        Ok(Vector::new(&self.checkpoint.parameter(name)?))
    }

    /// `[outputs, inputs]`
    fn matrix(&self, name: &str, inputs: usize) -> Result<Matrix, ModelError> {
        Ok(Matrix::new(self.isa, &self.checkpoint.parameter(name)?, inputs))
    }

    /// A weight `[outputs, inputs]`, with a bias `[outputs]` where there is one.
    fn linear(&self, name: &str, inputs: usize, bias: bool) -> Result<Linear, ModelError> {
        let weight = self.matrix(&format!("{name}.weight"), inputs)?;
        let bias = bias.then(|| self.vector(&format!("{name}.bias"))).transpose()?;
        Ok(Linear { weight, bias })
    }
}
