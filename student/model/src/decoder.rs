//! The whole decoder: embedding, blocks, final norm, output projection.

use crate::{
    attention::{Attention, Projection, empty},
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
            frequencies: Frequencies::of(config),
        }
    }

    /// Tokens `[batch, seq]` → final hidden states `[batch, seq, hidden]`, positions from 0, causal. Rows may be padded
    /// on the right: padding never reaches a token before it.
    pub fn hidden(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, seq] = tokens.dims();
        let [_, width] = self.embedding.dims();
        let mut x = self.embedding.val().select(0, tokens.reshape([batch * seq])).reshape([batch, seq, width]);
        let rope = Rope::new(seq, &self.frequencies, &x.device());
        for block in &self.blocks {
            x = x.clone() + block.attention.forward(block.input_norm.forward(x), &rope);
            let normed = block.post_norm.forward(x.clone());
            x = x + block.down.forward(silu(block.gate.forward(normed.clone())) * block.up.forward(normed));
        }
        self.norm.forward(x)
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
}
