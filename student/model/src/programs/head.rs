//! The final norm, the output projection and the loss, over the labelled rows alone and a chunk of logits at a time: all
//! logits of a batch never exist. No graph: the loss has its gradient in closed form.

use super::{
    batch::Batch,
    block::{NORM_PARTS, Sizes, Weights},
    lot::Making,
};
use crate::{LossOptions, ModelError};
use distill_ops::{
    At, Buffer, Call, Dtype, Form, Matrix, Product,
    kernels::{ColumnReduce, CrossEntropy, Gather, RmsNorm, RmsNormBackward, Scatter, Sum},
};

/// Logits that exist at once where the device does not say what it has: in tests so few that every fixture takes several
/// chunks.
const LOGITS: usize = if cfg!(test) { 1 << 10 } else { 320 << 20 };
/// The part of a card's memory that logits may take: of all of it, not of what is free, since the order of the projection's
/// sums depends on it.
const SHARE: u64 = 32;
/// Rows whose logits exist at once at least.
const LEAST: usize = if cfg!(test) { 1 } else { 128 };

/// Room for the head's work.
#[derive(Debug)]
pub(crate) struct HeadRoom {
    /// Labelled rows as they left the last block.
    picked: Buffer,
    rstd: Buffer,
    normed: Buffer,
    d_normed: Buffer,
    logits: Buffer,
    losses: Buffer,
    partial: Buffer,
    /// Rows of a chunk.
    chunk: usize,
}

impl HeadRoom {
    /// For batches of so many labels.
    pub(crate) fn new(making: &mut Making<'_>, sizes: &Sizes, labels: usize) -> Result<HeadRoom, ModelError> {
        let by_memory = |total: u64| (total / SHARE) as usize / sizes.dtype.size();
        let most = (making.engine.total_memory().map_or(LOGITS, by_memory) / sizes.vocab).max(LEAST);
        // A multiple of the tiles of large products, where there are so many.
        let chunk = if most >= 512 { most / 256 * 256 } else { most }.min(labels.max(1));
        let mut zeros = |dtype, len: usize| making.zeros(dtype, len);
        Ok(HeadRoom {
            picked: zeros(sizes.dtype, labels * sizes.hidden)?,
            rstd: zeros(Dtype::F32, labels)?,
            normed: zeros(sizes.dtype, labels * sizes.hidden)?,
            d_normed: zeros(sizes.dtype, labels * sizes.hidden)?,
            logits: zeros(sizes.dtype, chunk * sizes.vocab)?,
            losses: zeros(Dtype::F32, labels)?,
            partial: zeros(Dtype::F32, NORM_PARTS * sizes.hidden)?,
            chunk,
        })
    }
}

/// The head over one batch.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) sizes: &'a Sizes,
    pub(crate) weights: Weights<'a>,
    pub(crate) batch: &'a Batch,
    pub(crate) room: &'a HeadRoom,
}

impl Head<'_> {
    /// Adds the loss of what left the last block to `loss`; with `learn` its gradient comes to be in `dy`, and norm and
    /// projection learn.
    pub(crate) fn calls(&self, x: At, loss: At, learn: Option<At>, options: LossOptions, calls: &mut Vec<Call>) {
        let Sizes { hidden, eps, .. } = *self.sizes;
        let (room, rows) = (self.room, self.batch.labels);
        let (picked, rstd) = (room.picked.start(), room.rstd.start());
        let index = self.batch.rows.start();
        let weight = self.weights.value("model.norm.weight");
        calls.push(Gather { y: picked, x, index, rows, width: hidden }.into());
        let normed = room.normed.start();
        calls.push(RmsNorm { y: normed, rstd, x: picked, weight, eps, rows, width: hidden }.into());
        for start in (0..rows).step_by(room.chunk) {
            let count = room.chunk.min(rows - start);
            self.chunk(start, count, learn.is_some(), options, calls);
        }
        calls.push(Sum { out: loss, x: room.losses.start(), len: rows }.into());
        let Some(dy) = learn else { return };
        // The rows' own gradient takes the place of that of the normed ones.
        let (dx, partial, parts) = (room.d_normed.start(), room.partial.start(), NORM_PARTS);
        let norm = RmsNormBackward {
            dx,
            partial,
            residual: None,
            dy: dx,
            x: picked,
            rstd,
            weight,
            rows,
            width: hidden,
            parts,
        };
        calls.push(norm.into());
        let out = self.weights.gradient("model.norm.weight");
        calls.push(ColumnReduce { out, partial, parts, width: hidden }.into());
        calls.push(Call::Zero(dy, self.batch.documents.tokens * hidden));
        calls.push(Scatter { y: dy, x: dx, index, rows, width: hidden }.into());
    }

    fn chunk(&self, start: usize, count: usize, learn: bool, options: LossOptions, calls: &mut Vec<Call>) {
        let Sizes { hidden, vocab, .. } = *self.sizes;
        let room = self.room;
        let x = Matrix::new(room.normed.at(start * hidden), count, hidden);
        let weight = Matrix::new(self.weights.value(self.sizes.projection()), vocab, hidden);
        let logits = Matrix::new(room.logits.start(), count, vocab);
        calls.push(Product::new(Form::Nt, x, weight, logits).into());
        let loss = CrossEntropy {
            logits: logits.at,
            loss: room.losses.at(start),
            targets: self.batch.targets.at(start),
            weights: self.batch.weights.at(start),
            z: options.z_loss,
            inverse_divisor: (1.0 / options.divisor) as f32,
            rows: count,
            vocab,
            backward: learn,
        };
        calls.push(loss.into());
        if learn {
            let dx = Matrix::new(room.d_normed.at(start * hidden), count, hidden);
            let gradient = Matrix::new(self.weights.gradient(self.sizes.projection()), vocab, hidden);
            calls.push(Product::new(Form::Nn, logits, weight, dx).into());
            let adds = self.weights.adds || start > 0;
            calls.push(Product::new(Form::Tn, logits, x, gradient).accumulate(adds).into());
        }
    }
}
