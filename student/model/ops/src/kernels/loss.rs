//! Cross-entropy over a chunk of logits, with its gradient in place of them.

use crate::{
    call::{Arg, At, Kernel, Launch},
    host::Memory,
};

/// `loss[r] = w · (lse - logit[target] + z · lse²) / divisor`, `lse = log Σ e^logit`; with `backward` the logits become
/// `w / divisor · (softmax · (1 + 2 · z · lse) - onehot)`. A row of weight 0 is not looked at: loss and gradient are 0. The
/// z-loss is PaLM's (Chowdhery et al., 2022).
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    /// `[rows, vocab]`
    pub logits: At,
    /// `[rows]`, float32.
    pub loss: At,
    /// Integers `[rows]`.
    pub targets: At,
    /// `[rows]`, float32.
    pub weights: At,
    /// Factor of the z-loss.
    pub z: f32,
    /// One over the divisor.
    pub inverse_divisor: f32,
    /// Rows.
    pub rows: usize,
    /// Numbers of a row.
    pub vocab: usize,
    /// Whether gradients replace the logits.
    pub backward: bool,
}

impl Kernel for CrossEntropy {
    fn launch(&self) -> Launch {
        let places = [self.logits, self.loss, self.targets, self.weights].map(Into::into);
        let rest = [
            self.z.into(),
            self.inverse_divisor.into(),
            self.rows.into(),
            self.vocab.into(),
            Arg::Int(i32::from(self.backward)),
        ];
        let args = places.into_iter().chain(rest).collect();
        Launch::new("cross_entropy", Some(self.logits.dtype()), self.rows, args).threads(1024)
    }

    fn define(&self, memory: &mut Memory) {
        let (targets, weights) = (memory.ints(self.targets, self.rows), memory.read(self.weights, self.rows));
        for (row, (target, weight)) in targets.into_iter().zip(weights).enumerate() {
            let at = self.logits.plus(row * self.vocab);
            if weight == 0.0 {
                memory.write(self.loss.plus(row), &[0.0]);
                if self.backward {
                    memory.write(at, &vec![0.0; self.vocab]);
                }
                continue;
            }
            let mut logits = memory.read(at, self.vocab);
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
            let lse = (f64::from(most) + sum.ln()) as f32;
            let factor = weight * self.inverse_divisor;
            let target = target as usize;
            memory.write(self.loss.plus(row), &[factor * (lse - logits[target] + self.z * lse * lse)]);
            if self.backward {
                let scale = factor * (1.0 + 2.0 * self.z * lse);
                logits.iter_mut().for_each(|logit| *logit = (*logit - lse).exp() * scale);
                logits[target] -= factor;
                memory.write(at, &logits);
            }
        }
    }
}
