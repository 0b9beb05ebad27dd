//! Causal self-attention with grouped queries: biased q, k, v projections and a plain output projection.

use crate::{cache::LayerCache, rope::Rope};
use burn::{
    module::{Module, Param},
    tensor::{Bool, Device, Tensor, activation::softmax},
};

/// A linear map; the weight is `[in, out]`, as Burn multiplies, the bias optional.
#[derive(Module, Debug)]
pub struct Projection {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
}

impl Projection {
    pub(crate) fn zeros(input: usize, output: usize, bias: bool, device: &Device) -> Self {
        let bias = bias.then(|| Param::from_tensor(Tensor::zeros([output], device)));
        Projection { weight: Param::from_tensor(Tensor::zeros([input, output], device)), bias }
    }

    /// `[batch, seq, in]` → `[batch, seq, out]`, as one matrix product over all rows.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, seq, input] = x.dims();
        let [_, output] = self.weight.dims();
        let y = x.reshape([batch * seq, input]).matmul(self.weight.val());
        let y = match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
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
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    kv_heads: usize,
}

impl Attention {
    pub(crate) fn zeros(hidden: usize, heads: usize, kv_heads: usize, device: &Device) -> Self {
        let kv = hidden / heads * kv_heads;
        Attention {
            q: Projection::zeros(hidden, hidden, true, device),
            k: Projection::zeros(hidden, kv, true, device),
            v: Projection::zeros(hidden, kv, true, device),
            o: Projection::zeros(hidden, hidden, false, device),
            heads,
            kv_heads,
        }
    }

    /// `[batch, seq, hidden]` → the same shape. With a cache, the new rows attend to what it holds as well.
    pub(crate) fn forward(&self, x: Tensor<3>, rope: &Rope, cache: Option<&mut LayerCache>) -> Tensor<3> {
        let [batch, seq, hidden] = x.dims();
        let dim = hidden / self.heads;
        let split = |x: Tensor<3>, heads: usize| x.reshape([batch, seq, heads, dim]).swap_dims(1, 2);
        let q = rope.rotate(split(self.q.forward(x.clone()), self.heads));
        let k = rope.rotate(split(self.k.forward(x.clone()), self.kv_heads));
        let v = split(self.v.forward(x), self.kv_heads);
        let (k, v) = match cache {
            Some(cache) => cache.extend(k, v),
            None => (k, v),
        };
        let [_, _, total, _] = k.dims();
        // Query heads that share a key head are rows of one product: nothing is repeated.
        let group = self.heads / self.kv_heads;
        let q = q.reshape([batch, self.kv_heads, group * seq, dim]).mul_scalar((dim as f64).powf(-0.5));
        let mut scores = q.matmul(k.swap_dims(2, 3));
        if seq > 1 {
            let future = Tensor::<2, Bool>::tril_mask([seq, total], (total - seq) as i64, &scores.device());
            let future = future.reshape([1, 1, 1, seq, total]).expand([batch, self.kv_heads, group, seq, total]);
            let grouped = scores.reshape([batch, self.kv_heads, group, seq, total]);
            scores = grouped.mask_fill(future, f32::NEG_INFINITY).reshape([batch, self.kv_heads, group * seq, total]);
        }
        let mixed = softmax(scores, 3).matmul(v).reshape([batch, self.heads, seq, dim]);
        self.o.forward(mixed.swap_dims(1, 2).reshape([batch, seq, hidden]))
    }
}
