//! Cross-entropy over the output projection, a chunk of rows at a time: logits `[tokens, vocab]` never exist as a whole
//! (Wijmans et al., 2024).

use super::{
    product::{Into, transpose},
    weights::Matrix,
};
use crate::cpu::{
    lanes::{Isa, Kernel, Lanes},
    panel::{Panels, Row32, WIDTH, panels},
    pointwise::{exp, largest, sum},
};
use rayon::prelude::*;

/// Most logits that exist at once: in this crate's tests so few that every fixture takes several chunks, which must give what
/// the reference gives as a whole.
const MAX_LOGITS: usize = if cfg!(test) { 1 } else { 8 << 20 };
/// Panels whose sums are formed together.
const GROUP: usize = 64;

/// A token that is to be predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// The row that predicts it: the place of the token before it among all tokens.
    pub row: usize,
    /// The token.
    pub target: u32,
    /// Its weight in the loss.
    pub weight: f32,
}

/// What is summed up, and by how much it is divided.
#[derive(Clone, Copy, Debug)]
pub struct LossOptions {
    /// The sum of weights over the whole optimiser step: what gradients are divided by.
    pub divisor: f64,
    /// Factor of the squared logarithm of each row's sum (PaLM's z-loss; Chowdhery et al., 2022); 0 for none.
    pub z_loss: f32,
}

/// A sum of losses, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Weighted cross-entropy, not divided: `Σ weight · (lse − z[target])`.
    pub cross_entropy: f64,
    /// Weighted z-loss, not divided: `Σ weight · z_loss · lse²`.
    pub z: f64,
}

/// The loss of the labelled rows of `hidden`, `[rows, hidden]`, under the output projection `head`, `[vocab, hidden]`. Where there
/// is `d_hidden`, `[rows, hidden]`, the gradients of these rows are written to it, and those of `head` added to its own.
///
/// With logits `z = hidden · headᵀ` and `lse = ln Σ e^z` of a row, its loss is
/// `weight · (lse − z[target]) + weight · z_loss · lse²`, the cross-entropy and PaLM's z-loss (Chowdhery et al., 2022), and
/// `dz = weight / divisor · (softmax(z) · (1 + 2 · z_loss · lse) − one at the target)`.
///
/// Logits exist for a chunk of labels at a time (Wijmans et al., 2024): at most 1,024 of them, `[labels, vocab]`.
pub(super) fn cross_entropy(
    isa: Isa,
    hidden: &Panels,
    labels: &[Label],
    options: LossOptions,
    head: &mut Matrix,
    mut d_hidden: Option<&mut Panels>,
) -> LossSum {
    let most = (MAX_LOGITS / head.outputs / WIDTH * WIDTH).clamp(WIDTH, 1024);
    let mut total = LossSum::default();
    for labels in labels.chunks(most) {
        let rows = panels(labels.len()) * WIDTH;
        let mut x = hidden.select(&labels.iter().map(|label| label.row).collect::<Vec<_>>());
        x = filled(x, rows);
        let mut logits = head.room(rows);
        head.apply(isa, &x, &mut logits, Into::Set);
        mask(&mut logits);
        let sums = log_sums(isa, &logits, labels.len());
        for (row, (label, sum)) in labels.iter().zip(&sums).enumerate() {
            let at = label.target as usize;
            let logit = logits.data[at / WIDTH * rows + row].0[at % WIDTH];
            let (weight, sum) = (f64::from(label.weight), f64::from(*sum));
            total.cross_entropy += weight * (sum - f64::from(logit));
            total.z += weight * f64::from(options.z_loss) * sum * sum;
        }
        let Some(d_hidden) = d_hidden.as_deref_mut() else { continue };
        let factors: Vec<(f32, f32)> = labels
            .iter()
            .zip(&sums)
            .map(|(label, sum)| {
                let weight = (f64::from(label.weight) / options.divisor) as f32;
                (*sum, weight * (1.0 + 2.0 * options.z_loss * sum))
            })
            .chain(std::iter::repeat_n((0.0, 0.0), rows - labels.len()))
            .collect();
        logits.data.par_chunks_exact_mut(rows).for_each(|panel| isa.run(Weigh { panel, factors: &factors }));
        for (row, label) in labels.iter().enumerate() {
            let at = label.target as usize;
            logits.data[at / WIDTH * rows + row].0[at % WIDTH] -= (f64::from(label.weight) / options.divisor) as f32;
        }
        let mut dx = Panels::zeros(rows, hidden.width);
        head.back(isa, &logits, &mut dx, Into::Set);
        let mut flipped = Panels::zeros(panels(head.outputs) * WIDTH, rows);
        transpose(isa, &logits, &mut flipped);
        head.learn(isa, &flipped, &x);
        for (from, to) in dx.data.chunks_exact(rows).zip(d_hidden.data.chunks_exact_mut(hidden.rows)) {
            for (from, label) in from.iter().zip(labels) {
                to[label.row] = *from;
            }
        }
    }
    total
}

/// `[labels, width]` → `[rows, width]`: more rows, of zeros.
fn filled(x: Panels, rows: usize) -> Panels {
    if x.rows == rows {
        return x;
    }
    let mut out = Panels::zeros(rows, x.width);
    for (out, x) in out.data.chunks_exact_mut(rows).zip(x.data.chunks_exact(x.rows)) {
        out[..x.len()].copy_from_slice(x);
    }
    out
}

/// Columns of `[rows, vocab]` past the vocabulary, up to a whole panel, are never chosen: they become `−∞`.
fn mask(logits: &mut Panels) {
    let used = logits.width % WIDTH;
    if used != 0 {
        let last = logits.data.len() - logits.rows;
        logits.data[last..].iter_mut().for_each(|row| row.0[used..].fill(f32::NEG_INFINITY));
    }
}

/// The logarithm of the sum of exponentials, `ln Σ e^z`, of each of the first rows of `[all rows, vocab]`: `[rows]`.
fn log_sums(isa: Isa, logits: &Panels, rows: usize) -> Vec<f32> {
    let all = logits.rows;
    let parts: Vec<Vec<(f32, f32)>> =
        logits.data.par_chunks(GROUP * all).map(|group| isa.run(Sums { group, all, rows })).collect();
    (0..rows)
        .map(|row| {
            let most = parts.iter().map(|part| part[row].0).fold(f32::NEG_INFINITY, f32::max);
            let total: f64 =
                parts.iter().map(|part| f64::from(part[row].1) * f64::from(part[row].0 - most).exp()).sum();
            (f64::from(most) + total.ln()) as f32
        })
        .collect()
}

/// Largest logit and sum of exponentials relative to it, for each row, over some panels: `[rows]` pairs.
struct Sums<'a> {
    /// `[panel][row]`
    group: &'a [Row32],
    /// Rows of a panel.
    all: usize,
    /// Rows that are wanted, the first.
    rows: usize,
}

impl Kernel for Sums<'_> {
    type Output = Vec<(f32, f32)>;
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) -> Vec<(f32, f32)> {
        let Sums { group, all, rows } = self;
        let mut out = Vec::with_capacity(rows);
        for row in 0..rows {
            let mut most = lanes.splat(f32::NEG_INFINITY);
            for panel in group.chunks_exact(all) {
                let (low, high) = panel[row].halves();
                most = lanes.max(most, lanes.max(lanes.load(low), lanes.load(high)));
            }
            let most = largest(lanes, most);
            let shift = lanes.splat(-most);
            let mut total = lanes.splat(0.0);
            for panel in group.chunks_exact(all) {
                let (low, high) = panel[row].halves();
                let low = exp(lanes, lanes.add(lanes.load(low), shift));
                total = lanes.add(total, lanes.add(low, exp(lanes, lanes.add(lanes.load(high), shift))));
            }
            out.push((most, sum(lanes, total)));
        }
        out
    }
}

/// `logit ← e^(logit - sum) · factor`
struct Weigh<'a> {
    /// `[rows, 32]`
    panel: &'a mut [Row32],
    /// `(sum, factor)` of each row, `[rows]`.
    factors: &'a [(f32, f32)],
}

impl Kernel for Weigh<'_> {
    type Output = ();
    #[inline(always)]
    fn call<L: Lanes>(self, lanes: L) {
        for (row, (sum, factor)) in self.panel.iter_mut().zip(self.factors) {
            let (shift, factor) = (lanes.splat(-sum), lanes.splat(*factor));
            let (low, high) = row.halves_mut();
            lanes.store(lanes.mul(exp(lanes, lanes.add(lanes.load(low), shift)), factor), low);
            lanes.store(lanes.mul(exp(lanes, lanes.add(lanes.load(high), shift)), factor), high);
        }
    }
}
