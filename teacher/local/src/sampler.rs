//! Logits → a token, with a generator of its own for each request; and log-probabilities.

use crate::ask::{Logprobs, Sampling};
use distill_model::Softmax;
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::collections::BTreeSet;

/// Weights below this part of the largest are looked at only if those above do not suffice.
const FIRST_THRESHOLD: f32 = 1.0 / 1024.0;

/// Draws the tokens of one request. Equal logits: the lower id wins.
pub(crate) struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
    /// Tokens that a penalty applies to.
    seen: BTreeSet<u32>,
}

/// Room for one draw, used again for the next request.
#[derive(Default)]
pub(crate) struct Scratch {
    softmax: Softmax,
    pub(crate) logits: Vec<f32>,
    weights: Vec<f32>,
    order: Vec<(f32, u32)>,
}

impl Sampler {
    pub(crate) fn new(sampling: Sampling, seed: u64) -> Sampler {
        Sampler { sampling, rng: ChaCha8Rng::seed_from_u64(seed), seen: BTreeSet::new() }
    }

    /// Takes notice of tokens of the prompt or drawn.
    pub(crate) fn saw(&mut self, tokens: &[u32]) {
        if self.sampling.repetition_penalty != 1.0 {
            self.seen.extend(tokens);
        }
    }

    /// The next token from `scratch.logits`, one for each token of the vocabulary; they are changed. Nothing if they are
    /// not numbers.
    pub(crate) fn draw(&mut self, scratch: &mut Scratch) -> Option<u32> {
        for id in &self.seen {
            if let Some(logit) = scratch.logits.get_mut(*id as usize) {
                let penalty = self.sampling.repetition_penalty;
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
        let (best, largest) = best(&scratch.logits)?;
        if self.sampling.temperature <= 0.0 {
            return Some(best);
        }
        let inverse = 1.0 / self.sampling.temperature;
        let total = scratch.softmax.exponentials(&scratch.logits, largest, inverse, &mut scratch.weights);
        let uniform = self.rng.random::<f64>();
        let Sampling { top_p, top_k, min_p, .. } = self.sampling;
        if top_p >= 1.0 && top_k == 0 {
            return draw_in_order_of_ids(&scratch.weights, min_p, total, uniform);
        }
        let mut threshold = FIRST_THRESHOLD;
        loop {
            let weights = scratch.weights.iter().zip(0_u32..);
            scratch.order.clear();
            scratch.order.extend(weights.filter(|(weight, _)| **weight >= threshold).map(|(weight, id)| (*weight, id)));
            let complete = threshold == 0.0;
            if (top_k == 0 || scratch.order.len() >= top_k || complete)
                && let Some(token) = cut(&mut scratch.order, self.sampling, total, complete, uniform)
            {
                return Some(token);
            }
            // The denormal remainder is zero for this purpose.
            threshold = if threshold < 1e-12 { 0.0 } else { threshold / 1024.0 };
        }
    }
}

/// Draws from the most likely of `order`, which holds all above some weight; nothing if that is not enough of them.
fn cut(order: &mut Vec<(f32, u32)>, sampling: Sampling, total: f64, complete: bool, uniform: f64) -> Option<u32> {
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut total = total;
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
        total = order.iter().map(|(weight, _)| f64::from(*weight)).sum();
    }
    // The smallest set of most likely tokens whose mass reaches top-p.
    let wanted = f64::from(sampling.top_p) * total;
    let (mut mass, mut kept) = (0.0, 0);
    for (weight, _) in order.iter() {
        if mass >= wanted {
            break;
        }
        mass += f64::from(*weight);
        kept += 1;
    }
    if mass < wanted && !complete && sampling.top_k == 0 {
        return None;
    }
    order.truncate(kept.max(1));
    if sampling.min_p > 0.0 {
        let first = order[0].0;
        order.retain(|(weight, _)| *weight >= sampling.min_p * first);
    }
    let mass: f64 = order.iter().map(|(weight, _)| f64::from(*weight)).sum();
    let mut left = uniform * mass;
    let drawn = order.iter().find(|(weight, _)| {
        left -= f64::from(*weight);
        left < 0.0
    });
    drawn.or(order.last()).map(|(_, id)| *id)
}

fn draw_in_order_of_ids(weights: &[f32], min_p: f32, total: f64, uniform: f64) -> Option<u32> {
    // The largest weight is one.
    let kept = || weights.iter().zip(0_u32..).filter(|(weight, _)| **weight > 0.0 && **weight >= min_p);
    let total = if min_p > 0.0 { kept().map(|(weight, _)| f64::from(*weight)).sum() } else { total };
    let mut left = uniform * total;
    let mut last = None;
    for (weight, id) in kept() {
        left -= f64::from(*weight);
        last = Some(id);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// The first of the largest logits; nothing if there is none that is a finite number, or one that is no number at all.
fn best(logits: &[f32]) -> Option<(u32, f32)> {
    let (chunks, rest) = logits.as_chunks::<16>();
    let (mut most, mut sums) = ([f32::NEG_INFINITY; 16], [0.0_f32; 16]);
    for chunk in chunks {
        for lane in 0..16 {
            most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
            // Not a number, once; minus infinity is a logit.
            sums[lane] += if chunk[lane].is_nan() { f32::NAN } else { 0.0 };
        }
    }
    let largest = most.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, f32::max);
    if !largest.is_finite() || sums.iter().any(|sum| sum.is_nan()) || rest.iter().any(|logit| logit.is_nan()) {
        return None;
    }
    logits.iter().position(|logit| *logit == largest).map(|id| (id as u32, largest))
}

impl Scratch {
    /// Log-probabilities of `chosen` and of the `top` most likely tokens under `self.logits`.
    pub(crate) fn logprobs(&mut self, chosen: u32, top: usize) -> Option<Logprobs> {
        let (_, largest) = best(&self.logits)?;
        let total = self.softmax.exponentials(&self.logits, largest, 1.0, &mut self.weights);
        let shift = f64::from(largest) + total.ln();
        let logprob = |logit: f32| (f64::from(logit) - shift) as f32;
        self.order.clear();
        let mut least = f32::NEG_INFINITY;
        for (logit, id) in self.logits.iter().zip(0_u32..) {
            if top > 0 && (self.order.len() < top || *logit > least) {
                let at = self.order.partition_point(|(other, _)| other >= logit);
                self.order.insert(at, (*logit, id));
                self.order.truncate(top);
                least = self.order.last().map_or(least, |(logit, _)| *logit);
            }
        }
        let chosen = self.logits.get(chosen as usize).map(|logit| logprob(*logit));
        Some(Logprobs { chosen, top: self.order.iter().map(|(logit, id)| (*id, logprob(*logit))).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(sampling: Sampling, logits: &[f32], seed: u64) -> Option<u32> {
        let mut scratch = Scratch { logits: logits.to_vec(), ..Scratch::default() };
        Sampler::new(sampling, seed).draw(&mut scratch)
    }

    fn shares(sampling: Sampling, logits: &[f32]) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        let mut sampler = Sampler::new(sampling, 5);
        let mut scratch = Scratch::default();
        for _ in 0..20_000 {
            scratch.logits = logits.to_vec();
            counts[sampler.draw(&mut scratch).expect("a token") as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    fn close(found: &[f64], expected: &[f64]) {
        for (share, expected) in found.iter().zip(expected) {
            assert!((share - expected).abs() < 0.015, "shares {found:?}, expected {expected:?}");
        }
    }

    fn logs(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|probability| probability.ln()).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_eq!(draw(greedy, &[0.0, 2.0, 2.0, 1.0], 1), Some(1));
        let mut wide = vec![0.0; 100];
        (wide[37], wide[98]) = (3.0, 3.0);
        assert_eq!(draw(greedy, &wide, 1), Some(37));
    }

    #[test]
    fn logits_that_are_no_numbers_give_no_token() {
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 17, 39] {
                let mut logits = vec![1.0; 40];
                logits[at] = bad;
                assert_eq!(draw(Sampling::default(), &logits, 1), None, "{bad} at {at}");
            }
        }
        assert_eq!(draw(Sampling::default(), &[f32::NEG_INFINITY; 3], 1), None);
        assert_eq!(draw(Sampling::default(), &[f32::NEG_INFINITY, 0.0], 1), Some(1));
    }

    #[test]
    fn shares_follow_the_softmax_at_the_temperature() {
        let logits = [0.0, 1.0, 2.0];
        for temperature in [0.6, 1.0] {
            let weights: Vec<f64> =
                logits.iter().map(|logit| (f64::from(*logit) / f64::from(temperature)).exp()).collect();
            let total: f64 = weights.iter().sum();
            let expected: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
            close(&shares(Sampling { temperature, ..Sampling::default() }, &logits), &expected);
            close(&shares(Sampling { temperature, top_k: 3, ..Sampling::default() }, &logits), &expected);
        }
    }

    #[test]
    fn the_nucleus_cuts_the_tail() {
        // With top-p 0.85 the last of 0.6, 0.3, 0.1 is never drawn, and the others keep their odds.
        let found = shares(Sampling { top_p: 0.85, ..Sampling::default() }, &logs(&[0.6, 0.3, 0.1]));
        close(&found, &[2.0 / 3.0, 1.0 / 3.0, 0.0]);
        assert_eq!(found[2], 0.0);
    }

    #[test]
    fn a_flat_tail_far_below_the_best_belongs_to_the_nucleus() {
        // The best has 0.5, the rest is spread over 4,096 tokens of 1/8192 each: top-p 0.9 must reach into them.
        let mut probabilities = vec![0.5 / 4096.0; 4097];
        probabilities[9] = 0.5;
        let sampling = Sampling { top_p: 0.9, ..Sampling::default() };
        let found = shares(sampling, &logs(&probabilities));
        close(&found[9..10], &[0.5 / 0.9]);
        assert!(found[4000..].iter().all(|share| *share == 0.0), "equal tokens: the higher ids are cut");
    }

    #[test]
    fn top_k_and_min_p_cut() {
        let logits = logs(&[0.4, 0.3, 0.2, 0.1]);
        close(&shares(Sampling { top_k: 2, ..Sampling::default() }, &logits), &[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
        close(&shares(Sampling { min_p: 0.6, ..Sampling::default() }, &logits), &[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
        // Of the best three, top-p keeps what reaches 0.7 of their own mass.
        let both = Sampling { top_k: 3, top_p: 0.7, ..Sampling::default() };
        close(&shares(both, &logits), &[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
        let all = Sampling { top_k: 3, top_p: 0.99, min_p: 0.6, ..Sampling::default() };
        close(&shares(all, &logits), &[4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
    }

    #[test]
    fn what_was_seen_is_less_likely() {
        let mut sampler =
            Sampler::new(Sampling { temperature: 0.0, repetition_penalty: 2.0, ..Sampling::default() }, 1);
        sampler.saw(&[0, 1]);
        let mut scratch = Scratch { logits: vec![3.0, -1.0, 1.6], ..Scratch::default() };
        assert_eq!(sampler.draw(&mut scratch), Some(2));
        assert_eq!(scratch.logits, [1.5, -2.0, 1.6]);
    }

    #[test]
    fn logprobs_are_those_of_the_softmax_before_the_temperature() {
        let mut scratch = Scratch { logits: logs(&[0.2, 0.5, 0.3]), ..Scratch::default() };
        let found = scratch.logprobs(0, 2).expect("logprobs");
        assert!((found.chosen.expect("a token") - 0.2_f32.ln()).abs() < 1e-6);
        assert_eq!(found.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
        assert!((found.top[0].1 - 0.5_f32.ln()).abs() < 1e-6);
        assert!(scratch.logprobs(0, 0).expect("logprobs").top.is_empty());
    }
}
