//! Causal self-attention with grouped queries: biases, norms on query and key heads, and a sliding window where the
//! configuration says so.

use crate::{norm::RmsNorm, rope::Rope};
use burn::{
    module::{Module, Param},
    tensor::{Bool, Device, Tensor, activation::softmax, module::attention, ops::AttentionModuleOptions},
};
use distill_checkpoint::ModelConfig;

/// A matrix of that shape that takes no memory until its weights are put there.
pub(crate) fn empty(rows: usize, columns: usize, device: &Device) -> Param<Tensor<2>> {
    Param::from_tensor(Tensor::<2>::zeros([1, 1], device).expand([rows, columns]))
}

/// A linear map; the weight is `[in, out]`, as Burn multiplies, the bias optional.
#[derive(Module, Debug)]
pub struct Projection {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

impl Projection {
    /// A place for weights, and a bias of zero.
    pub(crate) fn empty(input: usize, output: usize, bias: bool, device: &Device) -> Self {
        let bias = bias.then(|| Param::from_tensor(Tensor::zeros([output], device)));
        Projection { weight: empty(input, output, device), bias }
    }

    /// `[batch, seq, in]` → `[batch, seq, out]`, as one matrix product over all rows, in the input's precision.
    #[expect(clippy::disallowed_methods, reason = "the plain definition, which runs on the processor")]
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq, input] = x.dims();
        let [_, output] = self.weight.dims();
        let dtype = x.dtype();
        let y = x.reshape([batch * seq, input]).matmul(self.weight.val().cast(dtype));
        let y = match &self.bias {
            Some(bias) => y + bias.val().cast(dtype).unsqueeze(),
            None => y,
        };
        y.reshape([batch, seq, output])
    }
}

/// One block's attention.
#[derive(Module, Debug)]
pub struct Attention {
    pub(crate) q: Projection,
    pub(crate) k: Projection,
    pub(crate) v: Projection,
    pub(crate) o: Projection,
    /// Norms of every query and key head, before they are rotated.
    pub(crate) q_norm: Option<RmsNorm>,
    pub(crate) k_norm: Option<RmsNorm>,
    #[module(skip)]
    pub(crate) heads: usize,
    #[module(skip)]
    pub(crate) kv_heads: usize,
    #[module(skip)]
    pub(crate) head_dim: usize,
    /// Positions that a token sees, its own included, if that is limited.
    #[module(skip)]
    pub(crate) window: Option<usize>,
}

impl Attention {
    pub(crate) fn empty(config: &ModelConfig, layer: usize, device: &Device) -> Self {
        let (hidden, dim) = (config.hidden_size, config.head_dim);
        let (q, kv) = (config.num_attention_heads * dim, config.num_key_value_heads * dim);
        let norm = || config.qk_norm().then(|| RmsNorm::new(dim, config.rms_norm_eps, device));
        Attention {
            q: Projection::empty(hidden, q, config.qkv_bias(), device),
            k: Projection::empty(hidden, kv, config.qkv_bias(), device),
            v: Projection::empty(hidden, kv, config.qkv_bias(), device),
            o: Projection::empty(q, hidden, config.output_bias(), device),
            q_norm: norm(),
            k_norm: norm(),
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: dim,
            window: config.window(layer),
        }
    }

    /// `[batch, seq, hidden]` → the same shape.
    #[expect(clippy::disallowed_methods, reason = "the plain definition, which runs on the processor")]
    pub(crate) fn forward(&self, x: Tensor<3>, rope: &Rope) -> Tensor<3> {
        let [batch, seq, _] = x.dims();
        let dim = self.head_dim;
        let heads = |projection: &Projection, norm: &Option<RmsNorm>, heads: usize| {
            let x = projection.forward(x.clone()).reshape([batch, seq, heads, dim]);
            let x = match norm {
                Some(norm) => norm.forward(x),
                None => x,
            };
            x.swap_dims(1, 2)
        };
        let q = rope.rotate(heads(&self.q, &self.q_norm, self.heads));
        let k = rope.rotate(heads(&self.k, &self.k_norm, self.kv_heads));
        let v = heads(&self.v, &None, self.kv_heads);
        if self.window.is_none_or(|window| seq <= window) {
            let options = AttentionModuleOptions { is_causal: true, ..AttentionModuleOptions::default() };
            let mixed = attention(q, k, v, None, None, options);
            return self.o.forward(mixed.swap_dims(1, 2).reshape([batch, seq, self.heads * dim]));
        }
        // Query heads that share a key head are rows of one product: nothing is repeated.
        let group = self.heads / self.kv_heads;
        let q = q.reshape([batch, self.kv_heads, group * seq, dim]).mul_scalar((dim as f64).powf(-0.5));
        let mut scores = q.matmul(k.swap_dims(2, 3));
        if let Some(unseen) = self.unseen(seq, &scores.device()) {
            let unseen = unseen.reshape([1, 1, 1, seq, seq]).expand([batch, self.kv_heads, group, seq, seq]);
            let grouped = scores.reshape([batch, self.kv_heads, group, seq, seq]);
            scores = grouped.mask_fill(unseen, f32::NEG_INFINITY).reshape([batch, self.kv_heads, group * seq, seq]);
        }
        let mixed = softmax(scores, 3).matmul(v).reshape([batch, self.heads, seq, dim]);
        self.o.forward(mixed.swap_dims(1, 2).reshape([batch, seq, self.heads * dim]))
    }

    /// Which positions each of `seq` does not see, `[seq, seq]`; nothing if all see all.
    fn unseen(&self, seq: usize, device: &Device) -> Option<Tensor<2, Bool>> {
        let future = (seq > 1).then(|| Tensor::<2, Bool>::tril_mask([seq, seq], 0, device));
        let past = self.window.filter(|window| seq > *window).map(|window| {
            // Below the diagonal on which a token sees its `window`-th position.
            Tensor::<2, Bool>::triu_mask([seq, seq], 1 - window as i64, device)
        });
        match (future, past) {
            (Some(future), Some(past)) => Some(future.bool_or(past)),
            (future, past) => future.or(past),
        }
    }
}
