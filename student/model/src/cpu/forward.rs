//! Weights in, logits out: embedding, blocks, final norm, output projection.
//!
//! `rows` are the new tokens of all shares, one share after the other; activations are `[rows, width]` in panels, float32.

use super::{
    attention::{Heads, Layer, LayerCache, attend},
    lanes::Isa,
    matrix::Matrix,
    panel::{Panels, Row32, rows_of},
    pointwise::{Gate, Norm, add, set},
    rotary::Rotary,
};
use crate::{
    ModelError,
    precision::Precision,
    rope::Frequencies,
    step::{Share, Wanted},
};
use distill_checkpoint::{Checkpoint, Dtype};

/// A linear map.
#[derive(Clone, Debug)]
struct Linear {
    /// `[outputs, inputs]`
    weight: Matrix,
    /// `[outputs]`, in rows of 32.
    bias: Option<Vec<Row32>>,
}

/// A block's weights, and its cache.
#[derive(Clone, Debug)]
struct Block {
    /// `[hidden]`, in rows of 32.
    input_norm: Vec<Row32>,
    /// Queries, keys and values in one, `[(heads + 2 · kv_heads) · dim, hidden]`.
    qkv: Linear,
    /// `[dim]`
    q_norm: Option<Vec<f32>>,
    /// `[dim]`
    k_norm: Option<Vec<f32>>,
    /// Positions that a token sees, its own included, if that is limited.
    window: Option<usize>,
    /// `[hidden, heads · dim]`
    o: Linear,
    /// `[hidden]`, in rows of 32.
    post_norm: Vec<Row32>,
    /// `[inner, hidden]`
    gate: Linear,
    /// `[inner, hidden]`
    up: Linear,
    /// `[hidden, inner]`
    down: Linear,
    cache: LayerCache,
}

/// A decoder with its cache.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    isa: Isa,
    hidden: usize,
    /// `[vocab, hidden]`
    embedding: Matrix,
    /// `[vocab, hidden]`; absent when the embedding is the output projection.
    head: Option<Matrix>,
    blocks: Vec<Block>,
    /// `[hidden]`, in rows of 32.
    norm: Vec<Row32>,
    heads: Heads,
    rotary: Rotary,
    eps: f32,
}

impl Forward {
    /// Loads a checkpoint, with a cache of so many blocks.
    pub(crate) fn load(checkpoint: &Checkpoint, precision: Precision, blocks: usize) -> Result<Forward, ModelError> {
        let config = checkpoint.config();
        let heads = Heads {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            dim: config.head_dim,
            eps: config.rms_norm_eps as f32,
        };
        let load = Load { checkpoint, precision };
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let block = |index: usize| -> Result<Block, ModelError> {
            let at = |name: &str| format!("model.layers.{index}.{name}");
            let linear = |names: &[&str], inputs: usize, bias: bool| {
                let names: Vec<String> = names.iter().map(|name| at(name)).collect();
                load.linear(&names, inputs, bias)
            };
            let scale = |name: &str| Ok(rows_of(&checkpoint.parameter(&at(name))?));
            let head_norm = |name: &str| match config.qk_norm() {
                true => checkpoint.parameter(&at(name)).map(Some),
                false => Ok(None),
            };
            let attention = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
            Ok(Block {
                input_norm: scale("input_layernorm.weight").map_err(ModelError::Checkpoint)?,
                qkv: linear(&attention, hidden, config.qkv_bias())?,
                q_norm: head_norm("self_attn.q_norm.weight")?,
                k_norm: head_norm("self_attn.k_norm.weight")?,
                window: config.window(index),
                o: linear(&["self_attn.o_proj"], heads.heads * heads.dim, config.output_bias())?,
                post_norm: scale("post_attention_layernorm.weight").map_err(ModelError::Checkpoint)?,
                gate: linear(&["mlp.gate_proj"], hidden, config.mlp_bias)?,
                up: linear(&["mlp.up_proj"], hidden, config.mlp_bias)?,
                down: linear(&["mlp.down_proj"], inner, config.mlp_bias)?,
                cache: LayerCache::new(&heads, blocks),
            })
        };
        Ok(Forward {
            isa: Isa::detect(),
            hidden,
            embedding: load.matrix(&["model.embed_tokens.weight".to_owned()], hidden)?,
            head: match config.tie_word_embeddings {
                true => None,
                false => Some(load.matrix(&["lm_head.weight".to_owned()], hidden)?),
            },
            blocks: (0..config.num_hidden_layers).map(block).collect::<Result<_, _>>()?,
            norm: rows_of(&checkpoint.parameter("model.norm.weight")?),
            rotary: Rotary::new(Frequencies::of(config)),
            eps: config.rms_norm_eps as f32,
            heads,
        })
    }

    /// Takes every share's tokens one step further; logits `[wanted, vocab]` of the rows that are wanted, in the order of the
    /// shares.
    pub(crate) fn step(&mut self, shares: &[Share<'_>]) -> Panels {
        let isa = self.isa;
        let rows = shares.iter().map(|share| share.tokens.len()).sum();
        self.rotary.reach(shares.iter().map(|share| share.start + share.tokens.len()).max().unwrap_or(0));
        let mut x = Panels::zeros(rows, self.hidden);
        let mut row = vec![0.0; self.hidden];
        for (index, token) in shares.iter().flat_map(|share| share.tokens).enumerate() {
            self.embedding.output_into(*token as usize, &mut row);
            x.set_row(index, 0, &row);
        }
        for block in &mut self.blocks {
            let normed = isa.run(Norm { x: &x, weight: &block.input_norm, eps: self.eps });
            let mut qkv = Panels::zeros(rows, block.qkv.weight.outputs);
            block.qkv.apply(isa, &normed, &mut qkv);
            let layer =
                Layer { q_norm: block.q_norm.as_deref(), k_norm: block.k_norm.as_deref(), window: block.window };
            let mixed = attend(isa, &self.heads, &layer, &self.rotary, &qkv, shares, &mut block.cache);
            block.o.add_to(isa, &mixed, &mut x);
            let normed = isa.run(Norm { x: &x, weight: &block.post_norm, eps: self.eps });
            let inner = block.gated(isa, &normed);
            block.down.add_to(isa, &inner, &mut x);
        }
        let mut wanted = Vec::new();
        let mut first = 0;
        for share in shares {
            let end = first + share.tokens.len();
            match share.logits {
                Wanted::None => {}
                Wanted::Last => wanted.push(end - 1),
                Wanted::All => wanted.extend(first..end),
            }
            first = end;
        }
        let x = if wanted.len() == rows { x } else { x.select(&wanted) };
        let x = isa.run(Norm { x: &x, weight: &self.norm, eps: self.eps });
        let head = self.head.as_ref().unwrap_or(&self.embedding);
        let mut logits = Panels::zeros(wanted.len(), head.outputs);
        head.multiply(isa, &x, &mut logits, |_, product, out| out.copy_from_slice(product));
        logits
    }
}

impl Linear {
    /// The bias of one panel of outputs, `[32]`.
    fn bias(&self, panel: usize) -> Option<&Row32> {
        self.bias.as_ref().map(|bias| &bias[panel])
    }

    /// `out ← x · wᵀ + bias`, with `x` `[rows, inputs]` and `out` `[rows, outputs]`.
    fn apply(&self, isa: Isa, x: &Panels, out: &mut Panels) {
        self.weight.multiply(isa, x, out, |panel, product, out| set(out, product, self.bias(panel)));
    }

    /// `out ← out + (x · wᵀ + bias)`, of the same shapes.
    fn add_to(&self, isa: Isa, x: &Panels, out: &mut Panels) {
        self.weight.multiply(isa, x, out, |panel, product, out| add(out, product, self.bias(panel)));
    }
}

impl Block {
    /// SwiGLU (Shazeer, 2020), `silu(x · gateᵀ) · (x · upᵀ)`, `[rows, hidden]` → `[rows, inner]`: a panel of both at a time, so that
    /// the first is still at hand.
    fn gated(&self, isa: Isa, x: &Panels) -> Panels {
        let mut inner = Panels::zeros(x.rows, self.gate.weight.outputs);
        self.up.weight.multiply(isa, x, &mut inner, |panel, product, out| {
            self.gate.weight.panel(isa, x, panel, out);
            let (gate_bias, up_bias) = (self.gate.bias(panel), self.up.bias(panel));
            match (gate_bias, up_bias) {
                (None, None) => isa.run(Gate { gate: out, up: product }),
                _ => {
                    let (mut gate, mut up) = (vec![Row32::ZERO; out.len()], vec![Row32::ZERO; out.len()]);
                    set(&mut gate, out, gate_bias);
                    set(&mut up, product, up_bias);
                    out.copy_from_slice(&gate);
                    isa.run(Gate { gate: out, up: &up });
                }
            }
        });
        inner
    }
}

/// Reads and packs parameters.
struct Load<'a> {
    checkpoint: &'a Checkpoint,
    precision: Precision,
}

impl Load<'_> {
    /// Matrices with the same inputs, one below the other: `[all outputs, inputs]`.
    fn matrix(&self, names: &[String], inputs: usize) -> Result<Matrix, ModelError> {
        let mut weights = Vec::new();
        let mut stored = None;
        for name in names {
            let read = self.checkpoint.parameter(name)?;
            weights = if weights.is_empty() { read } else { [weights, read].concat() };
            let dtype = self.checkpoint.dtype(name);
            stored = match stored {
                None => dtype,
                same if same == dtype => dtype,
                _ => Some(Dtype::F32),
            };
        }
        Ok(Matrix::pack(&weights, inputs, self.precision.of(stored.unwrap_or(Dtype::F32))))
    }

    /// Linear maps with the same inputs, one below the other: a weight `[all outputs, inputs]`, a bias `[all outputs]`.
    fn linear(&self, names: &[String], inputs: usize, bias: bool) -> Result<Linear, ModelError> {
        let weights: Vec<String> = names.iter().map(|name| format!("{name}.weight")).collect();
        let weight = self.matrix(&weights, inputs)?;
        if !bias {
            return Ok(Linear { weight, bias: None });
        }
        let mut bias = Vec::new();
        for name in names {
            bias.extend(self.checkpoint.parameter(&format!("{name}.bias"))?);
        }
        Ok(Linear { weight, bias: Some(rows_of(&bias)) })
    }
}
