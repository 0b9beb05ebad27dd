//! A block forward and backward as calls: what comes in, what is kept, what comes out.

use super::{
    angles::Angles,
    attention::{Attention, Way, scores},
    batch::Batch,
    layout::Layout,
    lot::Making,
};
use crate::ModelError;
use distill_checkpoint::ModelConfig;
use distill_ops::{
    At, Buffer, Call, Dtype, Form, Matrix, Product,
    kernels::{
        AddBias, ColumnReduce, ColumnSum, HeadNorm, HeadNormBackward, Heads, RmsNorm, RmsNormBackward, Rope, SwiGlu,
        SwiGluBackward,
    },
};

/// Blocks of the norms' backward kernels, which sum over rows in parts: four for each multiprocessor of an H100, whatever the
/// card, so that sums have the same order everywhere.
pub(crate) const NORM_PARTS: usize = 528;
/// Likewise of sums of columns, where many blocks lie beside each other.
const SUM_PARTS: usize = 32;

/// A model's sizes, as kernels want them.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    pub(crate) hidden: usize,
    pub(crate) inner: usize,
    pub(crate) vocab: usize,
    pub(crate) heads: Heads,
    pub(crate) eps: f32,
    pub(crate) qk_norm: bool,
    pub(crate) tied: bool,
    /// By layer; 0 for all positions.
    pub(crate) windows: Vec<usize>,
    /// What activations are kept as.
    pub(crate) dtype: Dtype,
    pub(crate) way: Way,
}

/// Numbers of a head that the kernels have room for.
const MAX_HEAD: usize = 256;

impl Sizes {
    /// Those of a model.
    ///
    /// # Errors
    /// When its heads are wider than the kernels have room for.
    pub(crate) fn of(config: &ModelConfig, dtype: Dtype, way: Way) -> Result<Sizes, ModelError> {
        if config.head_dim > MAX_HEAD {
            return Err(ModelError::Device(format!(
                "expected heads of at most {MAX_HEAD} numbers on a device, found {}\nhint: --device cpu has no such limit",
                config.head_dim
            )));
        }
        Ok(Sizes {
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            vocab: config.vocab_size,
            heads: Heads { query: config.num_attention_heads, key: config.num_key_value_heads, dim: config.head_dim },
            eps: config.rms_norm_eps as f32,
            qk_norm: config.qk_norm(),
            tied: config.tie_word_embeddings,
            windows: (0..config.num_hidden_layers).map(|layer| config.window(layer).unwrap_or(0)).collect(),
            dtype,
            way,
        })
    }

    /// The name of the output projection's matrix.
    pub(crate) fn projection(&self) -> &'static str {
        if self.tied { "model.embed_tokens.weight" } else { "lm_head.weight" }
    }

    /// Bytes that [`Kept`] takes for a token.
    pub(crate) fn kept_bytes(&self) -> usize {
        let raw = if self.qk_norm { self.heads.width() } else { 0 };
        let numbers = 3 * self.hidden + raw + self.heads.width() + self.heads.queries() + 3 * self.inner;
        numbers * self.dtype.size() + 4 * (2 + 2 * self.heads.query + self.heads.key)
    }
}

/// What the backward pass needs of a block's forward pass, beside what came in.
#[derive(Debug)]
pub(crate) struct Kept {
    input_rstd: Buffer,
    input_normed: Buffer,
    /// Before the norms of heads, where there are any.
    raw: Option<(Buffer, Buffer)>,
    /// Queries, keys and values, rotated.
    pub(crate) qkv: Buffer,
    /// What attention makes of them.
    pub(crate) mixed: Buffer,
    lse: Buffer,
    /// After attention.
    middle: Buffer,
    post_rstd: Buffer,
    post_normed: Buffer,
    gate_up: Buffer,
    inner: Buffer,
}

impl Kept {
    /// Room for so many tokens.
    pub(crate) fn new(making: &mut Making<'_>, sizes: &Sizes, tokens: usize) -> Result<Kept, ModelError> {
        let Sizes { hidden, inner, heads, dtype, .. } = *sizes;
        let mut zeros = |dtype, width: usize| making.zeros(dtype, tokens * width);
        let raw = if sizes.qk_norm {
            Some((zeros(dtype, heads.width())?, zeros(Dtype::F32, heads.query + heads.key)?))
        } else {
            None
        };
        Ok(Kept {
            input_rstd: zeros(Dtype::F32, 1)?,
            input_normed: zeros(dtype, hidden)?,
            raw,
            qkv: zeros(dtype, heads.width())?,
            mixed: zeros(dtype, heads.queries())?,
            lse: zeros(Dtype::F32, heads.query)?,
            middle: zeros(dtype, hidden)?,
            post_rstd: zeros(Dtype::F32, 1)?,
            post_normed: zeros(dtype, hidden)?,
            gate_up: zeros(dtype, 2 * inner)?,
            inner: zeros(dtype, inner)?,
        })
    }
}

/// Room for what a block computes on its way back, used by one after the other.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The gradient of what came out of a block, then of what came in.
    pub(crate) dy: Buffer,
    d_normed: Buffer,
    d_inner: Buffer,
    d_mixed: Buffer,
    pub(crate) dqkv: Buffer,
    pub(crate) dk: Buffer,
    pub(crate) dv: Buffer,
    pub(crate) delta: Buffer,
    pub(crate) partial: Buffer,
    /// Scores of attention by products; next to nothing where it is fused.
    pub(crate) s: Buffer,
    pub(crate) dp: Buffer,
    pub(crate) p: Buffer,
    pub(crate) ds: Buffer,
}

impl Scratch {
    /// Room for so many tokens, the longest document as long as `longest`.
    pub(crate) fn new(
        making: &mut Making<'_>,
        sizes: &Sizes,
        tokens: usize,
        longest: usize,
    ) -> Result<Scratch, ModelError> {
        let Sizes { hidden, inner, heads, dtype, .. } = *sizes;
        let mut zeros = |dtype, len: usize| making.zeros(dtype, len);
        let partial = (NORM_PARTS * hidden.max(2 * heads.dim)).max(SUM_PARTS * heads.width().max(2 * inner));
        let scores = if sizes.way == Way::Plain { scores(heads, longest) } else { 1 };
        Ok(Scratch {
            dy: zeros(dtype, tokens * hidden)?,
            d_normed: zeros(dtype, tokens * hidden)?,
            d_inner: zeros(dtype, tokens * inner)?,
            d_mixed: zeros(dtype, tokens * heads.queries())?,
            dqkv: zeros(dtype, tokens * heads.width())?,
            dk: zeros(Dtype::F32, tokens * heads.queries())?,
            dv: zeros(Dtype::F32, tokens * heads.queries())?,
            delta: zeros(Dtype::F32, tokens * heads.query)?,
            partial: zeros(Dtype::F32, partial)?,
            s: zeros(Dtype::F32, scores)?,
            dp: zeros(Dtype::F32, scores)?,
            p: zeros(dtype, scores)?,
            ds: zeros(dtype, scores)?,
        })
    }
}

/// Where parameters and their gradients lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights<'a> {
    pub(crate) layout: &'a Layout,
    /// By region; matrices as they are multiplied.
    pub(crate) values: [Buffer; 2],
    /// Likewise; none where nothing is learnt.
    pub(crate) gradients: Option<[Buffer; 2]>,
    /// Whether matrices' gradients add to what is there, or replace it.
    pub(crate) adds: bool,
}

impl Weights<'_> {
    /// A parameter; a name that the layout does not have is a mistake here.
    pub(crate) fn value(&self, name: &str) -> At {
        self.optional(name).unwrap_or_else(|| panic!("no parameter {name}"))
    }

    /// Its gradient.
    pub(crate) fn gradient(&self, name: &str) -> At {
        let found = self.gradients.and_then(|gradients| self.layout.at(gradients, name));
        found.unwrap_or_else(|| panic!("no gradient of {name}"))
    }

    fn optional(&self, name: &str) -> Option<At> {
        self.layout.at(self.values, name)
    }
}

/// One block over some rows: tokens of documents, or of requests that are decoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    pub(crate) layer: usize,
    pub(crate) sizes: &'a Sizes,
    pub(crate) weights: Weights<'a>,
    pub(crate) rows: usize,
    /// Each row's: integers.
    pub(crate) positions: Buffer,
    pub(crate) angles: Angles,
    pub(crate) kept: &'a Kept,
}

/// Documents, and room for the way back through a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Learning<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) lengths: &'a [usize],
    pub(crate) scratch: &'a Scratch,
}

/// A linear map by its parameters' names: the first of several that are merged.
struct Linear {
    name: String,
    weight: At,
    bias: Option<At>,
    input: usize,
    output: usize,
}

impl Block<'_> {
    fn name(&self, name: &str) -> String {
        format!("model.layers.{}.{name}", self.layer)
    }

    fn linear(&self, name: &str, input: usize, output: usize) -> Linear {
        let name = self.name(name);
        Linear {
            weight: self.weights.value(&format!("{name}.weight")),
            bias: self.weights.optional(&format!("{name}.bias")),
            name,
            input,
            output,
        }
    }

    fn matrix(&self, at: At, width: usize) -> Matrix {
        Matrix::new(at, self.rows, width)
    }

    /// `out = x · wᵀ`, `added` on top; the bias is the caller's.
    fn apply(&self, linear: &Linear, x: At, out: At, added: Option<At>) -> Call {
        let weight = Matrix::new(linear.weight, linear.output, linear.input);
        let (x, out) = (self.matrix(x, linear.input), self.matrix(out, linear.output));
        Product::new(Form::Nt, x, weight, out).plus(added).into()
    }

    /// The gradients of weight, bias and what came in (`dx`) from that of what came out.
    fn apply_backward(&self, linear: &Linear, [x, dy, dx]: [At; 3], partial: At, calls: &mut Vec<Call>) {
        let Linear { name, input, output, .. } = linear;
        let gradient = self.weights.gradient(&format!("{name}.weight"));
        let (x, dy_matrix) = (self.matrix(x, *input), self.matrix(dy, *output));
        let [weight, gradient] = [linear.weight, gradient].map(|at| Matrix::new(at, *output, *input));
        calls.push(Product::new(Form::Nn, dy_matrix, weight, self.matrix(dx, *input)).into());
        calls.push(Product::new(Form::Tn, dy_matrix, x, gradient).accumulate(self.weights.adds).into());
        if linear.bias.is_some() {
            let (rows, width, out) = (self.rows, *output, self.weights.gradient(&format!("{name}.bias")));
            calls.push(ColumnSum { partial, x: dy, rows, width, parts: SUM_PARTS }.into());
            calls.push(ColumnReduce { out, partial, parts: SUM_PARTS, width }.into());
        }
    }

    fn norm(&self, name: &str, x: At, y: Buffer, rstd: Buffer) -> Call {
        let (weight, eps) = (self.weights.value(&self.name(name)), self.sizes.eps);
        let (rows, width) = (self.rows, self.sizes.hidden);
        RmsNorm { y: y.start(), rstd: rstd.start(), x, weight, eps, rows, width }.into()
    }

    /// `dy += ` the gradient through the norm; the norm's weight learns.
    fn norm_backward(&self, name: &str, x: At, rstd: Buffer, scratch: &Scratch, calls: &mut Vec<Call>) {
        let name = self.name(name);
        let (dx, partial) = (scratch.dy.start(), scratch.partial.start());
        let (rows, width, parts) = (self.rows, self.sizes.hidden, NORM_PARTS);
        let (dy, weight) = (scratch.d_normed.start(), self.weights.value(&name));
        let rstd = rstd.start();
        calls.push(RmsNormBackward { dx, partial, residual: Some(dx), dy, x, rstd, weight, rows, width, parts }.into());
        calls.push(ColumnReduce { out: self.weights.gradient(&name), partial, parts, width }.into());
    }

    /// Its attention over documents.
    pub(crate) fn attention(&self) -> Attention {
        let (kept, sizes) = (self.kept, self.sizes);
        Attention {
            way: sizes.way,
            heads: sizes.heads,
            window: sizes.windows[self.layer],
            qkv: kept.qkv.start(),
            out: kept.mixed.start(),
            lse: kept.lse.start(),
        }
    }

    fn rope(&self, x: At, bias: Option<At>, sign: f32) -> Call {
        let Angles { cos, sin } = self.angles;
        let (positions, cos, sin) = (self.positions.start(), cos.start(), sin.start());
        Rope { x, bias, positions, cos, sin, rows: self.rows, heads: self.sizes.heads, sign }.into()
    }

    /// Queries, keys and values side by side.
    fn qkv(&self) -> Linear {
        self.linear("self_attn.q_proj", self.sizes.hidden, self.sizes.heads.width())
    }

    fn o(&self) -> Linear {
        self.linear("self_attn.o_proj", self.sizes.heads.queries(), self.sizes.hidden)
    }

    fn gate_up(&self) -> Linear {
        self.linear("mlp.gate_proj", self.sizes.hidden, 2 * self.sizes.inner)
    }

    fn down(&self) -> Linear {
        self.linear("mlp.down_proj", self.sizes.inner, self.sizes.hidden)
    }

    fn add_bias(&self, linear: &Linear, x: At, calls: &mut Vec<Call>) {
        if let Some(bias) = linear.bias {
            calls.push(AddBias { x, bias, rows: self.rows, width: linear.output }.into());
        }
    }

    /// Queries, keys and values, rotated, from `x`, `[rows, hidden]`.
    fn project(&self, x: At, calls: &mut Vec<Call>) {
        let kept = self.kept;
        let (normed, qkv) = (kept.input_normed.start(), kept.qkv.start());
        calls.push(self.norm("input_layernorm.weight", x, kept.input_normed, kept.input_rstd));
        let projection = self.qkv();
        let Some((raw, rstd)) = kept.raw else {
            calls.push(self.apply(&projection, normed, qkv, None));
            calls.push(self.rope(qkv, projection.bias, 1.0));
            return;
        };
        let (raw, rstd) = (raw.start(), rstd.start());
        calls.push(self.apply(&projection, normed, raw, None));
        self.add_bias(&projection, raw, calls);
        let [q_weight, k_weight] = HEAD_NORMS.map(|name| self.weights.value(&self.name(name)));
        let (rows, eps, heads) = (self.rows, self.sizes.eps, self.sizes.heads);
        calls.push(HeadNorm { y: qkv, rstd, x: raw, q_weight, k_weight, eps, rows, heads }.into());
        calls.push(self.rope(qkv, None, 1.0));
    }

    /// `y` from `x`, both `[rows, hidden]`; `mix` attends: from `kept.qkv` to `kept.mixed`.
    pub(crate) fn forward(&self, x: At, y: At, mix: impl FnOnce(&mut Vec<Call>), calls: &mut Vec<Call>) {
        let kept = self.kept;
        self.project(x, calls);
        mix(calls);
        let (o, middle) = (self.o(), kept.middle.start());
        calls.push(self.apply(&o, kept.mixed.start(), middle, Some(x)));
        self.add_bias(&o, middle, calls);
        calls.push(self.norm("post_attention_layernorm.weight", middle, kept.post_normed, kept.post_rstd));
        let (gate_up, down) = (self.gate_up(), self.down());
        let [normed, gated, inner] = [kept.post_normed, kept.gate_up, kept.inner].map(|buffer| buffer.start());
        calls.push(self.apply(&gate_up, normed, gated, None));
        self.add_bias(&gate_up, gated, calls);
        calls.push(SwiGlu { y: inner, x: gated, rows: self.rows, inner: self.sizes.inner }.into());
        calls.push(self.apply(&down, inner, y, Some(middle)));
        self.add_bias(&down, y, calls);
    }

    /// Turns `scratch.dy`, the gradient of what came out, into that of `x`, what came in; every parameter learns.
    pub(crate) fn backward(&self, x: At, learning: Learning<'_>, calls: &mut Vec<Call>) {
        let (kept, sizes) = (self.kept, self.sizes);
        let Learning { batch, lengths, scratch } = learning;
        let [dy, d_normed, d_inner, d_mixed, dqkv, partial] =
            [scratch.dy, scratch.d_normed, scratch.d_inner, scratch.d_mixed, scratch.dqkv, scratch.partial]
                .map(|buffer| buffer.start());
        let [gated, inner, mixed] = [kept.gate_up, kept.inner, kept.mixed].map(|buffer| buffer.start());
        self.apply_backward(&self.down(), [inner, dy, d_inner], partial, calls);
        // What went into the gate is not asked for again: its gradient takes its place.
        calls.push(SwiGluBackward { dx: gated, x: gated, dy: d_inner, rows: self.rows, inner: sizes.inner }.into());
        self.apply_backward(&self.gate_up(), [kept.post_normed.start(), gated, d_normed], partial, calls);
        let middle = kept.middle.start();
        self.norm_backward("post_attention_layernorm.weight", middle, kept.post_rstd, scratch, calls);
        self.apply_backward(&self.o(), [mixed, dy, d_mixed], partial, calls);
        self.attention().backward(batch.documents, lengths, d_mixed, scratch, calls);
        calls.push(self.rope(dqkv, None, -1.0));
        if let Some((raw, rstd)) = kept.raw {
            let [q_weight, k_weight] = HEAD_NORMS.map(|name| self.weights.value(&self.name(name)));
            let (rows, heads, parts) = (self.rows, sizes.heads, NORM_PARTS);
            let (x, rstd) = (raw.start(), rstd.start());
            calls.push(HeadNormBackward { d: dqkv, partial, x, rstd, q_weight, k_weight, rows, heads, parts }.into());
            // The gradient of the key norm's weight lies behind that of the query norm's.
            let out = self.weights.gradient(&self.name(HEAD_NORMS[0]));
            calls.push(ColumnReduce { out, partial, parts, width: 2 * heads.dim }.into());
        }
        self.apply_backward(&self.qkv(), [kept.input_normed.start(), dqkv, d_normed], partial, calls);
        self.norm_backward("input_layernorm.weight", x, kept.input_rstd, scratch, calls);
    }
}

/// The norms of query and of key heads.
const HEAD_NORMS: [&str; 2] = ["self_attn.q_norm.weight", "self_attn.k_norm.weight"];
