//! The forward pass of decoding in Burn's tensors, for devices other than the CPU: the same blocks of the same cache.
//!
//! Keys and values of a layer are one tensor each, `[blocks · 32, kv_heads · head_dim]`, written in place; what a share
//! attends to is gathered by the places of its positions. Shares with one new token are computed together.

use crate::{
    Decoder, ModelError,
    attention::Attention,
    precision::Precision,
    rope::Frequencies,
    step::{BLOCK, Logits, Share, Wanted},
};
use burn::tensor::{
    Bool, Device, IndexingUpdateOp, Int, Tensor, TensorData,
    activation::{silu, softmax},
};
use distill_checkpoint::Checkpoint;

/// A decoder with its cache on a device.
#[derive(Debug)]
pub(crate) struct TensorForward {
    model: Decoder,
    device: Device,
    layers: Vec<LayerCache>,
    frequencies: Frequencies,
    /// Cosines and sines `[positions, head_dim]` of the positions met so far.
    angles: [Tensor<2>; 2],
    vocab: usize,
    hidden: usize,
}

#[derive(Debug)]
struct LayerCache {
    keys: Tensor<2>,
    values: Tensor<2>,
}

/// Shares that are attended to together: each has the same number of new tokens.
struct Group {
    /// Places in the cache of all positions, `[shares · positions]`, short ones filled up.
    places: Tensor<1, Int>,
    /// `[shares, tokens, positions]`: what is not seen.
    unseen: Tensor<3, Bool>,
    /// Its rows among the step's rows.
    rows: std::ops::Range<usize>,
    shares: usize,
    tokens: usize,
    positions: usize,
}

impl TensorForward {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        precision: Precision,
        blocks: usize,
    ) -> Result<TensorForward, ModelError> {
        if precision.is_reduced() {
            return Err(ModelError::Device(format!(
                "weights as {} are decoded on the CPU only\nhint: leave the precision out, or use --device cpu",
                precision.name()
            )));
        }
        let config = checkpoint.config();
        let width = config.num_key_value_heads * config.head_dim;
        let zeros = || Tensor::<2>::zeros([blocks * BLOCK, width], device);
        let layer = |_| LayerCache { keys: zeros(), values: zeros() };
        let empty = || Tensor::<2>::zeros([1, config.head_dim], device);
        Ok(TensorForward {
            model: Decoder::load(checkpoint, device)?,
            device: device.clone(),
            layers: (0..config.num_hidden_layers).map(layer).collect(),
            frequencies: Frequencies::of(config),
            angles: [empty(), empty()],
            vocab: config.vocab_size,
            hidden: config.hidden_size,
        })
    }

    /// As [`crate::Stepper::step`].
    pub(crate) fn step(&mut self, shares: &[Share<'_>]) -> Result<Logits, ModelError> {
        // Single tokens first: they are one batch.
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by_key(|index| shares[*index].tokens.len() > 1);
        let sorted: Vec<Share<'_>> = order.iter().map(|index| shares[*index]).collect();
        let rows: usize = sorted.iter().map(|share| share.tokens.len()).sum();
        let ids = sorted.iter().flat_map(|share| share.tokens).map(|id| *id as usize);
        let positions = || sorted.iter().flat_map(|share| share.start..share.start + share.tokens.len());
        let places = sorted
            .iter()
            .flat_map(|share| (share.start..share.start + share.tokens.len()).map(|position| place(share, position)));
        let (ids, new_places) = (self.ints(ids), self.ints(places));
        let [cos, sin] = self.angles(positions().max().unwrap_or(0) + 1);
        let index = self.ints(positions());
        let (cos, sin) = (cos.select(0, index.clone()).unsqueeze_dim(1), sin.select(0, index).unsqueeze_dim(1));
        let singles = sorted.iter().filter(|share| share.tokens.len() == 1).count();
        let windows: Vec<Option<usize>> = self.model.blocks.iter().map(|block| block.attention.window).collect();
        let mut kinds: Vec<Option<usize>> = windows.clone();
        kinds.sort();
        kinds.dedup();
        let groups: Vec<(Option<usize>, Vec<Group>)> =
            kinds.into_iter().map(|window| (window, self.groups(&sorted, singles, window))).collect();

        let mut x = self.model.embedding.val().select(0, ids);
        for (index, block) in self.model.blocks.iter().enumerate() {
            let groups =
                groups.iter().find(|(window, _)| *window == windows[index]).map_or(&[][..], |(_, groups)| groups);
            let normed = block.input_norm.forward(x.clone());
            let mixed = attend(&block.attention, normed, (&cos, &sin), &new_places, groups, &mut self.layers[index]);
            x = x + mixed;
            let normed = block.post_norm.forward(x.clone()).unsqueeze::<3>();
            let inner = silu(block.gate.forward(normed.clone())) * block.up.forward(normed);
            x = x + block.down.forward(inner).squeeze_dim::<2>(0);
        }
        let mut firsts = vec![0; shares.len()];
        let mut first = 0;
        for (index, share) in order.iter().zip(&sorted) {
            firsts[*index] = first;
            first += share.tokens.len();
        }
        debug_assert_eq!(first, rows);
        let mut wanted = Vec::new();
        for (share, first) in shares.iter().zip(firsts) {
            let end = first + share.tokens.len();
            match share.logits {
                Wanted::None => {}
                Wanted::Last => wanted.push(end - 1),
                Wanted::All => wanted.extend(first..end),
            }
        }
        if wanted.is_empty() {
            return Ok(Logits::from_rows(0, self.vocab, Vec::new()));
        }
        let count = wanted.len();
        let x = x.select(0, self.ints(wanted.into_iter())).reshape([1, count, self.hidden]);
        let logits = self.model.logits(self.model.norm.forward(x)).into_data().try_to_vec::<f32>();
        let logits = logits.map_err(|error| ModelError::Step(format!("expected float32 logits: {error:?}")))?;
        Ok(Logits::from_rows(count, self.vocab, logits))
    }

    fn ints(&self, values: impl Iterator<Item = usize>) -> Tensor<1, Int> {
        let values: Vec<i32> = values.map(|value| value as i32).collect();
        let len = values.len();
        Tensor::from_data(TensorData::new(values, [len]), &self.device)
    }

    /// Cosines and sines of at least so many positions; formed once and kept.
    fn angles(&mut self, end: usize) -> [Tensor<2>; 2] {
        let [held, dim] = self.angles[0].dims();
        if held < end || held == 1 {
            let positions = end.next_power_of_two().max(64);
            let table = |function: fn(f64) -> f64| {
                let values: Vec<f32> =
                    (0..positions).flat_map(|position| self.frequencies.row(position, function)).collect();
                Tensor::from_data(TensorData::new(values, [positions, dim]), &self.device)
            };
            self.angles = [table(f64::cos), table(f64::sin)];
        }
        self.angles.clone()
    }

    fn groups(&self, shares: &[Share<'_>], singles: usize, window: Option<usize>) -> Vec<Group> {
        let (single, several) = shares.split_at(singles);
        let mut groups = Vec::new();
        let mut row = 0;
        let batches = (!single.is_empty()).then_some(single).into_iter().chain(several.chunks(1));
        for batch in batches {
            let tokens = batch[0].tokens.len();
            let positions = batch.iter().map(|share| share.start + tokens).max().unwrap_or(0);
            let mut places = Vec::with_capacity(batch.len() * positions);
            let mut unseen = Vec::with_capacity(batch.len() * tokens * positions);
            for share in batch {
                let last = share.start + tokens - 1;
                // Filled up with its own first position, which the mask hides.
                places.extend((0..positions).map(|position| place(share, if position > last { 0 } else { position })));
                for own in share.start..share.start + tokens {
                    let oldest = window.map_or(0, |window| (own + 1).saturating_sub(window));
                    unseen.extend((0..positions).map(|position| position > own || position < oldest));
                }
            }
            let shape = [batch.len(), tokens, positions];
            groups.push(Group {
                places: self.ints(places.into_iter()),
                unseen: Tensor::from_data(TensorData::new(unseen, shape), &self.device),
                rows: row..row + batch.len() * tokens,
                shares: batch.len(),
                tokens,
                positions,
            });
            row += batch.len() * tokens;
        }
        groups
    }
}

/// Where a position of a share lies in the cache.
fn place(share: &Share<'_>, position: usize) -> usize {
    share.blocks[position / BLOCK] as usize * BLOCK + position % BLOCK
}

/// Changes a tensor that nothing else holds, so that it can be written in place.
fn replace(held: &mut Tensor<2>, change: impl FnOnce(Tensor<2>) -> Tensor<2>) {
    let taken = std::mem::replace(held, Tensor::zeros([1, 1], &held.device()));
    *held = change(taken);
}

/// `[rows, hidden]` → `[rows, hidden]`; new keys and values go into the cache first.
fn attend(
    attention: &Attention,
    x: Tensor<2>,
    (cos, sin): (&Tensor<3>, &Tensor<3>),
    new_places: &Tensor<1, Int>,
    groups: &[Group],
    cache: &mut LayerCache,
) -> Tensor<2> {
    let (heads, kv_heads, dim) = (attention.heads, attention.kv_heads, attention.head_dim);
    let [rows, _] = x.dims();
    let x = x.unsqueeze::<3>();
    // Half-split rotation of `[rows, heads, dim]`.
    let rotate = |x: Tensor<3>| {
        let [rows, heads, dim] = x.dims();
        let first = x.clone().slice([0..rows, 0..heads, 0..dim / 2]);
        let second = x.clone().slice([0..rows, 0..heads, dim / 2..dim]);
        x * cos.clone() + Tensor::cat(vec![second.neg(), first], 2) * sin.clone()
    };
    let q = attention.q.forward(x.clone()).reshape([rows, heads, dim]);
    let q = rotate(attention.q_norm.iter().fold(q, |q, norm| norm.forward(q))).mul_scalar((dim as f64).powf(-0.5));
    let k = attention.k.forward(x.clone()).reshape([rows, kv_heads, dim]);
    let k = rotate(attention.k_norm.iter().fold(k, |k, norm| norm.forward(k))).reshape([rows, kv_heads * dim]);
    let v = attention.v.forward(x).reshape([rows, kv_heads * dim]);
    replace(&mut cache.keys, |held| held.select_assign(0, new_places.clone(), k, IndexingUpdateOp::Assign));
    replace(&mut cache.values, |held| held.select_assign(0, new_places.clone(), v, IndexingUpdateOp::Assign));
    let group = heads / kv_heads;
    let mut mixed = Vec::with_capacity(groups.len());
    for Group { places, unseen, rows, shares, tokens, positions } in groups {
        let [shares, tokens, positions] = [*shares, *tokens, *positions];
        let gather = |held: &Tensor<2>| {
            held.clone().select(0, places.clone()).reshape([shares, positions, kv_heads, dim]).swap_dims(1, 2)
        };
        let (k, v) = (gather(&cache.keys), gather(&cache.values));
        let q = q.clone().slice([rows.clone(), 0..heads, 0..dim]).reshape([shares, tokens, heads, dim]);
        let q = q.swap_dims(1, 2).reshape([shares, kv_heads, group * tokens, dim]);
        let scores = q.matmul(k.swap_dims(2, 3)).reshape([shares, kv_heads, group, tokens, positions]);
        let unseen = unseen.clone().reshape([shares, 1, 1, tokens, positions]);
        let scores = scores.mask_fill(unseen.expand([shares, kv_heads, group, tokens, positions]), f32::NEG_INFINITY);
        let weights = softmax(scores.reshape([shares, kv_heads, group * tokens, positions]), 3);
        let out = weights.matmul(v).reshape([shares, heads, tokens, dim]).swap_dims(1, 2);
        mixed.push(out.reshape([shares * tokens, heads * dim]));
    }
    let mixed = if mixed.len() == 1 { mixed.remove(0) } else { Tensor::cat(mixed, 0) };
    attention.o.forward(mixed.unsqueeze::<3>()).squeeze_dim::<2>(0)
}
