//! The whole decoder: embedding, blocks, final norm, output projection.

use crate::{
    attention::{Attention, Projection, empty},
    cache::KvCache,
    norm::RmsNorm,
    rope::{Frequencies, Rope},
};
use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, activation::silu},
};
use distill_checkpoint::ModelConfig;

/// One transformer block.
#[derive(Module, Debug)]
pub struct Block {
    pub(crate) input_norm: RmsNorm,
    pub(crate) attention: Attention,
    pub(crate) post_norm: RmsNorm,
    pub(crate) gate: Projection,
    pub(crate) up: Projection,
    pub(crate) down: Projection,
}

/// A Llama, Qwen2 or Qwen3 decoder.
#[derive(Module, Debug)]
pub struct Decoder {
    pub(crate) embedding: Param<Tensor<2>>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: RmsNorm,
    /// Absent when the embedding is the output projection.
    pub(crate) head: Option<Projection>,
    #[module(skip)]
    frequencies: Frequencies,
}

impl Decoder {
    /// A decoder of that shape whose matrices are yet to be put there; biases are zero, norms one.
    pub(crate) fn empty(config: &ModelConfig, device: &Device) -> Decoder {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let norm = || RmsNorm::new(hidden, config.rms_norm_eps, device);
        let block = |layer| Block {
            input_norm: norm(),
            attention: Attention::empty(config, layer, device),
            post_norm: norm(),
            gate: Projection::empty(hidden, inner, config.mlp_bias, device),
            up: Projection::empty(hidden, inner, config.mlp_bias, device),
            down: Projection::empty(inner, hidden, config.mlp_bias, device),
        };
        Decoder {
            embedding: empty(config.vocab_size, hidden, device),
            blocks: (0..config.num_hidden_layers).map(block).collect(),
            norm: norm(),
            head: (!config.tie_word_embeddings).then(|| Projection::empty(hidden, config.vocab_size, false, device)),
            frequencies: Frequencies {
                per_position: config.rope.inverse_frequencies(config.head_dim),
                factor: config.rope.attention_factor(),
            },
        }
    }

    /// Tokens `[batch, seq]` → final hidden states `[batch, seq, hidden]`, positions from 0, causal. Rows may be padded
    /// on the right: padding never reaches a token before it.
    pub fn hidden(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.run(tokens, None)
    }

    /// Hidden states `[batch, seq, hidden]` → logits `[batch, seq, vocab]`.
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        if let Some(head) = &self.head {
            return head.forward(hidden);
        }
        let [batch, seq, width] = hidden.dims();
        let [vocab, _] = self.embedding.dims();
        hidden.reshape([batch * seq, width]).matmul(self.embedding.val().transpose()).reshape([batch, seq, vocab])
    }

    /// Goes on from `cache` with tokens `[batch, new]`; returns the logits of the last position, `[batch, vocab]`.
    pub fn decode(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<2> {
        let hidden = self.run(tokens, Some(cache));
        let [batch, seq, width] = hidden.dims();
        let logits = self.logits(hidden.slice([0..batch, seq - 1..seq, 0..width]));
        let [_, _, vocab] = logits.dims();
        logits.reshape([batch, vocab])
    }

    fn run(&self, tokens: Tensor<2, Int>, mut cache: Option<&mut KvCache>) -> Tensor<3> {
        let [batch, seq] = tokens.dims();
        let [_, width] = self.embedding.dims();
        let start = cache.as_ref().map_or(0, |cache| cache.len);
        let mut x = self.embedding.val().select(0, tokens.reshape([batch * seq])).reshape([batch, seq, width]);
        let rope = Rope::new(start, seq, &self.frequencies, &x.device());
        if let Some(cache) = cache.as_deref_mut() {
            cache.layers.resize_with(self.blocks.len(), Default::default);
            cache.len += seq;
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let layer = cache.as_deref_mut().map(|cache| &mut cache.layers[index]);
            x = x.clone() + block.attention.forward(block.input_norm.forward(x), &rope, layer);
            let normed = block.post_norm.forward(x.clone());
            x = x + block.down.forward(silu(block.gate.forward(normed.clone())) * block.up.forward(normed));
        }
        self.norm.forward(x)
    }
}
