//! The whole decoder: embedding, blocks, final norm, output projection.

use crate::{
    attention::{Attention, Projection, empty},
    norm::RmsNorm,
    rope::{Frequencies, Rope},
};
use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Int, Tensor, activation::silu},
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
    pub(crate) frequencies: Frequencies,
    /// The precision of activations and products; statistics of norms and the loss are float32 in any case.
    #[module(skip)]
    pub(crate) compute: DType,
}

impl Block {
    /// `[batch, seq, hidden]` → the same shape.
    pub(crate) fn forward(&self, x: Tensor<3>, rope: &Rope) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.input_norm.forward(x), rope);
        let normed = self.post_norm.forward(x.clone());
        x + self.down.forward(silu(self.gate.forward(normed.clone())) * self.up.forward(normed))
    }
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
            compute: DType::F32,
        }
    }

    /// Tokens `[batch, seq]` → final hidden states `[batch, seq, hidden]`, positions from 0, causal. Rows may be padded
    /// on the right: padding never reaches a token before it.
    pub fn hidden(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, seq] = tokens.dims();
        let [_, width] = self.embedding.dims();
        let mut x = self.embed(tokens.reshape([batch * seq])).reshape([batch, seq, width]);
        let rope = Rope::new(seq, &self.frequencies, self.compute, &x.device());
        for block in &self.blocks {
            x = block.forward(x, &rope);
        }
        self.norm.forward(x)
    }

    /// Tokens → their rows of the embedding, `[tokens, hidden]`.
    pub(crate) fn embed(&self, tokens: Tensor<1, Int>) -> Tensor<2> {
        self.embedding.val().select(0, tokens).cast(self.compute)
    }

    /// Hidden states `[batch, seq, hidden]` → logits `[batch, seq, vocab]`.
    #[expect(clippy::disallowed_methods, reason = "the plain definition, which runs on the processor")]
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        if let Some(head) = &self.head {
            return head.forward(hidden);
        }
        let [batch, seq, width] = hidden.dims();
        let [vocab, _] = self.embedding.dims();
        let embedding = self.embedding.val().cast(hidden.dtype()).transpose();
        hidden.reshape([batch * seq, width]).matmul(embedding).reshape([batch, seq, vocab])
    }
}
